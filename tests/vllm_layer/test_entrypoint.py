"""What starting says and refuses, in processes of their own, with and without vLLM."""

from __future__ import annotations

import importlib.util
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from stainedglass_output_protection.errors import ConfigurationError
from stainedglass_output_protection.hosting.environment import is_marked
from stainedglass_output_protection.vllm import environment
from stainedglass_output_protection.vllm.entrypoint import main
from stainedglass_output_protection.vllm.log import join_vllm_logging

ROOT = Path(__file__).resolve().parents[2]
HAS_VLLM = importlib.util.find_spec("vllm") is not None
MODULES = sorted(
    f"stainedglass_output_protection.vllm.{path.stem}"
    for path in (ROOT / "stainedglass_output_protection" / "vllm").glob("[!_]*.py")
)

# Makes the named packages look as if they were not installed.
BLOCKING = """
import sys
from importlib.abc import MetaPathFinder
class Missing(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked}:
            raise ModuleNotFoundError("No module named " + repr(name), name=name)
import importlib.util
find_spec = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: (
    None if name.partition(".")[0] in {blocked} else find_spec(name, package)
)
sys.meta_path.insert(0, Missing())
"""
COMMAND = "from stainedglass_output_protection.apps.cli import main; main()"


def run(
    code: str, *arguments: str, blocked: set[str] = frozenset(), **variables: str
) -> subprocess.CompletedProcess[str]:
    text = BLOCKING.replace("{blocked}", repr(set(blocked))) + code
    environ = {**os.environ, **variables}
    return subprocess.run(
        [sys.executable, "-c", text, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=ROOT,
        env=environ,
    )


def test_every_module_imports_without_vllm_and_does_not_look_for_it() -> None:
    imports = "\n".join(f"import {name}" for name in MODULES)
    done = run(
        f"{imports}\nimport stainedglass_output_protection.apps.commands",
        blocked={"vllm", "fastapi"},
    )
    assert done.returncode == 0, done.stderr
    assert len(MODULES) > 10


def test_plugin_imports_nothing_heavy() -> None:
    done = run(
        "import stainedglass_output_protection.vllm.plugin as plugin, sys\n"
        "plugin.register()\n"
        "print(*{n.partition('.')[0] for n in sys.modules} & "
        "{'vllm', 'starlette', 'fastapi', 'pydantic', 'cryptography', 'click'})"
    )
    assert done.stdout.strip() == ""
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("arguments", [["--help"], ["serve", "--help"], ["--version"]])
def test_help_works_without_vllm(arguments: list[str]) -> None:
    done = run(COMMAND, *arguments, blocked={"vllm"})
    assert done.returncode == 0, done.stderr
    assert "sg-vllm" in done.stdout


@pytest.mark.parametrize(
    ("blocked", "extra"),
    [
        ("vllm", "[vllm]"),
        ("click", "[server]"),
        ("starlette", "[server]"),
        ("pydantic_settings", "[server]"),
    ],
)
def test_what_is_missing_is_named_with_its_extra(blocked: str, extra: str) -> None:
    done = run(COMMAND, "serve", "a-model", blocked={blocked})
    assert done.returncode in (1, 2)
    assert extra in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("blocked", "install"),
    [
        ("vllm", "package: pip install '.[vllm]'"),
        ("starlette", "pip install '.[server]' in the checkout of this package"),
    ],
)
def test_what_it_says_to_install_is_the_checkout(blocked: str, install: str) -> None:
    serve = "from stainedglass_output_protection.vllm.entrypoint import main; main()"
    done = run(serve, "serve", "a-model", blocked={blocked})
    assert done.returncode == 1
    assert install in done.stderr
    # Whoever takes that name on a package index would be installed.
    assert "stainedglass-output-protection[" not in done.stderr


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("SG_KEY_REFRESH_TIME_S", "0"),
        ("SG_CLIENT_PUBLIC_KEY_HEADER_NAME", "no token"),
        ("SG_SERVER_PUBLIC_KEY_HEADER_NAME", ""),
        ("SG_IDENTITY_KEY_FILE", "/nowhere"),
        ("SG_FLEET_SECRET_FILE", "/nowhere"),
        ("SG_KEY_OVERLAP_EPOCHS", "0"),
        ("SG_EVIDENCE_PROVIDER", "nothing"),
    ],
)
def test_bad_setting_is_one_sentence_and_status_2(variable: str, value: str) -> None:
    done = run(COMMAND, "serve", "a-model", blocked={"vllm"}, **{variable: value})
    assert done.returncode == 2
    assert done.stderr.startswith(f"sg-vllm: {variable}")
    assert len(done.stderr.splitlines()) == 1


