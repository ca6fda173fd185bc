"""``sg-vllm keys``: files made, shown, checked and moved on, and never a secret shown."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from stainedglass_output_protection.apps import cli
from stainedglass_output_protection.protocol.encoding import encode_base64
from stainedglass_output_protection.protocol.identity import IdentityKey
from stainedglass_output_protection.protocol.ratchet import Ratchet
from stainedglass_output_protection.server import clock
from stainedglass_output_protection.server.epochs import EpochTimes
from stainedglass_output_protection.server.fleet_secret import (
    FleetSecret,
    fleet_text,
    parse_fleet_text,
)

ROOT = Path(__file__).resolve().parents[2]
NOW = clock.unix_ms()
OLD = FleetSecret(NOW - 100 * 60_000, EpochTimes(60_000), 3, b"s" * 32)


class Done:
    """What a command said, and its status."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status = status
        self.out = out
        self.err = err


Run = Callable[..., Done]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run ``sg-vllm keys`` in this process."""

    def run(*arguments: object) -> Done:
        monkeypatch.setattr(
            sys, "argv", ["sg-vllm", "keys", *(str(item) for item in arguments)]
        )
        with pytest.raises(SystemExit) as ended:
            cli.main()
        status = ended.value.code
        assert isinstance(status, int)
        return Done(status, *capsys.readouterr())

    return run


@pytest.fixture
def old_fleet(tmp_path: Path) -> Path:
    """A fleet's file whose base epoch retired long ago."""
    path = tmp_path / "old-fleet"
    path.write_bytes(fleet_text(OLD))
    path.chmod(0o600)
    return path


def secrets_in(path: Path) -> list[str]:
    """Return what of a key file must never be shown."""
    return [line for line in path.read_text().splitlines() if len(line) > 50]


def test_an_identity_is_made_for_this_user_alone_and_shown_with_its_pin(
    tmp_path: Path, run: Run
) -> None:
    path = tmp_path / "identity.pem"
    done = run("generate", "--identity", path)
    assert (done.status, done.err) == (0, "")
    assert path.stat().st_mode & 0o777 == 0o600
    fingerprint = IdentityKey.from_pem(path.read_bytes()).fingerprint
    assert done.out == (
        f"The identity is {fingerprint}\n"
        f"Clients pin it with: SG_SERVER_IDENTITY={fingerprint}\n"
    )
    assert run("show", path).out == done.out
    assert run("verify", path).out == f"The file {path} is good.\n{done.out}"


def test_a_fleet_s_secret_is_made_and_shown_without_the_secret(
    tmp_path: Path, run: Run
) -> None:
    path = tmp_path / "fleet"
    done = run("generate", "--fleet", path)
    assert (done.status, done.err) == (0, "")
    assert path.stat().st_mode & 0o777 == 0o600
    fleet = parse_fleet_text(path.read_bytes()).fleet
    assert fleet.times == EpochTimes(3_600_000, 1)
    assert fleet.start_of(fleet.index) <= clock.unix_ms()
    assert "period: 3600 s\noverlap: 1\nbase epoch: 0, from 20" in done.out
    assert run("show", path).out == done.out
    checked = run("verify", path)
    assert checked.status == 0
    for secret in secrets_in(path):
        assert secret not in done.out + checked.out


def test_period_and_overlap_are_taken_and_short_ones_warned_of(
    tmp_path: Path, run: Run
) -> None:
    path = tmp_path / "fleet"
    done = run("generate", "--fleet", path, "--period", "1.5", "--overlap", "300")
    assert done.status == 2
    done = run("generate", "--fleet", path, "--period", "1.5", "--overlap", "200")
    assert parse_fleet_text(path.read_bytes()).fleet.times == EpochTimes(1500, 200)
    assert "at most 0.75 s ahead and 60 s behind" in done.err
    other = run("generate", "--fleet", tmp_path / "o", "--period", "600")
    assert other.err == ""


@pytest.mark.parametrize(
    "options",
    [
        ["--period", "0.5"],
        ["--period", "nan"],
        ["--period", "inf"],
        ["--period", "-1"],
        ["--period", "86401"],
        ["--overlap", "0"],
        ["--overlap", "48"],
    ],
)
def test_times_out_of_range_are_refused_and_nothing_is_written(
    tmp_path: Path, run: Run, options: list[str]
) -> None:
    done = run("generate", "--fleet", tmp_path / "fleet", *options)
    assert done.status == 2
    assert done.err.startswith("sg-vllm: --period and --overlap: ")
    assert len(done.err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["--identity", "--fleet"])
def test_nothing_is_overwritten(tmp_path: Path, run: Run, kind: str) -> None:
    path = tmp_path / "key"
    path.write_text("precious")
    done = run("generate", kind, path)
    assert done.status == 2
    assert (
        done.err
        == f"sg-vllm: The file {path} is there already, and was left alone. Choose another name.\n"
    )
    assert path.read_text() == "precious"
    done = run("generate", kind, tmp_path / "no" / "folder")
    assert (done.status, len(done.err.splitlines())) == (2, 1)


