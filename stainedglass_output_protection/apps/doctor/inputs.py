"""What the command is given, checked before anything is sent."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from stainedglass_output_protection.apps.secret_files import read_secret_file
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
    try:
        parts = urlsplit(url)
        if parts.query or parts.fragment or "@" in parts.netloc or parts.port == 0:
            raise no_url()
        return normalise_base_url(url)
    except (ValueError, UsageError):
        raise no_url() from None


def no_url() -> ConfigurationError:
    """Return what is raised for a URL that is none. It is not in it."""
    return ConfigurationError("The URL must be like https://host:8000/v1.")


def api_key_of(file: Path | None, given: str | None) -> str | None:
    """Return the API key in ``file``, else the one that was given, if any.

    Raises:
        ConfigurationError: the file cannot be read, others may read it, or the key is
            none. No message holds it, also where it was given in place of a file.
    """
    key = given or ""
    if file is not None:
        # What is no ASCII becomes a sign that no key has.
        data = read_secret_file(file, "--api-key-file", limit=_MOST_KEY)
        key = data.decode("ascii", "replace")
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
