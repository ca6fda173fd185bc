"""Opens a body that is pushed in piece by piece. No I/O (``protocol.md#streams``).

``feed`` and ``finish`` yield opened payloads, each as soon as its bytes are there. The
first payload comes when frame 0 has opened, or never; a caller that has not seen
``finish`` end has not seen a complete answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NoReturn, Protocol

import msgspec

from stainedglass_output_protection.errors import (
    TooLargeError,
    TrailingDataError,
    TruncatedError,
    UnprotectedResponseError,
)
from stainedglass_output_protection.protocol.constants import MAX_BODY
from stainedglass_output_protection.protocol.encoding import JSON_ERRORS
from stainedglass_output_protection.protocol.events import EventSplitter, event_data
from stainedglass_output_protection.protocol.fields_reader import (
    find_frame,
    find_frame_in_message,
)
from stainedglass_output_protection.protocol.opaque_reader import FrameSplitter
from stainedglass_output_protection.protocol.opener import FrameOpener

_QUOTED_WORDS = 200


class Body(Protocol):
    """The body of one response, on its way from sealed to opened."""

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Take the next bytes, of any size; yield what they complete."""

    def finish(self) -> Iterator[bytes]:
        """State that the body has ended; yield what was waiting for that."""


class UnaryBody:
    """A JSON body with one frame, held in memory up to the limit."""

    def __init__(self, opener: FrameOpener, *, is_error: bool) -> None:
        self._opener = opener
        self._held = HeldBytes()
        self._is_error = is_error

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Keep the bytes; a unary body opens as a whole."""
        self._held.add(chunk)
        return iter(())

    def finish(self) -> Iterator[bytes]:
        """Yield the opened body, or an unsealed error's bytes as they came.

        Raises:
            UnprotectedResponseError: a success that is not sealed.
            ResponseError: the frame does not open, or is not the final one.
        """
        body = self._held.take()
        if self._is_error:
            yield from _opened_error(self._opener, body)
            return
        frame = find_frame(body)
        if frame is None:
            _refuse_unprotected()
        yield _opened_whole(self._opener, frame)


class StreamBody:
    """Server-sent events with a frame in each; memory does not grow with their number.

    ``is_error`` says that the outer status is one: if no frame comes at all, the bytes
    are an unsealed error and are yielded as they came, at the end.
    """

    def __init__(self, opener: FrameOpener, *, is_error: bool) -> None:
        self._opener = opener
        self._splitter = EventSplitter()
        self._held = HeldBytes() if is_error else None
        self._has_clear_events = False

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Yield the payload of each frame that ``chunk`` completes.

        Raises:
            TruncatedError: a clear end or error event came before the final frame.
            ResponseError: a frame does not open, or follows the final one.
        """
        if self._held is not None:
            self._held.add(chunk)
        yield from self._opened(self._splitter.feed(chunk))

    def finish(self) -> Iterator[bytes]:
        """Yield nothing, or the held bytes of an unsealed error.

        Raises:
            TruncatedError: the final frame has not come.
            UnprotectedResponseError: there were events, and no frame in any.
        """
        yield from self._opened(self._splitter.end())
        if self._held is not None:
            # Some routers call every answer to a request for a stream a stream.
            yield from _opened_error(self._opener, self._held.take())
        elif self._opener.status is None and self._has_clear_events:
            _refuse_unprotected()
        else:
            self._opener.finish()

    def _opened(self, blocks: list[bytes]) -> Iterator[bytes]:
        for block in blocks:
            data = event_data(block)
            if data is None:
                continue
            frame = find_frame(data)
            if frame is not None:
                payload = self._opener.open(frame)
                self._held = None
                yield payload
            elif not self._opener.is_complete and self._held is None:
                self._judge_clear_event(data)

    def _judge_clear_event(self, data: bytes) -> None:
        if data.startswith(b"[DONE]"):
            if self._opener.status is None and self._has_clear_events:
                _refuse_unprotected()
            self._opener.finish()
        words = _error_words(data)
        if words is not None:
            raise TruncatedError(
                "An error event that is not sealed came before the final frame. Its "
                f"words, which anyone on the way may have written: {words!r}"
            )
        self._has_clear_events = True


