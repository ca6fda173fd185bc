"""Run by ``test_old_sdks.py`` in another environment: asks, and prints what came of it.

``user`` in each request tells the server in the test what to do with the answer.
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

BASE_URL = sys.argv[1]


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


def ask_all(act: str) -> dict[str, str]:
    with openai.OpenAI(
        base_url=BASE_URL, api_key="k", http_client=protected_client()
    ) as sdk:
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


async def ask_all_async(act: str) -> dict[str, str]:
    async with openai.AsyncOpenAI(
        base_url=BASE_URL, api_key="k", http_client=protected_async_client()
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


print(
    json.dumps(
        {
            act: {**ask_all(act), **asyncio.run(ask_all_async(act))}
            for act in sys.argv[2].split(",")
        }
    )
)
