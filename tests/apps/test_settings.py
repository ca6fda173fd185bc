"""``sg-vllm settings``: every value with where it came from, and never a secret."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from stainedglass_output_protection.apps import cli
from stainedglass_output_protection.protocol.encoding import encode_base64
from stainedglass_output_protection.protocol.identity import IdentityKey
from tests.rings import IDENTITY

ROOT = Path(__file__).parents[2]
SECRET = "sgop1-recovery.zQ7-a-secret-of-somebody"
DEFAULTS = {
    "SG_KEY_REFRESH_TIME_S": "3600",
    "SG_KEYLESS_REQUESTS": "required",
    "SG_REQUIRE_SEALED_REQUESTS": "false",
    "SG_CLIENT_PROFILE": "sealed",
    "SG_REQUEST_SUITE": "mlkem768-x25519",
    "SG_SERVER_IDENTITY": "not set",
    "SG_TRUST_ON_FIRST_USE": "false",
    "SG_RECOVERY_TOKEN": "not set",
}
# What is set, and how it is shown.
SET = {
    "SG_KEY_REFRESH_TIME_S": ("0.50", "0.5"),
    "SG_PASSED_HEADERS": ("x-b, X-a", "x-a,x-b"),
    "SG_KEYLESS_REQUESTS": ("discard", "discard"),
    "SG_CLIENT_PROFILE": ("output", "output"),
    "SG_REQUEST_SUITE": ("x25519", "x25519"),
    "SG_SERVER_IDENTITY": (IDENTITY.fingerprint, IDENTITY.fingerprint),
    "SG_TRUST_ON_FIRST_USE": ("1", "true"),
    "SG_KNOWN_SERVERS_FILE": ("/a/file", "/a/file"),
    "SG_OWNER_SECRET_FILE": ("/not/there", "/not/there"),
    "SG_CLIENT_PUBLIC_KEY_HEADER_NAME": ("X-Key", "x-key"),
    "SG_RECOVERY_TOKEN": (SECRET, "set"),
}
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("SG_"):
            monkeypatch.delenv(name)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run ``sg-vllm settings`` in this process."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["sg-vllm", "settings", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert isinstance(ended.value.code, int)
        return (ended.value.code, *capsys.readouterr())

    return run


def test_all_defaults_are_called_so(run: Run) -> None:
    status, out, err = run()
    assert (status, err) == (0, "")
    for name, value in DEFAULTS.items():
        assert f"  {name}={value} (default)\n" in out
    assert "(environment)" not in out


def test_every_setting_of_the_documents_is_shown(run: Run) -> None:
    page = (ROOT / "docs" / "server.md").read_text("utf-8")
    documented = set(re.findall(r"^\| `(SG_\w+)`", page, re.MULTILINE))
    out = run()[1]
    shown = set(re.findall(r"^  (SG_\w+)=", out, re.MULTILINE))
    assert documented <= shown
    assert set(DEFAULTS) | set(SET) <= shown


@pytest.mark.parametrize("name", SET)
def test_what_is_set_is_shown_with_its_source(
    name: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, shown = SET[name]
    monkeypatch.setenv(name, given)
    status, out, err = run()
    assert (status, err) == (0, "")
    assert f"  {name}={shown} (environment)\n" in out
    assert SECRET not in out


def test_of_keys_the_path_is_shown_alone(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "identity.pem"
    path.write_bytes(IdentityKey.generate().to_pem())
    path.chmod(0o600)
    monkeypatch.setenv("SG_IDENTITY_KEY_FILE", str(path))
    status, out, _ = run()
    assert (status, f"SG_IDENTITY_KEY_FILE={path} (environment)" in out) == (0, True)
    assert not any(line in out for line in path.read_text().splitlines())


def test_json_says_the_same(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, (given, _) in SET.items():
        monkeypatch.setenv(name, given)
    status, out, err = run("--json")
    assert (status, err) == (0, "")
    found = json.loads(out)
    items = {
        item["name"]: (item["value"], item["source"])
        for part in ("server", "client", "commands")
        for item in found[part]
    }
    for name, (_, shown) in SET.items():
        assert items[name] == (shown, "environment")
    assert (found["notes"], found["unknown"], found["problems"]) == ([], [], [])
    assert SECRET not in out


def test_an_unknown_name_is_told_with_the_nearest(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SG_REQUIRE_SEALED_REQUEST", "true")
    status, _, err = run()
    assert status == 0
    assert err == (
        "sg-vllm: SG_REQUIRE_SEALED_REQUEST is not a setting and has no effect; the "
        "nearest is SG_REQUIRE_SEALED_REQUESTS.\n"
    )
    assert "SG_REQUIRE_SEALED_REQUESTS." in json.loads(run("--json")[1])["unknown"][0]


BAD = {
    "SG_KEY_REFRESH_TIME_S": "soon",
    "SG_KEYLESS_REQUESTS": "maybe",
    "SG_CLIENT_PROFILE": "none",
    "SG_REQUEST_SUITE": "rot13",
    "SG_SERVER_IDENTITY": "SHA256:short",
    "SG_TRUST_ON_FIRST_USE": "perhaps",
    "SG_IDENTITY_KEY_FILE": IdentityKey.generate().to_pem().decode(),
    "SG_OWNER_SECRET_FILE": encode_base64(b"s" * 32).decode(),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_value_is_one_sentence_that_does_not_show_it(
    name: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, BAD[name])
    status, out, err = run()
    assert status == 2
    assert err.count("\n") == 1
    # A pin is named by its rule, whether it came from the variable or an argument.
    assert name in err or "pinned identity" in err
    if len(BAD[name]) > 20:
        assert BAD[name] not in out + err
    # What is not wrong is shown all the same.
    assert "SG_RECOVERY_TOKEN=not set (default)" in out
    found = json.loads(run("--json")[1])
    assert err.strip().endswith(found["problems"][0])


@pytest.mark.parametrize("missing", ["pydantic_settings", "pydantic", "starlette"])
def test_without_the_server_s_extra_the_client_s_part_is_shown(missing: str) -> None:
    program = (
        "import sys; from importlib.machinery import PathFinder\n"
        "class Without:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.partition('.')[0] == {missing!r}:\n"
        "            raise ModuleNotFoundError(name, name=name)\n"
        "sys.meta_path.insert(0, Without())\n"
        "from stainedglass_output_protection.apps.cli import main\n"
        "sys.argv = ['sg-vllm', 'settings']; main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "SG_REQUEST_SUITE": "x25519"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "SG_REQUEST_SUITE=x25519 (environment)" in done.stdout
    assert f"{missing} is not installed. Install the extra [server]" in done.stdout
    assert "SG_KEY_REFRESH_TIME_S" not in done.stdout


def test_a_path_of_any_bytes_is_shown(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SG_KNOWN_SERVERS_FILE", "/a/\udcff")
    status, out, err = run()
    assert (status, "SG_KNOWN_SERVERS_FILE=/a/? " in out, err) == (0, True, "")


def test_vllm_is_not_imported() -> None:
    program = (
        "import sys; from stainedglass_output_protection.apps.cli import main\n"
        "sys.argv = ['sg-vllm', 'settings']\n"
        "try: main()\n"
        "except SystemExit as ended: print(ended.code, 'vllm' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "0 False"
