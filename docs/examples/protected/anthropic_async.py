"""Anthropic's Messages API from a task."""

import asyncio
import json

from anthropic import AsyncAnthropic

from stainedglass_output_protection.client import protected_async_client

client = AsyncAnthropic(http_client=protected_async_client())


async def main():
    async with client:
        async with client.messages.stream(
            model="tiny",
            max_tokens=200,
            messages=[{"role": "user", "content": "Describe the ship as JSON."}],
            extra_body={"temperature": 0},
        ) as stream:
            return "".join([text async for text in stream.text_stream])


print(json.dumps({"text": asyncio.run(main())}))
