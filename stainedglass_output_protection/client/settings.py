"""What the client takes from the environment. No other client module reads it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stainedglass_output_protection.client.evidence import EvidenceVerifier
from stainedglass_output_protection.client.owner import (
    OWNER_FILE_VARIABLE,
    require_path,
)
from stainedglass_output_protection.errors import ConfigurationError
from stainedglass_output_protection.protocol.constants import (
    DEFAULT_CLIENT_KEY_HEADER,
    DEFAULT_CLIENT_KEY_MEMBER,
    PROFILE_OUTPUT,
    PROFILE_SEALED,
    SUITE_MLKEM768_X25519,
)
from stainedglass_output_protection.protocol.identity import parse_pins
from stainedglass_output_protection.protocol.suites import SUITE_NAMES

IDENTITY_VARIABLE = "SG_SERVER_IDENTITY"
CLIENT_KEY_HEADER_VARIABLE = "SG_CLIENT_PUBLIC_KEY_HEADER_NAME"
CLIENT_KEY_MEMBER_VARIABLE = "SG_CLIENT_KEY_MEMBER_NAME"
PROFILE_VARIABLE = "SG_CLIENT_PROFILE"
SUITE_VARIABLE = "SG_REQUEST_SUITE"
FIRST_USE_VARIABLE = "SG_TRUST_ON_FIRST_USE"
KNOWN_SERVERS_VARIABLE = "SG_KNOWN_SERVERS_FILE"
SEAL_AUTHORIZATION_VARIABLE = "SG_SEAL_AUTHORIZATION"

_FOLDER = "stainedglass-output-protection"
_PROFILES = {"sealed": PROFILE_SEALED, "output": PROFILE_OUTPUT}
_DEFAULT_PROFILE = "sealed"
_DEFAULT_SUITE = "mlkem768-x25519"
_FLAGS = {"1": True, "true": True, "0": False, "false": False}


def known_servers_path(
    environment: Mapping[str, str], *, platform: str = sys.platform
) -> Path | None:
    """Return where this user's file is by default, or None without a home folder."""
    home = environment.get("HOME") or environment.get("USERPROFILE") or ""
    parts: tuple[str, ...]
    if platform == "win32":
        base, parts = environment.get("APPDATA", ""), ("AppData", "Roaming")
    elif platform == "darwin":
        base, parts = "", ("Library", "Application Support")
    else:
        base, parts = environment.get("XDG_CONFIG_HOME", ""), (".config",)
    folder = Path(base) if Path(base).is_absolute() else Path(home, *parts)
    if not folder.is_absolute():
        return None
    return folder / _FOLDER / "known_servers"


