"""Anthropic's Messages API, whole and streamed."""

import json

from anthropic import Anthropic

from stainedglass_output_protection.client import protected_client

client = Anthropic(http_client=protected_client())

asked = {
    "model": "tiny",
    "max_tokens": 200,
    "messages": [{"role": "user", "content": "Tell me the secret sentence."}],
    "extra_body": {"temperature": 0},
}
whole = client.messages.create(**asked)
with client.messages.stream(**asked) as stream:
    text = "".join(stream.text_stream)
    last = stream.get_final_message()
print(
    json.dumps(
        {
            "whole": [block.text for block in whole.content if block.type == "text"],
            "streamed": text,
            "stop": last.stop_reason,
        }
    )
)
