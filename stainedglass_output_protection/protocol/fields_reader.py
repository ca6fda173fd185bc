"""Container ``fields``, client half: where in a JSON text a frame stands.

Specification: ``protocol.md#container-fields``. The first string with the prefix is it, wherever it stands.
"""

from __future__ import annotations

import msgspec

from stainedglass_output_protection.errors import MalformedFrameError
from stainedglass_output_protection.protocol.constants import TEXT_PREFIX
from stainedglass_output_protection.protocol.encoding import (
    JSON_ERRORS,
    first_frame_text,
    frame_from_text,
)

_PREFIX_BYTES = TEXT_PREFIX.encode("ascii")

_decoder = msgspec.json.Decoder()


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
