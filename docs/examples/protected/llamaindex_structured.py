"""LlamaIndex: an answer that has to fit a class."""

import json

from llama_index.core.llms import ChatMessage
from llama_index.llms.openai_like import OpenAILike
from pydantic import BaseModel

from stainedglass_output_protection.client import (
    protected_async_client,
    protected_client,
)

llm = OpenAILike(
    model="tiny",
    temperature=0,
    is_chat_model=True,
    should_use_structured_outputs=True,
    http_client=protected_client(),
    async_http_client=protected_async_client(),
)


class Ship(BaseModel):
    ship: str
    masts: int
    crew: list[str]


structured = llm.as_structured_llm(Ship)
answer = structured.chat([ChatMessage("Describe the ship as JSON.")])
print(json.dumps(answer.raw.model_dump()))
