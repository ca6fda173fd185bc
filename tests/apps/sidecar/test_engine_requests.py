"""What the engine is told of the one who asks, and what it cannot do to the next one."""

from __future__ import annotations

from typing import Any

import pytest

from tests.apps.sidecar.engines import Asked, Engine, answering, running, say
from tests.apps.sidecar.sidecars import beside, posted
from tests.asgi.applications import ASK, Identity
from tests.asgi.serving import fetched

FORWARDED = "x-forwarded-for"


@pytest.mark.parametrize(
    ("said", "heard"),
    [
        ({}, "127.0.0.1"),
        ({FORWARDED: "203.0.113.7"}, "203.0.113.7, 127.0.0.1"),
        ({"connection": f"close, {FORWARDED}"}, "127.0.0.1"),
    ],
    ids=["nothing said", "said", "said to be dropped"],
)
def test_the_engine_hears_who_asked_from_the_sidecar(
    said: dict[str, str], heard: str
) -> None:
    with running(Engine(answering())) as engine, beside(engine.address) as sidecar:
        fetched(f"{sidecar.url}/health", headers=said)

    assert engine.asked[-1].headers[FORWARDED] == heard


@pytest.mark.parametrize("profile", ["sealed", "output"])
def test_of_requests_with_a_key_too(identity: Identity, profile: str) -> None:
    with running(Engine(answering())) as engine, beside(engine.address) as sidecar:
        posted(sidecar.url, identity, ASK, profile=profile)

    assert engine.asked[-1].headers[FORWARDED].endswith("127.0.0.1")


def test_a_head_ends_its_connection_to_the_engine() -> None:
    async def serve(asked: Asked, writer: Any) -> None:
        # A body where there must be none: on a connection that goes on, the next
        # client would read it.
        say(writer, b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nothers")

    with running(Engine(serve)) as engine, beside(engine.address) as sidecar:
        fetched(f"{sidecar.url}/health", "HEAD")
        fetched(f"{sidecar.url}/health", "GET")

    head, get = engine.asked
    assert (head.method, get.method) == ("HEAD", "GET")
    assert head.headers["connection"] == "close"
