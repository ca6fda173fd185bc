"""What is asked at a door, which is one method of one mounted route. Plain data."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.tiny_dialogues import BY_NAME
from tests.vllm_integration.servers import MODEL

# Stands in requests that are refused, often with an echo of themselves.
ECHOED = "Quimblethorn"

Body = dict[str, Any] | list[Any] | str | bytes | None


@dataclass(frozen=True)
class Ask:
    """One request. ``path`` is asked instead of the route's own template.

    ``body`` is JSON unless it is bytes; a function gets what the servers know about
    themselves (``Facts``). ``keep`` names the member of the answer that later requests
    find in ``Facts.kept``.
    """

    body: Body | Callable[[Facts], Body] = None
    path: str | Callable[[Facts], str] | None = None
    content_type: str = "application/json"
    is_stream: bool = False
    keep: str | None = None


@dataclass
class Facts:
    """What bodies are made from: a tokenizer, a LoRA adapter, and earlier answers."""

    encode: Callable[[str], list[int]]
    adapter_path: str
    kept: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Door:
    """How to get through one method of a route, or the reason why that cannot be done.

    ``valid`` requests get a 2xx from vLLM, in their order; ``invalid`` ones do not, and
    hold ``ECHOED`` wherever they have a body. Without a ``valid`` one there is a
    ``reason``. The door is there only if the optional ``package`` is installed.
    """

    valid: tuple[Ask, ...] = ()
    invalid: tuple[Ask, ...] = ()
    reason: str | None = None
    package: str | None = None
    is_clear: bool = False


def said(dialogue: str, **members: Any) -> dict[str, Any]:
    """Return the request that the tiny model answers with canaries."""
    return BY_NAME[dialogue].request(MODEL, **members)[1]


def both_ways(body: dict[str, Any]) -> tuple[Ask, Ask]:
    """Ask for ``body`` whole and streamed."""
    return Ask(body), Ask({**body, "stream": True}, is_stream=True)


def answer_of(dialogue: str) -> str:
    """Return what the tiny model says."""
    content = BY_NAME[dialogue].content
    assert content is not None
    return content


def refused(*bodies: Body, path: str | None = None) -> tuple[Ask, ...]:
    """Ask for each of ``bodies``, and for something that is not JSON."""
    not_json = f'{{"{ECHOED}": '.encode()
    return (*(Ask(body, path) for body in bodies), Ask(not_json, path))


def dumped(body: Body) -> bytes:
    """Return the bytes that a request carries."""
    if body is None:
        return b""
    return body if isinstance(body, bytes) else json.dumps(body).encode()
