"""What gateways do to requests."""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tests.client.fake_server import CLIENT_KEY
from tests.gateways.fault import OPENS, Fault, Outcome, benign, hostile
from tests.gateways.traffic import Act, Asked, Headers, both, on_request

MEMBER = "sg_client_public_key"
_STANDARD = ("authorization", "content-type", "accept")
_KNOWN = {
    *("model", "messages", "prompt", "input", "stream", "stream_options", "max_tokens"),
    *("temperature", "top_p", "tools", "system", "query", "documents", "store"),
}
_SEALED = re.compile(rb"sgop1-request\.([A-Za-z0-9+/=]+)")


def _on_headers(change: Callable[[Headers], Headers]) -> Act:
    return on_request(lambda asked: replace(asked, headers=change(asked.headers)))


def _on_members(edit: Callable[[dict[str, Any]], dict[str, Any]], **style: Any) -> Act:
    def change(asked: Asked) -> Asked:
        try:
            members = json.loads(asked.body)
        except ValueError:
            return asked
        return replace(asked, body=json.dumps(edit(members), **style).encode())

    return on_request(change)


def _last_of_repeated(headers: Headers) -> Headers:
    return list(dict(headers).items())


def _without_members(*names: str) -> Act:
    return _on_members(
        lambda members: {it: members[it] for it in members if it not in names}
    )


def _as_floats(members: dict[str, Any]) -> dict[str, Any]:
    """As a language does that knows one kind of number."""
    text = json.dumps(members)
    edited: dict[str, Any] = json.loads(text, parse_int=_float_if_big)
    return edited


def _float_if_big(digits: str) -> int | float:
    return int(digits) if len(digits) < 16 else float(digits)


def _with_defaults(members: dict[str, Any]) -> dict[str, Any]:
    added = {**members, "skip_special_tokens": True}
    if added.setdefault("stream", False):
        added["stream_options"] = {"include_usage": True}
    return added


def _with_system_prompt(members: dict[str, Any]) -> dict[str, Any]:
    if "messages" not in members:
        return members
    added = {"role": "system", "content": "Always answer in rhyme."}
    return {**members, "messages": [added, *members["messages"]]}


def _another_key() -> str:
    return base64.b64encode(os.urandom(32)).decode()


def _with_key_replaced(asked: Asked) -> Asked:
    """Put a key of the gateway's own wherever the client's stands."""
    key = _another_key()
    headers = [(it, key if it == CLIENT_KEY else value) for it, value in asked.headers]
    body = _SEALED.sub(lambda match: _with_sealed_key(match[1], key), asked.body)
    member = rb'"%s": ?"[^"]*"' % MEMBER.encode()
    body = re.sub(member, f'"{MEMBER}":"{key}"'.encode(), body)
    return replace(asked, headers=headers, body=body)


def _with_sealed_key(text: bytes, key: str) -> bytes:
    message = base64.b64decode(text)
    message = message[:10] + base64.b64decode(key) + message[42:]
    return b"sgop1-request." + base64.b64encode(message)


def _damaged(asked: Asked) -> Asked:
    def flipped(match: re.Match[bytes]) -> bytes:
        message = bytearray(base64.b64decode(match[1]))
        message[-9] ^= 1
        return b"sgop1-request." + base64.b64encode(message)

    return replace(asked, body=_SEALED.sub(flipped, asked.body))


_drops_headers = _on_headers(lambda it: [item for item in it if item[0] in _STANDARD])
_drops_members = _on_members(
    lambda members: {it: members[it] for it in members if it in _KNOWN}
)

REQUEST_FAULTS: list[Fault] = [
    benign(
        "drops_request_headers",
        "drops the request's own headers, all but the standard ones",
        _drops_headers,
    ),
    benign(
        "keeps_last_request_header",
        "keeps the last of repeated request headers",
        _on_headers(_last_of_repeated),
    ),
    benign(
        "drops_unknown_request_members",
        "rebuilds the request's body from the members that it knows",
        _drops_members,
    ),
    benign(
        "drops_key_member",
        "drops the client key from the request's body",
        _without_members(MEMBER),
    ),
    hostile(
        "drops_headers_and_members",
        "drops the request's own headers, and the members that it does not know",
        lambda: both(_drops_headers, _drops_members),
        unary=Outcome(OPENS, "400 unauthenticated client_key_missing"),
        stream=Outcome(OPENS, "400 unauthenticated client_key_missing"),
    ),
    benign(
        "reserialises_request",
        "writes the request's JSON anew: order, white space, escapes",
        _on_members(lambda it: dict(reversed(it.items())), indent=1),
    ),
    benign(
        "adds_request_defaults",
        "adds members to the request: defaults, usage in streams",
        _on_members(_with_defaults),
    ),
    benign(
        "writes_big_numbers_as_floats",
        "writes big integers of the request as floats",
        _on_members(_as_floats),
    ),
    benign(
        "adds_system_prompt",
        "puts a message of its own before the prompt",
        _on_members(_with_system_prompt),
    ),
    hostile(
        "renames_model",
        "asks for a model of another name",
        lambda: _on_members(lambda it: {**it, "model": "deployment-7"}),
        unary=Outcome("400 opened sealed_request_mismatch", OPENS),
        stream=Outcome("400 opened sealed_request_mismatch", OPENS),
    ),
    hostile(
        "turns_streaming_off",
        "asks for a whole answer where a stream was asked for",
        lambda: _on_members(lambda it: {**it, "stream": False}),
        unary=Outcome(OPENS, OPENS),
        stream=Outcome("400 opened sealed_request_mismatch", OPENS),
    ),
    hostile(
        "repeats_key_header",
        "sends the header with the client key twice",
        lambda: _on_headers(lambda it: [*it, *(h for h in it if h[0] == CLIENT_KEY)]),
        unary=Outcome(OPENS, "400 unauthenticated client_key_duplicated"),
        stream=Outcome(OPENS, "400 unauthenticated client_key_duplicated"),
    ),
    hostile(
        "replaces_key",
        "puts a key of its own in place of the client's",
        lambda: on_request(_with_key_replaced),
        unary=Outcome(
            "400 unauthenticated sealed_request_malformed", "ForeignResponseError"
        ),
        stream=Outcome(
            "400 unauthenticated sealed_request_malformed", "ForeignResponseError"
        ),
    ),
    hostile(
        "damages_request",
        "flips a bit of a sealed request",
        lambda: on_request(_damaged),
        unary=Outcome("400 unauthenticated sealed_request_malformed", OPENS),
        stream=Outcome("400 unauthenticated sealed_request_malformed", OPENS),
    ),
]
