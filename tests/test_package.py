"""The built wheel is what users get: pure, typed, and importable by itself."""

from __future__ import annotations

import email
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SERVER_SIDE = ("starlette", "fastapi", "pydantic", "vllm", "torch", "uvicorn", "click")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--outdir", str(folder)]
    subprocess.run([*command, str(ROOT)], check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


def metadata(wheel: Path) -> email.message.Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (it for it in archive.namelist() if it.endswith("METADATA"))
        return email.message_from_bytes(archive.read(name))


def test_the_wheel_is_pure_and_typed(wheel: Path) -> None:
    assert wheel.name.endswith("-py3-none-any.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert "stainedglass_output_protection/py.typed" in names
    assert not [name for name in names if name.startswith("tests/")]


def test_without_extras_only_two_libraries_are_needed(wheel: Path) -> None:
    needs = [str(it) for it in metadata(wheel).get_all("Requires-Dist", [])]
    plain = {it.split(">")[0].split("<")[0] for it in needs if "extra ==" not in it}
    assert plain == {"cryptography", "msgspec"}


def test_a_client_install_pulls_no_server_code(wheel: Path) -> None:
    needs = [str(it) for it in metadata(wheel).get_all("Requires-Dist", [])]
    client = [it for it in needs if "extra == 'client'" in it]
    assert client
    assert not [it for it in client if it.startswith(SERVER_SIDE)]


def test_a_server_install_never_changes_vllm(wheel: Path) -> None:
    needs = [str(it) for it in metadata(wheel).get_all("Requires-Dist", [])]
    server = [it for it in needs if "extra == 'server'" in it]
    assert server
    assert not [it for it in server if it.startswith(("vllm", "torch", "fastapi"))]


def test_the_installed_wheel_is_used_and_not_the_checkout(
    wheel: Path, tmp_path: Path
) -> None:
    target = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
    subprocess.run([*pip, "--target", str(target), str(wheel)], check=True)
    program = (
        f"import sys; sys.path.insert(0, {str(target)!r})\n"
        "import stainedglass_output_protection.client as client\n"
        "import stainedglass_output_protection.apps.cli, os\n"
        "print(os.path.dirname(os.path.dirname(client.__file__)))"
    )
    done = subprocess.run(
        [sys.executable, "-Ic", program],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    assert Path(done.stdout.strip()).parent == target
