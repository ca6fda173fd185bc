"""The transports for ``httpx2``. All behaviour is in ``transport.py``."""

from __future__ import annotations

import httpx2

from stainedglass_output_protection.client.streams import (
    AsyncOpenedStream,
    OpenedStream,
)
from stainedglass_output_protection.client.transport import (
    AsyncDriver,
    Library,
    SyncDriver,
)

__all__ = ["AsyncProtectedTransport", "ProtectedTransport"]

_CUT_OFF = (httpx2.RemoteProtocolError, httpx2.ReadError)


class _Stream(OpenedStream, httpx2.SyncByteStream):
    cut_off = _CUT_OFF


class _AsyncStream(AsyncOpenedStream, httpx2.AsyncByteStream):
    cut_off = _CUT_OFF


_LIBRARY = Library(
    request=httpx2.Request,
    response=httpx2.Response,
    stream=_Stream,
    async_stream=_AsyncStream,
)


class ProtectedTransport(SyncDriver, httpx2.BaseTransport):
    """A transport that opens what ``inner`` brings, for ``httpx2.Client``."""

    _library = _LIBRARY


class AsyncProtectedTransport(AsyncDriver, httpx2.AsyncBaseTransport):
    """A transport that opens what ``inner`` brings, for ``httpx2.AsyncClient``."""

    _library = _LIBRARY
