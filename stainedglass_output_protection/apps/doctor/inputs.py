"""What the command is given, checked before anything is sent."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from stainedglass_output_protection.client.known_servers_file import (
    KnownServersFile,
    normalise_base_url,
)
from stainedglass_output_protection.client.settings import ClientSettings
from stainedglass_output_protection.errors import ConfigurationError, UsageError

_MOST_KEY = 64 * 1024


def base_url_of(url: str) -> str:
    """Return the base URL, without ``/v1``, in its normal form.

    Raises:
        ConfigurationError: it is none, or holds a password or a query.
    """
    wrong = ConfigurationError("The URL must be like https://host:8000/v1.")
    try:
        parts = urlsplit(url)
        if parts.query or parts.fragment or "@" in parts.netloc or parts.port == 0:
            raise wrong
        return normalise_base_url(url)
    except (ValueError, UsageError):
        raise wrong from None


def api_key_of(file: Path | None, given: str | None) -> str | None:
    """Return the API key in ``file``, else the one that was given, if any.

    Raises:
        ConfigurationError: the file cannot be read, or the key is none. No message
            holds it.
    """
    key = given or ""
    if file is not None:
        try:
            with file.open("rb") as opened:
                key = opened.read(_MOST_KEY).decode("ascii")
        except OSError as error:
            raise ConfigurationError(
                f"The file {file} cannot be read ({error.strerror})."
            ) from None
        except UnicodeDecodeError:
            key = "\0"
        if not key.strip():
            raise ConfigurationError(f"The file {file} is empty: it holds no API key.")
    key = key.strip()
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise ConfigurationError(
            "The API key must be one line of printable ASCII: check --api-key-file or "
            "OPENAI_API_KEY."
        )
    return key or None


def known_at(settings: ClientSettings, base_url: str) -> frozenset[str]:
    """Return the identities that were met at this address, if there is no pin.

    Raises:
        ConfigurationError: the file of known servers is malformed, or cannot be read.
    """
    path = settings.known_servers
    if settings.pins is not None or path is None:
        return frozenset()
    try:
        return frozenset(KnownServersFile.read(path).lines_of(base_url))
    except OSError as error:
        raise ConfigurationError(
            f"The file of known servers, {path}, cannot be read ({error.strerror}). "
            "Mend that, or pin the server with --identity."
        ) from None
