"""What is asked of vLLM by which answers would leave in the clear: refused, if not allowed.

Looked for twice: in the bare arguments before vLLM is imported, which takes seconds, and
for certain in what vLLM parsed, where the options of a ``--config`` file are too.
"""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from pydantic_settings import BaseSettings, SettingsConfigDict

from stainedglass_output_protection.errors import ConfigurationError
from stainedglass_output_protection.hosting.environment import variable_of
from stainedglass_output_protection.hosting.leaks import LEAKS


class _Option(NamedTuple):
    """An option, the leak it is (none: never allowed), and how its value is read."""

    name: str
    leak: str | None
    is_flag: bool = False
    # What in an option that takes a JSON object makes it a leak, if any of it is set.
    members: tuple[str, ...] = ()
    # Values that make it none.
    harmless: tuple[str, ...] = ()

    @property
    def dest(self) -> str:
        return self.name.removeprefix("--").replace("-", "_")


# In the order of refusal: outputs cannot be logged without requests.
_OPTIONS: Final = (
    _Option("--grpc", None, is_flag=True),
    _Option("--grpc-port", None),
    _Option("--enable-log-outputs", "log-outputs", is_flag=True),
    _Option("--enable-log-requests", "log-requests", is_flag=True),
    _Option("--kv-events-config", "kv-events", members=("enable_kv_cache_events",)),
    _Option(
        "--kv-transfer-config",
        "kv-transfer",
        # vLLM may choose the connector itself; the rest says where the cache goes.
        members=(
            "kv_connector",
            "kv_connector_extra_config",
            "kv_connector_module_path",
        ),
    ),
    _Option("--kv-offloading-backend", "kv-transfer", harmless=("native",)),
    _Option("--profiler-config", "profiler", members=("profiler",)),
    _Option("--tool-server", "tool-server"),
)
_VARIABLES: Final = {
    "VLLM_USE_RUST_FRONTEND": None,
    "VLLM_SERVER_DEV_MODE": "dev-mode",
    "VLLM_TORCH_PROFILER_DIR": "profiler",
}
_OFF: Final = ("", "None", "null", "False", "false")


class _Environment(BaseSettings):
    """The variables of vLLM that matter here, as they are."""

    model_config = SettingsConfigDict(extra="ignore", frozen=True)

    vllm_use_rust_frontend: str = "0"
    vllm_server_dev_mode: str = "0"
    vllm_torch_profiler_dir: str = ""


def refuse_early(arguments: Sequence[str], allowed: frozenset[str]) -> None:
    """Refuse what the bare arguments and the environment show, without vLLM.

    Raises:
        ConfigurationError: as ``refuse_leaks`` does.
    """
    environment = _Environment()

    def is_on(variable: str) -> bool:
        value: str = getattr(environment, variable.lower())
        return value.strip() not in ("", "0")

    refuse_leaks(_given(arguments), is_on, allowed)


def refuse_leaks(
    options: Namespace, is_on: Callable[[str], bool], allowed: frozenset[str]
) -> None:
    """Refuse what bypasses the API that is protected, but for what is ``allowed``.

    Raises:
        ConfigurationError: naming the option or the variable and what to do.
    """
    for option in _OPTIONS:
        value = getattr(options, option.dest, None)
        if option.members:
            value = _first_set(value, option.members)
        if not (value is None or value is False or value in (*_OFF, *option.harmless)):
            _refuse(option.name, option.leak, allowed, "leave it out")
    outputs, requests = "enable_log_outputs", "enable_log_requests"
    # Only what vLLM has parsed has both: a --config file may hold the second.
    if getattr(options, outputs, False) and getattr(options, requests, None) is False:
        raise ConfigurationError(
            "--enable-log-outputs needs --enable-log-requests too, and "
            f"{variable_of('allow_leaks')}=log-outputs,log-requests."
        )
    for variable, leak in _VARIABLES.items():
        if is_on(variable):
            _refuse(variable, leak, allowed, "unset it")


def _refuse(name: str, leak: str | None, allowed: frozenset[str], remedy: str) -> None:
    if leak is None:
        raise ConfigurationError(
            f"{name} answers outside the protected HTTP API: {remedy}."
        )
    if leak not in allowed:
        raise ConfigurationError(
            f"With {name}, {LEAKS[leak]}: {remedy}, or add {leak} to "
            f"{variable_of('allow_leaks')}."
        )


def _first_set(value: object, names: Sequence[str]) -> Any:
    """Return the first of the members that is set; empty ones are not."""
    for name in names:
        if isinstance(value, Mapping):
            found = value.get(name)
        else:
            found = getattr(value, name, None)
        if found and found not in _OFF:
            return found
    return None


def _given(arguments: Sequence[str]) -> Namespace:
    """Return what our options are set to, as far as that shows without vLLM's parser."""
    found = Namespace()
    for position, argument in enumerate(arguments):
        if argument == "--":
            break
        name, equals, value = argument.partition("=")
        name, *rest = name.split(".")
        member = rest[0] if rest else ""
        option, is_on = _named(name.replace("_", "-"))
        if option is None:
            continue
        if not equals:
            value = next(iter(arguments[position + 1 :]), "")
        known = getattr(found, option.dest, None)
        setattr(found, option.dest, _value(option, is_on, member, value, known))
    return found


def _named(name: str) -> tuple[_Option | None, bool]:
    """Return the option that ``name`` means, maybe abbreviated, and if it is set on."""
    spelled = {option.name: (option, True) for option in _OPTIONS}
    for option in _OPTIONS:
        if option.is_flag:
            spelled[f"--no-{option.name.removeprefix('--')}"] = (option, False)
    if not name.startswith("--"):
        return None, False
    if name in spelled:
        return spelled[name]
    meant = [spelling for spelling in spelled if spelling.startswith(name)]
    return spelled[meant[0]] if len(meant) == 1 else (None, False)


def _value(option: _Option, is_on: bool, member: str, text: str, known: Any) -> Any:
    if option.is_flag:
        return is_on
    if not option.members:
        return text
    try:
        value = json.loads(text)
    except ValueError:
        value = text
    return {**(known or {}), member: value} if member else _object(value)


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
