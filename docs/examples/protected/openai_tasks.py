"""One client for many tasks: a hundred requests are open at the same time."""

import asyncio
import json

from openai import AsyncOpenAI

from stainedglass_output_protection.client import protected_async_client

client = AsyncOpenAI(http_client=protected_async_client())


async def ask():
    answer = await client.chat.completions.create(
        model="tiny",
        messages=[{"role": "user", "content": "Tell me the secret sentence."}],
        temperature=0,
    )
    return answer.choices[0].message.content


async def ask_twice():
    return [await ask(), await ask()]


async def main():
    async with client:
        pairs = await asyncio.gather(*(ask_twice() for _ in range(100)))
    return [text for pair in pairs for text in pair]


texts = asyncio.run(main())
print(json.dumps({"answers": len(texts), "different": sorted(set(texts))}))
