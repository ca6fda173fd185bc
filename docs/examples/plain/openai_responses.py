"""The Responses API, whole and streamed."""

import json

from openai import OpenAI

client = OpenAI()

asked = {
    "model": "tiny",
    "input": "Tell me the secret sentence.",
    "temperature": 0,
    "store": False,
}
whole = client.responses.create(**asked)

text = ""
for event in client.responses.create(**asked, stream=True):
    if event.type == "response.output_text.delta":
        text += event.delta
    last = event.type
print(json.dumps({"whole": whole.output_text, "streamed": text, "last": last}))