@dataclass(frozen=True)
class ClientSettings:
    """What one client is told.

    ``pins`` are the fingerprints it accepts (None: no pin); the names are those of the
    header and of the body's member that carry the client key; ``asks_opaque`` asks for
    answers in container ``opaque``. The rest is of profile ``sealed``: ``exposed`` are
    names of top-level members of a body that are shown outside too.
    """

    pins: frozenset[str] | None = None
    client_key_header: str = DEFAULT_CLIENT_KEY_HEADER
    client_key_member: str = DEFAULT_CLIENT_KEY_MEMBER
    asks_opaque: bool = False
    profile: int = PROFILE_OUTPUT
    suite: int = SUITE_MLKEM768_X25519
    trusts_first_use: bool = False
    known_servers: Path | None = None
    owner_file: Path | None = None
    exposed: frozenset[str] = frozenset()
    seals_authorization: bool = False
    verify_evidence: EvidenceVerifier | None = None

    @classmethod
    def load(
        cls,
        identity: str | Iterable[str] | None = None,
        *,
        profile: str | None = None,
        asks_opaque: bool = False,
        suite: str | None = None,
        trust_on_first_use: bool | None = None,
        owner_file: str | Path | None = None,
        expose: Iterable[str] = (),
        seal_authorization: bool | None = None,
        verify_evidence: EvidenceVerifier | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> ClientSettings:
        """Return the settings; what is given here wins over the environment.

        Raises:
            ConfigurationError: a value is not one of those that are possible.
        """
        variables = os.environ if environment is None else environment
        owner = owner_file or variables.get(OWNER_FILE_VARIABLE, "").strip()
        known = variables.get(KNOWN_SERVERS_VARIABLE, "").strip()
        header = variables.get(CLIENT_KEY_HEADER_VARIABLE, "").strip().lower()
        member = variables.get(CLIENT_KEY_MEMBER_VARIABLE, "").strip()
        return cls(
            pins=_pins(identity, variables),
            client_key_header=header or DEFAULT_CLIENT_KEY_HEADER,
            client_key_member=member or DEFAULT_CLIENT_KEY_MEMBER,
            asks_opaque=asks_opaque,
            profile=_chosen(
                profile, variables, PROFILE_VARIABLE, _PROFILES, _DEFAULT_PROFILE
            ),
            suite=_chosen(
                suite, variables, SUITE_VARIABLE, SUITE_NAMES, _DEFAULT_SUITE
            ),
            trusts_first_use=_flag(trust_on_first_use, variables, FIRST_USE_VARIABLE),
            known_servers=Path(known) if known else known_servers_path(variables),
            owner_file=Path(owner) if owner else None,
            exposed=_names(expose),
            seals_authorization=_flag(
                seal_authorization, variables, SEAL_AUTHORIZATION_VARIABLE
            ),
            verify_evidence=verify_evidence,
        )


def described_settings(
    environment: Mapping[str, str] | None = None,
) -> list[tuple[str, str, str]]:
    """Return what a client without arguments goes by: variable, value and source.

    There is no secret in it: of the owner's only the path is shown.

    Raises:
        ConfigurationError: a value is not one of those that are possible.
    """
    variables = os.environ if environment is None else environment
    settings = ClientSettings.load(environment=variables)
    if settings.owner_file is not None:
        require_path(settings.owner_file)
    values = {
        IDENTITY_VARIABLE: ",".join(sorted(settings.pins or ())),
        PROFILE_VARIABLE: _name_of(settings.profile, _PROFILES),
        SUITE_VARIABLE: _name_of(settings.suite, SUITE_NAMES),
        FIRST_USE_VARIABLE: str(settings.trusts_first_use).lower(),
        KNOWN_SERVERS_VARIABLE: str(settings.known_servers or ""),
        OWNER_FILE_VARIABLE: str(settings.owner_file or ""),
        SEAL_AUTHORIZATION_VARIABLE: str(settings.seals_authorization).lower(),
        CLIENT_KEY_HEADER_VARIABLE: settings.client_key_header,
        CLIENT_KEY_MEMBER_VARIABLE: settings.client_key_member,
    }
    return [
        (
            name,
            value or "not set",
            "environment" if variables.get(name, "").strip() else "default",
        )
        for name, value in values.items()
    ]


def _name_of(chosen: int, values: Mapping[str, int]) -> str:
    return next(name for name, value in values.items() if value == chosen)


def _pins(
    identity: str | Iterable[str] | None, variables: Mapping[str, str]
) -> frozenset[str] | None:
    if identity is None:
        identity = variables.get(IDENTITY_VARIABLE)
        if identity is not None and not identity.strip():
            raise ConfigurationError(
                f"{IDENTITY_VARIABLE} is set but empty, which would pin nothing. "
                "Set it to the server's fingerprint, or unset it."
            )
    return None if identity is None else parse_pins(identity)


def _chosen(
    given: str | None,
    variables: Mapping[str, str],
    variable: str,
    values: Mapping[str, Any],
    default: str,
) -> Any:
    name = given if given is not None else variables.get(variable, "").strip()
    name = name or default
    if name not in values:
        raise ConfigurationError(
            f"{variable}, or the argument for it, must be one of {', '.join(values)}."
        )
    return values[name]


def _flag(given: bool | None, variables: Mapping[str, str], variable: str) -> bool:
    if given is not None:
        return given
    said = variables.get(variable, "").strip().lower()
    chosen: bool = _chosen(said, variables, variable, _FLAGS, "0")
    return chosen


def _names(names: Iterable[str]) -> frozenset[str]:
    if isinstance(names, str):
        raise ConfigurationError(
            "expose takes a list of names of members, such as ['session_params']."
        )
    return frozenset(names)
