"""Errors wait for an SDK's first look in clients made for SDKs, and nowhere else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from stainedglass_output_protection import errors
from stainedglass_output_protection.apps.proxy.upstream import connect
from stainedglass_output_protection.client import (
    protected_async_client,
    protected_client,
)
from stainedglass_output_protection.client.deferral import DeferredError
from stainedglass_output_protection.client.factory import plain_protected_client
from tests.client.drivers import CHAT, Driver, protection_for
from tests.client.fake_server import JSON, FakeServer, Wire, chat_body

SDKS = {
    "openai": {"x-stainless-lang": "python"},
    "anthropic": {"x-stainless-lang": "python", "anthropic-version": "2023-06-01"},
    "raw": {"x-stainless-lang": "python", "x-stainless-raw-response": "stream"},
}
FAULTS: dict[str, Callable[[Wire], Wire]] = {
    "plain": lambda wire: Wire(200, {"content-type": JSON}, [chat_body()]),
    "redirect": lambda wire: Wire(307, {"location": "/"}, []),
    "empty": lambda wire: Wire(200, {"content-type": JSON}, []),
}
LOOKS: dict[str, Callable[[Any], Any]] = {
    "reason": lambda response: response.reason_phrase,
    "success": lambda response: response.is_success,
    "raise": lambda response: response.raise_for_status(),
    "headers": lambda response: response.headers,
    "read": lambda response: response.read(),
    "content": lambda response: response.content,
    "json": lambda response: response.json(),
    "lines": lambda response: list(response.iter_lines()),
    "asked": lambda response: hasattr(response, "closed"),
}

from_sdks = pytest.mark.parametrize("headers", SDKS.values(), ids=SDKS)
with_faults = pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)


def url_of(server: FakeServer) -> str:
    return f"{server.base_url}/chat/completions"


def choices_for(server: FakeServer) -> dict[str, Any]:
    return {"profile": server.profile, "identity": server.fingerprint}


@from_sdks
@with_faults
@pytest.mark.parametrize("stream", [False, True])
def test_a_transport_raises_at_once_whatever_the_headers_are(
    stream: bool,
    fault: Callable[[Wire], Wire],
    headers: dict[str, str],
    driver: Driver,
    fake: FakeServer,
) -> None:
    fake.tamper = fault
    answer = driver.ask(fake, stream=stream, headers=headers)
    assert isinstance(answer.error, errors.ResponseError)
    assert answer.status is None


@from_sdks
@with_faults
async def test_the_proxys_transport_raises_at_once(
    fault: Callable[[Wire], Wire], headers: dict[str, str], server: FakeServer
) -> None:
    server.tamper = fault
    way = connect(server.base_url, protection_for(server), ca_file=None)
    request = way.library.Request("POST", url_of(server), headers=headers, json={})
    async with way.transport:
        with pytest.raises(errors.ResponseError):
            await way.transport.handle_async_request(request)


@from_sdks
def test_the_client_of_our_own_programs_raises_at_once(
    headers: dict[str, str], server: FakeServer
) -> None:
    server.tamper = FAULTS["plain"]
    with plain_protected_client(protection_for(server)) as client:
        with pytest.raises(errors.UnprotectedResponseError):
            client.post(url_of(server), headers=headers, json={})


def test_other_programs_requests_raise_at_once(server: FakeServer) -> None:
    server.tamper = FAULTS["plain"]
    with protected_client(**choices_for(server)) as client:
        with pytest.raises(errors.UnprotectedResponseError):
            client.post(url_of(server), json={})

    async def ask() -> None:
        async with protected_async_client(**choices_for(server)) as client:
            await client.post(url_of(server), json={})

    with pytest.raises(errors.UnprotectedResponseError):
        asyncio.run(ask())


@from_sdks
@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
def test_an_sdk_is_shown_the_error_at_whatever_it_looks(
    look: Callable[[Any], Any], headers: dict[str, str], server: FakeServer
) -> None:
    server.tamper = FAULTS["plain"]
    with protected_client(**choices_for(server)) as client:
        response = client.post(url_of(server), headers=headers, json={})
    for _ in range(2):
        with pytest.raises(errors.UnprotectedResponseError):
            look(response)


@from_sdks
async def test_an_async_sdk_is_shown_the_error(
    headers: dict[str, str], server: FakeServer
) -> None:
    server.tamper = FAULTS["plain"]
    async with protected_async_client(**choices_for(server)) as client:
        response = await client.post(url_of(server), headers=headers, json={})
        with pytest.raises(errors.UnprotectedResponseError):
            await response.aread()
        with pytest.raises(errors.UnprotectedResponseError):
            await response.aclose()


def test_an_answer_that_is_cut_while_the_sdk_reads_it_is_deferred(
    server: FakeServer,
) -> None:
    """A stream that ``send`` reads to its end, since the SDK has not asked for one."""
    asked = {"stream": True}
    server.tamper = lambda wire: replace(wire, parts=wire.parts[:3])
    with protected_client(**choices_for(server)) as client:
        response = client.post(url_of(server), headers=SDKS["openai"], json=asked)
    with pytest.raises(errors.TruncatedError):
        response.read()


def test_errors_of_others_are_not_deferred(fake: FakeServer) -> None:
    def broken(wire: Wire) -> Wire:
        raise ZeroDivisionError

    fake.tamper = broken
    inner = Driver("httpx2", is_async=False).transport(fake)._inner
    choices = {**choices_for(fake), "transport": inner}
    with protected_client(**choices) as client:
        with pytest.raises(ZeroDivisionError):
            client.post(f"http://server.test{CHAT}", headers=SDKS["openai"], json={})


def test_a_stand_in_has_no_status_of_http_and_nothing_else() -> None:
    stand_in = DeferredError(errors.TruncatedError("cut"))
    own = {name for name in dir(stand_in) if not name.startswith("_")}
    assert own == {"status_code"}
    assert stand_in.status_code == 0