def test_module_can_be_run_and_refuses_alike() -> None:
    module = "stainedglass_output_protection.vllm.entrypoint"
    done = subprocess.run(
        [sys.executable, "-m", module, "serve", "m"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "SG_KEY_REFRESH_TIME_S": "x"},
    )
    assert done.returncode == 2
    assert done.stderr.startswith("sg-vllm: SG_KEY_REFRESH_TIME_S")


@pytest.mark.skipif(not HAS_VLLM, reason="vLLM is not installed")
def test_report_is_in_the_format_of_vllm_and_the_identity_file_goes_at_the_end() -> (
    None
):
    done = run(
        "import os, vllm.entrypoints.cli.serve as command\n"
        "def cmd(options):\n"
        "    path = os.environ['SG_IDENTITY_KEY_FILE']\n"
        "    print('PATH', path, os.path.exists(path))\n"
        "    epochs = os.environ['SG_SHARED_EPOCHS_FILE']\n"
        "    print('EPOCHS', epochs, os.path.exists(epochs))\n"
        "    replay = os.path.dirname(os.environ['SG_SHARED_REPLAY_FILE'])\n"
        "    print('REPLAY', replay, os.path.exists(replay))\n"
        "    print('PLUGINS', os.environ['VLLM_PLUGINS'])\n"
        "command.ServeSubcommand.cmd = staticmethod(cmd)\n" + COMMAND,
        "serve",
        "m",
        VLLM_PLUGINS="something_else",
        SG_KEY_REFRESH_TIMES="1",
        SG_VLLM_PORT="tcp://1",
    )
    assert done.returncode == 0, done.stderr
    log = done.stdout + done.stderr
    assert "INFO" in next(
        line for line in log.splitlines() if "protection settings" in line
    )
    assert "SG_KEY_REFRESH_TIME_S=3600 (default)" in log
    assert log.count("SG_KEY_REFRESH_TIMES is not a setting") == 1
    assert "SG_VLLM_PORT" not in log
    assert "SG_SERVER_IDENTITY=SHA256:" in log
    for name in ("PATH", "EPOCHS", "REPLAY"):
        _, path, existed = next(
            line for line in log.splitlines() if line.startswith(name)
        ).split()
        assert existed == "True"
        gone = Path(path) if name == "REPLAY" else Path(path).parent
        assert not gone.exists()
    assert "SG_SHARED" not in log
    assert "PLUGINS something_else,stainedglass_output_protection" in log


def test_our_loggers_obey_the_level_of_vllms(monkeypatch: pytest.MonkeyPatch) -> None:
    join_vllm_logging()
    for module in ("vllm.report", "server.middleware"):
        ours = logging.getLogger(f"stainedglass_output_protection.{module}")
        for level in (logging.WARNING, logging.INFO):
            monkeypatch.setattr(logging.getLogger("vllm"), "level", level)
            ours.manager._clear_cache()  # type: ignore[attr-defined]
            assert ours.getEffectiveLevel() == level


def test_other_commands_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="sg-vllm bench"):
        main(["bench"])


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, None),
        ("", "stainedglass_output_protection"),
        ("a", "a,stainedglass_output_protection"),
        ("a,stainedglass_output_protection,b", "a,stainedglass_output_protection,b"),
    ],
)
def test_plugin_list_is_appended_to_and_never_made(
    monkeypatch: pytest.MonkeyPatch, before: str | None, after: str | None
) -> None:
    if before is not None:
        monkeypatch.setenv("VLLM_PLUGINS", before)
    assert not is_marked()
    environment.mark_for_children()
    environment.mark_for_children()
    assert is_marked()
    assert os.environ.get("VLLM_PLUGINS") == after
