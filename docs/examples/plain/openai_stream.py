"""An answer as it is made, and what it cost."""

import json

from openai import OpenAI

client = OpenAI()

stream = client.chat.completions.create(
    model="tiny",
    messages=[{"role": "user", "content": "Tell me a long story."}],
    temperature=0,
    stream=True,
    stream_options={"include_usage": True},
)
text = ""
for chunk in stream:
    for choice in chunk.choices:
        text += choice.delta.content or ""
    usage = chunk.usage
print(json.dumps({"text": text, "tokens": usage.completion_tokens}))