class OpaqueBody:
    """Frames behind their lengths; memory does not grow with their number."""

    def __init__(self, opener: FrameOpener) -> None:
        self._opener = opener
        self._splitter = FrameSplitter()

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Yield the payload of each frame that ``chunk`` completes.

        Raises:
            ResponseError: a frame does not open, or follows the final one.
        """
        if not self._opener.is_complete:
            for frame in self._splitter.feed(chunk):
                yield self._opener.open(frame)
                if self._opener.is_complete:
                    break
            chunk = b""
        if self._opener.is_complete and (chunk or self._splitter.is_in_frame):
            raise TrailingDataError("There is something after the final frame.")

    def finish(self) -> Iterator[bytes]:
        """Yield nothing.

        Raises:
            TruncatedError: the final frame has not come.
        """
        self._opener.finish()
        return iter(())


class MislabelledBody:
    """Frames or events, whichever the first byte tells; for who asked for frames.

    Some routers call every answer to a request for a stream a stream of events. Those
    begin with a letter or a colon, a frame's length with zero.
    """

    def __init__(self, opener: FrameOpener, *, is_error: bool) -> None:
        self._opener = opener
        self._is_error = is_error
        self._body: Body | None = None

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Yield the payload of each frame that ``chunk`` completes.

        Raises:
            ResponseError: as the body does that it turns out to be.
        """
        if not chunk:
            return iter(())
        if self._body is None:
            is_frames = chunk[0] == 0
            self._body = OpaqueBody(self._opener) if is_frames else self._events()
        return self._body.feed(chunk)

    def finish(self) -> Iterator[bytes]:
        """Yield what was waiting for the end.

        Raises:
            ResponseError: as the body does that it turned out to be.
        """
        return (self._body or self._events()).finish()

    def _events(self) -> StreamBody:
        return StreamBody(self._opener, is_error=self._is_error)


class HeldBytes:
    """Bytes in memory, as many as the limit allows."""

    def __init__(self, limit: int = MAX_BODY) -> None:
        self._parts: list[bytes] = []
        self._room = limit

    def add(self, chunk: bytes) -> None:
        """Keep ``chunk``.

        Raises:
            TooLargeError: it would exceed the limit.
        """
        self._room -= len(chunk)
        if self._room < 0:
            raise TooLargeError("The answer is larger than this client accepts.")
        self._parts.append(chunk)

    def take(self) -> bytes:
        """Return everything, and forget it."""
        parts, self._parts = self._parts, []
        return parts[0] if len(parts) == 1 else b"".join(parts)


def _opened_error(opener: FrameOpener, body: bytes) -> Iterator[bytes]:
    """Yield what an error's body holds, or as it came if it is not sealed."""
    frame = find_frame(body) or find_frame_in_message(body)
    yield body if frame is None else _opened_whole(opener, frame)


def _opened_whole(opener: FrameOpener, frame: bytes) -> bytes:
    payload = opener.open(frame)
    opener.finish()
    return payload


def _refuse_unprotected() -> NoReturn:
    raise UnprotectedResponseError(
        "The answer came back unprotected and was dropped unread. The server does not "
        "run the protection, serves this route in the clear, or something on the way "
        "removed it."
    )


def _error_words(data: bytes) -> str | None:
    """Return the start of a clear error event's message; None for any other event."""
    if b"error" not in data:
        return None
    try:
        event: Any = msgspec.json.decode(data)
    except JSON_ERRORS:
        return None
    if not isinstance(event, dict):
        return None
    error = event.get("error")
    if error is None and event.get("type") == "error":
        error = event
    if error is None:
        return None
    message = error.get("message") if isinstance(error, dict) else error
    return message[:_QUOTED_WORDS] if isinstance(message, str) else ""
