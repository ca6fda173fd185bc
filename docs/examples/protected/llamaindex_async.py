"""LlamaIndex: two questions at once, and a stream."""

import asyncio
import json

from llama_index.core.llms import ChatMessage
from llama_index.llms.openai_like import OpenAILike

from stainedglass_output_protection.client import (
    protected_async_client,
    protected_client,
)

llm = OpenAILike(
    model="tiny",
    temperature=0,
    is_chat_model=True,
    http_client=protected_client(),
    async_http_client=protected_async_client(),
)


async def main():
    questions = [
        [ChatMessage("Tell me the secret sentence.")],
        [ChatMessage("Describe the ship as JSON.")],
    ]
    answers = await asyncio.gather(*(llm.achat(question) for question in questions))
    stream = await llm.astream_chat(questions[0])
    return {
        "answers": [answer.message.content for answer in answers],
        "stream": "".join([chunk.delta or "" async for chunk in stream]),
    }


print(json.dumps(asyncio.run(main())))
