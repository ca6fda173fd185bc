"""The router that has prompts read by one server and answers written by another.

It drops every header of a client, asks both servers, and writes the requests anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import httpx2
import openai
import pytest

from stainedglass_output_protection.client import protected_client
from stainedglass_output_protection.client.verdict import EXTENSION, Mark
from stainedglass_output_protection.protocol.keys import ClientKeyPair
from tests.fleet.asking import all_told, ask, sdk_for
from tests.fleet.canary import forms_in
from tests.fleet.engine import CHAT, MODEL, question
from tests.fleet.light import Fleet
from tests.vllm_integration.fleet.replicas import Watch
from tests.vllm_integration.fleet.router import Router, routing_as
from tests.vllm_integration.servers import Server
from tests.vllm_integration.tcp_tap import TcpTap

_KEY_HEADER = "x-client-public-key"
STREAMED = pytest.mark.parametrize("is_stream", [False, True], ids=["unary", "stream"])


@dataclass
class Divided:
    """A server that reads, one that writes, the router, and a tap before it."""

    prefill: Server
    decode: Server
    router: Router
    tap: TcpTap
    identity: str

    def overheard(self) -> bytes:
        """Return what went to and fro before the router, and what it keeps."""
        wires = b"\n".join(self.tap.from_server + self.tap.from_client)
        return wires + f"{self.router.log}{self.router.metrics_text()}".encode()


@pytest.fixture(scope="module", params=["round_robin", "cache_aware"])
def divided(request: pytest.FixtureRequest, fleet: Fleet) -> Iterator[Divided]:
    """The router with one server for each half; the second policy is its default."""
    policy: str = request.param
    names = (f"prefill, {policy}", f"decode, {policy}")
    with fleet.replicas(*names) as (prefill, decode):
        halves = ("--prefill", prefill.url, "--decode", decode.url)
        options = ("--vllm-pd-disaggregation", *halves, "--policy", policy)
        name = f"router of two halves, {policy}"
        with (
            routing_as(name, fleet.folder, options) as router,
            TcpTap(router.port) as tap,
        ):
            yield Divided(prefill, decode, router, tap, fleet.identity)


@STREAMED
def test_with_the_key_in_the_body_answers_open_and_tokens_are_counted(
    divided: Divided, is_stream: bool
) -> None:
    watch = Watch([divided.prefill, divided.decode])
    with sdk_for(divided.tap.url, divided.identity, "output") as sdk:
        told = ask(sdk, 7, is_chat=True, is_stream=is_stream)

    assert told == all_told(7)
    # Both were asked.
    assert all(
        any((it.path, it.status) == (CHAT, 200) for it in answered)
        for answered in watch.by_replica()
    )
    assert forms_in(divided.overheard()) == set()


@STREAMED
def test_with_a_key_in_the_header_only_nothing_is_answered(
    divided: Divided, is_stream: bool
) -> None:
    message = {"role": "user", "content": question(8)}
    answer = httpx2.post(
        f"{divided.tap.url}{CHAT}",
        json={"model": MODEL, "stream": is_stream, "messages": [message]},
        headers={_KEY_HEADER: ClientKeyPair.generate().header_value},
        timeout=60,
    )

    assert answer.status_code == 400
    assert "client_key_missing" in answer.text
    assert forms_in(answer.content, divided.overheard()) == set()


def test_sealed_requests_open_and_are_answered_once(divided: Divided) -> None:
    with protected_client(
        identity=divided.identity, base_url=divided.tap.url, timeout=60
    ) as client:
        message = {"role": "user", "content": question(9)}
        answer = client.post(CHAT, json={"model": MODEL, "messages": [message]})

    assert answer.status_code == 200
    assert answer.extensions[EXTENSION].mark is Mark.OPENED
    content = answer.json()["choices"][0]["message"]["content"]
    assert content == all_told(9).text
    assert forms_in(divided.overheard()) == set()


def test_sealed_streams_are_refused_for_they_are_asked_for_otherwise(
    divided: Divided,
) -> None:
    # The server that reads is asked for a whole answer.
    with sdk_for(divided.tap.url, divided.identity, "sealed") as sdk:
        with pytest.raises(openai.BadRequestError, match="profile output") as caught:
            ask(sdk, 10, is_chat=True, is_stream=True)

    assert caught.value.code == "sealed_request_mismatch"
    assert forms_in(divided.overheard()) == set()
