"""What can go wrong between here and a server, in one sentence each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from stainedglass_output_protection.apps.chat.conversation import AnswerError
from stainedglass_output_protection.apps.unreachable import why_unreachable
from stainedglass_output_protection.errors import ConfigurationError, ResponseError

WRONG_URL: Final = "The URL must be like https://host:8000/v1, without a name, password or query in it."


@contextmanager
def told_as_answer_errors(library: Any, url: str) -> Iterator[None]:
    """Turn what the library and the protection raise into an ``AnswerError``.

    ``url`` is the server's.
    """
    try:
        yield
    except ResponseError as error:
        raise AnswerError(f"{type(error).__name__}: {error}") from error
    except (library.InvalidURL, library.UnsupportedProtocol, UnicodeError) as error:
        raise ConfigurationError(WRONG_URL) from error
    except library.TransportError as error:
        raise AnswerError(why_unreachable(error, url)) from error
