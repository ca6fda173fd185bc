"""The systems that were measured, each with all that it changes at once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.client.fake_server import JSON, Wire, error_body
from tests.client.sealed_server import plain_answer
from tests.gateways.asking import PROMPT, Asking
from tests.gateways.fault import OPENS
from tests.gateways.simulator import FAULTS, Gateway
from tests.gateways.traffic import Answer, Asked, Forward, whole
from tests.gateways.upstream import Upstream

SYSTEMS = {
    "a Python router": [
        "keeps_last_request_header",
        "doubles_headers",
        "hides_key_document",
    ],
    "the same, with names of models of its own and its prefill mode": [
        "reserialises_request",
        "drops_request_headers",
        "drops_response_headers",
        "hides_key_document",
    ],
    "a router written in Rust": [
        "reserialises_request",
        "adds_request_defaults",
        "drops_charset",
        "adds_cors_headers",
        "retries_server_errors",
    ],
    "the same, in its prefill mode": [
        "drops_request_headers",
        "reserialises_request",
        "reserialises_json",
        "rewrites_usage",
    ],
    "a proxy that rebuilds everything": [
        "drops_request_headers",
        "reserialises_request",
        "adds_request_defaults",
        "renames_response_headers",
        "joins_repeated_headers",
        "moves_unknown_members",
        "rewrites_ids",
        "drops_comments",
        "drops_event_lines",
        "drops_chunks_without_text",
        "adds_usage_chunk",
        "hides_key_document",
    ],
    "a typed gateway": [
        "drops_unknown_request_members",
        "drops_unknown_members",
        "escapes_for_html",
        "hides_key_document",
    ],
    "a cache that compresses, behind a page's proxy": [
        "compresses",
        "drops_our_headers",
        "caches_key_document",
        "holds_everything",
        "adds_comments",
    ],
}
# A second of the same sort would undo or repeat the first.
_ALONE = {"drops_unknown_members", "caches_key_document", "retries_server_errors"}


async def _asks_for_tokens_first(asked: Asked, forward: Forward) -> Answer:
    """Do what routers do that choose by a prompt's tokens: have it rendered before."""
    if not asked.is_for_document:
        rendered = await forward(replace(asked, path=f"{asked.path}/render"))
        await whole(rendered.body)
    return await forward(asked)


def _benign_in_both() -> list[str]:
    return [
        name
        for name, fault in FAULTS.items()
        if fault.is_benign("sealed")
        and fault.is_benign("output")
        and name not in _ALONE
        # Both together leave no key: another test's.
        and name not in ("drops_key_member", "drops_unknown_request_members")
    ]


@pytest.mark.parametrize("system", SYSTEMS)
def test_answers_open_through(
    system: str,
    profile: str,
    shape: str,
    asking: Asking,
    upstream: Upstream,
    gateway: Gateway,
) -> None:
    gateway.use(*SYSTEMS[system])
    seen = asking(profile, shape)
    assert seen.outcome == OPENS
    assert seen.body == plain_answer(upstream.app.calls[-1]).body


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_refusal_of_the_server_comes_through_as_it_is(
    system: str, profile: str, asking: Asking, upstream: Upstream, gateway: Gateway
) -> None:
    gateway.use(*SYSTEMS[system])
    seen = asking(profile, asked={**PROMPT, "model": "unknown"})
    assert (seen.status, seen.mark) == (400, "opened")
    assert seen.body == error_body("The model `unknown` is secret.")


def test_everything_benign_at_once_opens(
    profile: str, shape: str, asking: Asking, upstream: Upstream, gateway: Gateway
) -> None:
    # With a hidden key document, a mapped 422 leaves nothing to seal to.
    maps = ("maps_statuses", "shows_errors_as_200", "shows_errors_as_500")
    names = [name for name in _benign_in_both() if name not in maps]
    assert len(names) > 30
    gateway.use(*names)
    seen = asking(profile, shape)
    assert seen.outcome == OPENS
    assert seen.body == plain_answer(upstream.app.calls[-1]).body


@pytest.mark.parametrize("fault", ["shows_errors_as_200", "shows_errors_as_500"])
def test_a_mapped_status_is_the_servers_own_again(
    fault: str, profile: str, asking: Asking, gateway: Gateway
) -> None:
    gateway.use(fault)
    seen = asking(profile, asked={**PROMPT, "model": "unknown"})
    assert (seen.status, seen.mark) == (400, "opened")


def test_an_unsealed_error_shown_as_a_success_is_no_answer(
    profile: str, asking: Asking, gateway: Gateway
) -> None:
    gateway.use("shows_errors_as_200")
    seen = asking(profile, path="/v1/moderations")
    assert seen.outcome == "UnprotectedResponseError"


def test_a_retry_after_a_server_error_opens(
    profile: str, shape: str, asking: Asking, upstream: Upstream, gateway: Gateway
) -> None:
    busy = Wire(503, {"content-type": JSON}, [error_body("busy", 503)])
    answers = [busy, busy]
    upstream.app.answer = lambda call: answers.pop() if answers else plain_answer(call)
    gateway.use("retries_server_errors")
    seen = asking(profile, shape)
    assert seen.outcome == OPENS
    assert len(upstream.app.calls) == 3
    assert seen.body == plain_answer(upstream.app.calls[-1]).body


def test_answers_open_through_a_router_that_has_the_prompt_rendered_first(
    profile: str, shape: str, asking: Asking, upstream: Upstream, gateway: Gateway
) -> None:
    gateway.use_acts(_asks_for_tokens_first)
    seen = asking(profile, shape)
    assert seen.outcome == OPENS
    assert seen.body == plain_answer(upstream.app.calls[-1]).body
