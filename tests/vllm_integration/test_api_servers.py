"""``--api-server-count 2`` under a plugin list that does not name this package."""

from __future__ import annotations

import asyncio
import re

import pytest

from stainedglass_output_protection.client import (
    protected_async_client,
    protected_client,
)
from stainedglass_output_protection.client.verdict import Mark
from tests.tiny_dialogues import BY_NAME, DIALOGUES
from tests.vllm_integration.asking import TIMEOUT_S
from tests.vllm_integration.attacks.relay import Relay, serving
from tests.vllm_integration.servers import MODEL, Server, wait_for

pytestmark = pytest.mark.vllm

REQUESTS = 200
AT_ONCE = 16
REPLAYS = 20


@pytest.mark.parametrize("profile", ["sealed", "output"])
async def test_two_hundred_requests_open_under_one_generated_identity(
    two_servers: Server, generated_identity: str, profile: str
) -> None:
    """While there is a new epoch each second. A sealed request needs one attempt."""
    gate = asyncio.Semaphore(AT_ONCE)
    dialogues = [item for item in DIALOGUES if item.name not in ("story", "escapes")]

    with serving(Relay(two_servers.port)) as relay:
        async with protected_async_client(
            identity=generated_identity,
            profile=profile,
            base_url=relay.url,
            timeout=TIMEOUT_S,
        ) as client:

            async def ask(number: int) -> str:
                dialogue = dialogues[number % len(dialogues)]
                path, body = dialogue.request(MODEL, stream=number % 4 < 2)
                async with gate:
                    # The relay has a connection for each: the kernel deals them out.
                    response = await client.post(path, json=body)
                verdict = response.extensions["output_protection"]
                assert response.status_code == 200
                assert verdict.mark is Mark.OPENED
                assert verdict.identity == generated_identity
                assert b'"choices":[{' in response.content
                key_id: str = verdict.key_id
                return key_id

            key_ids = await asyncio.gather(*map(ask, range(REQUESTS)))

    # Whichever process is asked has the keys of every epoch that lives.
    assert len(relay.sealed) == REQUESTS
    assert {reply.status for reply in relay.replies} == {200}
    documents = len(relay.requests) - REQUESTS
    if profile == "sealed":
        assert documents >= 1
        assert all(b"sgop1-request." in request.body for request in relay.sealed)
    else:
        assert documents == 0
        assert len(set(key_ids)) > 1
    answered = re.findall(r"\(ApiServer_(\d) .*response_body={", two_servers.log)
    assert set(answered) == {"0", "1"}


def test_replay_is_refused_by_whichever_process_gets_it(
    two_servers: Server, generated_identity: str
) -> None:
    refused = re.compile(r"\(ApiServer_(\d) .*code=request_replayed")
    assert not refused.search(two_servers.log)
    path, body = BY_NAME["canary"].request(MODEL)

    with serving(Relay(two_servers.port)) as relay:
        with protected_client(
            identity=generated_identity, base_url=relay.url, timeout=TIMEOUT_S
        ) as client:
            assert client.post(path, json=body).status_code == 200
        # Within the life of the epoch, or the key would be unknown before that.
        replies = [relay.forward(relay.sealed[0]) for _ in range(REPLAYS)]

    assert [reply.status for reply in replies] == [425] * REPLAYS
    assert all(b'"code":"request_replayed"' in reply.body for reply in replies)
    wait_for(
        lambda: len(refused.findall(two_servers.log)) == REPLAYS, "the logged refusals"
    )
    assert set(refused.findall(two_servers.log)) == {"0", "1"}


def test_identity_made_for_the_run_is_printed_once(two_servers: Server) -> None:
    log = two_servers.log

    assert len(re.findall(r"Clients pin it with: SG_SERVER_IDENTITY=SHA256:", log)) == 1
    assert "PRIVATE KEY" not in log
