"""A server to test the client with: seals with ``tests/reference.py``, envelopes by hand.

``wire_of`` answers a request as a ``Wire``, which a test may tamper with; ``serve`` puts
it on a loopback port. Nothing of the package is imported. Its profile is ``output``;
``sealed_server.py`` has one of profile ``sealed``.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import dataclasses
import json
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

import uvicorn
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests import reference

TOKENS = ["Grüße", " aus", ' "der', "\\n", " Ferne", "/", "!", ""]
ANSWER = "".join(TOKENS)
DONE = b"data: [DONE]\n\n"
CLIENT_KEY = "x-client-public-key"
DOCUMENT_PATH = "/.well-known/output-protection"
HOUR_MS = 3600 * 1000
JSON = "application/json"
EVENTS = "text/event-stream; charset=utf-8"
_SEALED = re.compile(rb"sgop1-request\.([A-Za-z0-9+/=]+)")


@dataclass
class Wire:
    """An answer on its way: the parts of the body are what is sent in one go."""

    status: int
    headers: dict[str, str]
    parts: list[bytes]

    @property
    def body(self) -> bytes:
        return b"".join(self.parts)

    @property
    def raw(self) -> bytes:
        """Everything that the network saw of it."""
        lines = [f"{name}: {value}" for name, value in self.headers.items()]
        return "\n".join([str(self.status), *lines]).encode() + b"\n\n" + self.body


@dataclass
class Received:
    """A request as it arrived."""

    method: str
    path: str
    headers: list[tuple[str, str]]
    body: bytes
    query: str = ""

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name]

    @property
    def raw(self) -> bytes:
        """Everything that the network saw of it."""
        lines = [f"{self.method} {self.path}?{self.query}"]
        lines += [f"{name}: {value}" for name, value in self.headers]
        return "\n".join(lines).encode() + b"\n\n" + self.body

    @property
    def sealed_text(self) -> str:
        """The text of the sealed request, of which there is one."""
        (match,) = _SEALED.finditer(self.raw)
        return match[0].decode()

    @property
    def client_key(self) -> str:
        """The client's key, from the header or else from the sealed message."""
        values = self.values(CLIENT_KEY)
        if not values:
            message = base64.b64decode(self.sealed_text.partition(".")[2])
            values = [base64.b64encode(message[10:42]).decode()]
        (value,) = values
        return value

    @property
    def is_for_document(self) -> bool:
        return self.path.endswith(DOCUMENT_PATH)

    @property
    def asked(self) -> Any:
        return json.loads(self.body or b"{}")


class Sealing:
    """One identity and one epoch key, and what they seal."""

    def __init__(self, *, age_ms: int = 0) -> None:
        self._identity_private = os.urandom(32)
        self._response_private = os.urandom(32)
        identity = reference.identity_public_half(self._identity_private)
        self.fingerprint = reference.fingerprint(identity)
        epoch = int(time.time() * 1000) - age_ms
        unsigned = reference.Statement(
            version=1,
            epoch=epoch,
            not_after=epoch + HOUR_MS,
            response_public_key=reference.public_half(self._response_private),
            suites=(),
            identity=identity,
        )
        signer = Ed25519PrivateKey.from_private_bytes(self._identity_private)
        self.statement = dataclasses.replace(
            unsigned, signature=signer.sign(unsigned.signed)
        )

    @property
    def key_id(self) -> str:
        digest = reference.sha256(b"sgop1 epoch" + self.statement.body)
        return digest[:8].hex()

    def frames(
        self, header: str, payloads: list[bytes], *, status: int, content_type: str
    ) -> list[str]:
        public_key = reference.client_key(header)
        nonce = os.urandom(32)
        head = reference.head_of(public_key, nonce, self.statement.encoded)
        keys = reference.key_schedule(
            reference.exchange(self._response_private, public_key),
            public_key,
            nonce,
            head,
        )
        frames = reference.seal_response(
            keys,
            head,
            payloads,
            status=status,
            content_type=content_type.encode("ascii"),
            shared=40,
            padding=9,
        )
        return [reference.text_of(frame) for frame in frames]


def chat_event(
    content: str, finish: str | None = None, role: str | None = None
) -> bytes:
    delta = {"content": content} if role is None else {"role": role, "content": content}
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    event = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1_700_000_000,
        "model": "tiny",
        "choices": [choice],
    }
    return b"data: " + json.dumps(event, ensure_ascii=False).encode() + b"\n\n"


def chat_body(content: str = ANSWER) -> bytes:
    message = {"role": "assistant", "content": content}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    body = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "tiny",
        "choices": [choice],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
    }
    return json.dumps(body).encode()


def error_body(message: str, code: str | int = 400) -> bytes:
    error = {"message": message, "type": "BadRequestError", "param": None, "code": code}
    return json.dumps({"error": error}).encode()


