"""The client in JavaScript against a real server behind the middleware."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from stainedglass_output_protection.protocol.constants import DOCUMENT_PATH
from stainedglass_output_protection.protocol.identity import IdentityKey
from stainedglass_output_protection.server.clock import unix_ms
from stainedglass_output_protection.server.epochs import EpochTimes
from stainedglass_output_protection.server.key_ring import KeyRing
from stainedglass_output_protection.server.own_epochs import OwnEpochs
from tests.asgi_driver import make_ring
from tests.interop import node
from tests.interop.live import ANSWER, CHAT, EVENTS, ASGIApp, Served, Wire, serve

SECRET_WORD = "cerulean"
SEALED, OUTPUT = ("--profile", "sealed"), ("--profile", "output")
WAYS = {
    "output": OUTPUT,
    "suite 1": (*SEALED, "--suite", "1"),
    "suite 2": (*SEALED, "--suite", "2"),
}
ways = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
sealed_ways = pytest.mark.parametrize("way", [*WAYS.values()][1:], ids=[*WAYS][1:])


def question(**members: Any) -> bytes:
    asked = {"model": "tiny", "messages": [{"role": "user", "content": SECRET_WORD}]}
    return json.dumps({**asked, **members}).encode()


STREAMED, UNARY = question(stream=True), question()


class Said(NamedTuple):
    """What the client printed: opened bytes, and what it said of the answer."""

    opened: bytes
    words: str

    @property
    def report(self) -> Any:
        return json.loads(self.words)

    @property
    def error(self) -> str:
        return self.words.splitlines()[-1].partition(":")[0]


@pytest.fixture
def served() -> Served:
    return Served()


@pytest.fixture
def body_file(tmp_path: Path) -> Path:
    return tmp_path / "body.json"


def arguments(
    url: str, served: Served, body: bytes, path: Path, *way: str
) -> list[str]:
    path.write_bytes(body)
    pin = served.ring.identity.fingerprint
    return ["chat", url + CHAT, "--identity", pin, "--body", str(path), *way]


def chat(app: ASGIApp, served: Served, body: bytes, path: Path, *way: str) -> Said:
    with serve(app) as url:
        running = node.start(*arguments(url, served, body, path, *way))
        opened, words = running.communicate(timeout=node.TIMEOUT_S)
    return Said(opened, words.decode())


# Answers


@ways
@pytest.mark.parametrize("container", ["fields", "opaque"])
@pytest.mark.parametrize("body", [STREAMED, UNARY], ids=["stream", "unary"])
def test_a_chat(
    served: Served, body_file: Path, way: tuple[str, ...], container: str, body: bytes
) -> None:
    wire = Wire(served.app())
    said = chat(wire, served, body, body_file, *way, "--container", container)
    assert said.report["status"] == 200
    assert said.report["isAuthenticated"]
    if body == STREAMED:
        assert said.opened == b"".join(EVENTS)
        assert said.report["contentType"].startswith("text/event-stream")
    else:
        assert json.loads(said.opened)["choices"][0]["message"]["content"] == ANSWER
    (received,) = served.received
    # In a sealed request, with a cache salt of the owner's.
    assert json.loads(received).items() >= json.loads(body).items()
    if way != OUTPUT:
        assert SECRET_WORD.encode() not in b"".join(wire.requests)
    assert ANSWER.split()[0].encode() not in b"".join(wire.answers)


@ways
def test_events_are_opened_as_they_come(
    served: Served, body_file: Path, way: tuple[str, ...]
) -> None:
    served.may_end.clear()
    with serve(served.app()) as url:
        running = node.start(*arguments(url, served, STREAMED, body_file, *way))
        assert running.stdout is not None
        early = b"".join(EVENTS[:2])
        came = running.stdout.read(len(early))
        served.may_end.set()
        rest, words = running.communicate(timeout=node.TIMEOUT_S)
    assert came == early
    assert came + rest == b"".join(EVENTS), words


@ways
def test_an_error_of_the_application_is_sealed_too(
    served: Served, body_file: Path, way: tuple[str, ...]
) -> None:
    said = chat(served.app(), served, question(model="unknown"), body_file, *way)
    assert said.report["status"] == 404
    assert said.report["isAuthenticated"]
    assert json.loads(said.opened)["error"]["message"] == ANSWER


def test_an_error_that_is_not_sealed_is_marked(served: Served, body_file: Path) -> None:
    app = served.app(requires_sealed=True)
    said = chat(app, served, UNARY, body_file, *OUTPUT)
    assert (said.report["status"], said.report["isAuthenticated"]) == (400, False)
    assert json.loads(said.opened)["error"]["code"] == "sealed_request_required"


@ways
def test_another_identity_is_refused(
    served: Served, body_file: Path, way: tuple[str, ...]
) -> None:
    said = chat(Served().app(), served, STREAMED, body_file, *way)
    assert (said.opened, said.error) == (b"", "IdentityMismatchError")


def test_the_machine_s_node_chats_in_suite_1(served: Served, body_file: Path) -> None:
    machines = node.on_path()
    if machines is None:
        pytest.skip("this machine has no Node of its own; the newest one is tested")
    for way in (WAYS["output"], WAYS["suite 1"]):
        with serve(served.app()) as url:
            given = arguments(url, served, STREAMED, body_file, *way)
            running = node.start(*given, node=machines)
            opened, words = running.communicate(timeout=node.TIMEOUT_S)
        assert opened == b"".join(EVENTS), words


# Key documents


class Shown:
    """On the way, somebody answers for the server's key document."""

    def __init__(self, app: ASGIApp, status: int, document: str = "") -> None:
        self._app = app
        self._status = status
        self._body = json.dumps({"document": document}).encode()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] != DOCUMENT_PATH:
            await self._app(scope, receive, send)
            return
        start = {"type": "http.response.start", "status": self._status, "headers": []}
        await send(start)
        await send({"type": "http.response.body", "body": self._body})


