"""Where a command of ours listens: an address and port, and the socket there."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
from typing import Any, Final

from stainedglass_output_protection.errors import ConfigurationError

BACKLOG: Final = 2048


class Address:
    """The one address that ``host`` is; nothing is bound yet.

    ``who`` would listen there: an error's sentence begins with it.

    Raises:
        ConfigurationError: there is none.
    """

    def __init__(self, host: str, port: int, *, who: str) -> None:
        self._host = host
        self._port = port
        self._who = who
        try:
            found: list[Any] = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise self._unusable(error) from None
        self._family, _, _, _, self._address = found[0]
        self.name = str(self._address[0]).partition("%")[0]

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return ipaddress.ip_address(self.name).is_loopback

    def listen(self) -> socket.socket:
        """Return a socket that takes connections.

        Raises:
            ConfigurationError: the port is taken, or the address is not ours.
        """
        listener = None
        try:
            # asyncio sends small events at once only if the protocol is named.
            listener = socket.socket(
                self._family, socket.SOCK_STREAM, socket.IPPROTO_TCP
            )
            if os.name == "posix":
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(self._address)
            listener.listen(BACKLOG)
        except OSError as error:
            if listener is not None:
                listener.close()
            raise self._unusable(error) from None
        return listener

    def _unusable(self, error: Exception) -> ConfigurationError:
        if getattr(error, "errno", None) == errno.EADDRINUSE:
            return ConfigurationError(
                f"Port {self._port} on {self._host} is taken: choose another with "
                "--port, or end what listens there."
            )
        reason = getattr(error, "strerror", None) or "no such address"
        return ConfigurationError(
            f"{self._who} cannot listen on {self._host}, port {self._port} ({reason}): "
            "check --host and --port."
        )


def url_of(listener: socket.socket) -> str:
    """Return where programs find what listens at an address and port."""
    name, port = listener.getsockname()[:2]
    return f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"
