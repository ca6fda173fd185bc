"""The doors of a server that generates text: the route and method of each, and its key.

The order is the order in which they are tried: what changes the server goes last.
"""

from __future__ import annotations

from typing import Any, Final

from tests.vllm_integration.doors.door import (
    ECHOED,
    Ask,
    Door,
    Facts,
    answer_of,
    both_ways,
    refused,
    said,
)
from tests.vllm_integration.servers import CONTEXT, MODEL

_CHAT = said("canary")
_MESSAGES = _CHAT["messages"]
_SAYS = answer_of("canary")
_BAD = {"model": f"model-{ECHOED}"}
_BAD_CHAT: Final = ({**_CHAT, **_BAD}, {"model": MODEL, "messages": ECHOED})
_RESPONSE = {"model": MODEL, "input": _MESSAGES[0]["content"], "temperature": 0}
_RESPONSES = "/v1/responses"
_STORED = {**_RESPONSE, "store": True}
_STORY = {"input": "Tell me a long story."}
# Lasts half a minute, so that it has not ended when its cancel arrives.
_ENDLESS = {**_STORY, "ignore_eos": True, "max_output_tokens": CONTEXT - 1024}
_ANTHROPIC = {"model": MODEL, "messages": _MESSAGES, "max_tokens": 64, "temperature": 0}
_COHERE = {"model": MODEL, "messages": _MESSAGES, "max_tokens": 64, "temperature": 0}
_ORIGINAL = {"model": MODEL, "chat_request": _CHAT}


def _generate(facts: Facts) -> dict[str, Any]:
    prompt = facts.kept["/v1/chat/completions/render"]["token_ids"]
    sampling = {"temperature": 0, "max_tokens": 64}
    return {"model": MODEL, "token_ids": prompt, "sampling_params": sampling}


def _generated(facts: Facts) -> dict[str, Any]:
    choice = {"index": 0, "token_ids": facts.encode(_SAYS), "finish_reason": "stop"}
    return {"request_id": "derendered", "choices": [choice]}


def _lora(facts: Facts) -> dict[str, Any]:
    return {"lora_name": "adapter", "lora_path": facts.adapter_path}


TOKENIZE: dict[tuple[str, str], Door] = {
    ("POST", "/tokenize"): Door(
        (
            Ask({"model": MODEL, "prompt": _SAYS, "return_token_strs": True}),
            Ask({"model": MODEL, "messages": _MESSAGES}),
        ),
        refused({"model": MODEL, "messages": ECHOED}, {"prompt": "x", **_BAD}),
    ),
    ("POST", "/detokenize"): Door(
        (Ask(lambda facts: {"model": MODEL, "tokens": facts.encode(_SAYS)}),),
        refused({"model": MODEL, "tokens": [ECHOED]}),
    ),
}

LORA: dict[tuple[str, str], Door] = {
    ("POST", "/v1/load_lora_adapter"): Door(
        (Ask(_lora),),
        refused({"lora_name": ECHOED, "lora_path": f"/nowhere/{ECHOED}"}),
    ),
    ("POST", "/v1/unload_lora_adapter"): Door(
        (Ask({"lora_name": "adapter"}),), refused({"lora_name": ECHOED})
    ),
    ("POST", "/adapters"): Door(
        (Ask(lambda facts: {"name": "second", "src": facts.adapter_path}),),
        refused({"name": ECHOED, "src": f"/nowhere/{ECHOED}"}),
    ),
    ("DELETE", "/adapters/{adapter_name}"): Door(
        (Ask(path="/adapters/second"),), (Ask(path="/adapters/nobody"),)
    ),
}

