"""What can go wrong between here and a server, in one sentence each."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from stainedglass_output_protection.apps.chat.conversation import AnswerError
from stainedglass_output_protection.errors import ConfigurationError, ResponseError


@contextmanager
def told_as_answer_errors(library: Any) -> Iterator[None]:
    """Turn what the library and the protection raise into an ``AnswerError``."""
    try:
        yield
    except ResponseError as error:
        raise AnswerError(f"{type(error).__name__}: {error}") from error
    except (library.InvalidURL, library.UnsupportedProtocol) as error:
        raise ConfigurationError(
            "The URL must be like https://host:8000/v1."
        ) from error
    except library.TimeoutException as error:
        raise AnswerError(
            "The server did not answer in time. Check the URL, or ask again."
        ) from error
    except library.TransportError as error:
        raise AnswerError(_reason(error)) from error


def _reason(error: BaseException) -> str:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return (
                f"The server's TLS certificate is not accepted ({cause.verify_message}"
                "). Use the name that it is for, or have its authority installed."
            )
        if isinstance(cause, ssl.SSLError):
            return (
                "There is no TLS at that address, or none that both sides know. Check "
                "whether the URL begins with http:// or https://."
            )
        cause = cause.__cause__ or cause.__context__
    return (
        f"The server could not be asked ({type(error).__name__}). Check the URL, and "
        "that the server runs."
    )
