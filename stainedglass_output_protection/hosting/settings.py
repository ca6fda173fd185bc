"""The operator's settings: ``SG_*`` variables as one typed, checked object."""

from __future__ import annotations

import difflib
import re
from typing import Annotated

from pydantic import (
    PrivateAttr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import NoDecode

from stainedglass_output_protection.errors import ConfigurationError
from stainedglass_output_protection.hosting.environment import (
    is_set,
    unknown_variable_warnings,
    variable_of,
)
from stainedglass_output_protection.hosting.key_settings import (
    IN_FLEET_FILE,
    OVERLAP_RULE,
    REFRESH_RULE,
    KeySettings,
)
from stainedglass_output_protection.hosting.leaks import LEAKS
from stainedglass_output_protection.hosting.request_settings import (
    FLAG_RULE,
    FLAGS,
    LIMIT_RULE,
    RequestSettings,
)
from stainedglass_output_protection.protocol.constants import (
    DEFAULT_CLIENT_KEY_HEADER,
    DEFAULT_CLIENT_KEY_MEMBER,
    DEFAULT_SERVER_KEY_HEADER,
)
from stainedglass_output_protection.protocol.routes import (
    TABLE,
    RouteClass,
    may_be_made_clear,
)
from stainedglass_output_protection.server.policy import KeylessPolicy

# They mean something already, to HTTP or to this package's client.
_RESERVED = re.compile(
    r"content-.*|transfer-encoding|connection|host|authorization|cookie|set-cookie|"
    r"cache-control|x-output-protection|access-control-.*|accept.*|user-agent|vary|"
    r"date|server|location|retry-after|te|upgrade|x-api-key|x-request-id|traceparent|"
    r"x-should-retry"
)
# RFC 9110, section 5.6.2: what a header name may consist of.
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_MEMBER = re.compile(r"(sg|x)_[A-Za-z0-9_]{1,60}")

Names = Annotated[frozenset[str], NoDecode]


class Settings(RequestSettings, KeySettings):
    """What an operator may set. Made from the environment by ``load_settings``."""

    client_public_key_header_name: str = DEFAULT_CLIENT_KEY_HEADER
    server_public_key_header_name: str = DEFAULT_SERVER_KEY_HEADER
    client_key_member_name: str = DEFAULT_CLIENT_KEY_MEMBER
    keyless_requests: KeylessPolicy = KeylessPolicy.REQUIRED
    protected_routes: Names = frozenset()
    clear_routes: Names = frozenset()
    allow_leaks: Names = frozenset()
    # The names of what was set in the code, which counts before the environment.
    _given: frozenset[str] = PrivateAttr(default=frozenset())

    @field_validator("client_public_key_header_name", "server_public_key_header_name")
    @classmethod
    def _check_header_name(cls, name: str) -> str:
        if not _TOKEN.fullmatch(name):
            raise ValueError(
                "must be an HTTP header name: letters, digits and hyphens, no spaces."
            )
        if _RESERVED.fullmatch(name.lower()):
            raise ValueError(
                "must not be a header that means something else already; a name of your "
                "own begins with x-."
            )
        return name.lower()

    @field_validator("client_key_member_name")
    @classmethod
    def _check_member_name(cls, name: str) -> str:
        if not _MEMBER.fullmatch(name):
            raise ValueError(
                "must begin with sg_ or x_, so that no request has a member of that name "
                "already, and go on with letters, digits and underscores, such as "
                f"{DEFAULT_CLIENT_KEY_MEMBER}."
            )
        return name

    @field_validator("protected_routes", "clear_routes", "allow_leaks", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return frozenset(filter(None, map(str.strip, value.split(","))))
        return value

    @field_validator("protected_routes", "clear_routes")
    @classmethod
    def _check_routes(cls, paths: frozenset[str]) -> frozenset[str]:
        if wrong := sorted(path for path in paths if not path.startswith("/")):
            raise ValueError(
                "must be paths as the application mounts them, each with a slash at its "
                f"beginning, with commas between, such as /a/path,/another/{{id}}: "
                f"{wrong[0]} has none."
            )
        return paths

    @field_validator("allow_leaks")
    @classmethod
    def _check_leaks(cls, names: frozenset[str]) -> frozenset[str]:
        if unknown := sorted(names - set(LEAKS)):
            raise ValueError(
                f"must be names from this list: {', '.join(LEAKS)}. It has no "
                f"{unknown[0]}."
            )
        return names

    @model_validator(mode="after")
    def _check_route_lists(self) -> Settings:
        protected, clear = map(variable_of, ("protected_routes", "clear_routes"))
        for path in sorted(self.protected_routes & self.clear_routes):
            raise ConfigurationError(
                f"{protected} and {clear} both name {path}: keep it in one."
            )
        for path in sorted(self.clear_routes):
            if not may_be_made_clear(path):
                raise ConfigurationError(
                    f"{clear} must not name {path}: its answers are what this server "
                    "protects, or some of them. Use "
                    f"{variable_of('keyless_requests')}=allow to answer clients without "
                    "a key for a while."
                )
        for path in sorted(self.protected_routes):
            if TABLE.row(path).route_class is RouteClass.CLEAR:
                raise ConfigurationError(
                    f"{protected} must not name {path}: probes could not read it."
                )
        return self

    @model_validator(mode="after")
    def _check_header_names_differ(self) -> Settings:
        if self.client_public_key_header_name == self.server_public_key_header_name:
            raise ConfigurationError(
                f"{variable_of('client_public_key_header_name')} and "
                f"{variable_of('server_public_key_header_name')} must differ."
            )
        return self

    def described(self) -> list[tuple[str, str, str]]:
        """Return the effective settings: variable, value and where it came from.

        There is no secret in it: of the identity only the path is shown.
        """
        items = []
        for field in type(self).model_fields:
            value = getattr(self, field)
            shown = "not set" if value is None else str(value)
            if isinstance(value, frozenset):
                shown = ",".join(sorted(value)) or "none"
            if isinstance(value, KeylessPolicy):
                shown = value.value
            if isinstance(value, bool):
                shown = str(value).lower()
            if isinstance(value, float):
                shown = f"{value:g}"
            source = self._source_of(field)
            if self.fleet_secret_file is not None and field in IN_FLEET_FILE:
                shown, source = "see", "the fleet's file"
            items.append((variable_of(field), shown, source))
        return items

    def describe(self) -> str:
        """Return what ``described`` does, one setting to a line."""
        return "\n".join(
            f"{name}={value} ({source})" for name, value, source in self.described()
        )

    def _source_of(self, field: str) -> str:
        if field not in self.model_fields_set:
            return "default"
        is_in_environment = field not in self._given and is_set(variable_of(field))
        return "environment" if is_in_environment else "code"


def load_settings(**given: object) -> Settings:
    """Read the environment; what is ``given`` by its field's name counts before it.

    Raises:
        ConfigurationError: a value is bad; the message names the variable. Or a name is
            no setting's.
    """
    for name in given:
        if name not in Settings.model_fields:
            nearest = difflib.get_close_matches(name, Settings.model_fields, 1, 0.0)
            raise ConfigurationError(
                f"There is no setting {name}; the nearest is {nearest[0]}."
            )
    try:
        settings = Settings(**given)  # type: ignore[arg-type]
        settings._given = frozenset(given)
        return settings
    except ValidationError as error:
        problems = [_sentence(item["loc"], item["msg"]) for item in error.errors()]
    raise ConfigurationError(" ".join(problems))


def setting_warnings() -> list[str]:
    """Return one sentence for each ``SG_`` name in the environment nothing reads."""
    return list(unknown_variable_warnings(map(variable_of, Settings.model_fields)))


def _sentence(location: tuple[int | str, ...], message: str) -> str:
    """Say what is wrong without showing the value, which may be a pasted secret."""
    field = str(location[0]) if location else ""
    if field == "key_refresh_time_s":
        message = REFRESH_RULE
    if field == "key_overlap_epochs":
        message = OVERLAP_RULE
    if field == "max_sealed_request_bytes":
        message = LIMIT_RULE
    if field in FLAGS:
        message = FLAG_RULE
    if field == "keyless_requests":
        message = f"must be one of {', '.join(item.value for item in KeylessPolicy)}."
    return f"{variable_of(field)} {message.removeprefix('Value error, ')}"
