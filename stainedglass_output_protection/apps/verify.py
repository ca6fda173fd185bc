"""Checks for ``sg-vllm keys verify``: a running server's key document, a key file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from stainedglass_output_protection.apps.fetch import fetch_document
from stainedglass_output_protection.errors import (
    ConfigurationError,
    StatementExpiredError,
)
from stainedglass_output_protection.protocol.constants import NO_EVIDENCE
from stainedglass_output_protection.protocol.identity import (
    IdentityKey,
    fingerprint_of,
    parse_pins,
)
from stainedglass_output_protection.protocol.key_document import KeyDocument
from stainedglass_output_protection.protocol.suites import SUITE_NAMES
from stainedglass_output_protection.protocol.trust import StatementPolicy
from stainedglass_output_protection.server.clock import unix_ms
from stainedglass_output_protection.server.fleet_epochs import require_near, show_time


def verify_server(url: str, pins: Sequence[str]) -> list[str]:
    """Fetch the key document of the server at ``url``, check it, and describe it.

    Raises:
        OutputProtectionError: there is none, or a client would not accept it.
    """
    pinned = parse_pins(pins) if pins else None
    text, clock_ms = fetch_document(url)
    now_ms = unix_ms()
    document = KeyDocument.from_text(text)
    statement = document.statement
    shown = "unknown"
    if clock_ms is not None:
        shown = (
            f"{(clock_ms - now_ms) / 1000:+.0f} s against this machine's (not signed)"
        )
    try:
        StatementPolicy(pinned).accept(statement, now_ms=now_ms)
    except StatementExpiredError as error:
        raise StatementExpiredError(
            f"{error} It is valid from {show_time(statement.epoch)} to "
            f"{show_time(statement.not_after)}; this machine's time is "
            f"{show_time(now_ms)}; the server's clock: {shown}."
        ) from None
    names = {number: name for name, number in SUITE_NAMES.items()}
    suites = [names.get(number, str(number)) for number, _ in statement.suites]
    has_evidence = statement.evidence_hash != NO_EVIDENCE
    lines = [
        f"identity: {fingerprint_of(statement.identity)} "
        f"({'not pinned: give --identity' if pinned is None else 'as pinned'})",
        f"key id: {statement.key_id.hex()}",
        f"valid: {show_time(statement.epoch)} to {show_time(statement.not_after)}",
        f"keys retire: {show_time(document.retires_at)} (not signed)",
        f"suites: {', '.join(suites) or 'none'}",
        f"evidence: {f'{len(document.evidence)} bytes' if has_evidence else 'none'}",
    ]
    return [*lines, f"the server's clock: {shown}"]


def verify_file(path: Path) -> list[str]:
    """Check a key file as a server would, and describe it.

    Raises:
        ConfigurationError: a server would refuse it.
        ModuleNotFoundError: the libraries of the server are not installed.
    """
    # A client that checks a server's document does without those libraries.
    from stainedglass_output_protection.apps.key_files import describe, read_key_file

    key = read_key_file(path)
    if not isinstance(key, IdentityKey):
        require_near(key, now_ms := unix_ms())
        if now_ms < key.start_of(key.index):
            raise ConfigurationError(
                f"The file {path} has no epoch that has begun: its base epoch begins "
                f"{show_time(key.start_of(key.index))}. Check the clock."
            )
    return [f"The file {path} is good.", describe(key)]
