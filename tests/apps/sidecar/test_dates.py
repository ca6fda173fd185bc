"""Each answer has one ``Date``: the engine's, or else the sidecar's."""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime
from typing import Any

import pytest

from stainedglass_output_protection.apps.sidecar.metrics import METRICS_PATH
from stainedglass_output_protection.protocol.constants import DOCUMENT_PATH
from tests.apps.sidecar.engines import Asked, Engine, answering, running, say
from tests.apps.sidecar.sidecars import READY, beside, posted
from tests.asgi.applications import ASK, CHAT, Identity
from tests.asgi.serving import fetched

THEN = "Sun, 06 Nov 1994 08:49:37 GMT"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", DOCUMENT_PATH, 200),
        ("HEAD", DOCUMENT_PATH, 200),
        ("GET", READY, 200),
        ("GET", METRICS_PATH, 200),
        ("POST", CHAT, 400),
        ("POST", "/nothing", 403),
    ],
)
def test_answers_of_the_sidecar_have_the_time(
    method: str, path: str, status: int
) -> None:
    with running(Engine(answering())) as engine, beside(engine.address) as sidecar:
        began = int(time.time())
        told = fetched(sidecar.url + path, method=method)

    assert told.status_code == status
    (said,) = told.headers.get_list("date")
    assert began <= parsedate_to_datetime(said).timestamp() <= time.time()


def test_sealed_answers_have_it_too(identity: Identity) -> None:
    with running(Engine(answering())) as engine, beside(engine.address) as sidecar:
        told = posted(sidecar.url, identity, ASK)

    assert len(told.headers.get_list("date")) == 1


def test_the_engine_s_own_is_passed_on() -> None:
    async def serve(asked: Asked, writer: Any) -> None:
        say(writer, b"{}", extra=f"date: {THEN}\r\n")

    with running(Engine(serve)) as engine, beside(engine.address) as sidecar:
        told = fetched(sidecar.url + "/health")

    assert told.headers.get_list("date") == [THEN]
