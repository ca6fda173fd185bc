"""Canonical base64 and the text form of a frame (``protocol.md#container-fields``)."""

from __future__ import annotations

import binascii
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import msgspec

from stainedglass_output_protection.errors import MalformedFrameError, TooLargeError
from stainedglass_output_protection.protocol.constants import (
    MAX_FRAME_TEXT,
    TEXT_PREFIX,
)

# What decoding JSON raises: text that is no JSON, no UTF-8, or nested without end.
JSON_ERRORS: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

_PREFIX_BYTES = TEXT_PREFIX.encode("ascii")


def _base64_encoder() -> Callable[[bytes], bytes]:
    """Return the fastest encoder that is installed: servers have the faster one."""
    try:
        from pybase64 import b64encode
    except ImportError:
        return partial(binascii.b2a_base64, newline=False)
    return b64encode


# Returns the canonical standard base64 of its argument, with padding, no newline.
encode_base64: Final = _base64_encoder()


def decode_base64(text: bytes) -> bytes | None:
    """Return the bytes of canonical standard base64, or None if it is not canonical."""
    try:
        data = binascii.a2b_base64(text)
    except binascii.Error:
        return None
    # The decoder skips foreign characters and ignores stray bits; encoding
    # again is the only check that leaves one text for each value.
    return data if encode_base64(data) == text else None


def frame_to_text(frame: bytes) -> bytes:
    """Return the text form of a frame, as ASCII bytes."""
    return _PREFIX_BYTES + encode_base64(frame)


def frame_from_text(text: str) -> bytes:
    """Return the frame that ``text`` holds.

    Raises:
        TooLargeError: the text exceeds the limit; nothing was decoded.
        MalformedFrameError: the text is not the canonical form of a frame.
    """
    if len(text) > MAX_FRAME_TEXT:
        raise TooLargeError("A frame is larger than this client accepts.")
    if text.startswith(TEXT_PREFIX) and text.isascii():
        frame = decode_base64(text[len(TEXT_PREFIX) :].encode("ascii"))
        if frame is not None:
            return frame
    raise MalformedFrameError("A frame's text is not canonical.")


def first_frame_text(value: Any) -> str | None:
    """Return the first string with a frame's prefix, in the order of the JSON text."""
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            if value.startswith(TEXT_PREFIX):
                return value
        elif isinstance(value, dict):
            waiting.extend(reversed(value.values()))
        elif isinstance(value, list):
            waiting.extend(reversed(value))
    return None
