"""What the network sees of a chat: the sealed request, and the events as they come."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from typing import Any, Final

from stainedglass_output_protection.apps.chat.plain_text import plain_text
from stainedglass_output_protection.protocol.constants import TEXT_PREFIX
from stainedglass_output_protection.protocol.events import EventSplitter

_FRAME: Final = TEXT_PREFIX.encode("ascii")
_SEALED_TEXT = re.compile(r"sgop1[a-z-]*\.[A-Za-z0-9+/=]*")
# Of what stands before the sealed text, enough to see which member it is in.
_BEFORE: Final = 14


class Wire:
    """Remembers the latest request and the events of its answer that nobody took."""

    def __init__(self) -> None:
        self.request_line = ""
        self.request = b""
        self._splitter = EventSplitter()
        self._blocks: deque[bytes] = deque()

    def sent(self, line: str, body: bytes) -> None:
        """Take a request as it goes out: its first line, and its body."""
        self.request_line = line
        self.request = body
        self._splitter = EventSplitter()
        self._blocks.clear()

    def came(self, chunk: bytes) -> None:
        """Take bytes of an answer as they come in."""
        self._blocks.extend(self._splitter.feed(chunk))

    def until_frame(self) -> Iterator[bytes]:
        """Yield the events up to the first one that carries a frame, that one included."""
        while self._blocks:
            block = self._blocks.popleft()
            yield block
            if _FRAME in block:
                return

    def rest(self) -> Iterator[bytes]:
        """Yield what has come after the last frame."""
        while self._blocks:
            yield self._blocks.popleft()


def observed(library: Any, transport: Any, wire: Wire) -> Any:
    """Return ``transport`` with ``wire`` beside it: requests with a body, and answers."""

    class Stream(library.SyncByteStream):  # type: ignore[misc]
        def __init__(self, inner: Any) -> None:
            self._inner = inner

        def __iter__(self) -> Iterator[bytes]:
            for chunk in self._inner:
                wire.came(chunk)
                yield chunk

        def close(self) -> None:
            self._inner.close()

    class Observed(library.BaseTransport):  # type: ignore[misc]
        def handle_request(self, request: Any) -> Any:
            body = request.read()
            response = transport.handle_request(request)
            if body:
                wire.sent(f"{request.method} {request.url.path}", body)
                response.stream = Stream(response.stream)
            return response

        def close(self) -> None:
            transport.close()

    return Observed()


def shortened(data: bytes, width: int, label: str = "") -> str:
    """Return one line of at most ``width`` characters that says what ``data`` is.

    Its ``label`` and its size come first. Of a sealed text the beginning is shown, with
    what stands before it.
    """
    size = f"{plain_text(label)} {len(data):,} B ".lstrip()
    room = max(width - len(size), 8)
    text = " ".join(plain_text(data.decode("utf-8", "replace")).split())
    sealed = _SEALED_TEXT.search(text)
    if len(text) <= room:
        return size + text
    start = 0
    if sealed is not None and sealed.end() > room:
        start = max(sealed.start() - min(_BEFORE, room // 3), 0)
    before = "…" if start else ""
    shown = before + text[start : start + room - len(before) - 1]
    return f"{size}{shown}…"
