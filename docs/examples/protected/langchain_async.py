"""LangChain: several questions at once, and a stream."""

import asyncio
import json

from langchain_openai import ChatOpenAI

from stainedglass_output_protection.client import (
    protected_async_client,
    protected_client,
)

model = ChatOpenAI(
    model="tiny",
    temperature=0,
    http_client=protected_client(),
    http_async_client=protected_async_client(),
)


async def main():
    questions = ["Tell me the secret sentence.", "Describe the ship as JSON."]
    answers = await model.abatch(questions)
    chunks = [chunk.text async for chunk in model.astream(questions[0])]
    return {"answers": [answer.text for answer in answers], "stream": "".join(chunks)}


print(json.dumps(asyncio.run(main())))
