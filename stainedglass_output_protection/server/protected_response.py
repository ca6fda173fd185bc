"""One application response in, one protected response out. No ASGI in here.

The sealer is made when the response begins, so that a request which waited long in a
queue is answered under the epoch of that moment.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable

from stainedglass_output_protection.errors import UsageError
from stainedglass_output_protection.protocol.carriers import envelopes_for
from stainedglass_output_protection.protocol.constants import (
    CONTAINER_FIELDS,
    CONTAINER_OPAQUE,
    NONCE_SEED_SIZE,
    OPAQUE_MEDIA_TYPE,
)
from stainedglass_output_protection.protocol.fields_writer import (
    FieldsStream,
    seal_fields_body,
)
from stainedglass_output_protection.protocol.head import Parameters, encode_head
from stainedglass_output_protection.protocol.key_schedule import derive_traffic_keys
from stainedglass_output_protection.protocol.opaque_writer import (
    OpaqueStream,
    seal_opaque_body,
)
from stainedglass_output_protection.protocol.routes import Route
from stainedglass_output_protection.protocol.sealer import Sealer
from stainedglass_output_protection.protocol.stream_writer import StreamWriter
from stainedglass_output_protection.server.response_keys import ResponseKeys

Headers = list[tuple[bytes, bytes]]

EVENT_STREAM = "text/event-stream"
_BODILESS = frozenset({204, 205, 304})

# What an application says with any other header goes nowhere: it may be content. Headers
# of other middleware are added outside of the protection.
_KEPT_HEADERS = frozenset(
    {
        b"allow",
        b"date",
        b"endpoint-load-metrics",
        b"metadata",
        b"retry-after",
        b"vary",
        b"www-authenticate",
        b"x-request-id",
    }
)


class ProtectedResponse:
    """Protects one response with its keys.

    Call ``push`` for every piece of the body, then ``end`` only if the application has
    ended its body itself, or ``fail`` if it raised in a stream.
    """

    __slots__ = (
        "_body",
        "_envelopes",
        "_is_opaque",
        "_sealer",
        "_stream",
        "headers",
        "push",
        "status",
    )

    def __init__(
        self,
        *,
        keys: ResponseKeys,
        route: Route,
        server_key_header: str,
        status: int,
        headers: Headers,
        wants_opaque: bool = False,
    ) -> None:
        content_type = _header(headers, b"content-type")
        if _header(headers, b"content-encoding") not in ("", "identity"):
            raise UsageError("A compressed body cannot be protected.")
        media_type = content_type.partition(";")[0].strip().lower()
        container = CONTAINER_FIELDS
        if wants_opaque or not _has_fields(media_type):
            container = CONTAINER_OPAQUE
        response_nonce = secrets.token_bytes(NONCE_SEED_SIZE)
        head = encode_head(
            Parameters(suite=keys.suite, profile=keys.profile, container=container),
            client_public_key=keys.client_public_key,
            response_nonce=response_nonce,
            statement=keys.encoded_statement,
        )
        traffic_keys = derive_traffic_keys(
            keys.shared_secret,
            client_public_key=keys.client_public_key,
            head=head,
            response_nonce=response_nonce,
            response_secret=keys.request.response_secret,
            request_hash=keys.request.request_hash,
        )
        self._sealer = Sealer(
            traffic_keys, head=head, status=status, content_type=content_type
        )
        self._is_opaque = container == CONTAINER_OPAQUE
        self._envelopes = envelopes_for(
            route.carrier, shows_transfer=route.shows_transfer
        )
        self._stream: StreamWriter | None = None
        self._body: list[bytes] = []
        # Takes a piece of the body and returns wire bytes, empty while none is due: a
        # whole event goes to the writer without a step in between.
        self.push: Callable[[bytes], bytes] = self._keep
        if media_type == EVENT_STREAM:
            writer = OpaqueStream if self._is_opaque else FieldsStream
            self._stream = writer(self._sealer, self._envelopes)
            self.push = self._stream.feed
        self.status = 200 if status in _BODILESS else status
        shown_type = content_type if self._stream else "application/json"
        self.headers = _outer_headers(
            headers,
            OPAQUE_MEDIA_TYPE if self._is_opaque else shown_type,
            (server_key_header, keys.server_key),
        )

    @property
    def is_stream(self) -> bool:
        """Whether pieces go out as they come."""
        return self._stream is not None

    def _keep(self, data: bytes) -> bytes:
        self._body.append(data)
        return b""

    def end(self) -> bytes:
        """Return the last wire bytes: the application has ended its body."""
        if self._stream is not None:
            return self._stream.finish()
        body = b"".join(self._body)
        if self._is_opaque:
            return seal_opaque_body(self._sealer, body)
        return seal_fields_body(self._sealer, body, self._envelopes)

    def fail(self) -> bytes:
        """Return the last wire bytes of a stream whose application raised.

        Raises:
            UsageError: this is no stream; another answer can take its place.
        """
        if self._stream is None:
            raise UsageError("Only a stream can fail in the middle.")
        return self._stream.fail()


def _has_fields(media_type: str) -> bool:
    """Tell whether a body of this type can be carried as JSON or events."""
    return media_type in ("", EVENT_STREAM, "application/json") or media_type.endswith(
        "+json"
    )


def _header(headers: Headers, wanted: bytes) -> str:
    for name, value in headers:
        if name.lower() == wanted:
            return value.decode("latin-1")
    return ""


def _outer_headers(
    headers: Headers, content_type: str, server_key: tuple[str, str]
) -> Headers:
    name = server_key[0].lower().encode("ascii")
    kept = [item for item in headers if item[0].lower() in _KEPT_HEADERS]
    return [
        *kept,
        (b"content-type", content_type.encode("latin-1")),
        (b"cache-control", b"no-store"),
        (name, server_key[1].encode("ascii")),
        (b"access-control-expose-headers", name),
    ]
