"""The settings that say which requests a server takes in profile ``sealed``."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import field_validator
from pydantic_settings import BaseSettings, NoDecode

from stainedglass_output_protection.protocol.constants import MAX_SEALED_REQUEST

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+")
_OURS = re.compile(r"content-.*|transfer-encoding|x-sealed-request")
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

    @field_validator("passed_headers")
    @classmethod
    def _check_names(cls, names: frozenset[str]) -> frozenset[str]:
        for name in names:
            if not _HEADER_NAME.fullmatch(name) or _OURS.fullmatch(name):
                raise ValueError(
                    "must be names of headers, with commas between, such as "
                    "x-tenant,x-priority; those that describe the body are not possible."
                )
        return names

    @field_validator("max_sealed_request_bytes")
    @classmethod
    def _check_limit(cls, size: int) -> int:
        if not _MIN_LIMIT <= size <= _MAX_LIMIT:
            raise ValueError(LIMIT_RULE)
        return size
