"""The loop of tools: the model asks for a function, the program runs it and says so."""

import json

from openai import OpenAI

from stainedglass_output_protection.client import protected_client

client = OpenAI(http_client=protected_client())

tool = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Current weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}


def get_weather(city):
    return {"city": city, "rain": True}


messages = [{"role": "user", "content": "How is the weather in the hidden city?"}]
said = []
for _ in range(2):
    answer = client.chat.completions.create(
        model="tiny", messages=messages, tools=[tool], temperature=0, max_tokens=40
    )
    message = answer.choices[0].message
    messages.append(message)
    for call in message.tool_calls or []:
        arguments = json.loads(call.function.arguments)
        result = json.dumps(get_weather(**arguments))
        messages.append({"role": "tool", "tool_call_id": call.id, "content": result})
        said.append([call.function.name, arguments])
    if not message.tool_calls:
        said.append(message.content)
print(json.dumps({"said": said}))
