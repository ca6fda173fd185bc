"""One question, one answer."""

import json

from openai import OpenAI

client = OpenAI()

answer = client.chat.completions.create(
    model="tiny",
    messages=[{"role": "user", "content": "Tell me the secret sentence."}],
    temperature=0,
)
print(json.dumps({"text": answer.choices[0].message.content}))
