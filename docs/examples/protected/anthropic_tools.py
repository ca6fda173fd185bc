"""The loop of tools in Anthropic's form."""

import json

from anthropic import Anthropic

from stainedglass_output_protection.client import protected_client

client = Anthropic(http_client=protected_client())

tool = {
    "name": "get_weather",
    "description": "Current weather of a city.",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
    },
}
messages = [{"role": "user", "content": "How is the weather in the hidden city?"}]
answer = client.messages.create(
    model="tiny",
    max_tokens=200,
    messages=messages,
    tools=[tool],
    extra_body={"temperature": 0},
)
calls = [block for block in answer.content if block.type == "tool_use"]
print(json.dumps([[call.name, call.input] for call in calls]))