GENERATE: dict[tuple[str, str], Door] = {
    ("POST", "/v1/chat/completions"): Door(
        (
            *both_ways(_CHAT),
            *both_ways(said("reasoning")),
            *both_ways(said("tool_call")),
            *both_ways(said("canary", logprobs=True, top_logprobs=2)),
        ),
        refused(*_BAD_CHAT),
    ),
    ("POST", "/v1/chat/completions/batch"): Door(
        (Ask({**_CHAT, "messages": [_MESSAGES, said("system")["messages"]]}),),
        refused(*_BAD_CHAT),
    ),
    ("POST", "/v1/completions"): Door(
        both_ways(said("completion")), refused({**said("completion"), **_BAD})
    ),
    ("POST", "/v1/responses"): Door(
        (
            *both_ways({**_RESPONSE, "store": False}),
            *both_ways({**_RESPONSE, **_STORY, "store": False}),
        ),
        refused({**_RESPONSE, **_BAD}, {**_RESPONSE, "temperature": ECHOED}),
    ),
    ("POST", "/v1/responses/{response_id}/cancel"): Door(
        (
            Ask({**_STORED, **_ENDLESS, "background": True}, _RESPONSES, keep="long"),
            Ask(path=lambda facts: f"/v1/responses/{facts.kept['long']['id']}/cancel"),
        ),
        (Ask(path="/v1/responses/resp_nobody/cancel"),),
    ),
    ("GET", "/v1/responses/{response_id}"): Door(
        (
            Ask(_STORED, _RESPONSES, keep="stored"),
            Ask(path=lambda facts: f"/v1/responses/{facts.kept['stored']['id']}"),
            Ask(
                {**_STORED, "background": True, "stream": True},
                _RESPONSES,
                is_stream=True,
                keep="event",
            ),
            Ask(
                path=lambda facts: (
                    f"/v1/responses/{facts.kept['event']['response']['id']}?stream=true"
                ),
                is_stream=True,
            ),
        ),
        (Ask(path="/v1/responses/resp_nobody"), Ask(path="/v1/responses/nobody")),
    ),
    ("POST", "/v1/messages"): Door(
        both_ways(_ANTHROPIC), refused({**_ANTHROPIC, **_BAD}, {"messages": ECHOED})
    ),
    ("POST", "/v1/messages/count_tokens"): Door(
        (Ask({"model": MODEL, "messages": _MESSAGES}),),
        refused({**_ANTHROPIC, **_BAD}, {"messages": ECHOED}),
    ),
    ("POST", "/cohere/v2/chat"): Door(
        both_ways(_COHERE), refused({**_COHERE, **_BAD}), package="cohere"
    ),
    ("POST", "/cohere/v2/chat/render"): Door(
        (Ask(_COHERE),), refused({"messages": ECHOED}), package="cohere"
    ),
    ("POST", "/invocations"): Door(
        (*both_ways(_CHAT), Ask(said("completion"))), refused({ECHOED: ECHOED}, _BAD)
    ),
    **TOKENIZE,
    ("GET", "/tokenizer_info"): Door((Ask(),)),
    ("POST", "/v1/systemone"): Door(
        (
            Ask(
                {
                    "model": MODEL,
                    "state": _SAYS,
                    "questions": {
                        "who": {
                            "type": "choice",
                            "instructions": "Who?",
                            "criteria": {"Skarvelune": None, "nobody": None},
                        }
                    },
                }
            ),
        ),
        refused({"state": ECHOED}, {"state": "x", "questions": {}, **_BAD}),
    ),
    ("POST", "/generative_scoring"): Door(
        (
            Ask(
                {
                    "model": MODEL,
                    "query": "Is this so?",
                    "items": [_SAYS, "no"],
                    "label_token_ids": [300, 301],
                }
            ),
        ),
        refused({"query": ECHOED}, {"query": "x", "items": ["y"], **_BAD}),
    ),
    ("POST", "/v1/chat/completions/render"): Door(
        (Ask(_CHAT, keep="/v1/chat/completions/render"),), refused(*_BAD_CHAT)
    ),
    ("POST", "/v1/completions/render"): Door(
        (Ask(said("completion")),), refused({**said("completion"), **_BAD})
    ),
    ("POST", "/v1/responses/render"): Door(
        (Ask({**_RESPONSE, "store": False}),), refused({**_RESPONSE, **_BAD})
    ),
    ("POST", "/v1/messages/render"): Door(
        (Ask(_ANTHROPIC),), refused({**_ANTHROPIC, **_BAD})
    ),
    ("POST", "/v1/chat/completions/derender"): Door(
        (
            Ask(lambda facts: {"generate_response": _generated(facts), **_ORIGINAL}),
            Ask(
                lambda facts: {
                    "stream": True,
                    "generate_chunk": _generated(facts),
                    "prompt_token_ids": _generate(facts)["token_ids"],
                    **_ORIGINAL,
                }
            ),
        ),
        refused({"model": MODEL, "generate_response": ECHOED}),
    ),
    ("POST", "/v1/completions/derender"): Door(
        (
            Ask(
                lambda facts: {
                    "model": MODEL,
                    "generate_responses": [_generated(facts)],
                }
            ),
            Ask(
                lambda facts: {
                    "model": MODEL,
                    "stream": True,
                    "generate_chunk": _generated(facts),
                }
            ),
        ),
        refused({"model": MODEL, "generate_responses": ECHOED}),
    ),
    ("POST", "/inference/v1/generate"): Door(
        (
            Ask(_generate),
            Ask(lambda facts: {**_generate(facts), "stream": True}, is_stream=True),
            Ask(lambda facts: {**_generate(facts), "output_mode": "text"}),
            Ask(
                lambda facts: {
                    **_generate(facts),
                    "output_mode": "text",
                    "stream": True,
                },
                is_stream=True,
            ),
        ),
        refused({"model": MODEL, "token_ids": [ECHOED]}),
    ),
    ("POST", "/inference/v1/abort_requests"): Door(
        (Ask({"request_ids": ["nobody"]}),), refused({ECHOED: 1})
    ),
    **LORA,
}
