"""TLS between the proxy and the server."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.apps.proxy.running import proxied, served
from tests.apps.proxy.test_failures import refused
from tests.client.drivers import protection_for
from tests.client.sealed_server import SealedServer


def _certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """Write a certificate for 127.0.0.1 that signs itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.timezone.utc)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate_file, key_file = folder / f"{name}.pem", folder / f"{name}.key"
    certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return certificate_file, key_file


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    return _certificate(tmp_path, "server")


@pytest.fixture
def sealed() -> SealedServer:
    return SealedServer()


@pytest.fixture
def tls_url(sealed: SealedServer, files: tuple[Path, Path]) -> Iterator[str]:
    certificate, key = map(str, files)
    config = uvicorn.Config(
        sealed,
        lifespan="off",
        log_level="error",
        ssl_certfile=certificate,
        ssl_keyfile=key,
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
    other, _ = _certificate(tmp_path, "other")
    for ca_file in (None, other):
        with proxied(tls_url, protection_for(sealed), ca_file=ca_file) as proxy:
            assert refused(proxy) == (502, "tls_failed", "false")

    assert not sealed.received


def test_a_server_without_tls_is_refused(server: SealedServer) -> None:
    url = server.base_url.replace("http:", "https:")
    with proxied(url, protection_for(server)) as proxy:
        assert refused(proxy) == (502, "tls_failed", "false")

    assert not server.received
