"""A sidecar beside plain vLLM, and vLLM protected in its process: side by side.

Each opens to the very bytes that the engine behind it sent, and both say the same.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx2
import pytest

from stainedglass_output_protection.apps.forwarding import Limits
from stainedglass_output_protection.apps.serving import config_of
from stainedglass_output_protection.apps.sidecar.application import make_sidecar
from stainedglass_output_protection.apps.sidecar.upstream import connect
from stainedglass_output_protection.client.verdict import Mark
from tests.apps.proxy.running import served
from tests.apps.sidecar.sidecars import READY
from tests.tiny_dialogues import BY_NAME
from tests.vllm_integration.asking import TIMEOUT_S, Answer, Asker
from tests.vllm_integration.conftest import PLAIN, Identity, Say
from tests.vllm_integration.leaks import Detector
from tests.vllm_integration.servers import (
    MODEL,
    QUICK,
    Server,
    start,
    wait_for,
)

pytestmark = pytest.mark.vllm

PROFILES = ("sealed", "output")
# The same in both, so that vLLM gives both answers the same id.
_SAME_ID = {"request_id": "side-by-side"}
_RESPONSES = {
    "model": MODEL,
    "input": "Tell me the secret sentence.",
    "temperature": 0,
    "store": False,
}
# The time, a hash of what the engine was started with, and what is random.
_OTHERWISE = re.compile(
    rb'"created":\d+|"system_fingerprint":"[^"]*"|"id":"chatcmpl-tool-[0-9a-f]+"'
)


def _asked(name: str, **more: Any) -> tuple[str, dict[str, Any]]:
    path, body = BY_NAME[name].request(MODEL)
    return path, {**body, **_SAME_ID, **more}


_MESSAGES = {**BY_NAME["canary"].request(MODEL)[1], "stream": True}
REQUESTS: dict[str, tuple[str, dict[str, Any]]] = {
    "chat": _asked("canary"),
    "chat streamed": _asked("canary", stream=True),
    "chat streamed with usage": _asked(
        "escapes", stream=True, stream_options={"include_usage": True}
    ),
    "tools": _asked("tool_call"),
    "tools streamed": _asked("tool_call", stream=True),
    "completion": _asked("completion"),
    "completion streamed": _asked("completion", stream=True),
    "responses": ("/v1/responses", _RESPONSES),
    "responses streamed": ("/v1/responses", {**_RESPONSES, "stream": True}),
    "messages streamed": ("/v1/messages", _MESSAGES),
    "an unknown model": _asked("canary", model="other"),
    "not valid": _asked("canary", messages="Why?"),
}
# Whose answers hold nothing that is random, such as the ids of items.
SAME = [name for name in REQUESTS if not name.startswith(("responses", "messages"))]


@dataclass
class Recorded:
    """A transport to the engine that keeps what the engine sends."""

    inner: Any
    body: bytearray = field(default_factory=bytearray)
    status: int = 0

    async def handle_async_request(self, request: Any) -> Any:
        response = await self.inner.handle_async_request(request)
        if request.method != "POST":
            return response
        self.body.clear()
        self.status = response.status_code
        return httpx2.Response(
            response.status_code,
            headers=response.headers,
            stream=_Kept(response.stream, self.body),
        )

    async def aclose(self) -> None:
        await self.inner.aclose()


@dataclass
class _Kept(httpx2.AsyncByteStream):
    inner: Any
    body: bytearray

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self.inner:
            self.body += chunk
            yield chunk

    async def aclose(self) -> None:
        await self.inner.aclose()


@dataclass
class Beside:
    """A sidecar, and what its engine has sent last."""

    url: str
    engine: Server
    sent: Recorded


@pytest.fixture(scope="module")
def sidecar(folder: Any, identity: Identity, say: Say) -> Iterator[Beside]:
    """A sidecar of vLLM's own server, which knows nothing of protection."""
    engine = start("beside a sidecar", (*PLAIN, *QUICK), folder, variables={}, say=say)
    try:
        upstream = connect(engine.url, ca_file=None, allow_clear=False)
        sent = Recorded(upstream.transport)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SG_IDENTITY_KEY_FILE", str(identity.path))
            app = make_sidecar(upstream._replace(transport=sent), limits=Limits())
            with served(config_of(app, grace_s=10)) as port:
                yield Beside(f"http://127.0.0.1:{port}", engine, sent)
    finally:
        engine.end()


@dataclass
class Answers:
    """What one way answers to each request in each profile, asked once."""

    url: str
    identity: str
    sent: Recorded | None = None
    known: dict[tuple[str, str], tuple[Answer, bytes]] = field(default_factory=dict)

    def of(self, name: str, profile: str) -> tuple[Answer, bytes]:
        """Return the answer, and what the engine of a sidecar has sent."""
        key = (name, profile)
        if key not in self.known:
            asker = Asker(self.url, self.identity, profile=profile)
            try:
                answer = asker.ask(
                    *REQUESTS[name], name=f"side-by-side-{len(self.known)}"
                )
            finally:
                asker.close()
            self.known[key] = answer, bytes(self.sent.body) if self.sent else b""
        return self.known[key]


