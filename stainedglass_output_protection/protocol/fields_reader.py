"""Container ``fields``, client half: where in a JSON text a frame stands.

Specification: ``protocol.md#container-fields``. The first string with the prefix is it, wherever it stands.
"""

from __future__ import annotations

import re

import msgspec

from stainedglass_output_protection.errors import MalformedFrameError
from stainedglass_output_protection.protocol.constants import TEXT_PREFIX
from stainedglass_output_protection.protocol.encoding import (
    JSON_ERRORS,
    first_frame_text,
    frame_from_text,
)

_PREFIX_BYTES = TEXT_PREFIX.encode("ascii")

_WORD = re.compile(r"\bsgop1\.[A-Za-z0-9+/]+=*")

_decoder = msgspec.json.Decoder()


class _Error(msgspec.Struct):
    message: str


class _ErrorBody(msgspec.Struct):
    error: _Error


_error_decoder = msgspec.json.Decoder(_ErrorBody)


def find_frame(body: bytes) -> bytes | None:
    """Return the frame in a body or event's data, or None if there is none.

    Raises:
        MalformedFrameError: there is one, but its text or the JSON is no good.
        TooLargeError: there is one, and it exceeds the limit.
    """
    if _PREFIX_BYTES not in body:
        return None
    try:
        text = first_frame_text(_decoder.decode(body))
    except JSON_ERRORS:
        raise MalformedFrameError(
            "There is a frame in the answer, but not in whole JSON: the answer was cut "
            "off or rewritten on the way."
        ) from None
    return None if text is None else frame_from_text(text)


def find_frame_in_message(body: bytes) -> bytes | None:
    """Return the frame among the words of an error's message, or None.

    Some gateways put words of their own before and after the message of an error.

    Raises:
        MalformedFrameError: there is one, but its text is no good.
        TooLargeError: there is one, and it exceeds the limit.
    """
    if _PREFIX_BYTES not in body:
        return None
    try:
        found = _WORD.search(_error_decoder.decode(body).error.message)
    except JSON_ERRORS:
        return None
    return None if found is None else frame_from_text(found[0])
