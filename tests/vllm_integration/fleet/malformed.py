"""Requests that a client of its own making sends: each is its fault, none is served."""

from __future__ import annotations

import base64
import json
import random
import secrets
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

from stainedglass_output_protection.protocol.constants import (
    CONTAINER_FIELDS,
    KEY_ID_SIZE,
    SECRET_SIZE,
    SUITE_MLKEM768_X25519,
)
from stainedglass_output_protection.protocol.key_document import KeyDocument
from stainedglass_output_protection.protocol.keys import ClientKeyPair
from stainedglass_output_protection.protocol.sealed_request import (
    NO_KEY_ID,
    SealedMessage,
    SealedRequest,
    request_info,
)
from stainedglass_output_protection.protocol.suites import seal
from stainedglass_output_protection.server.clock import unix_ms
from tests.vllm_integration.fleet.conftest import SEALED_LIMIT
from tests.vllm_integration.servers import MODEL

CHAT = "/v1/chat/completions"
# The router passes on to this one whatever it gets, without a look.
CANCEL = "/v1/responses/resp_0/cancel"
RESPONSES = "/v1/responses"
PREFIX = "sgop1-request."
# They would be answers if they were served.
ASKED = {"model": MODEL, "messages": [{"role": "user", "content": "Name a colour."}]}
_LOW_ORDER = (
    0,
    1,
    2**255 - 20,
    325606250916557431795983626356110631294008115727848805560023387167927233504,
    39382357235489614581723060781553021112529911719440698176882885853963445705823,
)
_HOUR_MS = 3_600_000
JSON_TYPE = {"content-type": "application/json"}


class Bad(NamedTuple):
    """A request, and the statuses that may answer it."""

    path: str
    headers: dict[str, str]
    body: bytes
    statuses: tuple[int, ...] = (400,)


