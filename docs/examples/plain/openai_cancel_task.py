"""A task that is cancelled takes its request with it."""

import asyncio
import json

from openai import AsyncOpenAI

client = AsyncOpenAI()


async def read(has_begun):
    stream = await client.chat.completions.create(
        model="tiny",
        messages=[{"role": "user", "content": "Tell me a long story."}],
        temperature=0,
        max_tokens=15_000,
        extra_body={"ignore_eos": True},
        stream=True,
    )
    async for _ in stream:
        has_begun.set()


async def main():
    async with client:
        has_begun = asyncio.Event()
        task = asyncio.create_task(read(has_begun))
        await has_begun.wait()
        task.cancel()
        results = await asyncio.gather(task, return_exceptions=True)
        return [type(result).__name__ for result in results]


print(json.dumps(asyncio.run(main())))
