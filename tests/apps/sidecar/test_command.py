"""The command: where it listens, how it ends, and what it says to a wrong option."""

from __future__ import annotations

import asyncio
import signal
import socket
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.apps.proxy.running import unused_port
from tests.apps.sidecar.engines import (
    FIRST_EVENT,
    STREAM_HEAD,
    Asked,
    Engine,
    answering,
    chunk,
    events,
    running,
    saying,
)
from tests.apps.sidecar.sidecars import (
    client_of,
    command,
    posted,
    refused,
)
from tests.asgi.applications import ASK, CANARY, CHAT, Identity, answer
from tests.asgi.serving import TIMEOUT_S

STREAM = {**ASK, "stream": True}
HERE = ("--upstream", "http://127.0.0.1:8000")


class Holding:
    """An engine that ends its stream when it is told to."""

    def __init__(self) -> None:
        self.may_end = threading.Event()

    async def __call__(self, asked: Asked, writer: Any) -> None:
        first, *rest = events()
        writer.write(STREAM_HEAD + chunk(first))
        await writer.drain()
        await asyncio.to_thread(self.may_end.wait, 60)
        for it in rest:
            writer.write(chunk(it))
        writer.write(chunk(b""))


def test_a_stream_that_runs_at_sigterm_ends_whole(identity: Identity) -> None:
    holding = Holding()
    with (
        running(Engine(holding)) as engine,
        command("--upstream", engine.address) as sidecar,
        client_of(identity) as client,
        client.stream("POST", sidecar.url + CHAT, json=STREAM) as told,
    ):
        pieces = told.iter_raw()
        read = next(pieces)
        sidecar.stop()
        # It takes nobody else any more, and lets this one end.
        wait_until_refused(sidecar.url)
        holding.may_end.set()
        read += b"".join(pieces)
        status, log = sidecar.ended()

    assert read == b"".join(events())
    assert status == 0
    assert CANARY not in log


def test_a_stream_that_runs_on_after_the_grace_ends_with_an_error(
    identity: Identity,
) -> None:
    serve = saying(STREAM_HEAD + chunk(FIRST_EVENT), closes=False)
    with (
        running(Engine(serve)) as engine,
        command("--upstream", engine.address, "--grace", "0") as sidecar,
        client_of(identity) as client,
        client.stream("POST", sidecar.url + CHAT, json=STREAM) as told,
    ):
        pieces = told.iter_raw()
        read = next(pieces)
        sidecar.stop()
        read += b"".join(pieces)
        status, log = sidecar.ended()

    assert b"The server failed while it was answering." in read
    assert "sidecar_stopped" in log
    assert status == 0


def test_an_answer_that_had_not_begun_after_the_grace_is_a_sealed_error(
    identity: Identity,
) -> None:
    has_come = threading.Event()

    async def silent(asked: Asked, writer: Any) -> None:
        has_come.set()
        await asked.reader.read()
        writer.close()

    with (
        running(Engine(silent)) as engine,
        command("--upstream", engine.address, "--grace", "0") as sidecar,
        ThreadPoolExecutor(1) as asking,
    ):
        coming = asking.submit(posted, sidecar.url, identity, ASK)
        assert has_come.wait(60)
        sidecar.stop()
        told = coming.result(60)
        status, _ = sidecar.ended()

    assert told.status_code == 503
    assert told.headers["x-output-protection"] == "opened"
    error = told.json()["error"]
    assert error["code"] == "sidecar_stopped"
    assert error["message"] == "The server was stopped while it was answering."
    assert status == 0


def test_a_signal_while_it_starts_ends_it() -> None:
    with command(*HERE) as sidecar:
        sidecar.stop()
        status, log = sidecar.ended()

    assert status in (0, -signal.SIGTERM)
    assert "Traceback" not in log


def wait_until_refused(url: str) -> None:
    """Wait until nobody listens any more."""
    host, _, port = url.removeprefix("http://").partition(":")
    while True:
        try:
            with socket.create_connection((host, int(port))):
                pass
        except ConnectionResetError:
            continue  # It was closing just then.
        except ConnectionRefusedError:
            return


def test_it_says_where_it_is_and_whose(identity: Identity) -> None:
    with (
        running(Engine(answering())) as engine,
        command("--upstream", engine.address) as sidecar,
    ):
        told = posted(sidecar.url, identity, ASK)
        sidecar.stop()
        status, log = sidecar.ended()

    assert told.json() == answer()
    assert engine.address in sidecar.said
    assert f"SG_SERVER_IDENTITY={identity.fingerprint}" in log
    assert (status, "Traceback" in log) == (0, False)


