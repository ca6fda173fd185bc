"""The operator's settings: ``SG_*`` variables as one typed, checked object."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from stainedglass_output_protection.errors import ConfigurationError
from stainedglass_output_protection.protocol.constants import (
    DEFAULT_CLIENT_KEY_HEADER,
    DEFAULT_SERVER_KEY_HEADER,
    MAX_EPOCH_LIFE_MS,
)
from stainedglass_output_protection.vllm.environment import (
    PREFIX,
    is_set,
    unknown_variable_warnings,
)
from stainedglass_output_protection.vllm.identity import read_identity_file

# RFC 9110, section 5.6.2: what a header name may consist of.
# They mean something already, to HTTP or to this package's client.
_RESERVED = re.compile(
    r"content-.*|transfer-encoding|connection|host|authorization|cookie|set-cookie|"
    r"cache-control|x-output-protection|access-control-.*"
)
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# A statement lives for two periods (protocol.md#epoch-statement).
_MAX_REFRESH_S = MAX_EPOCH_LIFE_MS / 2 / 1000
# Rotation shares its thread with the answers: it must survive a pause of that.
_MIN_REFRESH_S = 0.1
_REFRESH_RULE = (
    f"must be a number of seconds from {_MIN_REFRESH_S:g} to {_MAX_REFRESH_S:g}, "
    "such as 3600 or 0.5."
)


class Settings(BaseSettings):
    """What an operator may set. Made from the environment by ``load_settings``."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="ignore", frozen=True)

    client_public_key_header_name: str = DEFAULT_CLIENT_KEY_HEADER
    server_public_key_header_name: str = DEFAULT_SERVER_KEY_HEADER
    key_refresh_time_s: Annotated[float, Field(allow_inf_nan=False)] = 3600.0
    identity_key_file: Path | None = None

    @field_validator("client_public_key_header_name", "server_public_key_header_name")
    @classmethod
    def _check_header_name(cls, name: str) -> str:
        if not _TOKEN.fullmatch(name):
            raise ValueError(
                "must be an HTTP header name: letters, digits and hyphens, no spaces."
            )
        if _RESERVED.fullmatch(name.lower()):
            raise ValueError("must not be a header that means something else already.")
        return name.lower()

    @field_validator("key_refresh_time_s")
    @classmethod
    def _check_refresh_time(cls, seconds: float) -> float:
        if not _MIN_REFRESH_S <= seconds <= _MAX_REFRESH_S:
            raise ValueError(_REFRESH_RULE)
        return seconds

    @field_validator("identity_key_file")
    @classmethod
    def _check_identity_file(cls, path: Path | None) -> Path | None:
        if path is not None:
            read_identity_file(path)
        return path

    @model_validator(mode="after")
    def _check_header_names_differ(self) -> Settings:
        if self.client_public_key_header_name == self.server_public_key_header_name:
            raise ConfigurationError(
                f"{variable_of('client_public_key_header_name')} and "
                f"{variable_of('server_public_key_header_name')} must differ."
            )
        return self

    def describe(self) -> str:
        """Return the effective settings and where each came from, one to a line.

        There is no secret in it: of the identity only the path is shown.
        """
        lines = []
        for field in type(self).model_fields:
            value = getattr(self, field)
            shown = "not set" if value is None else value
            if isinstance(value, float):
                shown = f"{value:g}"
            lines.append(f"{variable_of(field)}={shown} ({self._source_of(field)})")
        return "\n".join(lines)

    def _source_of(self, field: str) -> str:
        if field not in self.model_fields_set:
            return "default"
        return "environment" if is_set(variable_of(field)) else "code"


def load_settings() -> Settings:
    """Read the environment.

    Raises:
        ConfigurationError: a value is bad; the message names the variable.
    """
    try:
        return Settings()
    except ValidationError as error:
        problems = [_sentence(item["loc"], item["msg"]) for item in error.errors()]
    raise ConfigurationError(" ".join(problems))


def setting_warnings() -> list[str]:
    """Return one sentence for each ``SG_`` name in the environment nothing reads."""
    return list(unknown_variable_warnings(map(variable_of, Settings.model_fields)))


def variable_of(field: str) -> str:
    """Return the name of the variable that sets ``field``."""
    return PREFIX + field.upper()


def _sentence(location: tuple[int | str, ...], message: str) -> str:
    """Say what is wrong without showing the value, which may be a pasted secret."""
    field = str(location[0]) if location else ""
    if field == "key_refresh_time_s":
        message = _REFRESH_RULE
    return f"{variable_of(field)} {message.removeprefix('Value error, ')}"
