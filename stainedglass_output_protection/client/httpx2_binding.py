"""The transports for ``httpx2``. All behaviour is in ``transport.py``."""

from __future__ import annotations

import httpx2

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

_CUT_OFF = (httpx2.RemoteProtocolError, httpx2.ReadError)


class _Stream(OpenedStream, httpx2.SyncByteStream):
    cut_off = _CUT_OFF


class _AsyncStream(AsyncOpenedStream, httpx2.AsyncByteStream):
    cut_off = _CUT_OFF


class _DeferredResponse(DeferredError, httpx2.Response):
    def __init__(self, error: OutputProtectionError, *, is_read_by_send: bool) -> None:
        self._error = error
        self._is_read_by_send = is_read_by_send
        super().__init__(
            200,
            headers={
                "content-type": "application/json",
                MARK_HEADER: Mark.REFUSED.value,
            },
            stream=httpx2.ByteStream(b""),
            extensions={EXTENSION: Verdict(Mark.REFUSED)},
        )


_LIBRARY = Library(
    request=httpx2.Request,
    response=httpx2.Response,
    deferred_response=_DeferredResponse,
    stream=_Stream,
    async_stream=_AsyncStream,
)


class ProtectedTransport(SyncDriver, httpx2.BaseTransport):
    """A transport that opens what ``inner`` brings, for ``httpx2.Client``."""

    _library = _LIBRARY


class AsyncProtectedTransport(AsyncDriver, httpx2.AsyncBaseTransport):
    """A transport that opens what ``inner`` brings, for ``httpx2.AsyncClient``."""

    _library = _LIBRARY
