"""The drivers: send one request, hand the answer to its ``Exchange``, pull the body.

Written for any library with httpx's transport API; ``httpx_binding.py`` and
``httpx2_binding.py`` fill in the classes. Nothing is decided here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

from stainedglass_output_protection.client.bodies import HeldBytes
from stainedglass_output_protection.client.exchange import Exchange
from stainedglass_output_protection.client.protection import Protection
from stainedglass_output_protection.client.reading import (
    asked_of,
    whole_body,
    whole_body_async,
)
from stainedglass_output_protection.client.request import Request
from stainedglass_output_protection.client.streams import (
    AsyncOpenedStream,
    OpenedStream,
)
from stainedglass_output_protection.client.verdict import (
    EXTENSION,
    MARK_HEADER,
    Mark,
    Verdict,
)

# What brings a key document. An error that may hold one may hold other things, too.
_MAX_DOCUMENT_BODY = 1024 * 1024
# They describe a body that was read, and decoded.
_OF_THE_BODY = (b"content-encoding", b"content-length", b"transfer-encoding")


class Library(NamedTuple):
    """The classes of one HTTP library that the drivers make objects of."""

    request: Callable[..., Any]
    response: Callable[..., Any]
    stream: type[OpenedStream]
    async_stream: type[AsyncOpenedStream]


class _Driver:
    """What the sync and the async transport share.

    ``inner`` is the transport that speaks HTTP. ``protection`` holds the pin; give one
    object to all transports of a client (default: from the environment).
    """

    _library: ClassVar[Library]

    def __init__(self, inner: Any, *, protection: Protection | None = None) -> None:
        self._inner = inner
        self._protection = protection or Protection.load()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._inner!r})"

    def _begin(self, request: Any) -> tuple[Exchange, Request]:
        asked = asked_of(request)
        return self._protection.begin(asked), asked

    def _document_request(self, request: Any, path: str) -> Any:
        """Return the request for a key document, which has nothing of the caller's."""
        return self._library.request(
            method="GET",
            url=request.url.copy_with(raw_path=path.encode("ascii", "replace")),
            headers={"accept": "application/json", "accept-encoding": "identity"},
            extensions=request.extensions,
        )

    def _sent(self, exchange: Exchange, asked: Request, request: Any) -> Any:
        """Return a copy of the request as the exchange has it."""
        outgoing = exchange.outgoing(asked)
        body = outgoing.body
        sent = self._library.request(
            method=request.method,
            url=request.url,
            headers=request.headers,
            extensions=request.extensions,
            **({"stream": request.stream} if body is None else {"content": body}),
        )
        for name in outgoing.dropped:
            sent.headers.pop(name, None)
        if body is not None:
            sent.headers.pop("transfer-encoding", None)
            if body or "content-length" in request.headers:
                sent.headers["content-length"] = str(len(body))
        for name, value in outgoing.headers.items():
            sent.headers[name] = value
        return sent

    def _again(self, inner_response: Any, content: bytes) -> Any:
        """Return a response whose body was read, to be read once more."""
        headers = inner_response.headers.raw
        return self._library.response(
            inner_response.status_code,
            headers=[item for item in headers if item[0].lower() not in _OF_THE_BODY],
            content=content,
            extensions=inner_response.extensions,
        )

    def _pass_on(self, inner_response: Any) -> Any:
        """Return the answer of a clear route, with the mark that says so."""
        inner_response.headers[MARK_HEADER] = Mark.CLEAR.value
        inner_response.extensions[EXTENSION] = Verdict(Mark.CLEAR)
        return inner_response

    def _opened(self, exchange: Exchange, inner_response: Any, stream: Any) -> Any:
        """Return the response that the caller sees: the inner status, type and body."""
        report = exchange.report(inner_response.status_code, inner_response.headers.raw)
        extensions = {**inner_response.extensions, EXTENSION: report.verdict}
        if report.status != inner_response.status_code:
            extensions.pop("reason_phrase", None)
        return self._library.response(
            report.status, headers=report.headers, stream=stream, extensions=extensions
        )


class SyncDriver(_Driver):
    """The sync half of a binding's ``ProtectedTransport``."""

    def handle_request(self, request: Any) -> Any:
        """Send a request and return its answer, opened.

        Raises:
            ResponseError: the answer is not acceptable.
            UsageError: the request is for another origin than the first one.
        """
        if self._protection.reads_bodies:
            request.read()
        exchange, asked = self._begin(request)
        if exchange.document_path is not None:
            wanted = self._document_request(request, exchange.document_path)
            answer = self._inner.handle_request(wanted)
            if answer.status_code == 200:
                content = whole_body(answer, HeldBytes(_MAX_DOCUMENT_BODY))
                exchange.take_document(answer.status_code, content)
            else:
                answer.close()  # A page of something on the way, of any size.
        inner_response = self._inner.handle_request(
            self._sent(exchange, asked, request)
        )
        while exchange.may_learn(inner_response.status_code):
            content = whole_body(inner_response, HeldBytes())
            if exchange.learn(content):
                sent = self._sent(exchange, asked, request)
                inner_response = self._inner.handle_request(sent)
            else:
                inner_response = self._again(inner_response, content)
        if exchange.is_clear:
            return self._pass_on(inner_response)
        try:
            content_type = inner_response.headers.get("content-type", "")
            body = exchange.receive(inner_response.status_code, content_type)
            stream = self._library.stream(body, inner_response)
            stream.start()
        except BaseException:
            inner_response.close()
            raise
        return self._opened(exchange, inner_response, stream)

    def close(self) -> None:
        """Close the inner transport."""
        self._inner.close()

    def __enter__(self) -> Any:
        self._inner.__enter__()
        return self

    def __exit__(self, *exc_info: Any) -> None:
        self._inner.__exit__(*exc_info)


class AsyncDriver(_Driver):
    """The async half of a binding's ``AsyncProtectedTransport``."""

    async def handle_async_request(self, request: Any) -> Any:
        """Send a request and return its answer, opened.

        Raises:
            ResponseError: the answer is not acceptable.
            UsageError: the request is for another origin than the first one.
        """
        if self._protection.reads_bodies:
            await request.aread()
        exchange, asked = self._begin(request)
        if exchange.document_path is not None:
            wanted = self._document_request(request, exchange.document_path)
            answer = await self._inner.handle_async_request(wanted)
            if answer.status_code == 200:
                content = await whole_body_async(answer, HeldBytes(_MAX_DOCUMENT_BODY))
                exchange.take_document(answer.status_code, content)
            else:
                await answer.aclose()  # A page of something on the way, of any size.
        inner_response = await self._inner.handle_async_request(
            self._sent(exchange, asked, request)
        )
        while exchange.may_learn(inner_response.status_code):
            content = await whole_body_async(inner_response, HeldBytes())
            if exchange.learn(content):
                sent = self._sent(exchange, asked, request)
                inner_response = await self._inner.handle_async_request(sent)
            else:
                inner_response = self._again(inner_response, content)
        if exchange.is_clear:
            return self._pass_on(inner_response)
        try:
            content_type = inner_response.headers.get("content-type", "")
            body = exchange.receive(inner_response.status_code, content_type)
            stream = self._library.async_stream(body, inner_response)
            await stream.start()
        except BaseException:
            await inner_response.aclose()
            raise
        return self._opened(exchange, inner_response, stream)

    async def aclose(self) -> None:
        """Close the inner transport."""
        await self._inner.aclose()

    async def __aenter__(self) -> Any:
        await self._inner.__aenter__()
        return self

    async def __aexit__(self, *exc_info: Any) -> None:
        await self._inner.__aexit__(*exc_info)
