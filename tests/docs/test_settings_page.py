"""The page of settings names every setting, with its default."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from stainedglass_output_protection.apps.commands import sg_vllm
from stainedglass_output_protection.client import settings as client_module
from stainedglass_output_protection.client.settings import ClientSettings
from stainedglass_output_protection.hosting.environment import variable_of
from stainedglass_output_protection.hosting.settings import Settings, load_settings
from tests.docs.blocks import ROOT
from tests.docs.tables import name_in, rows_below

PAGE = ROOT / "docs" / "settings.md"
SERVER = {name_in(row[0]): row[1] for row in rows_below(PAGE, "Server")}
CLIENT = {name_in(row[0]): row[2] for row in rows_below(PAGE, "Client")}
UNSET = ("not set", "none")


def test_every_setting_of_the_server_is_there() -> None:
    assert set(SERVER) == set(map(variable_of, Settings.model_fields))


@pytest.mark.parametrize("variable", SERVER)
def test_defaults_of_the_server_are_the_code_s(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    default = SERVER[variable]
    untouched = load_settings()
    field = variable.removeprefix("SG_").lower()
    if default in UNSET:
        assert getattr(untouched, field) in (None, frozenset())
    else:
        monkeypatch.setenv(variable, name_in(default))
        assert getattr(load_settings(), field) == getattr(untouched, field)


def test_every_setting_of_the_client_is_there() -> None:
    names = {
        value
        for name, value in vars(client_module).items()
        if name.endswith("_VARIABLE")
    }
    assert set(CLIENT) == names


@pytest.mark.parametrize("variable", CLIENT)
def test_defaults_of_the_client_are_the_code_s(variable: str, tmp_path: Path) -> None:
    default = CLIENT[variable]
    home = {"HOME": str(tmp_path)}
    untouched = ClientSettings.load(environment=home)
    if default not in UNSET:
        value = name_in(default).replace("~", str(tmp_path))
        assert ClientSettings.load(environment={**home, variable: value}) == untouched


def test_every_variable_of_a_command_is_there() -> None:
    context = click.Context(sg_vllm)
    found = set()
    for name in sg_vllm.list_commands(context):
        command = sg_vllm.get_command(context, name)
        assert command is not None
        for option in command.params:
            variables = option.envvar or ()
            found |= {
                (variable, name)
                for variable in (
                    [variables] if isinstance(variables, str) else variables
                )
                if variable.startswith("SG_")
            }
    table = rows_below(PAGE, "Commands")
    assert found == {(name_in(row[0]), name_in(row[1])) for row in table}


def test_no_variable_of_the_package_is_missing() -> None:
    package = ROOT / "stainedglass_output_protection"
    code = "\n".join(path.read_text("utf-8") for path in package.rglob("*.py"))
    used = set(re.findall(r"\bSG_[A-Z0-9_]*[A-Z0-9]\b", code))
    # Kubernetes makes those up; environment.py says so.
    used = {name for name in used if not name.startswith("SG_VLLM")}
    page = set(re.findall(r"\bSG_[A-Z0-9_]*[A-Z0-9]\b", PAGE.read_text("utf-8")))
    assert used == {name for name in page if not name.startswith("SG_VLLM")}
