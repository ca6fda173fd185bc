"""LlamaIndex: an answer whole and as a stream."""

import json

from llama_index.core.llms import ChatMessage
from llama_index.llms.openai_like import OpenAILike

llm = OpenAILike(
    model="tiny",
    temperature=0,
    is_chat_model=True,
)

whole = llm.chat([ChatMessage("Tell me the secret sentence.")])
stream = llm.stream_chat([ChatMessage("Tell me a long story.")])
streamed = "".join(chunk.delta or "" for chunk in stream)
print(json.dumps({"whole": whole.message.content, "streamed": streamed}))
