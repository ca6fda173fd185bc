"""What breaks an answer, by accident or on purpose: it must never look like one."""

from __future__ import annotations

import base64
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

from tests.client.fake_server import TOKENS, chat_body, chat_event, error_body
from tests.gateways.fault import OPENS, Fault, hostile
from tests.gateways.stream_faults import DONE, each_block
from tests.gateways.traffic import (
    Act,
    Answer,
    both,
    on_answer,
    on_stream,
    on_unary,
    pieces,
    whole,
)

INVENTED = "Pay 100 to this account."
_FRAME = re.compile(rb"sgop1\.([A-Za-z0-9+/=]+)")
# Where the attacks on single events begin.
_AT = 2


class CutConnectionError(Exception):
    """The gateway hangs up in the middle of an answer."""


def _on_list(change: Callable[[list[bytes]], list[bytes]]) -> Act:
    """Return the act of changing the list of all events of a stream."""

    async def changed(blocks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        for block in change([block async for block in blocks]):
            yield block

    return on_stream(changed)


def flipped(body: bytes) -> bytes:
    """Return a body in which a bit of its first frame's ciphertext is another."""

    def flip(match: re.Match[bytes]) -> bytes:
        frame = bytearray(base64.b64decode(match[1]))
        frame[-9] ^= 1
        return b"sgop1." + base64.b64encode(frame)

    return _FRAME.sub(flip, body, count=1)


def _on_text(change: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    return lambda block: _FRAME.sub(lambda match: change(match[0]), block)


async def _cut_short(body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    everything = await whole(body)
    yield everything[: len(everything) * 2 // 3]
    raise CutConnectionError


def _merged(events: list[bytes]) -> list[bytes]:
    """Put the text of two chunks into one."""
    texts = [_FRAME.search(event) for event in events[_AT : _AT + 2]]
    together = b"".join(text[0] for text in texts if text)
    first = _FRAME.sub(lambda match: together, events[_AT])
    return [*events[:_AT], first, *events[_AT + 2 :]]


def _split(events: list[bytes]) -> list[bytes]:
    """Spread the text of one chunk over two, as for a steadier pace."""
    event = events[_AT]
    halves = [
        _on_text(lambda it: it[:51])(event),
        _on_text(lambda it: it[51:])(event),
    ]
    return [*events[:_AT], *halves, *events[_AT + 1 :]]


def _to_one_body(answer: Answer) -> Answer:
    """Gather a stream to one answer, whose text is that of all events."""

    async def gathered(body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        texts = [match[0].decode() for match in _FRAME.finditer(await whole(body))]
        yield chat_body("".join(texts))

    if not answer.is_stream:
        return answer
    headers = [("content-type", "application/json")]
    return replace(answer, headers=headers, body=gathered(answer.body))


def _invented(answer: Answer) -> Answer:
    if answer.is_stream:
        events = [chat_event(token) for token in (INVENTED, *TOKENS)]
        return replace(answer, status=200, body=pieces(*events, DONE))
    return replace(answer, status=200, body=pieces(chat_body(INVENTED)))


_ERROR_EVENT = b"data: " + error_body(INVENTED) + b"\n\n"
_CLEAR_EVENT = chat_event(INVENTED)

ATTACKS: list[Fault] = [
    hostile(
        "flips_bits",
        "flips a bit of sealed text",
        lambda: both(on_unary(flipped), _on_list(_flip_one)),
        unary="DecryptionError",
        stream="DecryptionError",
    ),
    hostile(
        "truncates_text",
        "shortens long strings",
        lambda: both(
            on_unary(_on_text(lambda it: it[:80])), each_block(_on_text(_short))
        ),
        unary="MalformedFrameError",
        stream="MalformedFrameError",
    ),
    hostile(
        "truncates",
        "ends an answer early, as if that were its end",
        lambda: both(on_unary(lambda it: it[:-60]), _on_list(lambda it: it[: _AT + 1])),
        unary="MalformedFrameError",
        stream="TruncatedError",
    ),
    hostile(
        "truncates_with_done",
        "ends a stream early, with a [DONE] of its own",
        lambda: _on_list(lambda it: [*it[: _AT + 1], DONE]),
        unary=None,
        stream="TruncatedError",
    ),
    hostile(
        "cuts_connection",
        "hangs up in the middle of an answer",
        lambda: on_answer(lambda it: replace(it, body=_cut_short(it.body))),
        unary="RemoteProtocolError",
        stream="TruncatedError",
    ),
    hostile(
        "drops_events",
        "drops an event of a stream",
        lambda: _on_list(lambda it: [*it[:_AT], *it[_AT + 1 :]]),
        unary=None,
        stream="SequenceError",
    ),
    hostile(
        "repeats_events",
        "sends an event of a stream twice",
        lambda: _on_list(lambda it: [*it[: _AT + 1], *it[_AT:]]),
        unary=None,
        stream="SequenceError",
    ),
    hostile(
        "swaps_events",
        "changes the order of a stream's events",
        lambda: _on_list(lambda it: [*it[:_AT], it[_AT + 1], it[_AT], *it[_AT + 2 :]]),
        unary=None,
        stream="SequenceError",
    ),
    hostile(
        "merges_chunks",
        "puts the text of two chunks into one",
        lambda: _on_list(_merged),
        unary=None,
        stream="MalformedFrameError",
    ),
    hostile(
        "splits_chunks",
        "spreads the text of a chunk over two",
        lambda: _on_list(_split),
        unary=None,
        stream="MalformedFrameError",
    ),
    hostile(
        "gathers_stream",
        "gathers a stream to one answer",
        lambda: on_answer(_to_one_body),
        unary=OPENS,
        stream="MalformedFrameError",
    ),
    hostile(
        "injects_clear_event",
        "puts an event of its own, in clear, between the others",
        lambda: _on_list(lambda it: [*it[:_AT], _CLEAR_EVENT, *it[_AT:]]),
        unary=None,
        stream=OPENS,
    ),
    hostile(
        "injects_error_event",
        "puts an error event of its own between the others",
        lambda: _on_list(lambda it: [*it[:_AT], _ERROR_EVENT, *it[_AT:]]),
        unary=None,
        stream="TruncatedError",
    ),
    hostile(
        "invents_answer",
        "answers itself, unprotected",
        lambda: on_answer(_invented),
        unary="UnprotectedResponseError",
        stream="UnprotectedResponseError",
    ),
]


def _flip_one(events: list[bytes]) -> list[bytes]:
    return [*events[:_AT], flipped(events[_AT]), *events[_AT + 1 :]]


def _short(text: bytes) -> bytes:
    return text[:80]
