"""LangChain: an answer whole and as a stream."""

import json

from langchain_openai import ChatOpenAI

model = ChatOpenAI(
    model="tiny",
    temperature=0,
)

whole = model.invoke("Tell me the secret sentence.")
streamed = "".join(chunk.text for chunk in model.stream("Tell me a long story."))
print(json.dumps({"whole": whole.text, "streamed": streamed}))
