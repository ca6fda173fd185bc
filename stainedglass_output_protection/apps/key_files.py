"""Key files for the commands: which kind one is, what it holds, and a new one."""

from __future__ import annotations

from pathlib import Path

from stainedglass_output_protection.errors import ConfigurationError
from stainedglass_output_protection.hosting.private_files import (
    SharedFileError,
    read_private_file,
    write_new_file,
)
from stainedglass_output_protection.protocol.identity import IdentityKey
from stainedglass_output_protection.server.fleet_epochs import show_time
from stainedglass_output_protection.server.fleet_secret import (
    MAGIC,
    FleetSecret,
    parse_fleet_text,
)


def read_key_file(path: Path) -> IdentityKey | FleetSecret:
    """Return what a key file holds.

    Raises:
        ConfigurationError: it cannot be read, others can read it, or it is neither an
            identity nor a fleet's secret.
    """
    try:
        data = read_private_file(path)
        if data.startswith(MAGIC):
            return parse_fleet_text(data).fleet
        return IdentityKey.from_pem(data)
    except OSError as error:
        reason = f"cannot be read ({error.strerror})."
    except SharedFileError as error:
        reason = str(error)
    except ConfigurationError as error:
        reason = f"is refused: {error}"
    raise ConfigurationError(f"The file {path} {reason}")


def write_key_file(path: Path, content: bytes) -> None:
    """Write a key file that is not there yet.

    Raises:
        ConfigurationError: it is there already, or cannot be written.
    """
    try:
        write_new_file(path, content)
        return
    except FileExistsError:
        reason = "is there already, and was left alone. Choose another name."
    except OSError as error:
        reason = f"cannot be written ({error.strerror})."
    raise ConfigurationError(f"The file {path} {reason}")


def describe(key: IdentityKey | FleetSecret) -> str:
    """Return what people may know of a key, one item to a line."""
    if isinstance(key, IdentityKey):
        return (
            f"The identity is {key.fingerprint}\n"
            f"Clients pin it with: SG_SERVER_IDENTITY={key.fingerprint}"
        )
    return (
        "A fleet's secret\n"
        f"anchor: {show_time(key.anchor_ms)}\n"
        f"period: {key.times.period_ms / 1000:g} s\n"
        f"overlap: {key.times.overlap}\n"
        f"base epoch: {key.index}, from {show_time(key.start_of(key.index))}"
    )
