"""What gateways do to the JSON of answers, whole ones and the events of streams."""

from __future__ import annotations

import json
from typing import Any

from tests.gateways.fault import Fault, benign, hostile
from tests.gateways.json_edits import on_json, strings_changed

# What typed gateways know: of an object, a choice, and a message or delta.
_TOP = (
    *("id", "object", "created", "model", "choices", "usage"),
    *("type", "role", "content", "delta", "index", "content_block", "message"),
    *("output", "status", "response", "sequence_number", "item_id", "item", "part"),
    *("output_index", "content_index", "text", "logprobs", "data", "error", "code"),
    *("stop_reason", "stop_sequence", "created_at"),
)
_CHOICE = ("index", "message", "delta", "text", "finish_reason")
_MESSAGE = ("role", "content", "tool_calls")
_AS_HTML = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "=": "\\u003d"}


def _kept(members: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: members[name] for name in members if name in names}


def _known_only(members: dict[str, Any]) -> dict[str, Any]:
    return _each_choice(_kept(members, _TOP), lambda it: _kept(it, _CHOICE), _MESSAGE)


def _each_choice(
    members: dict[str, Any], change: Any, names: tuple[str, ...]
) -> dict[str, Any]:
    if "choices" not in members:
        return members
    choices = []
    for choice in members["choices"]:
        changed = change(choice)
        for kind in ("message", "delta"):
            if isinstance(changed.get(kind), dict):
                changed[kind] = _kept(changed[kind], names)
        choices.append(changed)
    return {**members, "choices": choices}


def _moved(members: dict[str, Any]) -> dict[str, Any]:
    """As LiteLLM rebuilds answers: what it does not know goes to a member of its own."""

    def change(choice: dict[str, Any]) -> dict[str, Any]:
        rest = {name: choice[name] for name in choice if name not in _CHOICE}
        return {**_kept(choice, _CHOICE), "provider_specific_fields": rest}

    return _each_choice(members, change, _MESSAGE)


def _rewritten(members: dict[str, Any]) -> dict[str, Any]:
    its_own = {"model": "alias", "created": 1, "created_at": 1, "id": "its-own"}
    return {**members, **{name: its_own[name] for name in its_own if name in members}}


def _counted_anew(members: dict[str, Any]) -> dict[str, Any]:
    usage = {"prompt_tokens": 1, "completion_tokens": 10**30, "total_tokens": 1e30}
    return {**members, "usage": {**usage, "cost": 0.01}}


def _in_parts(members: dict[str, Any]) -> dict[str, Any]:
    """Write a message's text as a list of parts, as newer APIs do."""
    for choice in members.get("choices", []):
        for kind in ("message", "delta"):
            text = (choice.get(kind) or {}).get("content")
            if isinstance(text, str):
                choice[kind]["content"] = [{"type": "text", "text": text}]
    return members


def _spaced(members: dict[str, Any]) -> str:
    shuffled = dict(sorted(members.items(), reverse=True))
    return json.dumps(shuffled, separators=(" , ", " : ")).replace("/", "\\/")


def _escaped_for_html(members: dict[str, Any]) -> str:
    text = json.dumps(members)
    for character, escape in _AS_HTML.items():
        text = text.replace(character, escape)
    return text


def _masked(text: str) -> str:
    return "[filtered]" if text.startswith("sgop1.") else text


def _as_it_is(members: dict[str, Any]) -> dict[str, Any]:
    return members


BODY_FAULTS: list[Fault] = [
    benign(
        "reserialises_json",
        "writes the answer's JSON anew: order, white space, escaped slashes",
        on_json(_as_it_is, _spaced),
    ),
    benign(
        "escapes_for_html",
        "escapes what HTML could take for its own, the equals sign too",
        on_json(_as_it_is, _escaped_for_html),
    ),
    benign(
        "drops_unknown_members",
        "drops the members of answers and chunks that it does not know",
        on_json(_known_only),
    ),
    benign(
        "moves_unknown_members",
        "moves members that it does not know to provider_specific_fields",
        on_json(_moved),
    ),
    benign(
        "rewrites_ids",
        "rewrites model, created and id",
        on_json(_rewritten),
    ),
    benign(
        "rewrites_usage",
        "puts token counts of its own in the answer",
        on_json(_counted_anew),
    ),
    benign(
        "writes_text_as_parts",
        "turns the text of messages into a list of parts",
        on_json(_in_parts),
    ),
    hostile(
        "replaces_text",
        "puts words of its own in place of the answer's text",
        lambda: on_json(lambda it: strings_changed(it, _masked)),
        unary="UnprotectedResponseError",
        stream="UnprotectedResponseError",
    ),
]
