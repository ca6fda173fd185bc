"""Sends each request on through an HTTP transport and streams the answer back.

An ASGI application for what stands between a program and a server. What the transport
does on the way, such as sealing and opening, is its own affair; how a failure is told
to a program is that of ``Failures``. Nothing here knows of either.
"""

from __future__ import annotations

import asyncio
import functools
import time
import traceback
from collections.abc import Callable, Coroutine
from typing import Any, Final, NamedTuple, Protocol

from stainedglass_output_protection.apps.http_messages import (
    Answer,
    GoneError,
    Headers,
    Receive,
    Send,
    end_to_end,
    is_ambiguous,
    whole_request,
)
from stainedglass_output_protection.errors import OutputProtectionError, RequestError

# Made anew for the request that is sent on.
_MADE_ANEW: Final = frozenset(
    {b"accept-encoding", b"content-length", b"expect", b"host"}
)
# How long a request that was told to stop may take for its last words.
_LAST_WORDS_S: Final = 2.0
_URLS: Final = 64


class Limits(NamedTuple):
    """``silence_s`` is the longest time without a byte from the server.

    ``at_once`` requests run at one time, each of up to ``request_bytes`` in memory.
    """

    request_bytes: int = 64 * 1024 * 1024
    at_once: int = 1000
    connect_s: float = 30.0
    silence_s: float = 600.0


class Failures(Protocol):
    """How a failure is told to the program that asked for ``path``."""

    def answer(self, error: BaseException, path: str) -> tuple[int, Headers, bytes]:
        """Return status, headers and body of the answer in place of the server's."""

    def event(self, error: BaseException, path: str) -> bytes:
        """Return the last event of a stream that fails in the middle, or nothing."""


class Done(NamedTuple):
    """One request that has ended. ``status`` is None if the program left before it."""

    method: str
    path: str
    status: int | None
    mark: str
    took_ms: float
    error: BaseException | None


class StoppedError(OutputProtectionError):
    """The process was told to end while it was answering."""


class BusyError(OutputProtectionError):
    """As many requests are running as may."""


class BrokenOffError(Exception):
    """An answer ended in the middle: the connection has to be cut, not ended."""