@pytest.fixture(scope="module")
def beside(sidecar: Beside, identity: Identity) -> Answers:
    return Answers(sidecar.url, identity.fingerprint, sidecar.sent)


@pytest.fixture(scope="module")
def inside(main_server: Server, identity: Identity) -> Answers:
    return Answers(main_server.url, identity.fingerprint)


OF_EACH_PROFILE = pytest.mark.parametrize("profile", PROFILES)


@OF_EACH_PROFILE
@pytest.mark.parametrize("name", REQUESTS)
def test_both_open_to_the_bytes_that_their_engine_sent(
    name: str, profile: str, beside: Answers, inside: Answers, main_server: Server
) -> None:
    through_sidecar, sent = beside.of(name, profile)
    in_process, _ = inside.of(name, profile)
    emitted = main_server.emitted(in_process.test_id, wait_s=TIMEOUT_S)

    assert through_sidecar.body == sent
    assert in_process.body == emitted.body
    assert sent
    for answer in (through_sidecar, in_process):
        assert answer.verdict.mark is Mark.OPENED
    assert through_sidecar.status == in_process.status
    assert through_sidecar.content_type == in_process.content_type


@OF_EACH_PROFILE
@pytest.mark.parametrize("name", SAME)
def test_both_say_the_same_as_the_engine_without_protection(
    name: str, profile: str, beside: Answers, inside: Answers, sidecar: Beside
) -> None:
    path, body = REQUESTS[name]
    plain = httpx2.post(sidecar.engine.url + path, json=body, timeout=TIMEOUT_S)
    told = [beside.of(name, profile)[0], inside.of(name, profile)[0]]

    for answer in told:
        assert answer.status == plain.status_code
        assert _said(answer.body) == _said(plain.content)


def _said(body: bytes) -> Any:
    """Return a whole answer, or what a stream's events say in all.

    How many tokens are in one event is a matter of the moment.
    """
    if not body.startswith(b"data: "):
        return _OTHERWISE.sub(b"", body)
    items = [it.removeprefix(b"data: ") for it in body.split(b"\n\n") if it]
    assert items.pop() == b"[DONE]"
    texts: list[str] = []
    ends: list[Any] = []
    for item in map(json.loads, items):
        ends.append(item.get("usage"))
        for choice in item["choices"]:
            delta = choice.get("delta", choice)
            texts.append(delta.get("content") or delta.get("text") or "")
            for it in delta.get("tool_calls") or ():
                texts += [
                    str(it["function"].get(part, "")) for part in ("name", "arguments")
                ]
            ends.append(choice["finish_reason"])
    return "".join(texts), [it for it in ends if it], items[0][:60]


def test_the_wire_of_neither_holds_a_secret(
    beside: Answers, inside: Answers, detector: Detector
) -> None:
    for name in REQUESTS:
        for answers in (beside, inside):
            for profile in PROFILES:
                answer, _ = answers.of(name, profile)
                assert not detector.find(bytes(answer.wire.body)), name
    # It would have been found.
    assert detector.find(beside.of("chat", "sealed")[0].body)


def test_the_engine_s_health_models_and_metrics_are_passed_on(sidecar: Beside) -> None:
    for path, words in (
        ("/health", ""),
        ("/v1/models", MODEL),
        ("/metrics", "vllm:request_success"),
        ("/.well-known/output-protection/metrics", "output_protection_live_keys 1.0"),
        (READY, '"ready": true'),
    ):
        told = httpx2.get(sidecar.url + path, timeout=TIMEOUT_S)
        assert told.status_code == 200
        assert words in told.text


def test_who_leaves_the_sidecar_ends_the_generation(
    sidecar: Beside, identity: Identity
) -> None:
    def count(name: str) -> float:
        text = httpx2.get(f"{sidecar.engine.url}/metrics", timeout=TIMEOUT_S).text
        found = re.findall(rf"^vllm:{name}.* (\S+)$", text, re.MULTILINE)
        assert found
        return sum(map(float, found))

    whole = 'request_success_total{.*"length"'
    before = count(whole)
    path, body = BY_NAME["story"].request(MODEL)
    long = {"stream": True, "ignore_eos": True, "max_tokens": 16000}
    asker = Asker(sidecar.url, identity.fingerprint)
    try:
        with asker.client.stream("POST", path, json={**body, **long}) as answer:
            pieces = answer.iter_raw()
            for _ in range(3):
                assert next(pieces)
    finally:
        asker.close()

    wait_for(lambda: not count("num_requests_running{"), "the end", TIMEOUT_S)
    assert count(whole) == before
