"""A server of profile ``sealed`` to test the client with: the real middleware.

The middleware and the application behind it run in memory, and nothing in them waits,
so they are stepped by hand, inside of an event loop or without one.
"""

from __future__ import annotations

import json
import re
import secrets
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, ClassVar

from starlette.routing import Route

from stainedglass_output_protection.protocol.constants import (
    NONCE_SEED_SIZE,
    PROFILE_SEALED,
)
from stainedglass_output_protection.protocol.encoding import frame_to_text
from stainedglass_output_protection.protocol.head import Parameters, encode_head
from stainedglass_output_protection.protocol.identity import IdentityKey
from stainedglass_output_protection.protocol.key_document import KeyDocument
from stainedglass_output_protection.protocol.key_schedule import (
    RequestSecrets,
    derive_traffic_keys,
)
from stainedglass_output_protection.protocol.routes import ROUTES
from stainedglass_output_protection.protocol.sealed_request import SealedMessage
from stainedglass_output_protection.protocol.sealer import Sealer
from stainedglass_output_protection.server.clock import unix_ms
from stainedglass_output_protection.server.epochs import EpochTimes
from stainedglass_output_protection.server.key_ring import EpochKey, KeyRing
from stainedglass_output_protection.server.middleware import (
    ProtectionMiddleware,
)
from stainedglass_output_protection.server.options import Options
from stainedglass_output_protection.server.own_epochs import OwnEpochs
from stainedglass_output_protection.server.replay_store import ReplayStore
from stainedglass_output_protection.server.response_keys import ResponseKeys
from stainedglass_output_protection.server.sealed_requests import open_request
from tests.client.fake_server import (
    DOCUMENT_PATH,
    DONE,
    EVENTS,
    JSON,
    MODELS,
    FakeServer,
    Received,
    Wire,
    chat_body,
    error_body,
    plain_events,
)

HOUR_MS = 3_600_000
_EVENT = re.compile(rb".*?\n\n", re.DOTALL)


def ring_since(
    start_ms: int | None = None,
    *,
    identity: IdentityKey | None = None,
    period_ms: int = HOUR_MS,
    evidence: Callable[[bytes], bytes] | None = None,
) -> KeyRing:
    """Return a ring whose one epoch began at ``start_ms``; by default a minute ago."""
    source = OwnEpochs(EpochTimes(period_ms))
    ring = KeyRing(identity or IdentityKey.generate(), source, evidence=evidence)
    ring.tick(unix_ms() - 60_000 if start_ms is None else start_ms)
    return ring


def document_of(ring: KeyRing) -> KeyDocument:
    """Return a ring's current key document."""
    return KeyDocument.from_text(ring.current(unix_ms()).document_text)


def document_wire(document: KeyDocument | str) -> Wire:
    """Return the answer that brings a document."""
    text = document if isinstance(document, str) else document.to_text()
    body = json.dumps({"document": text}).encode()
    return Wire(200, {"content-type": JSON}, [body])


def key_unknown_wire(document: KeyDocument | str, code: str = "key_unknown") -> Wire:
    """Return a 422 that ends with a document."""
    text = document if isinstance(document, str) else document.to_text()
    error = {"message": f"Not mine: {text}", "type": "t", "param": None, "code": code}
    body = json.dumps({"error": error}).encode()
    return Wire(422, {"content-type": JSON}, [body])


