"""The owner's secret: made once, kept private, never shown."""

from __future__ import annotations

import base64
import os
import stat
import subprocess
import sys
import textwrap
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from stainedglass_output_protection.client import owner, private_files
from stainedglass_output_protection.client.owner import Owner, load_owner
from stainedglass_output_protection.errors import ConfigurationError

POSIX = pytest.mark.skipif(os.name != "posix", reason="modes are POSIX")
SECRET = bytes(range(32))
TEXT = base64.b64encode(SECRET)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "owner"


def write(path: Path, data: bytes, mode: int = 0o600) -> None:
    path.write_bytes(data)
    path.chmod(mode)


def refused(path: Path) -> str:
    """Return why; that names the file and its variable, and shows no secret."""
    with pytest.raises(ConfigurationError) as caught:
        load_owner(path)
    message = str(caught.value)
    assert message.startswith("SG_OWNER_SECRET_FILE")
    assert TEXT.decode() not in message
    return message


def test_without_a_path_each_is_another() -> None:
    one, two = load_owner(None), load_owner(None)
    assert len(one.secret) == len(two.secret) == 32
    assert one.secret != two.secret


def test_a_missing_file_is_made_and_kept(path: Path) -> None:
    made = load_owner(path)
    assert len(made.secret) == 32
    assert path.read_bytes() == base64.b64encode(made.secret) + b"\n"
    assert load_owner(path).secret == made.secret


@POSIX
def test_only_the_user_may_read_it(path: Path) -> None:
    mask = os.umask(0)
    try:
        load_owner(path)
    finally:
        os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("around", [b"%s", b"%s\n", b" \n%s\r\n\n"])
def test_a_file_is_read(path: Path, around: bytes) -> None:
    write(path, around % TEXT)
    assert load_owner(path).secret == SECRET


@pytest.mark.parametrize(
    "wrong",
    [
        b"",
        b"\n",
        SECRET,
        TEXT[:-1],
        TEXT + TEXT,
        TEXT + b"\n" + TEXT,
        base64.b64encode(bytes(31)),
        base64.b64encode(bytes(33)),
        base64.b64encode(bytes(64)),
        base64.urlsafe_b64encode(b"\xff" * 32),
        TEXT[:20] + b"\n" + TEXT[20:],
        TEXT[:-2] + b"9=",
        b"\xff\xfe",
    ],
)
def test_a_malformed_file_is_refused_and_left_alone(path: Path, wrong: bytes) -> None:
    write(path, wrong)
    message = refused(path)
    assert str(path) in message
    assert "base64 of 32 bytes" in message
    assert path.read_bytes() == wrong


@POSIX
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o601, 0o644, 0o666])
def test_a_file_that_others_can_read_is_refused(path: Path, mode: int) -> None:
    write(path, TEXT, mode)
    assert refused(path).endswith(f"Run: chmod 600 {path}")


@POSIX
@pytest.mark.parametrize(("mode", "good"), [(0o440, True), (0o444, False)])
def test_a_group_may_read_what_is_mounted_for_it(
    path: Path, mode: int, good: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(path, TEXT, mode)
    monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)
    if good:
        assert load_owner(path).secret == SECRET
    else:
        refused(path)


def make_folder(path: Path) -> None:
    path.mkdir()


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


def make_loop(path: Path) -> None:
    path.symlink_to(path)


@POSIX
@pytest.mark.parametrize("make", [make_folder, make_pipe, make_loop])
def test_what_cannot_be_read_is_not_made_anew(
    path: Path, make: Callable[[Path], None]
) -> None:
    make(path)
    assert f"the file {path} cannot be used (" in refused(path)
    assert [p.name for p in path.parent.iterdir()] == ["owner"]


def test_where_no_file_can_be_it_is_refused(tmp_path: Path) -> None:
    assert "its folder is missing" in refused(tmp_path / "missing" / "owner")
    (tmp_path / "file").touch()
    assert "cannot be used" in refused(tmp_path / "file" / "owner")


def test_a_disk_that_is_full_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert "No space left" in refused(path)
    assert [p.name for p in path.parent.iterdir()] == ["owner.lock"]


def test_a_secret_in_place_of_a_path_is_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "holds a secret itself" in refused(Path(TEXT.decode()))
    assert list(tmp_path.iterdir()) == []


@POSIX
def test_a_link_stays_and_its_target_is_made(path: Path, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    path.symlink_to(tmp_path / "folder" / "target")
    made = load_owner(path)
    assert path.is_symlink()
    assert load_owner(tmp_path / "folder" / "target").secret == made.secret


LOAD = """
    import sys
    from pathlib import Path
    from stainedglass_output_protection.client.owner import load_owner

    print("ready", flush=True)
    sys.stdin.readline()
    print(load_owner(Path(sys.argv[1])).secret.hex())
"""


def test_processes_that_make_it_at_once_end_with_the_same(path: Path) -> None:
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(LOAD), str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(6)
    ]
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    secrets = {worker.communicate(timeout=60)[0].strip() for worker in workers}
    assert secrets == {load_owner(path).secret.hex()}


def test_threads_that_make_it_at_once_end_with_the_same(path: Path) -> None:
    with ThreadPoolExecutor(16) as pool:
        secrets = {made.secret for made in pool.map(load_owner, [path] * 16)}
    assert len(secrets) == 1


def test_one_that_came_first_is_taken(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked = private_files.locked

    def late(name: Path) -> object:
        write(path, TEXT)
        return locked(name)

    monkeypatch.setattr(owner, "locked", late)
    assert load_owner(path).secret == SECRET


def test_it_does_not_show() -> None:
    made = Owner(SECRET)
    for shown in (repr(made), str(made), f"{made}", f"{[made]}"):
        assert "redacted" in shown
        assert repr(SECRET)[2:-1] not in shown
    assert not hasattr(made, "__dict__")
