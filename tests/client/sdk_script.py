"""Run by ``test_old_sdks.py`` in another environment: asks, and prints what came of it.

``user`` in each request tells the server in the test what to do with the answer. The
arguments are the acts, and then profile, base URL and fingerprint of each server.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from typing import Any

import openai

from stainedglass_output_protection.client import (
    protected_async_client,
    protected_client,
)

ACTS = sys.argv[1].split(",")
SERVERS = zip(sys.argv[2::3], sys.argv[3::3], sys.argv[4::3], strict=True)


def asked(act: str, **kwargs: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": "Where from?"}]
    return {"model": "tiny", "messages": messages, "user": act, **kwargs}


def outcome(of: Callable[[], Any]) -> str:
    try:
        return str(of())
    except Exception as error:
        return f"{type(error).__name__} from {type(error.__cause__).__name__}"


async def outcome_async(of: Callable[[], Any]) -> str:
    try:
        return str(await of())
    except Exception as error:
        return f"{type(error).__name__} from {type(error.__cause__).__name__}"


def joined(events: Any) -> str:
    return "".join(event.choices[0].delta.content or "" for event in events)


def ask_all(act: str, base_url: str, choices: dict[str, Any]) -> dict[str, str]:
    client = protected_client(**choices)
    with openai.OpenAI(base_url=base_url, api_key="k", http_client=client) as sdk:
        chat = sdk.chat.completions

        def streaming_response() -> str:
            with chat.with_streaming_response.create(**asked(act)) as response:
                return str(response.read().decode())

        return {
            "unary": outcome(
                lambda: chat.create(**asked(act)).choices[0].message.content
            ),
            "stream": outcome(lambda: joined(chat.create(**asked(act, stream=True)))),
            "raw": outcome(
                lambda: (
                    chat.with_raw_response.create(**asked(act))
                    .parse()
                    .choices[0]
                    .message.content
                )
            ),
            "raw text": outcome(
                lambda: chat.with_raw_response.create(**asked(act)).text
            ),
            "streaming response": outcome(streaming_response),
        }


async def ask_all_async(
    act: str, base_url: str, choices: dict[str, Any]
) -> dict[str, str]:
    client = protected_async_client(**choices)
    async with openai.AsyncOpenAI(
        base_url=base_url, api_key="k", http_client=client
    ) as sdk:
        chat = sdk.chat.completions

        async def unary() -> str:
            return str((await chat.create(**asked(act))).choices[0].message.content)

        async def stream() -> str:
            events = await chat.create(**asked(act, stream=True))
            return joined([event async for event in events])

        async def streaming_response() -> str:
            async with chat.with_streaming_response.create(**asked(act)) as response:
                return str((await response.read()).decode())

        return {
            "async unary": await outcome_async(unary),
            "async stream": await outcome_async(stream),
            "async streaming response": await outcome_async(streaming_response),
        }


def outcomes(profile: str, base_url: str, identity: str) -> dict[str, Any]:
    # What tells the server what to do is shown to it.
    choices = {"profile": profile, "identity": identity, "expose": ["user"]}
    return {
        act: {
            **ask_all(act, base_url, choices),
            **asyncio.run(ask_all_async(act, base_url, choices)),
        }
        for act in ACTS
    }


print(json.dumps({server[0]: outcomes(*server) for server in SERVERS}))
