"""TLS between the proxy and the server."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import uvicorn

from tests.apps.proxy.certificates import certificate
from tests.apps.proxy.running import proxied, served
from tests.apps.proxy.test_failures import refused
from tests.client.drivers import protection_for
from tests.client.sealed_server import SealedServer


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    return certificate(tmp_path, "server")


@pytest.fixture
def sealed() -> SealedServer:
    return SealedServer()


@pytest.fixture
def tls_url(sealed: SealedServer, files: tuple[Path, Path]) -> Iterator[str]:
    certificate_file, key_file = map(str, files)
    config = uvicorn.Config(
        sealed,
        lifespan="off",
        log_level="error",
        ssl_certfile=certificate_file,
        ssl_keyfile=key_file,
    )
    with served(config) as port, contextlib.nullcontext():
        yield f"https://127.0.0.1:{port}/v1"


def test_a_certificate_of_an_authority_that_was_named(
    sealed: SealedServer, tls_url: str, files: tuple[Path, Path]
) -> None:
    with proxied(tls_url, protection_for(sealed), ca_file=files[0]) as proxy:
        answer = httpx.post(f"{proxy.v1}/chat/completions", json={"messages": []})

    assert answer.status_code == 200


def test_a_certificate_of_nobody_is_refused(
    sealed: SealedServer, tls_url: str, tmp_path: Path
) -> None:
    other, _ = certificate(tmp_path, "other")
    for ca_file in (None, other):
        with proxied(tls_url, protection_for(sealed), ca_file=ca_file) as proxy:
            assert refused(proxy) == (502, "tls_failed", "false")

    assert not sealed.received


def test_a_server_without_tls_is_refused(server: SealedServer) -> None:
    url = server.base_url.replace("http:", "https:")
    with proxied(url, protection_for(server)) as proxy:
        assert refused(proxy) == (502, "tls_failed", "false")

    assert not server.received
