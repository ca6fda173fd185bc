"""Which envelopes each carrier of the table of routes means (``protocol.md#routes``)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from stainedglass_output_protection.protocol.chat_envelopes import ChatEnvelopes
from stainedglass_output_protection.protocol.envelope import CARRIER
from stainedglass_output_protection.protocol.messages_envelopes import MessagesEnvelopes
from stainedglass_output_protection.protocol.plain_envelopes import PlainEnvelopes
from stainedglass_output_protection.protocol.responses_envelopes import (
    ResponsesEnvelopes,
)

Maker = Callable[[bool], PlainEnvelopes]

_EMBEDDING = {"index": 0, "object": "embedding", "embedding": CARRIER}


def _plain(**constants: Any) -> Maker:
    return lambda shows: PlainEnvelopes(constants, shows_transfer=shows)


# Whichever of the three forms was asked for: short, verbose or by speaker.
_TRANSCRIPT: dict[str, Any] = {
    "duration": 0.0,
    "language": "",
    "segments": [],
    "usage": {"type": "duration", "seconds": 0},
}

_ENVELOPES: dict[str, Maker] = {
    "chat": lambda shows: ChatEnvelopes(is_chat=True, shows_transfer=shows),
    "completions": lambda shows: ChatEnvelopes(is_chat=False, shows_transfer=shows),
    "responses": lambda shows: ResponsesEnvelopes(shows_transfer=shows),
    "messages": lambda shows: MessagesEnvelopes(shows_transfer=shows),
    "embeddings": _plain(data=[_EMBEDDING]),
    "transcription": _plain(text=CARRIER, **_TRANSCRIPT),
    "prompt": _plain(prompt=CARRIER),
    "data": _plain(data=[]),
    "results": _plain(results=[]),
    "tokens": _plain(count=0, max_model_len=0, tokens=[]),
    "decisions": _plain(answers={}, diagnostics={}),
    "count": _plain(input_tokens=0),
    "sealed": _plain(),
}


def envelopes_for(carrier: str, *, shows_transfer: bool = False) -> PlainEnvelopes:
    """Return the envelopes for one response of a route with this carrier."""
    return _ENVELOPES[carrier](shows_transfer)
