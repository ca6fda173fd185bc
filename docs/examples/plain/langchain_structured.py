"""LangChain: an answer that has to fit a class."""

import json

from langchain_openai import ChatOpenAI
from pydantic import BaseModel

model = ChatOpenAI(
    model="tiny",
    temperature=0,
)


class Ship(BaseModel):
    ship: str
    masts: int
    crew: list[str]


structured = model.with_structured_output(Ship, method="json_schema")
print(json.dumps(structured.invoke("Describe the ship as JSON.").model_dump()))
