"""One question, one answer."""

import json

from openai import OpenAI

from stainedglass_output_protection.client import protected_client

client = OpenAI(http_client=protected_client())

answer = client.chat.completions.create(
    model="tiny",
    messages=[{"role": "user", "content": "Tell me the secret sentence."}],
    temperature=0,
)
print(json.dumps({"text": answer.choices[0].message.content}))
