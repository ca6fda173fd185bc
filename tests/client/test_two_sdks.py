"""One program with two SDKs that are built on different HTTP libraries."""

from __future__ import annotations

import sys

import pytest

from tests.apps.proxy.apis import speaking
from tests.client.environments import environment, run_script
from tests.client.fake_server import ANSWER, serve
from tests.client.sealed_server import SealedServer


@pytest.mark.parametrize(
    ("name", "sdks", "libraries"),
    [
        (
            "venv-openai-1-anthropic-2",
            ["openai==1.109.1", "anthropic>=2,<3"],
            ["httpx", "httpx2"],
        ),
        (
            "venv-openai-3-anthropic-0",
            ["openai>=3,<4", "anthropic>=0.120,<1"],
            ["httpx2", "httpx"],
        ),
    ],
    ids=["openai 1, anthropic 2", "openai 3, anthropic 0"],
)
def test_each_sdk_has_a_client_of_its_library(
    name: str, sdks: list[str], libraries: list[str]
) -> None:
    python = environment(name, sys.executable, *sdks)
    with serve(speaking(SealedServer())) as server:
        url = server.base_url.removesuffix("/v1")
        printed = run_script(
            python, "two_sdks_script.py", *libraries, url, server.fingerprint
        )
        refused = ["IdentityMismatchError"] * 4
        assert printed.splitlines() == ["UsageError", *[ANSWER] * 4, *refused]
        # Four that were answered; of each other one only the key document was asked.
        assert len(server.attempts) == 4
        assert len(server.received) == 4 + 8
