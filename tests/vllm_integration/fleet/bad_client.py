"""A client that floods a server with malformed requests."""

from __future__ import annotations

import contextlib
import http.client
import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

from stainedglass_output_protection.protocol.constants import DOCUMENT_PATH
from stainedglass_output_protection.protocol.key_document import KeyDocument
from tests.vllm_integration.asking import TIMEOUT_S
from tests.vllm_integration.fleet.malformed import KINDS, Bad, Maker

A_SECOND = 50
SECONDS = 10
_AT_ONCE = 2


class BadClient:
    """Sends bad requests, 50 a second if the machine can, and keeps what came back.

    ``kinds`` are those of ``malformed.KINDS`` that it sends to ``port``; key documents
    come from ``document_port``, where the server does not show them.
    """

    def __init__(
        self,
        port: int,
        *,
        kinds: Iterable[str] = KINDS,
        document_port: int | None = None,
    ) -> None:
        self._port = port
        self._document_port = document_port or port
        self.statuses: dict[str, Counter[int]] = {kind: Counter() for kind in kinds}
        self.unexpected: list[tuple[str, int, bytes]] = []

    def send_all(self) -> None:
        """Send them all, from a few connections at once."""
        began = time.monotonic()
        numbers = range(A_SECOND * SECONDS)
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            parts = [numbers[at::_AT_ONCE] for at in range(_AT_ONCE)]
            list(pool.map(self._send_part, parts, [began] * _AT_ONCE))

    def _send_part(self, numbers: range, began: float) -> None:
        maker = Maker(numbers[0])
        kinds = list(self.statuses)
        for turn, number in enumerate(numbers):
            if turn % (A_SECOND // _AT_ONCE) == 0:  # Once a second.
                maker.document = self._document()
            time.sleep(max(0.0, began + number / A_SECOND - time.monotonic()))
            kind = kinds[number % len(kinds)]
            bad = maker.make(kind)
            status, body = self._send(bad)
            self.statuses[kind][status] += 1
            if status not in bad.statuses:
                self.unexpected.append((kind, status, body[:200]))

    def _document(self) -> KeyDocument:
        with self._connection(self._document_port) as connection:
            connection.request("GET", DOCUMENT_PATH)
            answer = json.loads(connection.getresponse().read())
        return KeyDocument.from_text(answer["document"])

    def _send(self, bad: Bad) -> tuple[int, bytes]:
        # A connection for each: some are so bad that it is closed after them.
        with self._connection(self._port) as connection:
            # Who refuses early does not read to the end.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.request("POST", bad.path, bad.body, bad.headers)
            answer = connection.getresponse()
            return answer.status, answer.read()

    @contextlib.contextmanager
    def _connection(self, port: int) -> Iterator[http.client.HTTPConnection]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
        with contextlib.closing(connection):
            yield connection
