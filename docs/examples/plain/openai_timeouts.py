"""An answer that takes too long is the SDK's own error, and the client goes on."""

import json

from openai import APITimeoutError, OpenAI

client = OpenAI(max_retries=0)


def ask(text, timeout):
    answer = client.with_options(timeout=timeout).chat.completions.create(
        model="tiny", messages=[{"role": "user", "content": text}], temperature=0
    )
    return answer.choices[0].message.content


try:
    first = ask("Tell me a long story.", timeout=0.5)
except APITimeoutError as error:
    first = type(error).__name__
second = ask("Tell me the secret sentence.", timeout=600)
print(json.dumps({"first": first, "second": second}))
