"""Status and headers beside the parsed answer."""

import json

from openai import OpenAI

client = OpenAI()

response = client.chat.completions.with_raw_response.create(
    model="tiny",
    messages=[{"role": "user", "content": "Tell me the secret sentence."}],
    temperature=0,
)
answer = response.parse()
print(
    json.dumps(
        {
            "status": response.status_code,
            "type": response.headers["content-type"],
            "text": answer.choices[0].message.content,
        }
    )
)
