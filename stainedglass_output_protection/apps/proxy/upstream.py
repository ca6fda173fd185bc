"""The way from the proxy to the server: its URL, and the transport that protects."""

from __future__ import annotations

import importlib
import ssl
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from stainedglass_output_protection.apps.connection_variables import (
    proxy_variable_of,
    reading_variables,
    usable_proxies,
)
from stainedglass_output_protection.client.protection import Protection
from stainedglass_output_protection.errors import ConfigurationError

_LIBRARIES: Final = ("httpx2", "httpx")
# Less than the 5 s after which vLLM closes a connection that is idle.
_IDLE_S: Final = 4.0


class Upstream(NamedTuple):
    """``transport`` is an async one of ``library``; ``base_url`` ends without ``/v1``."""

    library: Any
    transport: Any
    base_url: str


def parse_base_url(url: str) -> str:
    """Return a server's URL without a slash or ``/v1`` at its end.

    Raises:
        ConfigurationError: it is not the URL of a server.
    """
    try:
        parts = urlsplit(url)
        usable = bool(parts.hostname) and not (parts.query or parts.fragment)
        usable = usable and parts.port != 0 and "@" not in parts.netloc
        usable = usable and url.isascii() and url.isprintable() and " " not in url
        usable = usable and not {".", ".."} & set(parts.path.split("/"))
    except ValueError:
        usable = False
    if not usable or parts.scheme not in ("http", "https"):
        raise ConfigurationError(
            "The URL must be like https://host:8000/v1, without a name, password or "
            "query in it."
        )
    return url.rstrip("/?#").removesuffix("/v1").rstrip("/")


def connect(url: str, protection: Protection, *, ca_file: Path | None) -> Upstream:
    """Return the way to the server at ``url``. Nothing is sent yet.

    The proxy variables of the environment are heeded, as the SDKs do it.

    Raises:
        ConfigurationError: the URL, the CA file, or a variable for proxies or
            certificates is wrong.
    """
    base_url = parse_base_url(url)
    library, binding = _library()
    context: Any = True
    if ca_file is not None:
        try:
            context = ssl.create_default_context(cafile=ca_file)
        except OSError as error:
            is_tls = isinstance(error, ssl.SSLError)
            reason = "it holds no certificate" if is_tls else error.strerror
            raise ConfigurationError(
                f"The CA file {ca_file} cannot be used ({reason})."
            ) from None
    limits = library.Limits(
        max_connections=None, max_keepalive_connections=100, keepalive_expiry=_IDLE_S
    )
    with reading_variables(library):
        inner = library.AsyncHTTPTransport(
            verify=context, limits=limits, proxy=_proxy_for(base_url), trust_env=True
        )
    transport = binding.AsyncProtectedTransport(inner, protection=protection)
    return Upstream(library, transport, base_url)


def _library() -> tuple[Any, Any]:
    for name in _LIBRARIES:
        try:
            library = importlib.import_module(name)
        except ImportError:
            continue
        package = Protection.__module__.rpartition(".")[0]
        return library, importlib.import_module(f"{package}.{name}_binding")
    raise ConfigurationError(
        "The proxy needs httpx2 or httpx: pip install '.[cli]' in the checkout of "
        "this package"
    )


def _proxy_for(base_url: str) -> str | None:
    variable = proxy_variable_of(base_url)
    if variable is None:
        return None
    return usable_proxies()[variable.removesuffix("_PROXY").lower()]
