"""A collector of OpenTelemetry traces that keeps every byte it is sent."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Collector:
    """Listens on a port of its own; ``received`` is what has come, body by body."""

    def __init__(self) -> None:
        received: list[bytes] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                received.append(bytes(self.headers))
                received.append(self.rfile.read(int(self.headers["content-length"])))
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing."""

        self.received = received
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        """Where traces are sent to."""
        return f"http://127.0.0.1:{self._server.server_port}/v1/traces"

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
