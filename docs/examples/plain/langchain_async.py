"""LangChain: several questions at once, and a stream."""

import asyncio
import json

from langchain_openai import ChatOpenAI

model = ChatOpenAI(
    model="tiny",
    temperature=0,
)


async def main():
    questions = ["Tell me the secret sentence.", "Describe the ship as JSON."]
    answers = await model.abatch(questions)
    chunks = [chunk.text async for chunk in model.astream(questions[0])]
    return {"answers": [answer.text for answer in answers], "stream": "".join(chunks)}


print(json.dumps(asyncio.run(main())))
