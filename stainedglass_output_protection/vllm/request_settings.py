"""The settings that say which requests a server takes in profile ``sealed``."""

from __future__ import annotations

from typing import Annotated

from pydantic import field_validator
from pydantic_settings import BaseSettings, NoDecode

from stainedglass_output_protection.protocol.constants import MAX_SEALED_REQUEST

_MIN_LIMIT = 16 * 1024
_MAX_LIMIT = 1024 * 1024 * 1024

LIMIT_RULE = (
    f"must be a number of bytes from {_MIN_LIMIT} to {_MAX_LIMIT}, "
    f"such as {MAX_SEALED_REQUEST}."
)
FLAG_RULE = "must be true or false."
FLAGS = ("require_sealed_requests", "sealed_authorization")


class RequestSettings(BaseSettings):
    """A part of ``Settings``, which says where the values come from."""

    require_sealed_requests: bool = False
    sealed_authorization: bool = False
    max_sealed_request_bytes: int = MAX_SEALED_REQUEST
    passed_headers: Annotated[frozenset[str], NoDecode] = frozenset()

    @field_validator("passed_headers", mode="before")
    @classmethod
    def _split_names(cls, value: object) -> object:
        if isinstance(value, str):
            return frozenset(filter(None, map(str.strip, value.lower().split(","))))
        return value

    @field_validator("max_sealed_request_bytes")
    @classmethod
    def _check_limit(cls, size: int) -> int:
        if not _MIN_LIMIT <= size <= _MAX_LIMIT:
            raise ValueError(LIMIT_RULE)
        return size
