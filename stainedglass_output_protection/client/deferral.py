"""Errors for SDKs that would retry and wrap them (``openai`` 1.x and 2.x).

Those retry on any exception raised while sending, and show the last one only as the
cause of a connection error. A deferred response has no content; sending it succeeds,
and reading it raises the error.
"""

from __future__ import annotations

from typing import Any, NoReturn

import msgspec

from stainedglass_output_protection.errors import OutputProtectionError
from stainedglass_output_protection.protocol.encoding import JSON_ERRORS

_RAW_RESPONSE_HEADER = "x-stainless-raw-response"


class _Asked(msgspec.Struct):
    stream: bool | None = None


def is_sdk_request(request: Any) -> bool:
    """Tell whether an SDK made the request: others can be shown errors at once."""
    return "x-stainless-lang" in request.headers


def is_read_by_send(request: Any) -> bool:
    """Tell whether the SDK's ``send`` will read the answer of this request itself."""
    if request.headers.get(_RAW_RESPONSE_HEADER) == "stream":
        return False
    try:
        return not msgspec.json.decode(request.content, type=_Asked).stream
    except (*JSON_ERRORS, RuntimeError):  # Not JSON, or an upload not in memory.
        return True


class DeferredError:
    """Mixed into a library's response class, in front of it.

    With ``is_read_by_send`` the first ``read`` is the library's own and passes.
    """

    _error: OutputProtectionError
    _is_read_by_send: bool

    def _raise(self) -> NoReturn:
        raise self._error

    def _pass_first_read(self) -> bool:
        passes, self._is_read_by_send = self._is_read_by_send, False
        return passes

    def read(self) -> bytes:
        """Return nothing to the library, and raise to everybody else."""
        if not self._pass_first_read():
            self._raise()
        self.close()  # type: ignore[attr-defined]
        return b""

    async def aread(self) -> bytes:
        """Return nothing to the library, and raise to everybody else."""
        if not self._pass_first_read():
            self._raise()
        await self.aclose()  # type: ignore[attr-defined]
        return b""

    @property
    def content(self) -> bytes:
        """Raise the error."""
        self._raise()

    @property
    def text(self) -> str:
        """Raise the error."""
        self._raise()

    def json(self, **kwargs: Any) -> Any:
        """Raise the error."""
        self._raise()

    def iter_raw(self, chunk_size: int | None = None) -> Any:
        """Raise the error."""
        self._raise()

    def iter_bytes(self, chunk_size: int | None = None) -> Any:
        """Raise the error."""
        self._raise()

    def aiter_raw(self, chunk_size: int | None = None) -> Any:
        """Raise the error."""
        self._raise()

    def aiter_bytes(self, chunk_size: int | None = None) -> Any:
        """Raise the error."""
        self._raise()