def plain_events() -> list[bytes]:
    """The events an unprotected server would send, ``[DONE]`` apart."""
    last = len(TOKENS) - 1
    return [
        chat_event(token, "stop" if i == last else None, None if i else "assistant")
        for i, token in enumerate(TOKENS)
    ]


MODELS = json.dumps(
    {"object": "list", "data": [{"id": "tiny", "object": "model", "created": 1}]}
).encode()


@dataclass
class FakeServer:
    """Answers, and remembers what it was asked. ``tamper`` is the way in between.

    ``tamper_request`` is the same for requests. Of requests for a key document, the
    answers only go through ``tamper_document``. ``received`` is what clients sent and
    ``sent`` what they got: together what the network saw.
    """

    sealing: Sealing = field(default_factory=Sealing)
    tamper: Callable[[Wire], Wire] = lambda wire: wire
    tamper_document: Callable[[Wire], Wire] = lambda wire: wire
    tamper_request: Callable[[Received], Received] = lambda request: request
    received: list[Received] = field(default_factory=list)
    sent: list[Wire] = field(default_factory=list)
    pause_s: float = 0.0
    base_url: str = "http://server.test/v1"
    disconnected: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)
    profile: ClassVar[str] = "output"

    @property
    def fingerprint(self) -> str:
        return self.sealing.fingerprint

    @property
    def key_id(self) -> str:
        return self.sealing.key_id

    @property
    def attempts(self) -> list[Received]:
        """The requests, without those for a key document."""
        return [request for request in self.received if not request.is_for_document]

    def wire_of(self, request: Received) -> Wire:
        self.received.append(request)
        if request.is_for_document:
            wire = self.tamper_document(self._honest(request))
        else:
            wire = self.tamper(self._honest(self.tamper_request(request)))
        self.sent.append(wire)
        return wire

    def frames(
        self,
        request: Received,
        payloads: list[bytes],
        *,
        status: int,
        content_type: str,
    ) -> list[str]:
        """Return the frames of an answer to ``request``, each as text."""
        return self.sealing.frames(
            request.client_key, payloads, status=status, content_type=content_type
        )

    def _honest(self, request: Received) -> Wire:
        if request.path.endswith("/v1/models"):
            return Wire(200, {"content-type": JSON}, [MODELS])
        if not request.path.endswith("/v1/chat/completions"):
            return Wire(403, {"content-type": JSON}, [error_body("refused", 403)])
        keys = request.values(CLIENT_KEY)
        if len(keys) != 1:
            return Wire(400, {"content-type": JSON}, [error_body("no client key")])
        asked = request.asked
        if asked.get("model") == "unknown":
            return self.unary(
                request, error_body("The model `unknown` is secret."), 400
            )
        if asked.get("stream"):
            return self.stream(request)
        return self.unary(request, chat_body())

    def unary(self, request: Received, body: bytes, status: int = 200) -> Wire:
        (text,) = self.frames(request, [body], status=status, content_type=JSON)
        envelope = error_body(text, status) if status >= 400 else chat_body(text)
        headers = {"content-type": JSON, "cache-control": "no-store"}
        return Wire(status, headers, [envelope])

    def stream(self, request: Received, events: list[bytes] | None = None) -> Wire:
        payloads = [*(plain_events() if events is None else events), DONE]
        texts = self.frames(request, payloads, status=200, content_type=EVENTS)
        headers = {"content-type": EVENTS, "cache-control": "no-store"}
        return Wire(200, headers, [*map(chat_event, texts), DONE])

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        headers = [(k.decode(), v.decode()) for k, v in scope["headers"]]
        query = scope["query_string"].decode()
        request = Received(scope["method"], scope["path"], headers, body, query)
        wire = self.wire_of(request)
        raw_headers = [(k.encode(), v.encode()) for k, v in wire.headers.items()]
        await send(
            {
                "type": "http.response.start",
                "status": wire.status,
                "headers": raw_headers,
            }
        )
        gone = asyncio.ensure_future(receive())
        for part in wire.parts:
            await send({"type": "http.response.body", "body": part, "more_body": True})
            if self.pause_s and not request.is_for_document:
                await asyncio.wait([gone], timeout=self.pause_s)
                if gone.done():
                    self.disconnected.set()
                    return
        gone.cancel()
        if not request.is_for_document:
            self.ended.set()
        await send({"type": "http.response.body", "body": b"", "more_body": False})


@contextlib.contextmanager
def serve(fake: FakeServer) -> Iterator[FakeServer]:
    """Put ``fake`` on a free loopback port for as long as the block lasts."""
    # With its protocol named: asyncio sets TCP_NODELAY on no other sockets.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen(128)
    config = uvicorn.Config(
        fake, log_level="error", lifespan="off", timeout_keep_alive=600
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(
        target=asyncio.run, args=[server.serve(sockets=[listener])]
    )
    thread.start()
    fake.base_url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    try:
        yield fake
    finally:
        server.should_exit = True
        thread.join()
        listener.close()
