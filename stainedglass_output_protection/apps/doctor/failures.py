"""Why a probe was not answered: one sentence for each way in which that fails."""

from __future__ import annotations

import asyncio
from typing import Final

from stainedglass_output_protection.apps.unreachable import causes_of, why_unreachable

# Names of errors of the HTTP libraries, either of which may be there.
_BROKEN: Final = ("RemoteProtocolError", "ReadError", "LocalProtocolError")


def failure_of(
    error: BaseException, url: str, timeout_s: float, *, has_begun: bool
) -> str:
    """Return what went wrong and what to do, for an error of an HTTP library.

    ``has_begun`` tells whether an answer had come as far as its body.
    """
    if any(map(_is_timeout, causes_of(error))):
        return (
            f"No whole answer came in {timeout_s:g} s. Check the URL, or give a longer "
            "--timeout."
        )
    name = type(error).__name__
    if name == "DecodingError":
        return (
            "The body of an answer has a coding that it does not follow. Look for a "
            "gateway that compresses."
        )
    if has_begun and name in _BROKEN:
        return (
            "The connection was cut in the middle of an answer. Look for a gateway with "
            "a limit of time or size."
        )
    return why_unreachable(error, url)


def _is_timeout(cause: BaseException) -> bool:
    # Until Python 3.11 the one of asyncio is another class.
    return isinstance(cause, asyncio.TimeoutError | TimeoutError) or (
        type(cause).__name__.endswith("Timeout")
    )