def run(steps: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine that never waits."""
    try:
        steps.send(None)
    except StopIteration:
        return
    raise AssertionError("something waited")


def plain_answer(call: Received) -> Wire:
    """Answer as a server without protection does."""
    if call.path.endswith("/v1/models"):
        return Wire(200, {"content-type": JSON}, [MODELS])
    asked = call.asked
    if asked.get("model") == "unknown":
        body = error_body("The model `unknown` is secret.")
        return Wire(400, {"content-type": JSON}, [body])
    if asked.get("stream"):
        return Wire(200, {"content-type": EVENTS}, [*plain_events(), DONE])
    return Wire(200, {"content-type": JSON}, [chat_body()])


class Application:
    """What is protected: keeps what it was asked, and answers as ``answer`` says."""

    def __init__(self) -> None:
        self.calls: list[Received] = []
        self.answer: Callable[[Received], Wire] = plain_answer
        # For the middleware, which asks for the routes.
        self.routes = [Route(row.path, self) for row in ROUTES]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body = b""
        has_more = True
        while has_more:
            message = await receive()
            body += message["body"]
            has_more = message.get("more_body", False)
        headers = [(k.decode(), v.decode()) for k, v in scope["headers"]]
        query = scope["query_string"].decode()
        call = Received(scope["method"], scope["path"], headers, body, query)
        self.calls.append(call)
        wire = self.answer(call)
        raw_headers = [(k.encode(), v.encode()) for k, v in wire.headers.items()]
        start = {"status": wire.status, "headers": raw_headers}
        await send({"type": "http.response.start", **start})
        for part in wire.parts:
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


@dataclass
class SealedServer(FakeServer):
    """The middleware with an application; ``prefix`` is what a gateway takes away."""

    ring: KeyRing = field(default_factory=ring_since)
    app: Application = field(default_factory=Application)
    options: Options = field(default_factory=Options)
    prefix: str = ""
    profile: ClassVar[str] = "sealed"

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        store = ReplayStore(None)
        self._protected = ProtectionMiddleware(
            self.app,
            self.options,
            ring_of=lambda scope: self.ring,
            replay_store=lambda: store,
        )

    @property
    def fingerprint(self) -> str:
        return self.ring.identity.fingerprint

    @property
    def key_id(self) -> str:
        return self.ring.current(unix_ms()).statement.key_id.hex()

    def rotate(self) -> None:
        """Begin another epoch, and forget the others."""
        self.ring = ring_since(unix_ms(), identity=self.ring.identity)

    def response_keys(self, request: Received) -> ResponseKeys:
        """Return the keys of any answer to ``request``."""
        return open_request(request.sealed_text, ring=self.ring).keys

    def sealed_under(self, key: EpochKey, asked: Received, **changes: Any) -> Wire:
        """Return an answer to ``asked`` under an epoch of anybody's choice.

        It is what can be made of what the network saw; ``changes`` are what its maker
        knows besides, or does otherwise.
        """
        message = SealedMessage.from_text(asked.sealed_text)
        secrets_of_request = RequestSecrets(
            bytes(32), message.request_hash, key.statement.digest
        )
        keys = ResponseKeys(
            message.client_public_key,
            key.exchange(message.client_public_key),
            key.encoded_statement,
            key.public_key_base64,
            message.suite,
            PROFILE_SEALED,
            secrets_of_request,
        )._replace(**changes)
        (text,) = sealed_frames(keys, [chat_body()], 200, JSON)
        return Wire(200, {"content-type": JSON}, [chat_body(text)])

    def frames(
        self,
        request: Received,
        payloads: list[bytes],
        *,
        status: int,
        content_type: str,
    ) -> list[str]:
        return sealed_frames(
            self.response_keys(request), payloads, status, content_type
        )

    def _honest(self, request: Received) -> Wire:
        with self._lock:
            return self._answer(request)

    def _answer(self, request: Received) -> Wire:
        assert request.path.startswith(self.prefix)
        path = request.path.removeprefix(self.prefix)
        incoming = [{"type": "http.request", "body": request.body, "more_body": False}]
        wire = Wire(0, {}, [])

        async def receive() -> Any:
            return incoming.pop()

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                wire.status = message["status"]
                wire.headers = {k.decode(): v.decode() for k, v in message["headers"]}
            elif message.get("body"):
                wire.parts.append(message["body"])

        scope = {
            "type": "http",
            "method": request.method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": request.query.encode(),
            "root_path": "",
            "headers": [(k.encode(), v.encode()) for k, v in request.headers],
            "app": SimpleNamespace(routes=self.app.routes),
        }
        run(self._protected(scope, receive, send))
        if wire.headers.get("content-type", "").startswith("text/event-stream"):
            wire.parts = _EVENT.findall(wire.body)
        if request.is_for_document:
            assert path == DOCUMENT_PATH
        return wire


def sealed_frames(
    keys: ResponseKeys, payloads: list[bytes], status: int, content_type: str
) -> list[str]:
    """Seal payloads with what a request's answer is sealed with; return the texts."""
    nonce = secrets.token_bytes(NONCE_SEED_SIZE)
    head = encode_head(
        Parameters(suite=keys.suite, profile=keys.profile),
        client_public_key=keys.client_public_key,
        response_nonce=nonce,
        statement=keys.encoded_statement,
    )
    traffic_keys = derive_traffic_keys(
        keys.shared_secret,
        client_public_key=keys.client_public_key,
        head=head,
        response_nonce=nonce,
        response_secret=keys.request.response_secret,
        request_hash=keys.request.request_hash,
    )
    sealer = Sealer(traffic_keys, head=head, status=status, content_type=content_type)
    last = len(payloads) - 1
    return [
        frame_to_text(sealer.seal_event(payload, is_final=number == last)).decode()
        for number, payload in enumerate(payloads)
    ]
