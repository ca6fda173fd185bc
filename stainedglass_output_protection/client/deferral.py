"""Errors for SDKs that retry and wrap whatever is raised while they send.

``openai`` 1.x and 2.x and ``anthropic`` do: they try twice more, and show the last error
only as the cause of a connection error. The clients that ``factory.py`` makes for an SDK
hand the error over in place of the response. It is raised when the SDK looks into that,
which it does past the place where it would wrap the error.

Transports know nothing of this: a program that sends requests itself, such as a proxy,
has errors raised at once, whatever headers it passes on.
"""

from __future__ import annotations

from typing import Any, NoReturn

from stainedglass_output_protection.errors import OutputProtectionError


class DeferredError:
    """Stands where a response is expected. Whatever is asked of it raises the error.

    Its status alone can be read: ``openai`` 2.x does so where it would still wrap the
    error. It is no status of HTTP, so that nobody takes it for an answer's.
    """

    status_code = 0

    def __init__(self, error: OutputProtectionError) -> None:
        self._error = error

    def __getattr__(self, name: str) -> NoReturn:
        raise self._error


class _SyncSending:
    def send(self, request: Any, **options: Any) -> Any:
        """Send a request. To an SDK, an error of ours is returned in a stand-in."""
        try:
            return super().send(request, **options)  # type: ignore[misc]
        except OutputProtectionError as error:
            if not _is_of_an_sdk(request):
                raise
            return DeferredError(error)


class _AsyncSending:
    async def send(self, request: Any, **options: Any) -> Any:
        """Send a request. To an SDK, an error of ours is returned in a stand-in."""
        try:
            return await super().send(request, **options)  # type: ignore[misc]
        except OutputProtectionError as error:
            if not _is_of_an_sdk(request):
                raise
            return DeferredError(error)


def deferring(client_class: type[Any], *, is_async: bool) -> type[Any]:
    """Return ``client_class`` with a ``send`` whose errors reach the SDK's caller."""
    sending = _AsyncSending if is_async else _SyncSending
    names = {"__module__": client_class.__module__, "__doc__": client_class.__doc__}
    return type(client_class.__name__, (sending, client_class), names)


def _is_of_an_sdk(request: Any) -> bool:
    # In every request of the SDKs that one generator makes, and these are made by it.
    return "x-stainless-lang" in request.headers
