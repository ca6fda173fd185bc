"""The real LiteLLM before a protected server: ``scripts/test --with litellm``."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from stainedglass_output_protection.client import protected_client
from tests.client.fake_server import ANSWER
from tests.client.sealed_server import plain_answer
from tests.gateways.litellm_proxy import ALIAS, MASTER_KEY, MODEL, litellm
from tests.gateways.simulator import Gateway
from tests.gateways.upstream import Upstream, running

pytestmark = pytest.mark.litellm
HELLO: list[Any] = [{"role": "user", "content": "Hello?"}]


@pytest.fixture(scope="module", params=[True, False], ids=["headers", "no headers"])
def path(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[bool, Upstream, Gateway]]:
    """Whether headers are forwarded, the server, and what clients ask: a way to LiteLLM."""
    folder = tmp_path_factory.mktemp("litellm")
    with contextlib.ExitStack() as stack:
        upstream = stack.enter_context(running(Upstream()))
        proxy = litellm(folder, upstream.port, forwards_headers=request.param)
        try:
            port = stack.enter_context(proxy)
        except pytest.skip.Exception as missing:
            # They were asked for: what cannot be run must not look like what passed.
            sentence = f"{missing.msg}: install it, or run without --with litellm"
            raise pytest.fail.Exception(sentence, pytrace=False) from None
        yield request.param, upstream, stack.enter_context(Gateway(port))


def sdk(path: tuple[bool, Upstream, Gateway], profile: str) -> openai.OpenAI:
    """Return the SDK with a protected client; nobody has asked anything yet."""
    _, upstream, before = path
    upstream.app.calls.clear()
    before.use()
    return openai.OpenAI(
        base_url=before.base_url,
        api_key=MASTER_KEY,
        max_retries=0,
        http_client=protected_client(identity=upstream.fingerprint, profile=profile),
    )


def read(client: openai.OpenAI, model: str, shape: str) -> str:
    """Return the words of an answer."""
    if shape == "unary":
        answer = client.chat.completions.create(model=model, messages=HELLO)
        return answer.choices[0].message.content or ""
    stream = client.chat.completions.create(model=model, messages=HELLO, stream=True)
    return "".join(chunk.choices[0].delta.content or "" for chunk in stream)


def test_answers_open(
    path: tuple[bool, Upstream, Gateway], profile: str, shape: str
) -> None:
    with sdk(path, profile) as client:
        assert read(client, MODEL, shape) == ANSWER
    assert len(path[1].app.calls) == 1


def test_they_are_byte_for_byte_what_was_written(
    path: tuple[bool, Upstream, Gateway], profile: str, shape: str
) -> None:
    asked = {"model": MODEL, "messages": HELLO, "stream": shape == "stream"}
    with sdk(path, profile) as client:
        answer = client._client.post(
            f"{client.base_url}chat/completions",
            json=asked,
            headers={"authorization": f"Bearer {MASTER_KEY}"},
        )
    assert answer.content == plain_answer(path[1].app.calls[-1]).body


def test_by_the_header_alone_they_open_where_headers_are_forwarded(
    path: tuple[bool, Upstream, Gateway], shape: str
) -> None:
    forwards, upstream, before = path
    with sdk(path, "output") as client:
        before.use("drops_key_member")
        if forwards:
            assert read(client, MODEL, shape) == ANSWER
        else:
            with pytest.raises(
                openai.BadRequestError, match="Use the protected client"
            ):
                read(client, MODEL, shape)
            assert not upstream.app.calls


def test_by_the_member_alone_they_open(
    path: tuple[bool, Upstream, Gateway], shape: str
) -> None:
    with sdk(path, "output") as client:
        path[2].use("drops_request_headers")
        assert read(client, MODEL, shape) == ANSWER


def test_a_name_that_only_the_proxy_knows_is_for_profile_output(
    path: tuple[bool, Upstream, Gateway], shape: str
) -> None:
    with sdk(path, "output") as client:
        assert read(client, ALIAS, shape) == ANSWER
    with sdk(path, "sealed") as client:
        with pytest.raises(openai.BadRequestError, match="the server's own name"):
            read(client, ALIAS, shape)
    assert not path[1].app.calls


def test_a_refusal_of_the_server_is_readable_to_the_client_only(
    path: tuple[bool, Upstream, Gateway], profile: str
) -> None:
    upstream = path[1]
    with sdk(path, profile) as client:
        upstream.app.answer = refused
        try:
            with pytest.raises(openai.BadRequestError, match="is secret") as caught:
                read(client, MODEL, "unary")
        finally:
            upstream.app.answer = plain_answer
    assert caught.value.response.headers["x-output-protection"] == "opened"


def refused(call: Any) -> Any:
    """Answer as to a model that is not there."""
    call.body = call.body.replace(MODEL.encode(), b"unknown")
    return plain_answer(call)
