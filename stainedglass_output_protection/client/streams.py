"""The two drivers that pull an inner response's bytes through a ``Body``.

An opened stream gives each payload once, however often it is iterated: SDKs drain what
is left of a stream in a second loop. After a failure, or when it was closed before its
end, no loop over it ends quietly: a short answer is never taken as complete.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from contextlib import suppress
from typing import Any, ClassVar

from stainedglass_output_protection.client.bodies import Body
from stainedglass_output_protection.errors import TruncatedError


class _Progress:
    """What both drivers remember: the first payload, and how the stream ended.

    ``cut_off`` are the library's errors for a peer that closed in the middle.
    """

    cut_off: ClassVar[tuple[type[Exception], ...]] = ()

    def __init__(self) -> None:
        self._first: bytes | None = None
        self._failure: Exception | None = None
        self._is_ended = False

    def _fail(self, failure: BaseException) -> None:
        # A cancellation is not raised a second time: its task has gone.
        self._failure = failure if isinstance(failure, Exception) else _closed()

    def _stop(self) -> None:
        if self._failure is None and not self._is_ended:
            self._failure = _closed()


class OpenedStream(_Progress):
    """The opened body of a sync response. ``inner`` is the library's response.

    The caller must call ``start`` before anything else, and ``close`` at the end.
    """

    def __init__(self, body: Body, inner: Any) -> None:
        super().__init__()
        self._inner = inner
        self._payloads = _opened(body, inner.iter_bytes())

    def start(self) -> None:
        """Read up to the first payload.

        Raises:
            ResponseError: the answer is not acceptable.
        """
        self._first = next(self._payloads)

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self._failure is not None:
            raise self._failure
        if self._first is not None:
            first, self._first = self._first, None
            return first
        try:
            return next(self._payloads)
        except StopIteration:
            self._is_ended = True
            raise
        except self.cut_off as failure:
            self._fail(_cut_off())
            self.close()
            raise _cut_off() from failure
        except BaseException as failure:
            self._fail(failure)
            self.close()
            raise

    def close(self) -> None:
        """Give the connection back, or up if there is more to come."""
        self._stop()
        with suppress(ValueError):  # Another thread is reading: its read fails now.
            self._payloads.close()
        self._inner.close()


class AsyncOpenedStream(_Progress):
    """The opened body of an async response; otherwise as ``OpenedStream``."""

    def __init__(self, body: Body, inner: Any) -> None:
        super().__init__()
        self._inner = inner
        self._payloads = _opened_async(body, inner.aiter_bytes())

    async def start(self) -> None:
        """Read up to the first payload.

        Raises:
            ResponseError: the answer is not acceptable.
        """
        self._first = await self._payloads.__anext__()

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._failure is not None:
            raise self._failure
        if self._first is not None:
            first, self._first = self._first, None
            return first
        try:
            return await self._payloads.__anext__()
        except StopAsyncIteration:
            self._is_ended = True
            raise
        except self.cut_off as failure:
            self._fail(_cut_off())
            await self.aclose()
            raise _cut_off() from failure
        except BaseException as failure:
            self._fail(failure)
            await self.aclose()
            raise

    async def aclose(self) -> None:
        """Give the connection back, or up if there is more to come."""
        self._stop()
        try:
            with suppress(RuntimeError):  # Another task is reading: its read fails now.
                await self._payloads.aclose()
        finally:
            await self._inner.aclose()


def _opened(
    body: Body, chunks: Generator[bytes, None, None]
) -> Generator[bytes, None, None]:
    for chunk in chunks:
        yield from body.feed(chunk)
    yield from body.finish()


async def _opened_async(
    body: Body, chunks: AsyncGenerator[bytes, None]
) -> AsyncGenerator[bytes, None]:
    try:
        async for chunk in chunks:
            for payload in body.feed(chunk):
                yield payload
        for payload in body.finish():
            yield payload
    finally:
        await chunks.aclose()


def _closed() -> TruncatedError:
    return TruncatedError("The answer was closed before it had been read to its end.")


def _cut_off() -> TruncatedError:
    return TruncatedError(
        "The connection was cut before the answer's final frame. Do not use what came "
        "as a complete answer."
    )
