"""One application response in, one protected response out. No ASGI in here.

The sealer is made when the response begins, so that a request which waited long in a
queue is answered under the epoch of that moment.
"""

from __future__ import annotations

import secrets

from stainedglass_output_protection.errors import UsageError
from stainedglass_output_protection.protocol.constants import NONCE_SEED_SIZE
from stainedglass_output_protection.protocol.fields_writer import (
    FieldsStream,
    seal_body,
)
from stainedglass_output_protection.protocol.head import Parameters, encode_head
from stainedglass_output_protection.protocol.key_schedule import derive_traffic_keys
from stainedglass_output_protection.protocol.routes import Route
from stainedglass_output_protection.protocol.sealer import Sealer
from stainedglass_output_protection.server.key_ring import EpochKey

Headers = list[tuple[bytes, bytes]]

EVENT_STREAM = "text/event-stream"
_BODILESS = frozenset({204, 205, 304})

# Written anew, or a fingerprint of the plaintext.
_DROPPED_HEADERS = frozenset(
    {
        b"cache-control",
        b"content-digest",
        b"content-disposition",
        b"content-encoding",
        b"content-length",
        b"content-md5",
        b"content-type",
        b"digest",
        b"etag",
        b"repr-digest",
    }
)

_SERVER_ERROR = (
    b'data: {"error":{"message":"The server failed while it was answering.",'
    b'"type":"InternalServerError","param":null,"code":500}}\n\n'
)


class ProtectedResponse:
    """Protects one response for one client key.

    Call ``push`` for every piece of the body, then ``end`` only if the application has
    ended its body itself, or ``fail`` if it raised in a stream.
    """

    __slots__ = ("_body", "_sealer", "_stream", "headers", "route", "status")

    def __init__(
        self,
        *,
        epoch_key: EpochKey,
        client_public_key: bytes,
        route: Route,
        server_key_header: str,
        status: int,
        headers: Headers,
    ) -> None:
        content_type = _header(headers, b"content-type")
        if _header(headers, b"content-encoding") not in ("", "identity"):
            raise UsageError("A compressed body cannot be protected.")
        response_nonce = secrets.token_bytes(NONCE_SEED_SIZE)
        head = encode_head(
            Parameters(container=route.container),
            client_public_key=client_public_key,
            response_nonce=response_nonce,
            statement=epoch_key.encoded_statement,
        )
        traffic_keys = derive_traffic_keys(
            epoch_key.exchange(client_public_key),
            client_public_key=client_public_key,
            head=head,
            response_nonce=response_nonce,
        )
        self.route = route
        self._sealer = Sealer(
            traffic_keys, head=head, status=status, content_type=content_type
        )
        self._stream: FieldsStream | None = None
        if content_type.partition(";")[0].strip().lower() == EVENT_STREAM:
            self._stream = FieldsStream(self._sealer, route.name)
        self._body: list[bytes] = []
        self.status = 200 if status in _BODILESS else status
        self.headers = _outer_headers(
            headers,
            content_type if self._stream else "application/json",
            (server_key_header, epoch_key.public_key_base64),
        )

    @property
    def is_stream(self) -> bool:
        """Whether pieces go out as they come."""
        return self._stream is not None

    def push(self, data: bytes) -> bytes:
        """Return the wire bytes for a piece of the body; empty while none is due."""
        if self._stream is not None:
            return self._stream.feed(data) if data else b""
        self._body.append(data)
        return b""

    def end(self) -> bytes:
        """Return the last wire bytes: the application has ended its body."""
        if self._stream is not None:
            return self._stream.finish()
        return seal_body(self._sealer, b"".join(self._body), self.route.name)

    def fail(self) -> bytes:
        """Return the last wire bytes of a stream whose application raised."""
        assert self._stream is not None  # noqa: S101 - the caller has asked is_stream
        return self._stream.fail(_SERVER_ERROR)


def _header(headers: Headers, wanted: bytes) -> str:
    for name, value in headers:
        if name.lower() == wanted:
            return value.decode("latin-1")
    return ""


def _outer_headers(
    headers: Headers, content_type: str, server_key: tuple[str, str]
) -> Headers:
    name = server_key[0].lower().encode("ascii")
    kept = [
        item
        for item in headers
        if item[0].lower() not in _DROPPED_HEADERS and item[0].lower() != name
    ]
    return [
        *kept,
        (b"content-type", content_type.encode("latin-1")),
        (b"cache-control", b"no-store"),
        (name, server_key[1].encode("ascii")),
        (b"access-control-expose-headers", name),
    ]
