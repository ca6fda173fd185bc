"""Container ``fields``, client half: where in a JSON text a frame stands.

Specification: ``protocol.md#container-fields``. Nothing else of the JSON is looked at.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
from msgspec import Struct

from stainedglass_output_protection.protocol.constants import TEXT_PREFIX
from stainedglass_output_protection.protocol.encoding import (
    JSON_ERRORS,
    frame_from_text,
)

_PREFIX_BYTES = TEXT_PREFIX.encode("ascii")


class _Carrier(Struct):
    content: str | None = None


class _Choice(Struct):
    delta: _Carrier | None = None
    message: _Carrier | None = None
    text: str | None = None


class _Error(Struct):
    message: str | None = None


class _Envelope(Struct):
    choices: list[_Choice] | None = None
    error: _Error | str | None = None
    sealed: str | None = None


_decoder = msgspec.json.Decoder(_Envelope)


def find_frame(body: bytes) -> bytes | None:
    """Return the frame in a body or event's data, or None if there is none.

    Raises:
        MalformedFrameError, TooLargeError: there is one, but its text is no good.
    """
    if _PREFIX_BYTES not in body:
        return None
    try:
        envelope = _decoder.decode(body)
    except JSON_ERRORS:
        return None
    for text in _carriers(envelope):
        if text is not None and text.startswith(TEXT_PREFIX):
            return frame_from_text(text)
    return None


def _carriers(envelope: _Envelope) -> Iterator[str | None]:
    for choice in envelope.choices or ():
        if choice.delta is not None:
            yield choice.delta.content
        if choice.message is not None:
            yield choice.message.content
        yield choice.text
    if isinstance(envelope.error, _Error):
        yield envelope.error.message
    yield envelope.sealed
