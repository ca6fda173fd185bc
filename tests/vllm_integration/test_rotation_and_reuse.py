"""Many requests: under a new epoch every 100 ms, and with one client key pair."""

from __future__ import annotations

import asyncio
import json

import httpx2
import pytest

from stainedglass_output_protection.client import protected_async_client
from stainedglass_output_protection.client.verdict import Mark
from stainedglass_output_protection.protocol.constants import FRAME_HEADER_SIZE
from stainedglass_output_protection.protocol.fields_reader import find_frame
from stainedglass_output_protection.protocol.head import Head, Parameters
from stainedglass_output_protection.protocol.key_schedule import derive_traffic_keys
from stainedglass_output_protection.protocol.keys import ClientKeyPair
from stainedglass_output_protection.protocol.opener import Opener
from tests.tiny_dialogues import BY_NAME
from tests.vllm_integration.asking import TIMEOUT_S, new_test_id
from tests.vllm_integration.conftest import Identity
from tests.vllm_integration.servers import MODEL, Server

pytestmark = pytest.mark.vllm

STREAMS = 50
REQUESTS = 1000
AT_ONCE = 16


def _text_of(body: bytes) -> str:
    events = [block[6:] for block in body.split(b"\n\n") if block.startswith(b"data: ")]
    assert events.pop() == b"[DONE]"
    choices = [choice for event in events for choice in json.loads(event)["choices"]]
    return "".join(choice["delta"].get("content") or "" for choice in choices)


@pytest.mark.parametrize("profile", ["sealed", "output"])
async def test_fifty_streams_open_while_keys_rotate(
    main_server: Server, identity: Identity, profile: str
) -> None:
    path, body = BY_NAME["story"].request(MODEL, stream=True)

    async with protected_async_client(
        identity=identity.fingerprint,
        profile=profile,
        base_url=main_server.url,
        timeout=TIMEOUT_S,
    ) as client:

        async def tell(number: int) -> tuple[str, bytes, str]:
            test_id = new_test_id("rotation")
            await asyncio.sleep(number * 0.02)
            response = await client.post(
                path, json=body, headers={"x-test-id": test_id}
            )
            verdict = response.extensions["output_protection"]
            assert verdict.mark is Mark.OPENED, response.text
            return test_id, response.content, verdict.key_id

        answers = await asyncio.gather(*map(tell, range(STREAMS)))

    for test_id, opened, _ in answers:
        assert opened == main_server.emitted(test_id).body
        assert _text_of(opened) == BY_NAME["story"].content
    key_ids = {key_id for _, _, key_id in answers}
    # A client seals to the document that it has for as long as that lives.
    assert len(key_ids) > 1 or profile == "sealed"


async def test_no_key_and_nonce_repeat_for_one_client_key_pair(
    main_server: Server,
) -> None:
    pair = ClientKeyPair.generate()
    path, body = BY_NAME["completion"].request(MODEL)
    request = json.dumps({**body, "max_tokens": 1})
    gate = asyncio.Semaphore(AT_ONCE)

    async with httpx2.AsyncClient(
        base_url=main_server.url, timeout=TIMEOUT_S
    ) as client:

        async def ask() -> bytes:
            async with gate:
                response = await client.post(
                    path,
                    content=request,
                    headers={
                        "x-client-public-key": pair.header_value,
                        "content-type": "application/json",
                    },
                )
            assert response.status_code == 200
            frame = find_frame(response.content)
            assert frame is not None
            return frame

        frames = await asyncio.gather(*(ask() for _ in range(REQUESTS)))

    nonces, keys, base_nonces, epochs = set(), set(), set(), set()
    for frame in frames:
        head = Head.parse_prefix(
            frame,
            FRAME_HEADER_SIZE,
            asked=Parameters(),
            client_public_key=pair.public_key,
        )
        derived = derive_traffic_keys(
            pair.exchange(head.statement.response_public_key),
            client_public_key=pair.public_key,
            head=head.encoded,
            response_nonce=head.response_nonce,
        )
        nonces.add(head.response_nonce)
        keys.add(derived.key)
        base_nonces.add(derived.base_nonce)
        epochs.add(head.statement.key_id)
        opener = Opener(pair, accept=lambda statement: None)
        assert json.loads(opener.open(frame))["choices"][0]["text"]
        opener.finish()
    assert len(nonces) == len(keys) == len(base_nonces) == REQUESTS
    assert 1 < len(epochs) < REQUESTS
