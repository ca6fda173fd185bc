"""Requests by which one sees what becomes of headers and JSON on the way.

Each of them is refused, so no model answers any: the first three by the server itself,
the last by the checks of vLLM, which repeat what has arrived.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from stainedglass_output_protection.protocol.constants import SUITE_MLKEM768_X25519
from stainedglass_output_protection.protocol.keys import (
    ClientKeyPair,
    encode_client_key,
)
from stainedglass_output_protection.protocol.request_carriers import outer_json
from stainedglass_output_protection.protocol.sealed_request import (
    NO_KEY_ID,
    SealedMessage,
)

# More digits than a float holds. vLLM wants -1 or more here, and other servers do not
# know the member.
NUMBER_MEMBER: Final = "truncate_prompt_tokens"
NUMBER: Final = -9007199254740993
# Whoever writes JSON anew writes this without the escape; then it is a sealed request,
# and a malformed one.
_ESCAPED: Final = msgspec.Raw(rb'"\u0073gop1-request.AA"')


def empty_message(model: str | None) -> bytes:
    """Return a body that is answered with the key document."""
    text, _ = _text_and_key()
    return outer_json("chat", text, _shown(model))


def with_its_key(model: str | None) -> tuple[bytes, str]:
    """Return such a body, and the client key that may stand beside it, but once."""
    text, key = _text_and_key()
    return outer_json("chat", text, _shown(model)), key


def with_an_escape(model: str | None) -> bytes:
    """Return such a body, of which something else is made if it is written anew."""
    text, _ = _text_and_key()
    said = [_ESCAPED, text]
    messages = [{"role": "user", "content": it} for it in said]
    return msgspec.json.encode({**_shown(model), "messages": messages})


def without_messages(model: str) -> dict[str, Any]:
    """Return the members of a request that vLLM refuses, with what it has got."""
    return {"model": model, "max_tokens": 1, NUMBER_MEMBER: NUMBER}


def _shown(model: str | None) -> dict[str, Any]:
    return {"model": model} if model else {}


def _text_and_key() -> tuple[str, str]:
    key = ClientKeyPair.generate().public_key
    message = SealedMessage(SUITE_MLKEM768_X25519, NO_KEY_ID, key, b"")
    return message.to_text(), encode_client_key(key)
