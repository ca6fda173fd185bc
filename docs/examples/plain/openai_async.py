"""Two questions at once, one of them streamed."""

import asyncio
import json

from openai import AsyncOpenAI

client = AsyncOpenAI()


def asked(text):
    messages = [{"role": "user", "content": text}]
    return {"model": "tiny", "messages": messages, "temperature": 0}


async def whole():
    answer = await client.chat.completions.create(**asked("Describe the ship as JSON."))
    return answer.choices[0].message.content


async def streamed():
    stream = await client.chat.completions.create(
        **asked("Tell me the secret sentence."), stream=True
    )
    return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])


async def main():
    async with client:
        return await asyncio.gather(whole(), streamed())


print(json.dumps(asyncio.run(main())))
