"""The variables for proxies and certificates, which HTTP libraries read by themselves.

Checked here, so that a wrong one is one sentence before anything is sent.
"""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from stainedglass_output_protection.errors import ConfigurationError


def usable_proxies() -> dict[str, str]:
    """Return the environment's proxies as whole URLs, by http, https and all.

    Raises:
        ConfigurationError: the URL of one is none. It is not shown: it may hold a
            password.
    """
    found = {}
    for name, value in urllib.request.getproxies().items():
        if name not in ("http", "https", "all") or not value:
            continue
        url = value if "://" in value else f"http://{value}"
        try:
            parts = urlsplit(url)
            # Some names that no URL may have fail later, by this encoding.
            host = (parts.hostname or "").encode("idna")
            is_usable = bool(host) and parts.port != 0
        except ValueError:
            is_usable = False
        if not is_usable:
            raise ConfigurationError(
                f"{name.upper()}_PROXY is not the URL of a proxy, such as "
                "http://host:3128: correct the variable, or unset it."
            )
        found[name] = url
    return found


def proxy_variable_of(url: str) -> str | None:
    """Return the variable whose proxy leads to ``url``; None if none does."""
    parts = urlsplit(url)
    proxies = urllib.request.getproxies()
    if urllib.request.proxy_bypass(parts.netloc):
        return None
    for name in (parts.scheme, "all"):
        if proxies.get(name):
            return f"{name.upper()}_PROXY"
    return None


@contextmanager
def reading_variables(library: Any) -> Iterator[None]:
    """Make a client or transport of ``library`` (httpx2 or httpx) in this block.

    Raises:
        ConfigurationError: a variable for proxies or certificates cannot be used.
    """
    usable_proxies()
    try:
        yield
    except (ImportError, OSError, ValueError, library.InvalidURL):
        raise ConfigurationError(
            "The connection cannot be set up: check the variables for proxies "
            "(HTTP_PROXY, HTTPS_PROXY, ALL_PROXY) and certificates (SSL_CERT_FILE, "
            "SSL_CERT_DIR)."
        ) from None
