"""Routers' probes without a key, under each policy for such requests."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import httpx2
import openai
import pytest

from tests.fleet.asking import all_told, ask, sdk_for
from tests.fleet.canary import forms_in
from tests.fleet.engine import CHAT, MODEL, question, text
from tests.fleet.kinds import STACK, Kind
from tests.fleet.light import Fleet
from tests.vllm_integration.fleet.replicas import Watch
from tests.vllm_integration.fleet.router import Router, routing
from tests.vllm_integration.servers import wait_for

# It asks each worker for a chat, once a second, and gives up one that refuses it.
_CHATS = (
    *("--static-backend-health-checks", "--static-model-types", "chat"),
    *("--static-backend-health-check-interval", "1"),
)
POLICIES = ("required", "discard", "allow")
STREAMED = pytest.mark.parametrize("is_stream", [False, True], ids=["unary", "stream"])


@dataclass
class Probed:
    """A router before a server with one of the policies."""

    policy: str
    router: Router
    identity: str

    def probe(self, *, is_stream: bool = False) -> httpx2.Response:
        """Ask as routers do that want to see an answer: without a key."""
        message = {"role": "user", "content": question(3)}
        asked = {"model": MODEL, "stream": is_stream, "messages": [message]}
        return httpx2.post(f"{self.router.url}{CHAT}", json=asked, timeout=60)


@pytest.fixture(scope="module", params=POLICIES)
def probed(request: pytest.FixtureRequest, fleet: Fleet) -> Iterator[Probed]:
    """Each policy."""
    policy: str = request.param
    having = fleet.having(SG_KEYLESS_REQUESTS=policy)
    with (
        having.replicas(f"probed, {policy}") as servers,
        routing(f"router, {policy}", fleet.folder, servers[0].url) as router,
    ):
        yield Probed(policy, router, fleet.identity)


@STREAMED
def test_a_probe_without_a_key_is_answered_as_the_policy_says(
    probed: Probed, is_stream: bool
) -> None:
    answer = probed.probe(is_stream=is_stream)

    if probed.policy == "required":
        assert answer.status_code == 400
        assert answer.json()["error"]["code"] == "client_key_missing"
    elif is_stream:
        assert answer.status_code == 200
        assert answer.text.endswith("data: [DONE]\n\n")
    else:
        assert answer.status_code == 200
        assert answer.json()["choices"][0]["finish_reason"] == "stop"
        assert answer.json()["usage"]["total_tokens"] == all_told(3).tokens
    is_clear = probed.policy == "allow"
    assert forms_in(answer.content) == ({"raw"} if is_clear else set())
    if is_clear and not is_stream:
        assert answer.json()["choices"][0]["message"]["content"] == text(3)


def test_a_probe_costs_no_worker_its_place(probed: Probed) -> None:
    for _ in range(20):
        probed.probe()

    # More failures than open the breaker, if they counted as such.
    assert probed.router.troubles() == {}
    assert httpx2.get(f"{probed.router.url}/health", timeout=60).status_code == 200
    with sdk_for(probed.router.url, probed.identity, "sealed") as sdk:
        assert ask(sdk, 4, is_chat=True, is_stream=False) == all_told(4)


@pytest.mark.parametrize("policy", ["required", "discard"])
@pytest.mark.parametrize("kind", STACK[:1], ids=str)
def test_a_router_that_probes_by_chats_needs_the_policy_that_answers_them(
    fleet: Fleet, kind: Kind, policy: str
) -> None:
    having = fleet.having(SG_KEYLESS_REQUESTS=policy)
    with having.replicas(f"chatted with, {policy}") as servers:
        watch, url = Watch(servers), servers[0].url
        name = f"router that chats, {policy}"
        with (
            kind.running(name, fleet.folder, url, options=_CHATS) as router,
            sdk_for(router.url, fleet.identity, "sealed") as sdk,
        ):
            wait_for(lambda: watch.posts().total() > 2, "probes", 120)
            if policy == "discard":
                assert ask(sdk, 5, is_chat=True, is_stream=False) == all_told(5)
            else:
                with pytest.raises(openai.APIStatusError):
                    ask(sdk, 5, is_chat=True, is_stream=False)
        assert {it.status for it in watch.posts()} <= {200, 400, 422}
        assert forms_in(router.log) == set()
