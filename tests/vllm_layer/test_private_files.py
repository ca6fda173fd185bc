"""Files that only this user can use: made for children, gone at the end."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from stainedglass_output_protection.vllm import private_files
from stainedglass_output_protection.vllm.private_files import (
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
        "from stainedglass_output_protection.vllm import private_files\n"
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

    monkeypatch.setattr(private_files.os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        write_new_file(tmp_path / "new", b"content")
    assert list(tmp_path.iterdir()) == []
    assert make_private_folder().exists()
