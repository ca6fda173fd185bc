"""Pydantic AI: an answer that has to fit a class."""

import json

from pydantic import BaseModel
from pydantic_ai import Agent, NativeOutput
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

model = OpenAIChatModel("tiny", provider=OpenAIProvider())


class Ship(BaseModel):
    ship: str
    masts: int
    crew: list[str]


agent = Agent(model, output_type=NativeOutput(Ship), model_settings={"temperature": 0})
answer = agent.run_sync("Describe the ship as JSON.")
print(json.dumps(answer.output.model_dump()))
