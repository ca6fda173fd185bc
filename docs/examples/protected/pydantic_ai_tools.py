"""Pydantic AI: the agent runs the tool and goes on."""

import json

from pydantic_ai import Agent, Tool
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

from stainedglass_output_protection.client import protected_async_client

model = OpenAIChatModel(
    "tiny", provider=OpenAIProvider(http_client=protected_async_client())
)

cities = []


def get_weather(city):
    cities.append(city)
    return json.dumps({"city": city, "rain": True})


schema = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
}
tool = Tool.from_schema(
    get_weather, "get_weather", "Current weather of a city.", schema
)
tool.strict = False
agent = Agent(model, tools=[tool], model_settings={"temperature": 0, "max_tokens": 40})
answer = agent.run_sync("How is the weather in the hidden city?")
print(json.dumps({"cities": cities, "answer": answer.output}))
