"""Any request: it is served, or refused with a 4xx; never a 5xx, never unsealed."""

from __future__ import annotations

import json

from stainedglass_output_protection.protocol.keys import ClientKeyPair
from stainedglass_output_protection.protocol.request_carriers import (
    outer_json,
    outer_multipart,
)
from stainedglass_output_protection.protocol.suites import SUITE_NUMBERS
from stainedglass_output_protection.server.clock import unix_ms
from tests.asgi_driver import body_of, make_ring, protect
from tests.fuzz.mutations import damaged
from tests.fuzz.requests import BODY, sealed_message
from tests.server.asking import CANARY, Recorder, ask

RING = make_ring()


async def test_bodies() -> None:
    key = RING.current(unix_ms())
    texts = [sealed_message(key, suite).to_text() for suite in SUITE_NUMBERS]
    client_key = ClientKeyPair.generate().header_value
    clear = json.dumps({**json.loads(BODY), "sg_client_public_key": client_key})
    form, upload = outer_multipart(texts[0], {"model": "m"})
    shown = {"model": "m"}
    samples = [clear.encode(), *(outer_json("chat", text, shown) for text in texts)]
    app = Recorder()
    target = protect(app, RING)
    for data in damaged(samples, "bodies"):
        await _ask_and_judge(app, target, data, "application/json")
    for data in damaged([upload], "uploads"):
        await _ask_and_judge(app, target, data, form)


async def test_headers() -> None:
    text = sealed_message(RING.current(unix_ms()), 1).to_text().encode()
    app = Recorder()
    target = protect(app, RING)
    for data in damaged([text], "headers"):
        headers = [(b"x-sealed-request", data)]
        before = app.calls
        sent = await ask(target, headers=headers, content_type=None)
        is_new = data == text and before == 0
        assert sent[0]["status"] == 200 if is_new else 400 <= sent[0]["status"] < 500
        assert app.calls == before + is_new


async def _ask_and_judge(app: Recorder, target: object, data: bytes, kind: str) -> None:
    before = app.calls
    sent = await ask(target, data, content_type=kind)  # type: ignore[arg-type]
    status = sent[0]["status"]
    assert status == 200 or 400 <= status < 500, data
    assert (app.calls > before) == (status == 200), data
    assert CANARY.encode() not in body_of(sent)
