"""A server that is busy for a moment: the SDK asks again by itself."""

import json

from openai import OpenAI

client = OpenAI(max_retries=3)

response = client.chat.completions.with_raw_response.create(
    model="tiny",
    messages=[{"role": "user", "content": "Tell me the secret sentence."}],
    temperature=0,
)
text = response.parse().choices[0].message.content
print(json.dumps({"retries": response.retries_taken, "text": text}))
