"""LlamaIndex: the model asks for a tool."""

import json

from llama_index.core.llms import ChatMessage
from llama_index.llms.openai_like import OpenAILike

from stainedglass_output_protection.client import (
    protected_async_client,
    protected_client,
)

llm = OpenAILike(
    model="tiny",
    temperature=0,
    is_chat_model=True,
    http_client=protected_client(),
    async_http_client=protected_async_client(),
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
question = ChatMessage("How is the weather in the hidden city?")
asked = llm.chat([question], tools=[tool])
calls = llm.get_tool_calls_from_response(asked)
results = [
    ChatMessage(
        json.dumps({"city": call.tool_kwargs["city"], "rain": True}),
        role="tool",
        additional_kwargs={"tool_call_id": call.tool_id},
    )
    for call in calls
]
answer = llm.chat([question, asked.message, *results], tools=[tool], max_tokens=40)
named = [[call.tool_name, call.tool_kwargs] for call in calls]
print(json.dumps({"calls": named, "answer": answer.message.content}))
