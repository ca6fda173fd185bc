"""An answer that has to fit a class."""

import json

from openai import OpenAI
from pydantic import BaseModel

client = OpenAI()


class Ship(BaseModel):
    ship: str
    masts: int
    crew: list[str]


answer = client.chat.completions.parse(
    model="tiny",
    messages=[{"role": "user", "content": "Describe the ship as JSON."}],
    temperature=0,
    response_format=Ship,
)
print(json.dumps(answer.choices[0].message.parsed.model_dump()))
