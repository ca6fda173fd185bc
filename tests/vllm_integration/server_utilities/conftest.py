"""Servers without an engine: with every option of a row's, on a Unix socket, discarding."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from stainedglass_output_protection.client import protected_client
from stainedglass_output_protection.client.httpx2_binding import ProtectedTransport
from stainedglass_output_protection.client.protection import Protection
from tests.apps.doctor.certificates import self_signed
from tests.vllm_integration.asking import TIMEOUT_S
from tests.vllm_integration.conftest import Identity, Say
from tests.vllm_integration.server_utilities.stub_engine import MODEL_NAME
from tests.vllm_integration.servers import (
    MODEL_PATH,
    Server,
    free_port,
    launch,
    tail,
    wait_for,
)

STUB = (
    "tests.vllm_integration.server_utilities.stub_engine",
    "serve",
    str(MODEL_PATH),
    *("--served-model-name", MODEL_NAME),
)
ROOT_PATH = "/x"
TOKENS = ("sk-Ferngully-first", "sk-Ferngully-second")
ORIGIN = "https://app.example"
READY = "/.well-known/output-protection/ready"
# What the log-config file makes of an access line, so that it is known to be used.
ACCESS_MARK = "ACCESS BY FILE"
START_LIMIT_S = 300.0

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


@dataclass(frozen=True)
class Flagged:
    """The server with the options, and what its clients need."""

    server: Server
    identity: str
    tls: ssl.SSLContext
    access_log: Path

    @property
    def url(self) -> str:
        """Where it serves, below its root path."""
        return f"https://127.0.0.1:{self.server.port}{ROOT_PATH}"

    def plain(self, token: str | None = None, **options: Any) -> httpx2.Client:
        """Return a client without protection."""
        return httpx2.Client(
            base_url=self.url,
            verify=self.tls,
            timeout=TIMEOUT_S,
            headers=bearer(token),
            **options,
        )

    def protected(
        self, profile: str = "sealed", token: str | None = TOKENS[0]
    ) -> httpx2.Client:
        """Return a pinned client."""
        client: httpx2.Client = protected_client(
            identity=self.identity,
            profile=profile,
            library="httpx2",
            base_url=self.url,
            verify=self.tls,
            timeout=TIMEOUT_S,
            headers=bearer(token),
        )
        return client

    def counted(self) -> Samples:
        """Return the protection's own numbers."""
        with self.plain() as client:
            return counted_by(client)


@dataclass(frozen=True)
class OnSocket:
    """The server on a Unix socket."""

    server: Server
    path: Path
    identity: str

    def is_listening(self) -> bool:
        """Tell whether it takes connections: the library loses those that it refuses."""
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(self.path)) == 0

    def plain(self) -> httpx2.Client:
        """Return a client without protection."""
        return httpx2.Client(
            transport=httpx2.HTTPTransport(uds=str(self.path)),
            base_url="http://server",
            timeout=TIMEOUT_S,
        )

    def protected(self, profile: str) -> httpx2.Client:
        """Return a pinned client."""
        return httpx2.Client(
            transport=ProtectedTransport(
                httpx2.HTTPTransport(uds=str(self.path)),
                protection=Protection.load(self.identity, profile=profile),
            ),
            base_url="http://server",
            timeout=TIMEOUT_S,
        )


@pytest.fixture(scope="package")
def flagged(folder: Path, identity: Identity, say: Say) -> Iterator[Flagged]:
    """API keys, a root path, TLS for both sides, request ids, logs of everything.

    Its evidence fails once (row 13), and an epoch is made each second.
    """
    certificate, key = folder / "tls certificate.pem", folder / "tls key.pem"
    for path, content in zip((certificate, key), self_signed(), strict=True):
        path.write_bytes(content)
    access_log = folder / "access by file.log"
    port = free_port()
    process, log_path = launch(
        "server utilities",
        (
            *STUB,
            *("--host", "127.0.0.1", "--port", str(port)),
            *("--api-key", *TOKENS, "--root-path", ROOT_PATH),
            *("--ssl-keyfile", str(key), "--ssl-certfile", str(certificate)),
            *("--ssl-ca-certs", str(certificate), "--ssl-cert-reqs", "2"),
            *("--enable-request-id-headers", "--log-error-stack"),
            *("--allowed-origins", json.dumps([ORIGIN])),
            *("--log-config-file", str(_write_log_config(folder, access_log))),
        ),
        folder,
        {
            "VLLM_DEBUG_LOG_API_SERVER_RESPONSE": "true",
            "SG_IDENTITY_KEY_FILE": str(identity.path),
            "SG_KEY_REFRESH_TIME_S": "1",
            # What is sealed to a key finds it, however slow the machine.
            "SG_KEY_OVERLAP_EPOCHS": "100",
            "SG_EVIDENCE_PROVIDER": (
                "tests.vllm_integration.server_utilities.evidence:fails_once"
            ),
        },
    )
    tls = ssl.create_default_context(cafile=str(certificate))
    tls.load_cert_chain(certificate, key)
    server = Server(port, process, log_path)
    made = Flagged(server, identity.fingerprint, tls, access_log)
    with _running(server, say, made.plain):
        yield made


