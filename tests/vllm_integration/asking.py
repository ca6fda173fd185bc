"""Asks a protected server through the package's own client and keeps the wire's bytes."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx2

from stainedglass_output_protection.client.httpx2_binding import ProtectedTransport
from stainedglass_output_protection.client.protection import Protection
from stainedglass_output_protection.client.verdict import Verdict

TIMEOUT_S = 120.0
_numbers = itertools.count()


@dataclass
class Wire:
    """One response as it came over the wire, and the request's body."""

    status: int
    headers: httpx2.Headers
    sent: bytes = b""
    body: bytearray = field(default_factory=bytearray)

    @property
    def events(self) -> list[bytes]:
        """The data of each event of a stream."""
        blocks = bytes(self.body).split(b"\n\n")
        return [block[6:] for block in blocks if block.startswith(b"data: ")]


@dataclass
class Answer:
    """What a caller of the protected client got, and what the wire had carried."""

    test_id: str
    status: int
    content_type: str
    body: bytes
    verdict: Verdict
    wire: Wire


class _RecordingStream(httpx2.SyncByteStream):
    def __init__(self, inner: Any, wire: Wire) -> None:
        self._inner = inner
        self._wire = wire

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._inner:
            self._wire.body += chunk
            yield chunk

    def close(self) -> None:
        self._inner.close()


class RecordingTransport(httpx2.BaseTransport):
    """Speaks HTTP and keeps each response's bytes by test id."""

    def __init__(self) -> None:
        self._inner = httpx2.HTTPTransport()
        self.wires: dict[str, Wire] = {}

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        response = self._inner.handle_request(request)
        sent = repr(request.headers.raw).encode() + request.read()
        wire = Wire(response.status_code, response.headers, sent)
        # A request for a key document has nothing of the caller's, no test id either.
        self.wires[request.headers.get("x-test-id", "")] = wire
        return httpx2.Response(
            response.status_code,
            headers=response.headers,
            stream=_RecordingStream(response.stream, wire),
            extensions=response.extensions,
        )

    def close(self) -> None:
        self._inner.close()


class Asker:
    """A protected client whose every request has a test id."""

    def __init__(self, url: str, identity: str, *, profile: str = "output") -> None:
        self._recorder = RecordingTransport()
        transport = ProtectedTransport(
            self._recorder, protection=Protection.load(identity, profile=profile)
        )
        self.client = httpx2.Client(
            transport=transport, base_url=url, timeout=TIMEOUT_S
        )

    def ask(
        self,
        path: str,
        body: dict[str, Any] | bytes,
        *,
        method: str = "POST",
        headers: dict[str, str] | None = None,
        name: str = "request",
    ) -> Answer:
        """Send ``body`` and read the answer to its end."""
        test_id = new_test_id(name)
        response = self.client.request(
            method,
            path,
            content=body if isinstance(body, bytes) else json.dumps(body),
            headers={
                "content-type": "application/json",
                "x-test-id": test_id,
                **(headers or {}),
            },
        )
        return Answer(
            test_id,
            response.status_code,
            response.headers.get("content-type", ""),
            response.content,
            response.extensions["output_protection"],
            self._recorder.wires[test_id],
        )

    def close(self) -> None:
        """Close the connections."""
        self.client.close()


def new_test_id(name: str) -> str:
    """Return a name that no other request has."""
    return f"{name}-{next(_numbers)}"
