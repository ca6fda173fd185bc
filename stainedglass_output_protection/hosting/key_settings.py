"""The operator's settings for keys: where they come from and how long they live."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Final

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from stainedglass_output_protection.errors import ConfigurationError
from stainedglass_output_protection.hosting.environment import PREFIX, variable_of
from stainedglass_output_protection.hosting.fleet import read_fleet_file
from stainedglass_output_protection.hosting.identity import (
    MAKE_IDENTITY,
    read_identity_file,
)
from stainedglass_output_protection.protocol.constants import MAX_EPOCH_LIFE_MS
from stainedglass_output_protection.server.clock import unix_ms
from stainedglass_output_protection.server.epochs import MAX_OVERLAP, EpochTimes
from stainedglass_output_protection.server.fleet_epochs import require_near

# An epoch lives for two periods at least (protocol.md#epoch-keys).
_MAX_REFRESH_S = MAX_EPOCH_LIFE_MS / 2 / 1000
# Rotation shares its thread with the answers: it must survive a pause of that.
_MIN_REFRESH_S = 0.1
_FUNCTION = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")

REFRESH_RULE: Final = (
    f"must be a number of seconds from {_MIN_REFRESH_S:g} to {_MAX_REFRESH_S:g}, "
    "such as 3600 or 0.5."
)
OVERLAP_RULE: Final = f"must be a whole number from 1 to {MAX_OVERLAP}."
# What the fleet's file says in place of a replica's settings.
IN_FLEET_FILE: Final = ("key_refresh_time_s", "key_overlap_epochs")


class KeySettings(BaseSettings):
    """The part of the settings that is about keys."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="ignore", frozen=True)

    identity_key_file: Path | None = None
    fleet_secret_file: Path | None = None
    key_refresh_time_s: Annotated[float, Field(allow_inf_nan=False)] = 3600.0
    key_overlap_epochs: Annotated[int, Field(ge=1, le=MAX_OVERLAP)] = 1
    evidence_provider: str | None = None

    @field_validator("key_refresh_time_s")
    @classmethod
    def _check_refresh_time(cls, seconds: float) -> float:
        if not _MIN_REFRESH_S <= seconds <= _MAX_REFRESH_S:
            raise ValueError(REFRESH_RULE)
        return seconds

    @field_validator("identity_key_file", "fleet_secret_file", mode="before")
    @classmethod
    def _check_not_empty(cls, value: object) -> object:
        if value == "":
            raise ValueError("is set but empty: unset it, or set it to a path.")
        return value

    @field_validator("identity_key_file")
    @classmethod
    def _check_identity_file(cls, path: Path | None) -> Path | None:
        if path is not None:
            read_identity_file(path)
        return path

    @field_validator("fleet_secret_file")
    @classmethod
    def _check_fleet_file(cls, path: Path | None) -> Path | None:
        if path is not None:
            require_near(read_fleet_file(path).fleet, unix_ms())
        return path

    @field_validator("evidence_provider")
    @classmethod
    def _check_evidence_provider(cls, name: str | None) -> str | None:
        if name is not None and not _FUNCTION.fullmatch(name):
            raise ValueError("must name a function, such as package.module:function.")
        return name

    @model_validator(mode="after")
    def _check_key_life(self) -> KeySettings:
        if self.fleet_secret_file is None:
            EpochTimes(round(self.key_refresh_time_s * 1000), self.key_overlap_epochs)
            return self
        fleet = variable_of("fleet_secret_file")
        for field in IN_FLEET_FILE:
            if field in self.model_fields_set:
                raise ConfigurationError(
                    f"{variable_of(field)} must not be set beside {fleet}, whose file "
                    "holds the period and the overlap for the whole fleet: unset it."
                )
        if self.identity_key_file is None:
            raise ConfigurationError(
                f"{variable_of('identity_key_file')} must be set where {fleet} is, to "
                f"the same key on every replica. {MAKE_IDENTITY}"
            )
        return self
