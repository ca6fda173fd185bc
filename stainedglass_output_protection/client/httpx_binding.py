"""The transports for ``httpx``. All behaviour is in ``transport.py``."""

from __future__ import annotations

import httpx

from stainedglass_output_protection.client.deferral import DeferredError
from stainedglass_output_protection.client.streams import (
    AsyncOpenedStream,
    OpenedStream,
)
from stainedglass_output_protection.client.transport import (
    AsyncDriver,
    Library,
    SyncDriver,
)
from stainedglass_output_protection.client.verdict import (
    EXTENSION,
    MARK_HEADER,
    Mark,
    Verdict,
)
from stainedglass_output_protection.errors import OutputProtectionError

__all__ = ["AsyncProtectedTransport", "ProtectedTransport"]

_CUT_OFF = (httpx.RemoteProtocolError, httpx.ReadError)


class _Stream(OpenedStream, httpx.SyncByteStream):
    cut_off = _CUT_OFF


class _AsyncStream(AsyncOpenedStream, httpx.AsyncByteStream):
    cut_off = _CUT_OFF


class _DeferredResponse(DeferredError, httpx.Response):
    def __init__(self, error: OutputProtectionError, *, is_read_by_send: bool) -> None:
        self._error = error
        self._is_read_by_send = is_read_by_send
        super().__init__(
            200,
            headers={
                "content-type": "application/json",
                MARK_HEADER: Mark.REFUSED.value,
            },
            stream=httpx.ByteStream(b""),
            extensions={EXTENSION: Verdict(Mark.REFUSED)},
        )


_LIBRARY = Library(
    request=httpx.Request,
    response=httpx.Response,
    deferred_response=_DeferredResponse,
    stream=_Stream,
    async_stream=_AsyncStream,
)


class ProtectedTransport(SyncDriver, httpx.BaseTransport):
    """A transport that opens what ``inner`` brings, for ``httpx.Client``."""

    _library = _LIBRARY


class AsyncProtectedTransport(AsyncDriver, httpx.AsyncBaseTransport):
    """A transport that opens what ``inner`` brings, for ``httpx.AsyncClient``."""

    _library = _LIBRARY
