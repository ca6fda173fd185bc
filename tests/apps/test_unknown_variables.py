"""The names that our commands know: all that anything reads, and no others."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import click
import pytest

from stainedglass_output_protection.apps import commands
from stainedglass_output_protection.apps.unknown_variables import (
    NAMES,
    unknown_variables,
)
from stainedglass_output_protection.client.settings import described_settings
from stainedglass_output_protection.hosting.settings import Settings

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"


def names_of_options() -> set[str]:
    found = set()
    for where, function, _ in commands._COMMANDS.values():
        module = importlib.import_module(f"{commands.__package__}.{where}")
        command = getattr(module, function)
        assert isinstance(command, click.Command)
        for option in command.params:
            names = option.envvar or ()
            found |= {names} if isinstance(names, str) else set(names)
    return {name for name in found if name.startswith("SG_")}


def test_every_name_that_is_read_is_known_and_no_other() -> None:
    server = {f"SG_{field.upper()}" for field in Settings.model_fields}
    client = {name for name, _, _ in described_settings(environment={})}
    assert set(NAMES) == server | client | names_of_options()
    documented = re.findall(r"^\| `(SG_\w+)`", PAGE.read_text("utf-8"), re.MULTILINE)
    assert set(NAMES) == set(documented)


def test_a_name_that_nothing_reads_is_told_with_the_nearest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in NAMES:
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("SG_VLLM_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("SG_SHARED_REPLAY_FILE", "/x")
    assert unknown_variables() == []
    monkeypatch.setenv("SG_SEAL_AUTHORIZATON", "secret")
    assert unknown_variables() == [
        "SG_SEAL_AUTHORIZATON is not a setting and has no effect; the nearest is "
        "SG_SEAL_AUTHORIZATION."
    ]
