"""Texts as vectors."""

import json

from openai import OpenAI

client = OpenAI()

texts = ["A ship at sea.", "A ship in port.", "Tell me a long story."]
answer = client.embeddings.create(model="tiny", input=texts)
vectors = [item.embedding for item in answer.data]
print(json.dumps({"sizes": [len(each) for each in vectors], "first": vectors[0][:4]}))
