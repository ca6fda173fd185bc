"""Log records, tracebacks and warnings without the words in them.

What a line says is in the source; what it shows may be a model's. So of a message only
a literal of the calling module is kept, and of an exception its type and its place.
"""

from __future__ import annotations

import ast
import functools
import logging
import re
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final, TextIO

_REDACTED: Final = "<redacted>"
_CONVERSION: Final = re.compile(
    r"%(?:\(.*?\))?[#0\- +]*(?:\*|\d+)?(?:\.(?:\*|\d+))?[hlL]?[a-zA-Z%]"
)
# Python's names for a source that is a text and no file, such as <unknown>.
_TEXT_AS_CODE: Final = re.compile(r"<.+>")


class RedactingFactory:
    """A log record factory that redacts what some loggers say before a handler sees it.

    Names are of loggers and all below. ``wordy`` ones lose the words of messages and
    exceptions, ``failing`` ones of exceptions, but for those logged with one of the
    ``kept`` messages; ``readable`` ones are left alone.
    """

    def __init__(
        self,
        factory: Callable[..., logging.LogRecord],
        *,
        wordy: Iterable[str],
        failing: Iterable[str],
        kept: Iterable[str],
        readable: Iterable[str],
    ) -> None:
        # ``_factory`` is what vLLM's own wrapper calls it too: see ``is_installed``.
        self._factory = factory
        self._wordy = tuple(f"{name}." for name in wordy)
        self._failing = tuple(f"{name}." for name in failing)
        self._kept = frozenset(kept)
        self._readable = tuple(f"{name}." for name in readable)

    def __call__(self, *args: Any, **kwargs: Any) -> logging.LogRecord:
        """Make a record as ``logging.LogRecord`` does."""
        record = self._factory(*args, **kwargs)
        name = f"{record.name}."
        if name.startswith(self._readable):
            return record
        if name.startswith(self._failing):
            if record.msg not in self._kept:
                _redact_exception(record)
        elif name.startswith(self._wordy):
            _redact_message(record)
            _redact_exception(record)
        return record


def is_installed() -> bool:
    """Tell whether records are redacted, whatever has wrapped our factory since."""
    factory: Any = logging.getLogRecordFactory()
    while factory is not None and not isinstance(factory, RedactingFactory):
        factory = getattr(factory, "_factory", None)
    return factory is not None


def redact_warnings() -> None:
    """Show only kind and place of warnings that quote values or text parsed as code.

    ``ast.parse`` warns of escapes in the text, and pydantic of values it did not expect.
    """
    shown = warnings.showwarning
    if getattr(shown, "redacts", False):
        return

    @functools.wraps(shown)
    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if "pydantic" in str(message).lower() or _TEXT_AS_CODE.fullmatch(filename):
            message, line = _REDACTED, ""
        shown(message, category, filename, lineno, file, line)

    show.redacts = True  # type: ignore[attr-defined]
    warnings.showwarning = show


def _redact_message(record: logging.LogRecord) -> None:
    message = record.msg
    if not isinstance(message, str) or message not in _literals(record.pathname):
        record.msg = f"{record.filename}:{record.lineno} {_REDACTED}"
    elif record.args:
        record.msg = _CONVERSION.sub(
            lambda found: "%" if found[0] == "%%" else _REDACTED, message
        )
    record.args = ()


def _redact_exception(record: logging.LogRecord) -> None:
    info, record.exc_info = record.exc_info, None
    if info and info[1] is not None:
        lines = ["Traceback (most recent call last), without messages:"]
        for error in _chain(info[1]):
            for frame, line in traceback.walk_tb(error.__traceback__):
                code = frame.f_code
                lines.append(
                    f'  File "{code.co_filename}", line {line}, in {code.co_name}'
                )
            kind = type(error)
            lines.append(f"{kind.__module__}.{kind.__qualname__}: {_REDACTED}")
        record.exc_text = "\n".join(lines)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield ``error`` and what led to it, the first one first, as Python shows them."""
    found: list[BaseException] = []
    item: BaseException | None = error
    while item is not None and not any(item is known for known in found):
        found.append(item)
        item = item.__cause__ or (
            None if item.__suppress_context__ else item.__context__
        )
    return reversed(found)


@functools.cache
def _literals(path: str) -> frozenset[str]:
    """Return the strings that are given as they stand to calls in a source file."""
    try:
        tree = ast.parse(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, SyntaxError):
        return frozenset()
    return frozenset(
        argument.value
        for call in ast.walk(tree)
        if isinstance(call, ast.Call)
        for argument in call.args[:2]
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str)
    )
