"""Pydantic AI: an answer whole and as a stream."""

import asyncio
import json

from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

model = OpenAIChatModel("tiny", provider=OpenAIProvider())
agent = Agent(model, model_settings={"temperature": 0})


async def main():
    whole = await agent.run("Tell me the secret sentence.")
    async with agent.run_stream("Tell me a long story.") as streaming:
        pieces = [piece async for piece in streaming.stream_text(delta=True)]
    return {"whole": whole.output, "streamed": "".join(pieces)}


print(json.dumps(asyncio.run(main())))
