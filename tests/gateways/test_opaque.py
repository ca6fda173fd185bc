"""Gateways and container ``opaque``: what reads no body changes nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from tests.client.sealed_server import plain_answer
from tests.gateways.asking import Asking
from tests.gateways.fault import OPENS
from tests.gateways.hints import says_what_to_do
from tests.gateways.simulator import FAULTS, Gateway
from tests.gateways.traffic import Act, Answer, on_answer, whole
from tests.gateways.upstream import Upstream

# Its frames need the content type to be known for what they are.
_NEEDS_ITS_TYPE = {"drops_content_type"}
BENIGN = [
    name
    for name, fault in FAULTS.items()
    if fault.is_benign("sealed")
    and fault.is_benign("output")
    and name not in _NEEDS_ITS_TYPE
]


def _on_bytes(change: object) -> Act:
    async def changed(body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        yield change(await whole(body))  # type: ignore[operator]

    def answer(it: Answer) -> Answer:
        return replace(it, body=changed(it.body))

    return on_answer(answer)


def _flipped(body: bytes) -> bytes:
    return body[:-9] + bytes([body[-9] ^ 1]) + body[-8:]


def _frames(body: bytes) -> list[bytes]:
    found = []
    while body:
        size = 4 + int.from_bytes(body[:4], "big")
        found.append(body[:size])
        body = body[size:]
    return found


def _swapped(body: bytes) -> bytes:
    frames = _frames(body)
    return b"".join([*frames[:2], frames[3], frames[2], *frames[4:]])


HOSTILE = {
    "flipped": (_flipped, "DecryptionError"),
    "cut": (lambda body: body[:-30], "TruncatedError"),
    "cut to nothing": (lambda body: b"", "TruncatedError"),
    "made longer": (lambda body: body + b"\n", "TrailingDataError"),
    "page": (lambda body: b"<html>", "TooLargeError"),
}
HOSTILE_TO_A_STREAM = {
    "last frame dropped": (
        lambda body: b"".join(_frames(body)[:-1]),
        "TruncatedError",
    ),
    "first frame dropped": (lambda body: b"".join(_frames(body)[1:]), "SequenceError"),
    "swapped": (_swapped, "SequenceError"),
}


@pytest.mark.parametrize("name", BENIGN)
def test_an_opaque_answer_opens_unchanged(
    name: str, profile: str, shape: str, upstream: Upstream, gateway: Gateway
) -> None:
    gateway.use(name)
    asking = Asking(gateway, upstream.fingerprint)
    seen = asking(profile, shape, opaque=True)
    assert seen.outcome == OPENS
    assert seen.body == plain_answer(upstream.app.calls[-1]).body


def test_an_opaque_answer_without_its_content_type_is_refused(
    profile: str, shape: str, asking: Asking, gateway: Gateway
) -> None:
    gateway.use("drops_content_type")
    seen = asking(profile, shape, opaque=True)
    assert seen.outcome == "UnprotectedResponseError"
    assert seen.body == b""


@pytest.mark.parametrize("name", HOSTILE)
def test_an_opaque_answer_that_was_changed_is_refused(
    name: str,
    profile: str,
    shape: str,
    asking: Asking,
    upstream: Upstream,
    gateway: Gateway,
) -> None:
    _check_refused(*HOSTILE[name], profile, shape, asking, upstream, gateway)


@pytest.mark.parametrize("name", HOSTILE_TO_A_STREAM)
def test_an_opaque_stream_that_was_changed_is_refused(
    name: str, profile: str, asking: Asking, upstream: Upstream, gateway: Gateway
) -> None:
    change, expected = HOSTILE_TO_A_STREAM[name]
    _check_refused(change, expected, profile, "stream", asking, upstream, gateway)


def _check_refused(
    change: object,
    expected: str,
    profile: str,
    shape: str,
    asking: Asking,
    upstream: Upstream,
    gateway: Gateway,
) -> None:
    gateway.use_acts(_on_bytes(change))
    seen = asking(profile, shape, opaque=True)
    assert seen.outcome == expected
    assert seen.error is not None
    assert says_what_to_do(seen.error)
    assert plain_answer(upstream.app.calls[-1]).body.startswith(seen.body)
