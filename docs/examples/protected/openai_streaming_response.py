"""The body itself, line by line, as it arrives."""

import json

from openai import OpenAI

from stainedglass_output_protection.client import protected_client

client = OpenAI(http_client=protected_client())

text = last = ""
with client.chat.completions.with_streaming_response.create(
    model="tiny",
    messages=[{"role": "user", "content": "Tell me the secret sentence."}],
    temperature=0,
    stream=True,
) as response:
    for line in response.iter_lines():
        if line.startswith("data: {"):
            delta = json.loads(line[6:])["choices"][0]["delta"]
            text += delta.get("content") or ""
        last = line or last
print(json.dumps({"status": response.status_code, "text": text, "last": last}))
