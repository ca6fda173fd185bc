"""How a request ends: counted alike in the clear and sealed, and wherever it is read."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Any

import pytest
from starlette.requests import ClientDisconnect

from stainedglass_output_protection.server.observation import REQUEST_LOGGER
from stainedglass_output_protection.server.observer import Finished
from stainedglass_output_protection.server.options import Options
from stainedglass_output_protection.server.outcomes import CLEAR, CUT, FAILED, SEALED
from stainedglass_output_protection.server.policy import KeylessPolicy
from stainedglass_output_protection.server.sealed_authorization import (
    SealedAuthorizationMiddleware,
)
from tests.asgi_driver import CHAT, ASGIApp, answering, make_ring
from tests.server.asking import ANSWER, CANARY, DISCONNECT, JSON, Recorder, ask, fresh
from tests.server.observing import (
    STREAM,
    Kept,
    observed,
    raising,
    raising_later,
    raising_when_it_leaves,
    seeing_it_leave,
    stopping_short,
)
from tests.server.sealing import sealed

_, KEY = fresh()
UNARY = answering(ANSWER, content_type=JSON)
WHOLE = "whole"
BODY = b'{"a":1}'
# Sealed to the client, and in the clear to one who has no key.
WAYS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "sealed": ({"header_keys": [KEY]}, {}),
    "clear": ({}, {"keyless": KeylessPolicy.ALLOW}),
}


@pytest.fixture(autouse=True)
def _all_lines(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


def only(kept: Kept, caplog: pytest.LogCaptureFixture) -> Finished:
    """Return the one request that was counted, which has one line."""
    (request,) = kept.ended
    assert kept.began == 1
    (line,) = (it.getMessage() for it in caplog.records if it.name == REQUEST_LOGGER)
    assert line.startswith(f"request id={request.request_id} route={request.route} ")
    assert f" status={request.status or '-'} outcome={request.outcome} " in line
    assert f" bytes_in={request.bytes_in} " in line
    assert CANARY not in caplog.text
    return request


async def ending_when_it_has_left(scope: Any, receive: Any, send: Any) -> None:
    """End a stream as if its client were still there."""
    await seeing_it_leave(scope, receive, send)
    await send({"type": "http.response.body", "body": b""})


async def raising_after_its_end(scope: Any, receive: Any, send: Any) -> None:
    """Answer whole, then fail in what is done afterwards."""
    await STREAM(scope, receive, send)
    raise RuntimeError(CANARY)


async def raising_after_its_end_when_it_has_left(
    scope: Any, receive: Any, send: Any
) -> None:
    """Answer whole, then raise because the client has gone."""
    await STREAM(scope, receive, send)
    while (await receive())["type"] != "http.disconnect":
        pass
    raise ConnectionError


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("app", "leaves", "outcome"),
    [
        (STREAM, False, WHOLE),
        (UNARY, False, WHOLE),
        (stopping_short, False, FAILED),
        (raising, False, FAILED),
        (raising_later, False, FAILED),
        (raising_after_its_end, False, FAILED),
        (answering(b"", status=503), False, FAILED),
        (seeing_it_leave, True, CUT),
        (raising_when_it_leaves, True, CUT),
        (ending_when_it_has_left, True, CUT),
        (raising_after_its_end_when_it_has_left, True, WHOLE),
    ],
)
async def test_an_end_counts_as_the_same_in_the_clear_and_sealed(
    caplog: pytest.LogCaptureFixture,
    way: str,
    app: ASGIApp,
    leaves: bool,
    outcome: str,
) -> None:
    kept = Kept()
    asked, options = WAYS[way]
    # What an application raises in the clear is for the server around it.
    with contextlib.suppress(RuntimeError, ConnectionError):
        await ask(observed(app, kept, **options), BODY, leaves=leaves, **asked)
    expected = {"sealed": SEALED, "clear": CLEAR}[way] if outcome is WHOLE else outcome
    assert only(kept, caplog).outcome == expected


async def test_a_cancelled_answer_in_the_clear_is_cut(
    caplog: pytest.LogCaptureFixture,
) -> None:
    kept, has_begun = Kept(), asyncio.Event()

    async def waiting(scope: Any, receive: Any, send: Any) -> None:
        await stopping_short(scope, receive, send)
        has_begun.set()
        await asyncio.Event().wait()

    target = observed(waiting, kept, keyless=KeylessPolicy.ALLOW)
    await cancelled(target, has_begun)
    assert only(kept, caplog).outcome == CUT


async def test_a_file_that_the_server_sends_is_a_whole_answer(
    caplog: pytest.LogCaptureFixture,
) -> None:
    kept = Kept()

    async def with_file(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.pathsend", "path": "/speech.wav"})

    await ask(observed(with_file, kept, keyless=KeylessPolicy.ALLOW), BODY)
    assert only(kept, caplog).outcome == CLEAR


async def cancelled(target: ASGIApp, has_begun: asyncio.Event) -> None:
    """Ask, and cancel what serves the request once ``has_begun`` is set."""
    asking = asyncio.create_task(ask(target, BODY))
    await has_begun.wait()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking


def in_front(inside: ASGIApp, kept: Kept, ring_of: Any = None) -> ASGIApp:
    """Return the layer in front of authentication around ``inside``."""
    ring = make_ring()
    return SealedAuthorizationMiddleware(
        inside, Options(), ring_of=ring_of or (lambda scope: ring), observer=kept
    )


def layers(kept: Kept) -> dict[str, ASGIApp]:
    """Return what reads a request's body: both layers, or the inner one alone."""
    inside = observed(Recorder(), kept)
    return {"inside": inside, "in front": in_front(inside, kept)}