@pytest.fixture
def aged() -> tuple[Served, list[str]]:
    """A server in its fourth epoch, and the documents of all."""
    ring = KeyRing(IdentityKey.generate(), OwnEpochs(EpochTimes(60_000)))
    now, texts = unix_ms(), []
    for at in (now - 150_000, now - 90_000, now - 30_000):
        ring.tick(at)
        texts.append(ring.current(at).document_text)
    return Served(ring), texts


@sealed_ways
def test_a_server_whose_document_does_not_come_through_is_asked_for_it(
    served: Served, body_file: Path, way: tuple[str, ...]
) -> None:
    wire = Wire(served.app())
    said = chat(Shown(wire, 404), served, STREAMED, body_file, *way)
    assert said.opened == b"".join(EVENTS)
    assert SECRET_WORD.encode() not in b"".join(wire.requests)


@sealed_ways
def test_an_old_document_is_replaced_once(
    aged: tuple[Served, list[str]], body_file: Path, way: tuple[str, ...]
) -> None:
    served, texts = aged
    app = Shown(served.app(), 200, texts[0])
    said = chat(app, served, STREAMED, body_file, *way)
    assert said.opened == b"".join(EVENTS), said.words


def test_a_document_of_nobody_is_refused(served: Served, body_file: Path) -> None:
    text = make_ring().current(unix_ms()).document_text
    way = WAYS["suite 1"]
    said = chat(Shown(served.app(), 200, text), served, UNARY, body_file, *way)
    assert (said.opened, said.error) == (b"", "IdentityMismatchError")
    damaged = served.ring.current(unix_ms()).document_text[:-8] + "AAAAAAAA"
    said = chat(Shown(served.app(), 200, damaged), served, UNARY, body_file, *way)
    assert (said.opened, said.error) == (b"", "KeyDocumentError")
    assert served.received == []


# On the way


class Instead:
    """On the way, somebody answers chats."""

    def __init__(
        self, app: ASGIApp, status: int, content_type: str, body: bytes, **more: str
    ) -> None:
        self._app = app
        self._status = status
        headers = {"content-type": content_type, **more}
        self._headers = [(k.encode(), v.encode()) for k, v in headers.items()]
        self._body = body

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] != CHAT:
            await self._app(scope, receive, send)
            return
        start = {"type": "http.response.start", "status": self._status}
        await send({**start, "headers": self._headers})
        await send({"type": "http.response.body", "body": self._body})


@ways
def test_answers_of_others_are_refused(
    served: Served, body_file: Path, way: tuple[str, ...]
) -> None:
    answer = b'{"choices": [{"index": 0, "message": {"content": "trust me"}}]}'
    events = b"".join(EVENTS)
    cases = {
        "UnprotectedResponseError": (200, "application/json", answer),
        "RedirectRefusedError": (307, "application/json", b""),
    }
    for error, (status, content_type, body) in cases.items():
        app = Instead(served.app(), status, content_type, body, location="/elsewhere")
        said = chat(app, served, STREAMED, body_file, *way)
        assert (said.opened, said.error) == (b"", error)
    app = Instead(served.app(), 200, "text/event-stream", events)
    said = chat(app, served, STREAMED, body_file, *way)
    assert (said.opened, said.error) == (b"", "UnprotectedResponseError")


class Cut:
    """On the way, the connection is cut after so many pieces of an answer."""

    def __init__(self, app: ASGIApp, after: int) -> None:
        self._app = app
        self._left = after

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def write(message: Any) -> None:
            if scope["path"] == CHAT and message["type"] == "http.response.body":
                self._left -= 1
                if self._left < 0:
                    raise ConnectionAbortedError
            await send(message)

        await self._app(scope, receive, write)


@ways
def test_a_cut_connection_is_a_short_answer(
    served: Served, body_file: Path, way: tuple[str, ...]
) -> None:
    said = chat(Cut(served.app(), 3), served, STREAMED, body_file, *way)
    assert said.error == "TruncatedError"
    assert said.opened
    assert b"".join(EVENTS).startswith(said.opened)
