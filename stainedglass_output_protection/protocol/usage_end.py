"""The token counts at the end of a completion's event, shown at one width.

They change with every event if the client asks for continuous usage. So that such an
event needs no parsing, the usual form of its end can be recognised by its bytes.
"""

from __future__ import annotations

import re

from stainedglass_output_protection.protocol.envelope import (
    EVENT_END,
    Envelope,
    encode,
    padded,
)
from stainedglass_output_protection.protocol.readable import Usage, shown_usage

_TAIL = b"}" + EVENT_END
_SHOWN = (
    b',"usage":{"prompt_tokens":%7b,"total_tokens":%7b,"completion_tokens":%7b}' + _TAIL
)
_BEGINNING = b',"usage":{"prompt_tokens":'
# As JSON has it, and no wider than it is shown.
_COUNT = rb"(0|[1-9][0-9]{0,6})"
_USUAL = re.compile(
    re.escape(_BEGINNING)
    + rb'%b,"total_tokens":%b,"completion_tokens":%b' % (_COUNT, _COUNT, _COUNT)
    + rb'(?:,"completion_tokens_details":null)?\}\}\n\n'
)


def usual_usage(event: bytes) -> re.Match[bytes] | None:
    """Return the usage with which an event ends, if it has the usual form.

    Its groups are the counts. No string of the model's can look like it, since a quote
    in a string is escaped.
    """
    at = event.rfind(_BEGINNING)
    return None if at < 0 else _USUAL.fullmatch(event, at)


def shown_usage_end(usage: re.Match[bytes]) -> bytes:
    """Return what ends the envelope of an event that has a ``usual_usage``."""
    return _SHOWN % usage.groups()


def open_for_usage(envelope: Envelope) -> Envelope:
    """Return an envelope that has room without its end, in whose place a usage goes."""
    return envelope._replace(after=(envelope.after or b"")[: -len(_TAIL)])


def with_usage(envelope: Envelope, usage: Usage | None) -> Envelope:
    """Return the envelope of an event with ``usage`` added: it changes every time."""
    try:
        # None and UNSET are no numbers: the usual case needs no more checks.
        end = _SHOWN % (
            b"%d" % usage.prompt_tokens,  # type: ignore[union-attr,str-format]
            b"%d" % usage.total_tokens,  # type: ignore[union-attr,str-format]
            b"%d" % usage.completion_tokens,  # type: ignore[union-attr,str-format]
        )
    except (AttributeError, TypeError):
        shown = shown_usage(usage)
        if shown is not None:
            shown = {name: padded(count) for name, count in shown.items()}
        end = b',"usage":' + encode(shown) + _TAIL
    before, after = envelope.before, envelope.after
    if after is None:
        return Envelope(before[: -len(_TAIL)] + end, None)
    after = after[: -len(_TAIL)] + end
    return Envelope(before, after, without_usage=envelope)
