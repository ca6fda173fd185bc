"""``sg-vllm keys``: make, look at, check and move on the files with keys.

No output holds a secret. Neither vLLM nor a running server is needed; to check a
server's keys, not even the libraries of the server.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from stainedglass_output_protection.errors import (
    ConfigurationError,
    OutputProtectionError,
)

_FILE = click.Path(path_type=Path)
# The clients' tolerance is 5 minutes in each direction.
_DAY_MS = 24 * 3600 * 1000
_USUAL_DAYS = 7
_COMFORTABLE_SKEW_S = 600


@click.group()
def keys() -> None:
    """Make and check the files with the server's keys."""


@keys.command()
@click.option("--identity", type=_FILE, help="Make an identity key in this file.")
@click.option("--fleet", type=_FILE, help="Make a fleet's secret in this file.")
@click.option("--period", type=float, help="Fleet: seconds between epochs (3600).")
@click.option("--overlap", type=int, help="Fleet: further periods a key opens (1).")
def generate(
    identity: Path | None,
    fleet: Path | None,
    period: float | None,
    overlap: int | None,
) -> None:
    """Make a new key file that only you can read. Nothing is overwritten."""
    if (identity is None) == (fleet is None):
        raise click.UsageError("Give one of --identity FILE and --fleet FILE.")
    if identity is not None:
        if period is not None or overlap is not None:
            raise click.UsageError("--period and --overlap are for --fleet.")
        from stainedglass_output_protection.apps.key_files import (
            describe,
            write_key_file,
        )
        from stainedglass_output_protection.protocol.identity import IdentityKey

        key = IdentityKey.generate()
        write_key_file(identity, key.to_pem())
        click.echo(describe(key))
    elif fleet is not None:
        _generate_fleet(
            fleet,
            3600.0 if period is None else period,
            overlap=1 if overlap is None else overlap,
        )


@keys.command()
@click.argument("file", type=_FILE)
def show(file: Path) -> None:
    """Print what a key file holds, without its secret."""
    from stainedglass_output_protection.apps.key_files import describe, read_key_file

    click.echo(describe(read_key_file(file)))


@keys.command()
@click.argument("target", metavar="URL|FILE")
@click.option(
    "--identity",
    "pins",
    multiple=True,
    metavar="FINGERPRINT",
    help="The server must have this identity; may be given more than once.",
)
def verify(target: str, pins: tuple[str, ...]) -> None:
    """Check a running server's key document, or a key file.

    Ends with status 0 if all is well, else with 1 and the reason.
    """
    from stainedglass_output_protection.apps.verify import verify_file, verify_server

    try:
        if target.lower().startswith(("http://", "https://")):
            lines = verify_server(target, pins)
        elif pins:
            raise click.UsageError("--identity is for the URL of a server.")
        else:
            lines = verify_file(Path(target))
    except OutputProtectionError as error:
        name = "" if isinstance(error, ConfigurationError) else type(error).__name__
        click.echo(": ".join(filter(None, ("sg-vllm", name, str(error)))), err=True)
        sys.exit(1)
    click.echo("\n".join(lines))


@keys.command()
@click.argument("file", type=_FILE)
@click.option("--yes", is_flag=True, help="Move it on by more than seven days.")
def advance(file: Path, *, yes: bool) -> None:
    """Move a fleet's base epoch to the oldest that has not retired, in place.

    What was sealed under earlier epochs can then no longer be opened with this file. It
    goes by this machine's clock and cannot be undone.
    """
    from stainedglass_output_protection.apps.key_files import describe
    from stainedglass_output_protection.hosting.fleet import advance_fleet_file
    from stainedglass_output_protection.server.clock import unix_ms
    from stainedglass_output_protection.server.fleet_epochs import show_time

    now_ms = unix_ms()
    _require_usual(file, now_ms, is_forced=yes)
    old, new = advance_fleet_file(file, now_ms)
    if new.index <= old.index:
        click.echo(
            f"The base epoch of {file} is {old.index} already: no later one has retired "
            f"by this machine's clock, {show_time(now_ms)}."
        )
        return
    click.echo(f"The base epoch of {file} was {old.index}.")
    click.echo(describe(new))


def _require_usual(file: Path, now_ms: int, *, is_forced: bool) -> None:
    """Refuse what a wrong clock would do to a fleet's file, if that can be read."""
    from stainedglass_output_protection.hosting.fleet import read_fleet_file
    from stainedglass_output_protection.server.fleet_epochs import show_time

    try:
        known = read_fleet_file(file).fleet
    except ConfigurationError:
        return  # It will be refused as it is.
    begins = known.start_of(known.index)
    if now_ms < begins:
        raise ConfigurationError(
            f"The file {file} was not changed: its base epoch begins at "
            f"{show_time(begins)}, which is after this machine's time, "
            f"{show_time(now_ms)}. Check the clock. If it is right, the file was moved "
            "on too far: make a new one."
        )
    days = (
        (known.oldest_live_at(now_ms) - known.index) * known.times.period_ms / _DAY_MS
    )
    if days > _USUAL_DAYS and not is_forced:
        raise ConfigurationError(
            f"The file {file} was not changed: this would move its base epoch on by "
            f"{days:.0f} days, which cannot be undone. If this machine's time, "
            f"{show_time(now_ms)}, is right, run it again with --yes."
        )


def _generate_fleet(file: Path, period_s: float, *, overlap: int) -> None:
    from stainedglass_output_protection.apps.key_files import describe, write_key_file
    from stainedglass_output_protection.server.clock import unix_ms
    from stainedglass_output_protection.server.epochs import EpochTimes
    from stainedglass_output_protection.server.fleet_secret import (
        FleetSecret,
        fleet_text,
    )

    try:
        times = EpochTimes(round(period_s * 1000), overlap)
        fleet = FleetSecret.generate(times, unix_ms())
    except (ConfigurationError, OverflowError, ValueError):
        raise ConfigurationError(
            "--period and --overlap: a fleet's period is at least 1 second, its overlap "
            "from 1 to 255, and (1 + overlap) times the period at most 48 hours."
        ) from None
    write_key_file(file, fleet_text(fleet))
    if period_s * overlap < _COMFORTABLE_SKEW_S:
        click.echo(
            "Warning: with so short a life of keys the replicas' clocks may be at most "
            f"{min(period_s / 2, 300):g} s ahead and {min(period_s * overlap, 60):g} s "
            "behind. Keep them synchronised, or make the "
            "period or the overlap larger.",
            err=True,
        )
    click.echo(describe(fleet))
