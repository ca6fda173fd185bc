"""One client for many threads: its connections are used again."""

import json
from concurrent.futures import ThreadPoolExecutor

from openai import OpenAI

from stainedglass_output_protection.client import protected_client

client = OpenAI(http_client=protected_client())


def ask(_):
    answer = client.chat.completions.create(
        model="tiny",
        messages=[{"role": "user", "content": "Tell me the secret sentence."}],
        temperature=0,
    )
    return answer.choices[0].message.content


with ThreadPoolExecutor(max_workers=16) as threads:
    texts = list(threads.map(ask, range(96)))
print(json.dumps({"answers": len(texts), "different": sorted(set(texts))}))