@pytest.mark.parametrize("is_left", [False, True])
def test_at_a_socket(identity: Identity, tmp_path: Path, is_left: bool) -> None:
    path = tmp_path / "sidecar.sock"
    if is_left:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as gone:
            gone.bind(str(path))
    with (
        running(Engine(answering())) as engine,
        command("--upstream", engine.address, "--uds", str(path)) as sidecar,
    ):
        assert stat.S_ISSOCK(path.stat().st_mode)
        with httpx2.Client(
            transport=httpx2.HTTPTransport(uds=str(path)), timeout=TIMEOUT_S
        ) as client:
            told = client.get("http://sidecar/.well-known/output-protection")
        sidecar.stop()
        status, _ = sidecar.ended()

    assert told.json()["identity"] == identity.fingerprint
    assert status == 0
    assert not path.exists()


def test_a_socket_where_somebody_listens(tmp_path: Path) -> None:
    path = tmp_path / "taken.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
        other.bind(str(path))
        other.listen(128)
        assert "Address already in use" in refused(*HERE, "--uds", str(path))
        assert path.exists()


def test_a_port_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=128) as taken:
        port = str(taken.getsockname()[1])
        assert (
            f"Port {port} on 127.0.0.1 is taken: choose another with --port, or"
            in refused(*HERE, "--port", port)
        )


@pytest.mark.parametrize(
    ("options", "variables", "words"),
    [
        ((), {}, "--upstream"),
        *(
            (("--upstream", "http://127.0.0.1", name, value), {}, "a finite number")
            for name in ("--timeout", "--connect-timeout", "--health-timeout")
            for value in ("nan", "inf")
        ),
        (("--upstream", "unix:"), {}, "or unix:PATH"),
        (("--upstream", "127.0.0.1:30000"), {}, "http://127.0.0.1:30000 or unix:PATH"),
        (
            ("--upstream", "ftp://127.0.0.1"),
            {},
            "--upstream must be the engine's address",
        ),
        (("--upstream", "http://me:secret@127.0.0.1"), {}, "without a name, password"),
        (("--upstream", "http://10.0.0.9:8000"), {}, "--allow-clear-upstream"),
        (("--upstream", "http://engine:8000"), {}, "--allow-clear-upstream"),
        ((*HERE, "--ca-file", "/nowhere"), {}, "CA file /nowhere"),
        ((*HERE, "--health-path", "health"), {}, "must be a path like /health"),
        ((*HERE, "--health-path", "/a b"), {}, "must be a path like /health"),
        ((*HERE, "--host", "203.0.113.9"), {}, "The sidecar cannot listen on 203"),
        ((*HERE, "--uds", "/nowhere/s"), {}, "cannot listen at /nowhere/s"),
        (HERE, {"SG_KEYLESS_REQUESTS": "maybe"}, "SG_KEYLESS_REQUESTS must be one of"),
        (HERE, {"SG_IDENTITY_KEY_FILE": "/nowhere"}, "/nowhere cannot be read"),
    ],
    ids=lambda value: " ".join(value)[-40:] if isinstance(value, tuple) else "",
)
def test_a_wrong_option(
    options: tuple[str, ...], variables: dict[str, str], words: str
) -> None:
    said = refused(*options, **variables)

    assert words in said
    assert "secret" not in said


def test_evidence_that_cannot_be_had_keeps_it_from_starting(
    identity: Identity, tmp_path: Path
) -> None:
    (tmp_path / "evidence_of_none.py").write_text(
        "def give(digest):\n    raise OSError\n"
    )
    said = refused(
        *HERE,
        *("--port", "0"),
        SG_EVIDENCE_PROVIDER="evidence_of_none:give",
        PYTHONPATH=f"{tmp_path}:{Path(__file__).parents[3]}",
    )

    assert "could not start" in said


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "127.0.0.2"])
def test_an_engine_that_is_the_sidecar_itself(name: str) -> None:
    port = str(unused_port())
    here = "127.0.0.1" if name == "127.0.0.1" else "0.0.0.0"
    said = refused(
        *("--upstream", f"http://{name}:{port}", "--host", here, "--port", port)
    )

    assert "where the sidecar itself listens" in said


def test_a_socket_that_is_the_sidecar_s_own(tmp_path: Path) -> None:
    path = str(tmp_path / "own.sock")

    assert "itself listens" in refused("--upstream", f"unix:{path}", "--uds", path)
