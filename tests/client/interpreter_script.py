"""Run by ``test_interpreters.py``: httpx alone, sync and async, on another Python."""

from __future__ import annotations

import asyncio
import sys

from stainedglass_output_protection import errors
from stainedglass_output_protection.client import (
    protected_async_client,
    protected_client,
)

URL = sys.argv[1] + "/chat/completions"
PIN = sys.argv[2]
PROFILE = sys.argv[3]


async def ask_async() -> str:
    async with protected_async_client(identity=PIN, profile=PROFILE) as client:
        async with client.stream("POST", URL, json={"stream": True}) as response:
            return "".join([text async for text in response.aiter_text()])


with protected_client(identity=PIN, profile=PROFILE) as client:
    print(client.post(URL, json={}).json()["choices"][0]["message"]["content"])
    with client.stream("POST", URL, json={"stream": True}) as response:
        streamed = "".join(response.iter_text())
assert streamed == asyncio.run(ask_async())
assert streamed.endswith("data: [DONE]\n\n")
with protected_client(identity="SHA256:" + "A" * 43, profile=PROFILE) as client:
    try:
        client.post(URL, json={})
    except errors.IdentityMismatchError:
        print(type(client).__module__, type(client).__name__)
