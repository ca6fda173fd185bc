"""The own route that shows a path, and the error that a sealed request may ask for."""

from __future__ import annotations

from typing import Any

import pytest

from stainedglass_output_protection.protocol.events import event_data, is_comment
from stainedglass_output_protection.server import admission
from stainedglass_output_protection.server.middleware import ProtectionMiddleware
from stainedglass_output_protection.server.options import Options
from stainedglass_output_protection.server.provoked_error import ProvokedErrors
from stainedglass_output_protection.server.replay_store import ReplayStore
from tests.asgi_driver import body_of, header_of, make_ring, protect
from tests.rings import own_ring
from tests.server.asking import ANSWER, CANARY, Recorder, ask, code_of, fresh
from tests.server.sealing import carrying, sealed

PATH = "/.well-known/output-protection/probe"
ERROR = "application/vnd.sgop1-error"
RING = make_ring()


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("root", ["", "/api"])
async def test_the_probe_is_a_comment_an_event_and_a_header_sent_twice(
    method: str, root: str
) -> None:
    app = Recorder()
    sent = await ask(protect(app), path=root + PATH, root_path=root, method=method)

    assert app.calls == 0
    if method not in ("GET", "HEAD"):
        assert code_of(sent) == (405, "method_not_allowed")
        return
    assert sent[0]["status"] == 200
    assert header_of(sent, b"cache-control") == [b"no-store"]
    assert len(header_of(sent, b"x-output-protection-probe")) == 2
    if method == "HEAD":
        assert body_of(sent) == b""
        return
    body = body_of(sent)
    assert header_of(sent, b"content-length") == [str(len(body)).encode()]
    comment, event, rest = body.split(b"\n\n")
    assert is_comment(comment + b"\n\n")
    assert event_data(event + b"\n\n")
    assert rest == b""


async def test_the_probe_is_the_same_for_everybody_and_small() -> None:
    others: list[dict[str, Any]] = [
        {"headers": [(b"x-word", CANARY.encode()), (b"origin", b"https://a.test")]},
        {"query_string": b"attempt=" + CANARY.encode() * 1000},
        {"header_keys": [fresh()[1]]},
        {"headers": [(b"authorization", b"Bearer " + CANARY.encode())]},
    ]
    plain = await ask(protect(Recorder()), path=PATH, method="GET")

    for other in others:
        sent = await ask(protect(Recorder()), path=PATH, method="GET", **other)
        assert sent == plain
    # Also where no key is usable, or no unsealed request is taken.
    assert await ask(protect(Recorder(), own_ring()), path=PATH, method="GET") == plain
    strict = protect(Recorder(), requires_sealed=True)
    assert await ask(strict, path=PATH, method="GET") == plain
    assert len(body_of(plain)) + sum(map(len, sum(plain[0]["headers"], ()))) < 400


@pytest.mark.parametrize("path", [PATH + "/", PATH + "/x", "/v1" + PATH, PATH + "s"])
async def test_no_other_path_is_the_probe(path: str) -> None:
    sent = await ask(protect(Recorder(), RING), path=path, method="GET")

    assert b"probe" not in body_of(sent)


class Clock:
    """A clock that is set by hand, in seconds."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of the errors that this process gives, of which it gave none so far."""
    made = Clock()
    monkeypatch.setattr(admission, "PROVOKED_ERRORS", ProvokedErrors(made))
    return made


def asking_for_error() -> Any:
    return sealed(RING, content_type=ERROR, body=b'{"model":"m"}')


async def test_a_request_for_an_error_is_told_from_its_second_arrival(
    clock: Clock,
) -> None:
    app = Recorder()
    # One that a gateway asks again: the processes of a server share their store.
    store = ReplayStore(None)
    targets = [
        ProtectionMiddleware(
            app, Options(), ring_of=lambda scope: RING, replay_store=lambda: store
        )
        for _ in range(2)
    ]
    made = asking_for_error()

    codes = [made.code(await ask(target, made.body)) for target in targets]

    assert codes == [(503, "error_provoked"), (425, "request_replayed")]
    assert app.calls == 0


async def test_there_is_one_error_a_minute_for_whoever_asks(clock: Clock) -> None:
    app = Recorder()
    target = protect(app, RING)

    given = []
    for after_s in (0, 0, 30, 29, 2, 1, 59):
        clock.now_s += after_s
        made = asking_for_error()
        opened = made.open(await ask(target, made.body))
        given.append(opened.status)

    assert given == [503, 200, 200, 200, 503, 200, 503]
    # Any other reaches the application, as it would reach one of an older release.
    assert app.calls == 4
    assert app.values(b"content-type") == [ERROR.encode()]
    assert opened.is_complete


@pytest.mark.parametrize("where", ["outside", "unsealed"])
async def test_only_what_is_sealed_asks_for_an_error(clock: Clock, where: str) -> None:
    app = Recorder()
    target = protect(app, RING)

    if where == "outside":
        # Anybody on the way may have written that.
        made = sealed(RING, body=b"{}")
        sent = await ask(target, made.body, content_type=ERROR)
        assert made.open(sent).body == ANSWER
    else:
        sent = await ask(target, b"{}", content_type=ERROR, header_keys=[fresh()[1]])
        assert sent[0]["status"] == 200
    assert app.calls == 1


async def test_what_does_not_agree_with_its_outside_gives_no_error(
    clock: Clock,
) -> None:
    made = asking_for_error()
    sent = await ask(protect(Recorder(), RING), carrying(made.text, model="other"))

    assert made.code(sent) == (400, "sealed_request_mismatch")
