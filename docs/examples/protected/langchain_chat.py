"""LangChain: an answer whole and as a stream."""

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

whole = model.invoke("Tell me the secret sentence.")
streamed = "".join(chunk.text for chunk in model.stream("Tell me a long story."))
print(json.dumps({"whole": whole.text, "streamed": streamed}))
