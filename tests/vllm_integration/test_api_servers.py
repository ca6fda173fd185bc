"""``--api-server-count 2`` under a plugin list that does not name this package."""

from __future__ import annotations

import asyncio
import re

import pytest

from stainedglass_output_protection.client import protected_async_client
from stainedglass_output_protection.client.verdict import Mark
from tests.tiny_dialogues import DIALOGUES
from tests.vllm_integration.asking import TIMEOUT_S
from tests.vllm_integration.servers import MODEL, Server

pytestmark = pytest.mark.vllm

REQUESTS = 200
AT_ONCE = 16


async def test_two_hundred_requests_open_under_one_generated_identity(
    two_servers: Server, generated_identity: str
) -> None:
    gate = asyncio.Semaphore(AT_ONCE)
    dialogues = [item for item in DIALOGUES if item.name not in ("story", "escapes")]

    async with protected_async_client(
        identity=generated_identity, base_url=two_servers.url, timeout=TIMEOUT_S
    ) as client:

        async def ask(number: int) -> str:
            dialogue = dialogues[number % len(dialogues)]
            path, body = dialogue.request(MODEL, stream=number % 4 < 2)
            async with gate:
                # One connection for each: the kernel deals connections to servers.
                response = await client.post(
                    path, json=body, headers={"connection": "close"}
                )
            verdict = response.extensions["output_protection"]
            assert response.status_code == 200
            assert verdict.mark is Mark.OPENED
            assert verdict.identity == generated_identity
            assert b'"choices":[{' in response.content
            key_id: str = verdict.key_id
            return key_id

        key_ids = await asyncio.gather(*map(ask, range(REQUESTS)))

    # Each API server has epoch keys of its own, all signed by the one identity.
    assert len(set(key_ids)) == 2
    answered = re.findall(r"\(ApiServer_(\d) .*response_body={", two_servers.log)
    assert set(answered) == {"0", "1"}


def test_identity_made_for_the_run_is_printed_once(two_servers: Server) -> None:
    log = two_servers.log

    assert len(re.findall(r"Clients pin it with: SG_SERVER_IDENTITY=SHA256:", log)) == 1
    assert "PRIVATE KEY" not in log
