"""Every request shape of the two protected endpoints, by name. Plain data."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from tests.tiny_dialogues import BY_NAME, DIALOGUES
from tests.vllm_integration.servers import CONTEXT, MODEL

CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"
# Stands in requests that are refused with an echo of themselves.
ECHOED = "Blundervane"


@dataclass(frozen=True)
class Shape:
    """One request, and the status with which vLLM answers it."""

    name: str
    path: str
    body: bytes
    status: int = 200
    is_stream: bool = False

    def __str__(self) -> str:
        return self.name


def _named(function: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": function}}


_NAMED = _named("get_weather")
_REQUIRED = {"tool_choice": "required"}
_SHIP = {
    "type": "object",
    "properties": {"ship": {"type": "string"}, "masts": {"type": "integer"}},
    "required": ["ship", "masts"],
    "additionalProperties": False,
}
_SCHEMA = {
    "type": "json_schema",
    "json_schema": {"name": "ship", "schema": _SHIP, "strict": True},
}
_CHOICE = {"choice": ["over the hill", "under the hill"]}
# vLLM refuses more than one choice at temperature 0; near 0 the answers stay the same.
_TWO = {"n": 2, "temperature": 0.001, "seed": 7}
_TWO_NOISY = {"n": 2, "temperature": 1.5, "seed": 7, "max_tokens": 24}
_LONG = "word " * (2 * CONTEXT)

# Name, dialogue, members added to its request. Each is asked unary and streamed.
_BOTH_WAYS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    *((dialogue.name, dialogue.name, {}) for dialogue in DIALOGUES),
    ("chat-n-2", "canary", _TWO_NOISY),
    ("chat-n-2-reasoning", "reasoning", _TWO),
    ("chat-n-2-tools", "parallel_tool_calls", _TWO),
    ("tool-auto", "tool_call", {"tool_choice": "auto"}),
    ("tool-named", "tool_call", {"tool_choice": _NAMED}),
    (
        "tool-named-reasoning",
        "reasoning_tool_call",
        {"tool_choice": _named("get_time")},
    ),
    ("tool-required", "tool_call", _REQUIRED),
    ("tools-required", "parallel_tool_calls", _REQUIRED),
    ("tools-not-parallel", "parallel_tool_calls", {"parallel_tool_calls": False}),
    # Cut off in the middle of the call: what parsers stumble over, they log.
    ("tool-cut", "tool_call", {"max_tokens": 16}),
    ("tool-named-cut", "tool_call", {"max_tokens": 6, "tool_choice": _NAMED}),
    ("tools-required-cut", "parallel_tool_calls", {"max_tokens": 40, **_REQUIRED}),
    ("tool-noisy", "parallel_tool_calls", {**_TWO_NOISY, "max_tokens": 60}),
    ("tool-none", "tool_call", {"tool_choice": "none", "max_tokens": 20}),
    ("tool-logprobs", "tool_call", {"logprobs": True, "top_logprobs": 2}),
    ("no-thinking", "canary", {"chat_template_kwargs": {"enable_thinking": False}}),
    ("reasoning-hidden", "reasoning", {"include_reasoning": False}),
    ("chat-logprobs", "canary", {"logprobs": True}),
    ("chat-logprobs-0", "canary", {"logprobs": True, "top_logprobs": 0}),
    ("chat-logprobs-5", "escapes", {"logprobs": True, "top_logprobs": 5}),
    ("chat-n-2-logprobs", "canary", {**_TWO, "logprobs": True, "top_logprobs": 5}),
    (
        "chat-token-ids",
        "canary",
        {
            "return_token_ids": True,
            "logprobs": True,
            "top_logprobs": 1,
            "return_tokens_as_token_ids": True,
        },
    ),
    ("chat-echo", "canary", {"echo": True}),
    ("chat-stop", "story", {"stop": ["Zarquillon", " goat"]}),
    (
        "chat-stop-shown",
        "story",
        {"stop": "clocks", "include_stop_str_in_output": True},
    ),
    ("chat-length", "story", {"max_tokens": 7}),
    ("chat-completion-length", "story", {"max_completion_tokens": 1}),
    ("chat-json-object", "json", {"response_format": {"type": "json_object"}}),
    ("chat-json-schema", "json", {"response_format": _SCHEMA, "max_tokens": 60}),
    ("chat-choice", "canary", {"structured_outputs": _CHOICE}),
    ("chat-regex", "canary", {"structured_outputs": {"regex": "Room [0-9]{3}"}}),
    ("chat-user-and-id", "canary", {"user": "u", "request_id": "given-by-client"}),
    ("completion-n-2", "completion", _TWO_NOISY),
    ("completion-prompts", "completion", {"prompt": ["Log of", "the", "lighthouse"]}),
    ("completion-token-prompt", "completion", {"prompt": [300, 301, 302]}),
    ("completion-logprobs-0", "completion", {"logprobs": 0}),
    ("completion-logprobs-5", "completion", {"logprobs": 5}),
    ("completion-echo", "completion", {"echo": True}),
    ("completion-echo-logprobs", "completion", {"echo": True, "logprobs": 2}),
    ("completion-echo-only", "completion", {"echo": True, "max_tokens": 0}),
    ("completion-token-ids", "completion", {"return_token_ids": True}),
    ("completion-stop", "completion", {"stop": "voice"}),
    ("completion-length", "completion", {"max_tokens": 5}),
    ("completion-choice", "completion", {"structured_outputs": _CHOICE}),
    (
        "completion-json-schema",
        "completion",
        {"response_format": _SCHEMA, "max_tokens": 40},
    ),
)

_USAGE = {"include_usage": True}
_CONTINUOUS = {"include_usage": True, "continuous_usage_stats": True}

_STREAMED: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("chat-usage", "canary", {"stream_options": _USAGE}),
    ("chat-continuous-usage", "story", {"stream_options": _CONTINUOUS}),
    ("chat-n-2-usage", "canary", {**_TWO, "stream_options": _CONTINUOUS}),
    ("chat-tools-usage", "parallel_tool_calls", {"stream_options": _CONTINUOUS}),
    ("completion-usage", "completion", {"stream_options": _USAGE}),
    ("completion-continuous-usage", "completion", {"stream_options": _CONTINUOUS}),
)

_UNARY: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("chat-prompt-logprobs", "canary", {"prompt_logprobs": 5}),
    (
        "chat-all-logprobs",
        "canary",
        {"logprobs": True, "top_logprobs": 5, "prompt_logprobs": 0},
    ),
    ("completion-prompt-logprobs", "completion", {"prompt_logprobs": 2}),
)

# Name, dialogue, added members, status. Each is asked plainly and with ``stream``.
_REFUSED: tuple[tuple[str, str, dict[str, Any], int], ...] = (
    ("chat-unknown-model", "canary", {"model": f"model-{ECHOED}"}, 404),
    ("chat-temperature", "canary", {"temperature": -1}, 400),
    ("chat-max-tokens", "canary", {"max_tokens": -5}, 400),
    ("chat-not-valid", "canary", {"messages": f"Why {ECHOED}?"}, 400),
    ("chat-no-messages", "canary", {"messages": []}, 400),
    ("chat-bad-role", "canary", {"messages": [{"role": 1, "content": ECHOED}]}, 400),
    (
        "chat-too-long",
        "canary",
        {"messages": [{"role": "user", "content": _LONG}]},
        400,
    ),
    ("chat-no-such-tool", "tool_call", {"tool_choice": _named(ECHOED)}, 400),
    ("completion-unknown-model", "completion", {"model": f"m-{ECHOED}"}, 404),
    ("completion-not-valid", "completion", {"prompt": {"of": ECHOED}}, 400),
    ("completion-too-long", "completion", {"prompt": _LONG}, 400),
    ("completion-suffix", "completion", {"suffix": ECHOED}, 400),
    ("completion-n", "completion", {"n": 0}, 400),
)

# What the engine refuses: 400, but 200 with an error event if it is streamed.
_REFUSED_LATE: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("chat-bad-grammar", "canary", {"structured_outputs": {"regex": "(["}}),
    ("chat-too-many-logprobs", "canary", {"logprobs": True, "top_logprobs": 999}),
    ("completion-bad-grammar", "completion", {"structured_outputs": {"regex": "(["}}),
)

_RAW: tuple[Shape, ...] = (
    Shape("chat-not-json", CHAT, b'{"messages": [{"' + ECHOED.encode(), 400),
    Shape("chat-empty", CHAT, b"", 400),
    Shape("chat-list", CHAT, f'["{ECHOED}"]'.encode(), 400),
    Shape("chat-not-utf-8", CHAT, b'{"model": "\xff\xfe"}', 400),
    Shape("completion-not-json", COMPLETIONS, b"{" + ECHOED.encode(), 400),
)


def _shape(
    name: str,
    dialogue: str,
    members: dict[str, Any],
    *,
    stream: bool,
    status: int = 200,
) -> Shape:
    path, body = BY_NAME[dialogue].request(MODEL)
    body |= {**members, "stream": True} if stream else members
    return Shape(name, path, json.dumps(body).encode(), status, stream)


ANSWERED: tuple[Shape, ...] = (
    *(
        _shape(f"{name}-{way}", dialogue, members, stream=way == "streamed")
        for name, dialogue, members in _BOTH_WAYS
        for way in ("unary", "streamed")
    ),
    *(_shape(*item, stream=True) for item in _STREAMED),
    *(_shape(*item, stream=False) for item in _UNARY),
)

REFUSED: tuple[Shape, ...] = (
    *(
        _shape(
            f"{name}{'-streamed' if stream else ''}",
            dialogue,
            members,
            stream=stream,
            status=status,
        )
        for name, dialogue, members, status in _REFUSED
        for stream in (False, True)
    ),
    # What vLLM refuses only if it is streamed.
    _shape(
        "chat-streamed-prompt-logprobs",
        "canary",
        {"prompt_logprobs": 1},
        stream=True,
        status=400,
    ),
    *(_shape(*item, stream=False, status=400) for item in _REFUSED_LATE),
    *(
        _shape(f"{name}-streamed", dialogue, members, stream=True)
        for name, dialogue, members in _REFUSED_LATE
    ),
    *_RAW,
)
