"""A TCP proxy that keeps every byte that goes through it: the worst gateway there is."""

from __future__ import annotations

import contextlib
import socket
import threading
from types import TracebackType


class TcpTap:
    """Listens on a port of its own and connects each client on to ``port``."""

    def __init__(self, port: int) -> None:
        self._server_port = port
        self._lock = threading.Lock()
        self._from_server: list[bytearray] = []
        self._from_client: list[bytearray] = []
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._is_closing = False
        self.port: int = self._listener.getsockname()[1]

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def from_server(self) -> list[bytes]:
        """What the server has sent, one item for each connection."""
        with self._lock:
            return [bytes(data) for data in self._from_server]

    @property
    def from_client(self) -> list[bytes]:
        """What the clients have sent, one item for each connection."""
        with self._lock:
            return [bytes(data) for data in self._from_client]

    def __enter__(self) -> TcpTap:
        self._run(self._accept)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._is_closing = True
        with contextlib.suppress(OSError):  # Wakes up the waiting thread.
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        with self._lock:
            sockets = list(self._sockets)
        for end in sockets:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)
        for end in [*sockets, self._listener]:
            end.close()

    def _accept(self) -> None:
        while True:
            client, _ = self._listener.accept()
            if self._is_closing:
                client.close()
                return
            server = socket.create_connection(("127.0.0.1", self._server_port), 10)
            server.settimeout(None)
            answers, requests = bytearray(), bytearray()
            with self._lock:
                self._sockets += [client, server]
                self._from_server.append(answers)
                self._from_client.append(requests)
            self._run(self._pump, client, server, requests)
            self._run(self._pump, server, client, answers)

    def _pump(
        self, source: socket.socket, sink: socket.socket, kept: bytearray
    ) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                with self._lock:
                    kept += data
                sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)
        # Read on for a sink that has left: a server does not see that it has while it
        # waits for what it wrote to be taken.
        with contextlib.suppress(OSError):
            while source.recv(65536):
                pass

    def _run(self, function: object, *arguments: object) -> None:
        thread = threading.Thread(target=function, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()
