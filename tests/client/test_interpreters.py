"""The client on the other supported interpreters, with ``httpx`` and no SDK."""

from __future__ import annotations

import pytest

from tests.client.environments import environment, run_script
from tests.client.fake_server import ANSWER, FakeServer


@pytest.mark.parametrize("version", ["3.10", "3.12", "3.13"])
def test_an_interpreter(version: str, server: FakeServer) -> None:
    python = environment(
        f"venv-python{version}", f"python{version}", "httpx>=0.27,<0.29"
    )
    printed = run_script(
        python,
        "interpreter_script.py",
        server.base_url,
        server.fingerprint,
        server.profile,
    )
    assert printed.splitlines() == [*ANSWER.splitlines(), "httpx Client"]
