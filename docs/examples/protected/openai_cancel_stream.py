"""A reader who has seen enough closes the stream, and the server stops generating."""

import json

from openai import OpenAI

from stainedglass_output_protection.client import protected_client

client = OpenAI(http_client=protected_client())

stream = client.chat.completions.create(
    model="tiny",
    messages=[{"role": "user", "content": "Tell me a long story."}],
    temperature=0,
    max_tokens=15_000,
    extra_body={"ignore_eos": True},
    stream=True,
)
text = ""
for chunk in stream:
    text += chunk.choices[0].delta.content or ""
    if len(text) >= 40:
        break
stream.close()
print(json.dumps({"text": text[:40]}))