@pytest.mark.parametrize(
    "arguments",
    [
        ["generate"],
        ["generate", "--identity", "a", "--fleet", "b"],
        ["generate", "--identity", "a", "--period", "5"],
        ["verify", "a", "--identity", "SHA256:x"],
        ["show"],
        ["nothing"],
    ],
)
def test_wrong_usage_is_said_and_nothing_done(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run(*arguments)
    assert done.status == 2
    assert "Traceback" not in done.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda path: path.chmod(0o644), "others may read or change it"),
        (lambda path: path.write_bytes(b"nothing"), "is refused"),
        (lambda path: path.write_bytes(path.read_bytes()[:-9]), "is refused"),
        (lambda path: path.unlink(), "cannot be read (No such file"),
    ],
)
@pytest.mark.parametrize("kind", ["--identity", "--fleet"])
def test_a_bad_file_is_said_to_be_bad(
    tmp_path: Path, run: Run, kind: str, spoil: Callable[[Path], object], words: str
) -> None:
    path = tmp_path / "key"
    run("generate", kind, path)
    secrets = secrets_in(path)
    spoil(path)
    for command, status in (("verify", 1), ("show", 2)):
        done = run(command, path)
        assert done.status == status
        assert done.err.startswith(f"sg-vllm: The file {path} ")
        assert words in done.err
        assert len(done.err.splitlines()) == 1
        assert not any(secret in done.err for secret in secrets)


def test_advance_moves_the_base_and_says_so(old_fleet: Path, run: Run) -> None:
    done = run("advance", old_fleet)
    assert done.status == 0
    fleet = parse_fleet_text(old_fleet.read_bytes()).fleet
    ratchet = Ratchet(3, OLD.secret)
    ratchet.skip_to(fleet.index)
    assert fleet.index >= 99
    assert fleet.secret == ratchet.reveal()
    assert "was 3." in done.out
    assert f"base epoch: {fleet.index}, from" in done.out
    assert encode_base64(OLD.secret) not in old_fleet.read_bytes()
    assert not any(secret in done.out for secret in secrets_in(old_fleet))
    again = run("advance", old_fleet)
    assert again.status == 0


def test_advance_says_when_there_is_nothing_to_move(tmp_path: Path, run: Run) -> None:
    path = tmp_path / "fleet"
    run("generate", "--fleet", path)
    before = path.read_bytes()
    said = run("advance", path).out
    assert said.startswith(f"The base epoch of {path} is 0 already: no later one has ")
    assert path.read_bytes() == before


@pytest.mark.parametrize("period_ms", [3_600_000, 1_000])
def test_a_wrong_clock_does_not_move_the_base_on(
    tmp_path: Path, run: Run, period_ms: int
) -> None:
    path = tmp_path / "fleet"
    times = EpochTimes(period_ms)
    later = FleetSecret(clock.unix_ms() + 10**9, times, 0, OLD.secret)
    month_old = FleetSecret(clock.unix_ms() - 30 * 86_400_000, times, 0, OLD.secret)
    for fleet, words in ((later, "Check the clock"), (month_old, "--yes")):
        path.write_bytes(fleet_text(fleet))
        path.chmod(0o600)
        done = run("advance", path)
        assert done.status == 2
        assert f"The file {path} was not changed" in done.err
        assert words in done.err
        assert path.read_bytes() == fleet_text(fleet)
    assert run("advance", "--yes", path).status == 0
    assert encode_base64(OLD.secret) not in path.read_bytes()


@pytest.mark.parametrize("kind", ["identity", "none", "readable"])
def test_advance_refuses_what_is_no_fleet_s_file(
    tmp_path: Path, run: Run, kind: str
) -> None:
    path = tmp_path / "file"
    if kind != "none":
        run("generate", "--identity" if kind == "identity" else "--fleet", path)
    if kind == "readable":
        path.chmod(0o644)
    done = run("advance", path)
    assert done.status == 2
    assert done.err.startswith(f"sg-vllm: The file {path} was not changed: ")
    assert len(done.err.splitlines()) == 1


def test_a_fleet_that_has_not_begun_or_is_too_old_is_not_good(
    old_fleet: Path, run: Run
) -> None:
    later = FleetSecret(clock.unix_ms() + 10**9, OLD.times, 0, OLD.secret)
    old_fleet.write_bytes(fleet_text(later))
    done = run("verify", old_fleet)
    assert (done.status, "Check the clock" in done.err) == (1, True)
    old_fleet.write_bytes(fleet_text(FleetSecret(0, EpochTimes(1000), 0, bytes(32))))
    done = run("verify", old_fleet)
    assert (done.status, "keys advance" in done.err) == (1, True)


def test_the_commands_need_neither_vllm_nor_the_server_s_libraries() -> None:
    program = (
        "import sys\n"
        "sys.argv = ['sg-vllm', 'keys', 'verify', 'nothing']\n"
        "from stainedglass_output_protection.apps.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "loaded = {name.partition('.')[0] for name in sys.modules}\n"
        "print(*loaded & {'vllm', 'torch', 'starlette', 'fastapi', 'pydantic'})"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT
    )
    assert (done.returncode, done.stdout) == (0, "\n")
    assert done.stderr.startswith("sg-vllm: The file nothing cannot be read")
