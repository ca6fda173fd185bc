"""LlamaIndex: an answer whole and as a stream."""

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

whole = llm.chat([ChatMessage("Tell me the secret sentence.")])
stream = llm.stream_chat([ChatMessage("Tell me a long story.")])
streamed = "".join(chunk.delta or "" for chunk in stream)
print(json.dumps({"whole": whole.message.content, "streamed": streamed}))
