"""Two minutes of clients: calm and busy, with some that err and some that go away."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from types import TracebackType

import httpx2

from stainedglass_output_protection.client.httpx2_binding import ProtectedTransport
from stainedglass_output_protection.client.protection import Protection
from tests.tiny_dialogues import BY_NAME
from tests.vllm_integration.servers import MODEL
from tests.vllm_integration.shapes import CHAT

LENGTH_S = 120
ROTATE_AT_S = 75
# Until when, and how often a client asks (seconds between its requests).
_CALM_AND_BUSY = ((20, 1.5), (50, 0.3), (70, 1.5), (100, 0.15), (LENGTH_S, 1.0))
_CLIENTS = 4
_TIMEOUT_S = 120.0
_LONG = {"max_tokens": 3000, "ignore_eos": True, "temperature": 1, "stream": True}


class _Counting(httpx2.BaseTransport):
    """Speaks HTTP and counts the requests that leave, by what becomes of them."""

    def __init__(self, sent: Counter[str], lock: threading.Lock) -> None:
        self._inner = httpx2.HTTPTransport()
        self._sent, self._lock = sent, lock
        self.will_leave = False

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        response = self._inner.handle_request(request)
        if request.method == "POST":
            refused = response.status_code >= 400
            kind = "refused" if refused else "cut" if self.will_leave else "sealed"
            with self._lock:
                self._sent[kind] += 1
        return response

    def close(self) -> None:
        self._inner.close()


class Traffic:
    """Clients that ask until the ``with`` block ends; ``sent`` is what they have sent."""

    def __init__(self, url: str, identity: str) -> None:
        self.sent: Counter[str] = Counter()
        self._url = url
        self._protection = Protection.load(identity, profile="sealed")
        self._lock = threading.Lock()
        self._ended = threading.Event()
        work = [self._ask] * _CLIENTS + [self._leave, self._ask_without_a_key]
        self._threads = [
            threading.Thread(target=it, args=(random.Random(at),))
            for at, it in enumerate(work)
        ]

    def __enter__(self) -> Traffic:
        self._began = time.monotonic()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _pause(self, chance: random.Random) -> bool:
        """Wait as long as the time of day says; tell whether to go on."""
        now_s = time.monotonic() - self._began
        pause_s = next((it for until, it in _CALM_AND_BUSY if now_s < until), 1.0)
        return not self._ended.wait(pause_s * chance.uniform(0.5, 1.5))

    def _ask(self, chance: random.Random) -> None:
        path, body = BY_NAME["canary"].request(MODEL)
        with self._client(_Counting(self.sent, self._lock)) as client:
            while self._pause(chance):
                streamed = chance.random() < 0.7
                client.post(path, json={**body, "stream": streamed}).raise_for_status()

    def _leave(self, chance: random.Random) -> None:
        """Read the beginning of a long answer, now and then, and go away."""
        path, body = BY_NAME["story"].request(MODEL)
        wire = _Counting(self.sent, self._lock)
        wire.will_leave = True
        with self._client(wire) as client:
            while not self._ended.wait(chance.uniform(4, 8)):
                with client.stream("POST", path, json={**body, **_LONG}) as answer:
                    next(answer.iter_bytes())

    def _ask_without_a_key(self, chance: random.Random) -> None:
        with httpx2.Client(
            transport=_Counting(self.sent, self._lock), timeout=_TIMEOUT_S
        ) as client:
            while self._pause(chance):
                if chance.random() < 0.3:
                    client.post(self._url + CHAT, content=b"{}")

    def _client(self, wire: httpx2.BaseTransport) -> httpx2.Client:
        transport = ProtectedTransport(wire, protection=self._protection)
        return httpx2.Client(
            transport=transport, base_url=self._url, timeout=_TIMEOUT_S
        )
