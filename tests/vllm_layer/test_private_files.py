"""Files that only this user can use: made for children, gone at the end."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from stainedglass_output_protection.hosting import private_files
from stainedglass_output_protection.hosting.private_files import (
    make_private_file,
    make_private_folder,
    read_private_file,
    write_new_file,
)

ROOT = Path(__file__).resolve().parents[2]


def test_a_private_file_can_be_read_and_changed_by_path_and_by_nobody_else() -> None:
    path = make_private_file("test", b"content")
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_private_file(path) == b"content"
    path.write_bytes(b"other")
    assert read_private_file(path) == b"other"


def test_without_files_in_memory_it_lies_in_a_private_folder(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(os, "memfd_create", raising=False)
    path = make_private_file("test", b"content")
    assert read_private_file(path) == b"content"
    assert path.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("folder", ["/dev/shm", "/nowhere"])
def test_the_folder_is_private_and_goes_with_its_process(
    monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    program = (
        "import os\n"
        "from stainedglass_output_protection.hosting import private_files\n"
        f"private_files._MEMORY_FOLDER = {folder!r}\n"
        "path = private_files.make_private_folder()\n"
        "(path / 'replay').write_bytes(b'x')\n"
        "print(path, oct(path.stat().st_mode & 0o777))\n"
        "if os.fork() == 0:\n"
        "    raise SystemExit\n"
        "os.wait()\n"
        "print(path.exists())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    path, mode, existed = done.stdout.split()
    assert (mode, existed) == ("0o700", "True")
    assert path.startswith("/dev/shm/") == (folder == "/dev/shm")
    assert not Path(path).exists()


def holder(folder: Path) -> subprocess.Popen[str]:
    """Start a process that makes a private folder there, and prints where."""
    program = (
        "from stainedglass_output_protection.hosting import private_files\n"
        f"private_files._MEMORY_FOLDER = {str(folder)!r}\n"
        "path = private_files.make_private_folder()\n"
        "(path / 'replay').write_bytes(b'x')\n"
        "print(path, flush=True)\n"
        "input()\n"
    )
    return subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )


def folder_of(process: subprocess.Popen[str]) -> Path:
    assert process.stdout is not None
    return Path(process.stdout.readline().strip())


def abandoned(parent: Path) -> Path:
    """Return the folder of a process that was killed."""
    with holder(parent) as killed:
        folder = folder_of(killed)
        killed.kill()
    assert (folder / "replay").exists()
    return folder


def test_what_a_killed_server_left_is_removed_and_what_a_living_one_uses_stays(
    tmp_path: Path,
) -> None:
    with holder(tmp_path) as living:
        kept = folder_of(living)
        left = abandoned(tmp_path)
        with holder(tmp_path) as next_one:
            made = folder_of(next_one)
            assert not left.exists()
            assert (kept / "replay").exists()
            next_one.communicate("\n")
        assert not made.exists()
        assert (kept / "replay").exists()
        living.communicate("\n")
    assert list(tmp_path.iterdir()) == []


def test_a_child_that_outlives_a_killed_server_keeps_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(private_files, "_MEMORY_FOLDER", str(tmp_path))
    program = (
        "import os\n"
        "from stainedglass_output_protection.hosting import private_files\n"
        f"private_files._MEMORY_FOLDER = {str(tmp_path)!r}\n"
        "path = private_files.make_private_folder()\n"
        "if os.fork() == 0:\n"
        "    print(path, flush=True)\n"
        "    input()\n"
        "    os._exit(0)\n"
        "os._exit(0)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as parent:
        kept = folder_of(parent)
        parent.wait()
        make_private_folder()
        assert kept.exists()
        # Its output ends with the child.
        parent.communicate("\n")
    make_private_folder()
    assert not kept.exists()


def test_nothing_but_an_abandoned_folder_of_this_user_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared, elsewhere = tmp_path / "shared", tmp_path / "elsewhere"
    shared.mkdir()
    elsewhere.mkdir()
    monkeypatch.setattr(private_files, "_MEMORY_FOLDER", str(shared))
    left = abandoned(elsewhere)
    file = elsewhere / "file"
    file.write_bytes(b"x")
    # A link to what would be removed, a folder of an earlier version, a plain file.
    link = shared / "sg-vllm-link"
    link.symlink_to(left)
    earlier = shared / "sg-vllm-earlier"
    earlier.mkdir()
    (earlier / "replay").write_bytes(b"x")
    (shared / "sg-vllm-file").write_bytes(b"x")
    links = abandoned(shared)
    (links / "within").symlink_to(elsewhere)
    # A lock that is a link: it would be somebody else's lock.
    unsure = abandoned(shared)
    (unsure / private_files._LOCK).unlink()
    (unsure / private_files._LOCK).symlink_to(file)
    make_private_folder()
    assert not links.exists()
    assert (left / "replay").exists()
    assert file.exists()
    assert {link, earlier, shared / "sg-vllm-file", unsure} < set(shared.iterdir())


def test_what_another_user_left_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = abandoned(tmp_path)
    monkeypatch.setattr(private_files, "_MEMORY_FOLDER", str(tmp_path))
    user = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: user + 1)
    make_private_folder()
    assert (left / "replay").exists()
    monkeypatch.setattr(os, "geteuid", lambda: user)
    make_private_folder()
    assert not left.exists()


def test_a_new_file_never_replaces_one(tmp_path: Path) -> None:
    path = tmp_path / "new"
    previous = os.umask(0)
    try:
        write_new_file(path, b"first")
    finally:
        os.umask(previous)
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(FileExistsError):
        write_new_file(path, b"second")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    with pytest.raises(FileExistsError):
        write_new_file(tmp_path / "link", b"through a link")
    assert path.read_bytes() == b"first"
    assert not (tmp_path / "target").exists()


def test_a_write_that_fails_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(descriptor: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        write_new_file(tmp_path / "new", b"content")
    assert list(tmp_path.iterdir()) == []
    assert make_private_folder().exists()