@pytest.fixture(scope="package")
def on_socket(
    folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
    identity: Identity,
    say: Say,
) -> Iterator[OnSocket]:
    """A Unix socket, and an access log without the paths that probes ask for."""
    # A socket's path has to be short.
    path = tmp_path_factory.mktemp("uds") / "s"
    process, log_path = launch(
        "unix socket",
        (
            *STUB,
            *("--uds", str(path)),
            *("--disable-access-log-for-endpoints", f"/health,{READY}"),
        ),
        folder,
        {"SG_IDENTITY_KEY_FILE": str(identity.path)},
    )
    server = Server(0, process, log_path)
    made = OnSocket(server, path, identity.fingerprint)
    with _running(server, say, made.plain, made.is_listening):
        yield made


@pytest.fixture(scope="module")
def discarding(folder: Path, identity: Identity, say: Say) -> Iterator[Server]:
    """A server that answers to nobody what has no client key."""
    port = free_port()
    process, log_path = launch(
        "discarding",
        (*STUB, "--host", "127.0.0.1", "--port", str(port)),
        folder,
        {
            "SG_IDENTITY_KEY_FILE": str(identity.path),
            "SG_KEYLESS_REQUESTS": "discard",
        },
    )
    server = Server(port, process, log_path)
    with _running(
        server, say, lambda: httpx2.Client(base_url=server.url, timeout=TIMEOUT_S)
    ):
        yield server


def counted_by(client: httpx2.Client) -> Samples:
    """Return the protection's own numbers of a client's server."""
    answer = client.get("/metrics")
    assert answer.status_code == 200
    return {
        (
            sample.name.removeprefix("output_protection_"),
            frozenset(sample.labels.items()),
        ): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
        if sample.name.startswith("output_protection_")
    }


def bearer(token: str | None) -> dict[str, str]:
    """Return the headers that carry an API key."""
    return {} if token is None else {"authorization": f"Bearer {token}"}


def said(words: str, **members: Any) -> dict[str, Any]:
    """Return the body of a chat."""
    return {
        "model": MODEL_NAME,
        "messages": [{"role": "user", "content": words}],
        **members,
    }


@contextlib.contextmanager
def _running(
    server: Server,
    say: Say,
    client_of: Callable[[], httpx2.Client],
    is_listening: Callable[[], bool] = lambda: True,
) -> Iterator[None]:
    def is_up() -> bool:
        assert server.process.poll() is None, tail(server.log_path)
        if not is_listening():
            return False
        with client_of() as client, contextlib.suppress(httpx2.TransportError):
            return client.get("/health").status_code == 200
        return False

    try:
        wait_for(is_up, "the server", START_LIMIT_S)
        say(f"{server.log_path.stem}: up")
        yield
    finally:
        server.end()


def _write_log_config(folder: Path, access_log: Path) -> Path:
    """Write a file for ``--log-config-file``; access lines go to ``access_log``."""
    config = {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"access": {"format": f"{ACCESS_MARK} %(message)s"}},
        "handlers": {
            "access": {
                "class": "logging.FileHandler",
                "filename": str(access_log),
                "formatter": "access",
            },
            "error": {"class": "logging.StreamHandler"},
        },
        "loggers": {
            "uvicorn.access": {
                "handlers": ["access"],
                "level": "INFO",
                "propagate": False,
            },
            "uvicorn.error": {"handlers": ["error"], "level": "INFO"},
            # The file is for vLLM's own lines too, and ours are below those.
            "vllm": {"handlers": ["error"], "level": "DEBUG", "propagate": False},
        },
    }
    path = folder / "log config.json"
    path.write_text(json.dumps(config))
    return path
