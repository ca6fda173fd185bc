"""The way from the sidecar to its engine: its address, and a plain HTTP transport."""

from __future__ import annotations

import importlib
import ipaddress
import socket
import ssl
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from stainedglass_output_protection.apps.proxy.upstream import parse_base_url
from stainedglass_output_protection.errors import ConfigurationError

_UNIX: Final = "unix:"
_NO_ADDRESS: Final = (
    "--upstream must be the engine's address, like http://127.0.0.1:30000 or unix:PATH, "
    "without a name, password or query in it."
)
_LIBRARIES: Final = ("httpx2", "httpx")
_KEPT: Final = 100
# Less than the 5 s after which many engines close a connection that is idle.
_IDLE_S: Final = 4.0


class Upstream(NamedTuple):
    """``transport`` is an async one of ``library``; ``name`` is for people."""

    library: Any
    transport: Any
    base_url: str
    name: str


def connect(address: str, *, ca_file: Path | None, allow_clear: bool) -> Upstream:
    """Return the way to the engine at a URL or ``unix:PATH``. Nothing is sent yet.

    The proxy variables of the environment are not heeded: the engine is near, and what
    is sent to it is plaintext.

    Raises:
        ConfigurationError: the address or the CA file is wrong, or plaintext would
            leave this machine and ``allow_clear`` does not say that it may.
    """
    socket_path = None
    if address.startswith(_UNIX):
        socket_path = address.removeprefix(_UNIX).removeprefix("//")
        if not socket_path:
            raise ConfigurationError(_NO_ADDRESS)
        base_url = "http://localhost"
    else:
        base_url = _base_url(address)
        if not (allow_clear or _stays_private(base_url)):
            raise ConfigurationError(
                f"Answers would travel in the clear between {base_url} and the sidecar: "
                "have the engine on this machine, or use https, or a socket. If nobody "
                "can read that network, say --allow-clear-upstream."
            )
    # A new connection costs little on this machine. One that was kept may be closed by
    # the engine while a request is on its way, and no one could say whether it ran.
    is_here = socket_path is not None or _is_here(base_url)
    library = _library()
    transport = library.AsyncHTTPTransport(
        verify=_context(ca_file),
        trust_env=False,
        uds=socket_path,
        limits=library.Limits(
            max_connections=None,
            max_keepalive_connections=0 if is_here else _KEPT,
            keepalive_expiry=_IDLE_S,
        ),
    )
    name = base_url if socket_path is None else _UNIX + socket_path
    return Upstream(library, transport, base_url, name)


def refuse_itself(engine: Upstream, listener: socket.socket) -> None:
    """Return unless what listens here is the engine that it would ask.

    Raises:
        ConfigurationError: it plainly is: each request would go round for ever.
    """
    where = listener.getsockname()
    if listener.family == socket.AF_UNIX:
        path = engine.name.removeprefix(_UNIX)
        is_itself = (
            path != engine.name and Path(path).resolve() == Path(where).resolve()
        )
    elif engine.name.startswith(_UNIX):
        is_itself = False
    else:
        parts = urlsplit(engine.base_url)
        asked = parts.port or (443 if parts.scheme == "https" else 80)
        is_itself = asked == where[1] and _reaches(parts.hostname or "", where[0])
    if is_itself:
        raise ConfigurationError(
            f"--upstream {engine.name} is where the sidecar itself listens: give the "
            "engine's address there, or the sidecar another --port."
        )


def _reaches(host: str, listens_at: str) -> bool:
    """Tell whether ``host`` is plainly where something listens at an address of ours."""
    if not _is_named_here(host):
        return False
    here = ipaddress.ip_address(listens_at.partition("%")[0])
    if here.is_unspecified:
        return True
    if host == "localhost":
        return here.is_loopback
    return ipaddress.ip_address(host) == here


def _base_url(address: str) -> str:
    try:
        return parse_base_url(address)
    except ConfigurationError:
        raise ConfigurationError(_NO_ADDRESS) from None


def _stays_private(base_url: str) -> bool:
    return urlsplit(base_url).scheme == "https" or _is_here(base_url)


def _is_here(base_url: str) -> bool:
    return _is_named_here(urlsplit(base_url).hostname or "")


def _is_named_here(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _context(ca_file: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        is_tls = isinstance(error, ssl.SSLError)
        reason = "it holds no certificate" if is_tls else error.strerror
    raise ConfigurationError(f"The CA file {ca_file} cannot be used ({reason}).")


def _library() -> Any:
    for name in _LIBRARIES:
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    raise ModuleNotFoundError("No module named 'httpx2'", name="httpx2")
