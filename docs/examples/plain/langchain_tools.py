"""LangChain: the model asks for a tool and gets its result."""

import json

from langchain_core.messages import HumanMessage, ToolMessage
from langchain_openai import ChatOpenAI

model = ChatOpenAI(
    model="tiny",
    temperature=0,
    max_tokens=40,
)

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
with_tools = model.bind_tools([tool])
messages = [HumanMessage("How is the weather in the hidden city?")]
asked = with_tools.invoke(messages)
messages.append(asked)
for call in asked.tool_calls:
    result = json.dumps({"city": call["args"]["city"], "rain": True})
    messages.append(ToolMessage(result, tool_call_id=call["id"]))
answer = with_tools.invoke(messages)
calls = [[call["name"], call["args"]] for call in asked.tool_calls]
print(json.dumps({"calls": calls, "answer": answer.text}))
