"""The transports for ``httpx``. All behaviour is in ``transport.py``."""

from __future__ import annotations

import httpx

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

_CUT_OFF = (httpx.RemoteProtocolError, httpx.ReadError)


class _Stream(OpenedStream, httpx.SyncByteStream):
    cut_off = _CUT_OFF


class _AsyncStream(AsyncOpenedStream, httpx.AsyncByteStream):
    cut_off = _CUT_OFF


_LIBRARY = Library(
    request=httpx.Request,
    response=httpx.Response,
    stream=_Stream,
    async_stream=_AsyncStream,
)


class ProtectedTransport(SyncDriver, httpx.BaseTransport):
    """A transport that opens what ``inner`` brings, for ``httpx.Client``."""

    _library = _LIBRARY


class AsyncProtectedTransport(AsyncDriver, httpx.AsyncBaseTransport):
    """A transport that opens what ``inner`` brings, for ``httpx.AsyncClient``."""

    _library = _LIBRARY