class Maker:
    """Makes bad requests of all kinds from good ones, sealed to ``document``.

    A key retires while a slow machine waits, so what is sealed to one may also find it
    unknown: 422.
    """

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.document: KeyDocument | None = None

    def make(self, kind: str) -> Bad:
        """Return a bad request of a kind."""
        return KINDS[kind](self)

    def message(self, **changes: Any) -> SealedMessage:
        """Return a good sealed message; ``changes`` are to what it holds."""
        assert self.document is not None
        statement = self.document.statement
        asked = SealedRequest(
            response_secret=secrets.token_bytes(SECRET_SIZE),
            owner=bytes(SECRET_SIZE),
            time_ms=unix_ms(),
            container=CONTAINER_FIELDS,
            method="POST",
            target=CHAT,
            content_type="application/json",
            authorization="",
            body=json.dumps(ASKED).encode(),
        )
        suite = SUITE_MLKEM768_X25519
        client_key = ClientKeyPair.generate().public_key
        return SealedMessage(
            suite,
            statement.key_id,
            client_key,
            seal(
                suite,
                self.document.suite_public_keys[suite],
                replace(asked, **changes).encode(),
                request_info(suite, statement.digest, client_key),
            ),
        )

    def truncated(self) -> Bad:
        data = self.message().encode()
        return _chat(_text(data[: self._random.randrange(len(data))]), 400, 422)

    def truncated_text(self) -> Bad:
        text = self.message().to_text()
        return _chat(text[: -1 - self._random.randrange(3)], 400)

    def bit_flipped(self) -> Bad:
        return _chat(self._flipped(), 400, 422)

    def bit_flipped_streamed(self) -> Bad:
        return _chat(self._flipped(), 400, 422, stream=True)

    def key_id_unknown(self) -> Bad:
        message = replace(self.message(), key_id=secrets.token_bytes(KEY_ID_SIZE))
        return _chat(message.to_text(), 422)

    def key_id_none(self) -> Bad:
        message = SealedMessage(2, NO_KEY_ID, ClientKeyPair.generate().public_key, b"")
        return _chat(message.to_text(), 422)

    def client_key_of_low_order(self) -> Bad:
        key = self._random.choice(_LOW_ORDER) | self._random.randrange(2) << 255
        message = replace(
            self.message(), client_public_key=key.to_bytes(32, byteorder="little")
        )
        return _chat(message.to_text(), 400)

    def client_key_of_another(self) -> Bad:
        bad = _chat(self.message().to_text(), 400, 422)
        offered = {"x-client-public-key": ClientKeyPair.generate().header_value}
        return bad._replace(headers={**bad.headers, **offered})

    def suite_unknown(self) -> Bad:
        data = bytearray(self.message().encode())
        data[1] = self._random.randrange(3, 256)
        return _chat(_text(bytes(data)), 400)

    def not_canonical(self) -> Bad:
        return _chat(self.message().to_text() + self._random.choice("=\n A"), 400)

    def model_of_another(self) -> Bad:
        return _chat(self.message().to_text(), 400, 422, model="other")

    def stream_of_another(self) -> Bad:
        return _chat(self.message().to_text(), 400, 422, stream=True)

    def route_of_another(self) -> Bad:
        text = self.message().to_text()
        return _json(RESPONSES, {"model": MODEL, "input": text}, 400, 422)

    def ahead_of_its_time(self) -> Bad:
        return _chat(self.message(time_ms=unix_ms() + _HOUR_MS).to_text(), 425, 422)

    def long_ago(self) -> Bad:
        return _chat(self.message(time_ms=unix_ms() - _HOUR_MS).to_text(), 425, 422)

    def nonsense_inside(self) -> Bad:
        return _chat(self.message(body=self._random.randbytes(99)).to_text(), 400, 422)

    def unusable_inside(self) -> Bad:
        # The one that comes as far as vLLM.
        body = json.dumps({**ASKED, "messages": self._random.randrange(99)}).encode()
        return _chat(self.message(body=body).to_text(), 400, 422)

    def plaintext_of_nothing(self) -> Bad:
        message = self.message()
        assert self.document is not None
        sealed = seal(
            message.suite,
            self.document.suite_public_keys[message.suite],
            self._random.randbytes(300),
            request_info(
                message.suite,
                self.document.statement.digest,
                message.client_public_key,
            ),
        )
        return _chat(replace(message, ciphertext=sealed).to_text(), 400, 422)

    def too_large(self) -> Bad:
        return _chat(_text(self._random.randbytes(SEALED_LIMIT)), 413)

    def garbage_in_a_header(self) -> Bad:
        text = _text(self._random.randbytes(3000))
        return Bad(CANCEL, {"x-sealed-request": text}, b"", (400,))

    def long_header(self) -> Bad:
        text = _text(self._random.randbytes(SEALED_LIMIT))
        return Bad(CANCEL, {"x-sealed-request": text}, b"", (413,))

    def oversized_header(self) -> Bad:
        # No server's limit is as large; whoever comes to it first refuses it.
        text = _text(self._random.randbytes(3_000_000))
        return Bad(CANCEL, {"x-sealed-request": text}, b"", (400, 431))

    def header_and_body(self) -> Bad:
        bad = _chat(self.message().to_text(), 400)
        header = {"x-sealed-request": self.message().to_text()}
        return bad._replace(headers={**bad.headers, **header})

    def garbage_after_the_prefix(self) -> Bad:
        return _chat(PREFIX + self._random.choice(["", "%", "A", "é", "AAAA"]), 400)

    def garbage(self) -> Bad:
        return Bad(CHAT, JSON_TYPE, self._random.randbytes(999), (400, 415, 422))

    def garbage_with_a_prefix(self) -> Bad:
        body = b'{"input": "' + PREFIX.encode() + self._random.randbytes(99)
        return Bad(RESPONSES, JSON_TYPE, body, (400,))

    def nothing_sealed(self) -> Bad:
        return _json(CHAT, ASKED, 400)

    def _flipped(self) -> str:
        data = bytearray(self.message().encode())
        bit = self._random.randrange(8 * len(data))
        data[bit // 8] ^= 1 << bit % 8
        return _text(bytes(data))


KINDS: dict[str, Callable[[Maker], Bad]] = {
    name: function
    for name, function in vars(Maker).items()
    if name[0] != "_" and name not in ("make", "message")
}


def _text(data: bytes) -> str:
    return PREFIX + base64.b64encode(data).decode()


def _chat(text: str, *statuses: int, **members: Any) -> Bad:
    messages = [{"role": "user", "content": text}]
    return _json(CHAT, {"model": MODEL, "messages": messages, **members}, *statuses)


def _json(path: str, body: dict[str, Any], *statuses: int) -> Bad:
    return Bad(path, JSON_TYPE, json.dumps(body).encode(), statuses)
