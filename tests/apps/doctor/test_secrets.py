"""What never reaches the terminal, or the network."""

from __future__ import annotations

import json

import pytest

from tests.apps.doctor.conftest import Examine, serving
from tests.apps.doctor.test_server import API_KEY
from tests.client.fake_server import JSON, Received, Wire
from tests.gateways.simulator import Gateway
from tests.gateways.traffic import Answer, Asked, Forward, pieces

ESCAPES = "\x1b[31m\x9b2J\r\nred"


def test_no_word_of_the_server_and_no_key_of_the_user_reaches_the_terminal(
    examine: Examine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", API_KEY)
    words = f"secret {ESCAPES} {API_KEY}"
    models = {"data": [{"id": f"tiny{ESCAPES}"}]}

    async def wild(asked: Asked, forward: Forward) -> Answer:
        answer = await forward(asked)
        if asked.path.endswith("/models"):
            return Answer(200, answer.headers, pieces(json.dumps(models).encode()))
        if asked.is_for_document:
            return answer
        headers = [
            (f"odd~{name}" if name == "x-server-public-key" else name, value)
            for name, value in answer.headers
        ]
        strange = [("content-encoding", "\x9b2J"), ("x-a", "\x9b")]
        return Answer(answer.status, [*headers, *strange], answer.body)

    def refusing(call: Received) -> Wire:
        error = {"message": words, "code": words, "type": words}
        return Wire(
            400, {"content-type": JSON}, [json.dumps({"error": error}).encode()]
        )

    async def erring(asked: Asked, forward: Forward) -> Answer:
        error = {"message": words, "code": words}
        body = json.dumps({"error": error}).encode()
        if asked.is_for_document:
            return await forward(asked)
        return Answer(418, [("content-type", "application/json")], pieces(body))

    with serving() as server:
        with Gateway(server.port) as gateway:
            shown = []
            for act in (wild, erring):
                gateway.use_acts(act)
                for form in ((), ("--json",)):
                    report = examine(
                        *(gateway.base_url, "--identity", server.fingerprint, *form),
                        *(("--model", "tiny") if act is erring else ()),
                    )
                    shown.append(report.out + report.err)
            server.app.answer = refusing
            gateway.use()
            report = examine(gateway.base_url, "--model", "tiny", "--json")
            shown.append(report.out + report.err)

    everything = "".join(shown)
    assert "?2J" in everything
    assert "odd~x-server-public-key" in everything
    assert "secret" not in everything
    assert API_KEY not in everything
    assert not any(ord(it) < 32 and it != "\n" for it in everything)
    assert "\x7f" not in everything
    assert "\x9b" not in everything


def test_a_key_that_is_to_travel_sealed_never_travels_in_clear(
    examine: Examine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", API_KEY)
    monkeypatch.setenv("SG_SEAL_AUTHORIZATION", "1")

    with serving() as server, Gateway(server.port) as gateway:
        report = examine(gateway.base_url, "--json", "--identity", server.fingerprint)
        sent = b"".join(call.raw for call in gateway.received)

    assert (report.status, report.findings) == (0, {})
    assert API_KEY.encode() not in sent