class Forwarding:
    """The application. It closes ``transport`` when its lifespan ends.

    ``transport`` is an async one of ``library`` (httpx2 or httpx), which never follows
    redirects. ``base_url`` is where requests go, without a slash at its end; a path is
    put behind it unchanged, or refused. ``done`` is called with each request that ends,
    ``stopped`` says what a program reads whose request the process's end cuts short.

    The caller must cut the connection on ``BrokenOffError``: its program has been told
    by an event, if the answer had events, and must not take what came as complete.
    """

    def __init__(
        self,
        transport: Any,
        *,
        library: Any,
        base_url: str,
        failures: Failures,
        limits: Limits | None = None,
        done: Callable[[Done], None] = lambda done: None,
        stopped: str = "The proxy was stopped while it was answering.",
    ) -> None:
        self._transport = transport
        self._library = library
        self._base = library.URL(base_url)
        self._prefix = bytes(self._base.raw_path).rstrip(b"/")
        self._failures = failures
        self._limits = limits or Limits()
        self._done = done
        self._stopped = stopped
        self._running: set[Any] = set()
        # Programs ask for the same few again and again.
        self._url_of = functools.lru_cache(maxsize=_URLS)(self._url)

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Answer one request.

        Raises:
            BrokenOffError: the answer cannot be completed.
        """
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        answer = Answer(send)
        path = scope["path"]
        error: BaseException | None = None
        started = time.monotonic()
        task = asyncio.current_task()
        self._running.add(task)
        try:
            # Before its body is read, which is what takes memory.
            if len(self._running) > self._limits.at_once:
                raise BusyError(
                    f"{self._limits.at_once} requests are running, which is the limit "
                    "here."
                )
            body = await whole_request(scope, receive, self._limits.request_bytes)
            request = self._request(scope, body)
            await _unless_gone(self._exchange(request, answer), receive, answer)
        except GoneError:
            return
        except asyncio.CancelledError:
            error = StoppedError(self._stopped)
            await self._fail(error, path, answer)
            raise
        except Exception as failure:
            error = failure
            await self._fail(error, path, answer)
        finally:
            self._running.discard(task)
            took_ms = (time.monotonic() - started) * 1e3
            shown = scope["raw_path"].decode("ascii", "replace")
            done = Done(
                scope["method"], shown, answer.status, answer.mark, took_ms, error
            )
            self._done(done)
            if error is not None:
                # It holds its frames in a circle, and they hold all that was read.
                traceback.clear_frames(error.__traceback__)

    def _request(self, scope: Any, body: bytes) -> Any:
        # The path as it came: without its query, in uvicorn at least.
        path, query = scope["raw_path"].partition(b"?")[0], scope["query_string"]
        target = self._prefix + path + (b"?" + query if query else b"")
        url = self._url_of(target)
        if url is None or not path.startswith(b"/") or is_ambiguous(path):
            raise RequestError(
                "The path of the request is not in its plain form, so it is refused.",
                code="path_refused",
            )
        if scope["method"] == "CONNECT":
            raise RequestError(
                "This is no tunnel to other servers.", code="method_refused", status=405
            )
        limits = self._limits
        times = {"connect": limits.connect_s, "pool": limits.connect_s}
        times |= {"read": limits.silence_s, "write": limits.silence_s}
        headers = [
            item for item in end_to_end(scope["headers"]) if item[0] not in _MADE_ANEW
        ]
        headers.append((b"accept-encoding", b"identity"))
        if scope["method"] == "HEAD":
            # A server that sends a body nevertheless must not give it to the next.
            headers.append((b"connection", b"close"))
        # A body of no bytes is none, where nobody has said that there is one.
        has_body = body or any(
            name == b"content-length" for name, _ in scope["headers"]
        )
        return self._library.Request(
            scope["method"],
            url,
            headers=headers,
            content=body if has_body else None,
            extensions={"timeout": times},
        )

    def _url(self, target: bytes) -> Any:
        """Return the URL with this target, or None if the library would change it."""
        try:
            url = self._base.copy_with(raw_path=target)
        except self._library.InvalidURL:
            return None
        # Libraries remove dot segments, which could lead out of the base URL.
        return url if bytes(url.raw_path) == target else None

    async def _exchange(self, request: Any, answer: Answer) -> None:
        response = await self._transport.handle_async_request(request)
        try:
            await answer.begin(response.status_code, response.headers.raw)
            async for chunk in response.stream:
                if chunk:
                    await answer.add(chunk)
            await answer.end()
        finally:
            await response.stream.aclose()

    async def _fail(self, error: BaseException, path: str, answer: Answer) -> None:
        if answer.status is None:
            status, headers, body = self._failures.answer(error, path)
            await answer.begin(status, headers)
            await answer.add(body)
            await answer.end()
        elif not answer.is_ended:
            if answer.has_events and (event := self._failures.event(error, path)):
                await answer.add(event)
            raise BrokenOffError from None

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        if self._running:
            await asyncio.wait(self._running, timeout=_LAST_WORDS_S)
        await self._transport.aclose()
        await send({"type": "lifespan.shutdown.complete"})


async def _unless_gone(
    work: Coroutine[Any, Any, None], receive: Receive, answer: Answer
) -> None:
    """Do ``work``, and stop it at once if the program leaves before its answer's end."""
    task = asyncio.current_task()
    has_left = False

    def stop(leaving: asyncio.Future[Any]) -> None:
        nonlocal has_left
        # A server says the same when the answer is complete.
        if task is not None and not answer.is_ended:
            has_left = True
            task.cancel()

    # Here, and not in a task of its own: each way from task to task delays events.
    leaving = asyncio.ensure_future(receive())
    leaving.add_done_callback(stop)
    try:
        await work
    except BaseException:
        if has_left:
            raise GoneError from None
        raise
    finally:
        leaving.remove_done_callback(stop)
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
