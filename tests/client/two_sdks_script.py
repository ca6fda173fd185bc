"""Run by ``test_two_sdks.py``: one program that asks through both SDKs.

The arguments are the libraries that ``openai`` and ``anthropic`` want, the base URL
without ``/v1``, and the server's fingerprint. Prints one line for each thing asked.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any

import anthropic
import openai

from stainedglass_output_protection import errors
from stainedglass_output_protection.client import (
    protected_async_client,
    protected_client,
)

FOR_OPENAI, FOR_ANTHROPIC, URL, PIN = sys.argv[1:]
MESSAGES: Any = [{"role": "user", "content": "Where from?"}]
WRONG = "SHA256:" + "A" * 43


def ask_openai(pin: str) -> str:
    client = protected_client(identity=pin, library=FOR_OPENAI)
    with openai.OpenAI(base_url=f"{URL}/v1", api_key="k", http_client=client) as sdk:
        answer = sdk.chat.completions.create(model="tiny", messages=MESSAGES)
        return str(answer.choices[0].message.content)


def ask_anthropic(pin: str) -> str:
    client = protected_client(identity=pin, library=FOR_ANTHROPIC)
    with anthropic.Anthropic(base_url=URL, api_key="k", http_client=client) as sdk:
        answer = sdk.messages.create(model="tiny", max_tokens=9, messages=MESSAGES)
        return "".join(block.text for block in answer.content if block.type == "text")


async def stream_openai(pin: str) -> str:
    client = protected_async_client(identity=pin, library=FOR_OPENAI)
    async with openai.AsyncOpenAI(
        base_url=f"{URL}/v1", api_key="k", http_client=client
    ) as sdk:
        events = await sdk.chat.completions.create(
            model="tiny", messages=MESSAGES, stream=True
        )
        texts = [event.choices[0].delta.content async for event in events]
        return "".join(text or "" for text in texts)


async def stream_anthropic(pin: str) -> str:
    client = protected_async_client(identity=pin, library=FOR_ANTHROPIC)
    async with anthropic.AsyncAnthropic(
        base_url=URL, api_key="k", http_client=client
    ) as sdk:
        async with sdk.messages.stream(
            model="tiny", max_tokens=9, messages=MESSAGES
        ) as stream:
            return "".join([text async for text in stream.text_stream])


def show(of: Callable[[], str]) -> None:
    try:
        print(of())
    except errors.OutputProtectionError as error:
        print(type(error).__name__)


show(lambda: str(protected_client(identity=PIN)))
for pin in (PIN, WRONG):
    show(lambda pin=pin: ask_openai(pin))  # type: ignore[misc]
    show(lambda pin=pin: ask_anthropic(pin))  # type: ignore[misc]
    show(lambda pin=pin: asyncio.run(stream_openai(pin)))  # type: ignore[misc]
    show(lambda pin=pin: asyncio.run(stream_anthropic(pin)))  # type: ignore[misc]
