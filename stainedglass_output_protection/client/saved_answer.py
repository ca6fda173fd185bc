"""Opens a stored copy of a sealed answer (``protocol.md#recovery-token``). No I/O.

The copy is what the network saw: the JSON or the events as a gateway, a log or a
database keeps them, or the bytes of container ``opaque``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from stainedglass_output_protection.client.bodies import (
    Body,
    OpaqueBody,
    StreamBody,
    UnaryBody,
)
from stainedglass_output_protection.errors import (
    TooLargeError,
    UnprotectedResponseError,
)
from stainedglass_output_protection.protocol.constants import TEXT_PREFIX
from stainedglass_output_protection.protocol.recovery import (
    RecoveryToken,
    SavedOpener,
)

# A shared prefix can make a small file's events large.
MAX_OPENED: Final = 256 * 1024 * 1024
_PREFIX = TEXT_PREFIX.encode("ascii")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# Text has none of these at its beginning; a frame's length is at most 128 MiB.
_MAX_FIRST_BYTE_OF_LENGTH = 8


class SavedAnswer:
    """One stored answer. ``status`` and ``content_type`` are set once frame 0 opened."""

    def __init__(self, token: RecoveryToken) -> None:
        self._opener = SavedOpener(token)

    @property
    def status(self) -> int | None:
        """The status of the answer that was sealed."""
        return self._opener.status

    @property
    def content_type(self) -> str | None:
        """The content type of the answer that was sealed."""
        return self._opener.content_type

    def open(self, stored: bytes) -> Iterator[bytes]:
        """Yield the pieces of the body. Who has not seen the end has no whole answer.

        Raises:
            ForeignResponseError: the token is another answer's.
            UnprotectedResponseError: there is no sealed answer in it.
            ResponseError: it is cut short or was changed, as for a live answer.
        """
        stored = stored.removeprefix(_BYTE_ORDER_MARK)
        body = self._body(stored)
        if isinstance(body, StreamBody | UnaryBody) and _PREFIX not in stored:
            raise UnprotectedResponseError(
                "There is no sealed answer in it. Give the body as the network saw it, "
                "before it was opened."
            )
        room = MAX_OPENED
        try:
            for payload in _payloads(body, stored):
                room -= len(payload)
                if room < 0:
                    raise TooLargeError("The answer is larger than 256 MiB.")
                yield payload
        except UnprotectedResponseError:
            # What looked like a frame was none: words that quote one, for instance.
            raise UnprotectedResponseError(
                "There is no frame in it where an answer has one. Give the body as the "
                "network saw it, before it was opened."
            ) from None

    def _body(self, stored: bytes) -> Body:
        if stored[:1] and stored[0] <= _MAX_FIRST_BYTE_OF_LENGTH:
            return OpaqueBody(self._opener)
        if stored.lstrip()[:1] in (b"{", b"["):
            return UnaryBody(self._opener, is_error=False)
        return StreamBody(self._opener, is_error=False)


def open_saved_answer(stored: bytes, token: str) -> bytes:
    """Return the whole opened body of a stored answer.

    ``token`` is what ``RecoveryToken.reveal`` has returned.

    Raises:
        ConfigurationError: the token is not one.
        ResponseError: as ``SavedAnswer.open`` does; nothing is returned of an answer
            that is not whole.
    """
    return b"".join(SavedAnswer(RecoveryToken.parse(token)).open(stored))


def _payloads(body: Body, stored: bytes) -> Iterator[bytes]:
    yield from body.feed(stored)
    yield from body.finish()
