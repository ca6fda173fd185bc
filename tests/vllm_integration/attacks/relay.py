"""An HTTP relay that reads, keeps and changes what goes through it."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

DOCUMENT = "/.well-known/output-protection"
TIMEOUT_S = 60.0
_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length"}

Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Request:
    """A request as it arrived, less what belongs to its connection."""

    method: str
    target: str
    headers: Headers
    body: bytes

    @property
    def is_for_a_document(self) -> bool:
        """Whether it asks for a key document."""
        return self.target.endswith(DOCUMENT)

    @property
    def asked(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)

    def with_members(self, **members: Any) -> Request:
        """Return it with members of its JSON body set; ``...`` takes one out."""
        body = {**self.asked, **members}
        body = {name: value for name, value in body.items() if value is not ...}
        return replace(self, body=json.dumps(body).encode())

    def with_header(self, name: str, value: str | None) -> Request:
        """Return it with one header set, or without it."""
        kept = tuple(item for item in self.headers if item[0].lower() != name)
        added = () if value is None else ((name, value),)
        return replace(self, headers=kept + added)


@dataclass(frozen=True)
class Reply:
    """An answer. If it ``is_cut``, the connection breaks in the middle of its body."""

    status: int
    headers: Headers
    body: bytes
    is_cut: bool = False

    def header(self, name: str) -> str:
        """Return a header's value, or nothing."""
        return next((v for n, v in self.headers if n.lower() == name), "")

    @property
    def events(self) -> list[bytes]:
        """The events of a stream, each with the blank line at its end."""
        *events, rest = self.body.split(b"\n\n")
        assert rest == b""
        return [event + b"\n\n" for event in events]

    def with_events(self, events: list[bytes]) -> Reply:
        """Return it with other events."""
        return replace(self, body=b"".join(events))


Move = Callable[["Relay", Request], Reply]


def pass_on(relay: Relay, request: Request) -> Reply:
    """Do what an honest relay does."""
    return relay.forward(request)


@dataclass
class Relay:
    """Listens on a port of its own, plays ``move`` and forwards to ``port``."""

    port: int
    move: Move = pass_on
    requests: list[Request] = field(default_factory=list)
    replies: list[Reply] = field(default_factory=list)
    url: str = ""

    @property
    def seen(self) -> bytes:
        """Every byte that came in, from the client and from where it was forwarded."""
        asked = list(self.requests)
        parts = [_flat(it.method, it.target, it.headers, it.body) for it in asked]
        parts += [_flat(it.status, "", it.headers, it.body) for it in self.replies]
        return b"\n".join(parts)

    @property
    def sealed(self) -> list[Request]:
        """What the client has sent, requests for key documents left out."""
        return [it for it in self.requests if not it.is_for_a_document]

    def forward(self, request: Request, *, port: int | None = None) -> Reply:
        """Send a request on over a fresh connection and return the whole answer."""
        connection = http.client.HTTPConnection(
            "127.0.0.1", port or self.port, timeout=TIMEOUT_S
        )
        with contextlib.closing(connection):
            connection.putrequest(
                request.method,
                request.target,
                skip_host=True,
                skip_accept_encoding=True,
            )
            for name, value in request.headers:
                connection.putheader(name, value)
            connection.putheader("connection", "close")
            if request.body or request.method != "GET":
                connection.putheader("content-length", str(len(request.body)))
            connection.endheaders(request.body or None)
            answer = connection.getresponse()
            headers = _end_to_end(answer.getheaders())
            reply = Reply(answer.status, headers, answer.read())
        self.replies.append(reply)
        return reply

    def serve(self, request: Request) -> Reply:
        """Keep a request and answer it as the move says."""
        self.requests.append(request)
        return self.move(self, request)


@contextlib.contextmanager
def serving(relay: Relay) -> Iterator[Relay]:
    """Put ``relay`` on a free port for as long as the block lasts."""

    class Handler(_Handler):
        serve = staticmethod(relay.serve)

    server = _Listener(("127.0.0.1", 0), Handler)
    relay.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=[0.02])
    thread.start()
    try:
        yield relay
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Listener(ThreadingHTTPServer):
    # With the library's 5, Linux answers a burst of connections by SYN cookies, and
    # resets one whose body comes before its head has found a place in the queue.
    request_queue_size = 128


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True
    timeout = TIMEOUT_S
    serve: Callable[[Request], Reply]

    def handle_one_request(self) -> None:
        """Answer one request; a client that goes away is no failure."""
        with contextlib.suppress(ConnectionError):
            super().handle_one_request()
            return
        self.close_connection = True

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", "0")))
        headers = _end_to_end(self.headers.items())
        reply = self.serve(Request(self.command, self.path, headers, body))
        self.send_response_only(reply.status)
        for name, value in reply.headers:
            self.send_header(name, value)
        length = len(reply.body) + 100 * reply.is_cut
        self.send_header("content-length", str(length))
        self.end_headers()
        self.wfile.write(reply.body)
        self.wfile.flush()
        if reply.is_cut:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)

    do_GET = do_POST = do_PUT = _answer  # noqa: N815

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


def _end_to_end(headers: Any) -> Headers:
    return tuple((n, v) for n, v in headers if n.lower() not in _HOP_BY_HOP)


def _flat(first: object, second: str, headers: Headers, body: bytes) -> bytes:
    lines = [f"{first} {second}", *(f"{name}: {value}" for name, value in headers)]
    return "\n".join(lines).encode("utf-8", "replace") + b"\n\n" + body
