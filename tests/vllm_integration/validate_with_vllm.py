"""Validates objects by vLLM's own response models, in a process of its own.

    python -m tests.vllm_integration.validate_with_vllm FILE

Each line of the file is ``{"shape", "model", "object"}``. Prints what is not valid.
"""

from __future__ import annotations

import json
import sys


def main(path: str) -> int:
    """Return how many objects are not valid."""
    from pydantic import ValidationError
    from vllm.entrypoints.openai.chat_completion.protocol import (
        ChatCompletionResponse,
        ChatCompletionStreamResponse,
    )
    from vllm.entrypoints.openai.completion.protocol import (
        CompletionResponse,
        CompletionStreamResponse,
    )
    from vllm.entrypoints.serve.engine.protocol import ErrorResponse

    models = {
        "chat": ChatCompletionResponse,
        "chat streamed": ChatCompletionStreamResponse,
        "completions": CompletionResponse,
        "completions streamed": CompletionStreamResponse,
        "error": ErrorResponse,
    }
    wrong = checked = 0
    with open(path, encoding="ascii") as file:
        for line in file:
            item = json.loads(line)
            checked += 1
            try:
                models[item["model"]].model_validate(item["object"])
            except ValidationError as error:
                wrong += 1
                print(f"{item['shape']} is no {item['model']}: {error}")
    print(f"{checked} objects checked, {wrong} not valid")
    return int(bool(wrong) or not checked)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1]))
