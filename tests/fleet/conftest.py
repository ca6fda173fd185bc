"""A fleet's files, and routers that are not told about this machine's proxies."""

from __future__ import annotations

import os

import pytest

from tests.fleet.kinds import STACK_VARIABLE
from tests.fleet.light import Fleet


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("SG_") and name != STACK_VARIABLE:
            monkeypatch.delenv(name)
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture(scope="package")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    """A fleet with a new epoch each second."""
    return Fleet.make(tmp_path_factory.mktemp("fleet"))