LAYERS = list(layers(Kept()))


async def serve(target: ASGIApp, receive: Any, path: str = CHAT) -> None:
    """Serve one request, of which nothing may be answered."""

    async def send(message: Any) -> None:
        raise AssertionError(message)

    scope = {"type": "http", "method": "POST", "path": path, "root_path": ""}
    headers = [(b"content-type", b"application/json")]
    await target({**scope, "query_string": b"", "headers": headers}, receive, send)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("says_so", [True, False])
async def test_a_client_that_leaves_in_its_body_is_cut_and_has_its_line(
    caplog: pytest.LogCaptureFixture, layer: str, says_so: bool
) -> None:
    kept = Kept()
    coming = [{"type": "http.request", "body": BODY, "more_body": True}]

    async def receive() -> Any:
        if coming:
            return coming.pop()
        if says_so:
            return DISCONNECT
        # Some layers outside read it as Starlette's request does.
        raise ClientDisconnect

    with contextlib.nullcontext() if says_so else pytest.raises(ClientDisconnect):
        await serve(layers(kept)[layer], receive)
    request = only(kept, caplog)
    assert (request.outcome, request.route, request.status) == (CUT, CHAT, 0)
    assert request.bytes_in == len(BODY)


@pytest.mark.parametrize("layer", LAYERS)
async def test_a_request_whose_reading_raises_has_failed(
    caplog: pytest.LogCaptureFixture, layer: str
) -> None:
    kept = Kept()

    async def receive() -> Any:
        raise RuntimeError(CANARY)

    with pytest.raises(RuntimeError):
        await serve(layers(kept)[layer], receive)
    request = only(kept, caplog)
    assert (request.outcome, request.status, request.bytes_in) == (FAILED, 0, 0)


@pytest.mark.parametrize("layer", LAYERS)
async def test_a_request_that_is_cancelled_while_it_is_read_is_cut(
    caplog: pytest.LogCaptureFixture, layer: str
) -> None:
    kept, reads = Kept(), asyncio.Event()

    async def receive() -> Any:
        reads.set()
        await asyncio.Event().wait()

    serving = asyncio.create_task(serve(layers(kept)[layer], receive))
    await reads.wait()
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    assert only(kept, caplog).outcome == CUT


async def test_a_fault_while_a_request_is_opened_is_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    kept = Kept()

    def ring_of(scope: Any) -> Any:
        raise LookupError(CANARY)

    body = sealed(make_ring()).body
    with pytest.raises(LookupError):
        await ask(in_front(observed(UNARY, kept), kept, ring_of), body)
    request = only(kept, caplog)
    assert (request.outcome, request.bytes_in) == (FAILED, len(body))


async def test_a_refusal_in_front_tells_how_much_was_read(
    caplog: pytest.LogCaptureFixture,
) -> None:
    kept = Kept()
    body = sealed(make_ring()).body
    await ask(in_front(observed(UNARY, kept), kept), body)
    request = only(kept, caplog)
    assert (request.code, request.bytes_in) == ("key_unknown", len(body))


async def test_what_authentication_answers_is_not_counted() -> None:
    kept = Kept()
    await ask(in_front(answering(b"", status=401), kept), BODY)
    assert (kept.began, kept.ended) == (0, [])
