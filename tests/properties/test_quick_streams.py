"""Events that are known again without parsing go out as if they had been parsed."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stainedglass_output_protection.protocol.carriers import envelopes_for
from stainedglass_output_protection.protocol.envelope import Envelope
from stainedglass_output_protection.protocol.fields_writer import FieldsStream
from stainedglass_output_protection.protocol.key_schedule import TrafficKeys
from stainedglass_output_protection.protocol.opaque_writer import OpaqueStream
from stainedglass_output_protection.protocol.plain_envelopes import PlainEnvelopes
from stainedglass_output_protection.protocol.sealer import Sealer
from stainedglass_output_protection.protocol.stream_writer import StreamWriter

DONE = b"data: [DONE]\n\n"
COUNTS = {"prompt_tokens": 57, "total_tokens": 58, "completion_tokens": 1}
LOOKS_LIKE_USAGE = ',"usage":' + json.dumps(COUNTS, separators=(",", ":")) + "}\n\n"


class ReadingFields(FieldsStream):
    """Reads every event."""

    __slots__ = ()
    feed = StreamWriter.feed


class ReadingOpaque(OpaqueStream):
    """Reads every event."""

    __slots__ = ()
    feed = StreamWriter.feed


WRITERS: dict[str, tuple[type[StreamWriter], type[StreamWriter]]] = {
    "fields": (FieldsStream, ReadingFields),
    "opaque": (OpaqueStream, ReadingOpaque),
}


def sealer() -> Sealer:
    """Return a sealer like every other one, so that equal frames are equal bytes."""
    keys = TrafficKeys(key=bytes(32), base_nonce=bytes(12))
    return Sealer(keys, head=b"head", status=200, content_type="text/event-stream")


def line(members: dict[str, Any], *, is_ascii: bool = False) -> bytes:
    written = json.dumps(members, separators=(",", ":"), ensure_ascii=is_ascii)
    return b"data: " + written.encode() + b"\n\n"


texts = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    st.text(st.sampled_from('ab"\\\r\n {}[]:,é\u2028'), max_size=12),
    st.just(LOOKS_LIKE_USAGE),
)
numbers = st.one_of(
    st.integers(0, 300),
    st.sampled_from([9_999_999, 10_000_000, -1, 1.5, True, None, "7"]),
)


@st.composite
def usages(draw: st.DrawFn) -> dict[str, Any]:
    """The member ``usage``: mostly as engines write it, or without, or an odd one."""
    usual = {name: draw(st.integers(0, 10**7 - 1)) for name in COUNTS}
    details = {"completion_tokens_details": None}
    odd = {name: draw(numbers) for name in draw(st.permutations(list(COUNTS)))}
    more = {"cached_tokens": draw(st.integers(0, 9))}
    forms: list[Any] = [
        *(usual, {**usual, **details}) * 3,
        None,
        odd,
        {**usual, "prompt_tokens_details": more},
        {"prompt_tokens_details": more, **usual},
        {**usual, "completion_tokens_details": more},
        {name: usual[name] for name in list(COUNTS)[:2]},
        {},
    ]
    usage = draw(st.sampled_from(forms))
    if draw(st.booleans()):
        return {"usage": usage}
    return draw(
        st.sampled_from([{}, {"usage": usage}, {"usage": usage, "after": "it"}])
    )


@st.composite
def streams(draw: st.DrawFn) -> list[bytes]:
    """One stream of a route: a few kinds of events, in any order."""
    is_chat = draw(st.booleans())
    kinds = draw(
        st.lists(
            st.fixed_dictionaries(
                {
                    "index": st.integers(0, 2),
                    "member": st.sampled_from(["content", "reasoning", "tools"]),
                    "logprobs": st.sampled_from([None, None, "all"]),
                    "finish": st.sampled_from([None, None, "length", "tool_calls"]),
                }
            ),
            min_size=1,
            max_size=5,
        )
    )

    def event() -> bytes:
        kind = draw(st.sampled_from(kinds))
        text = draw(texts)
        carrier: dict[str, Any] = {"text": text}
        if is_chat:
            call = {"index": 0, "function": {"arguments": text}}
            is_tool = kind["member"] == "tools"
            delta = {"tool_calls": [call]} if is_tool else {kind["member"]: text}
            carrier = {"delta": delta}
        choice = {
            "index": kind["index"],
            **carrier,
            "logprobs": kind["logprobs"] and {"content": [{"token": text}]},
            "finish_reason": kind["finish"],
        }
        # The same in all events of a stream: the final envelope is made of those read.
        members = {"id": "1", "created": 7, "model": "m"}
        choices = [choice] if draw(st.integers(0, 9)) else []
        members |= {"choices": choices, **draw(usages())}
        return line(members, is_ascii=draw(st.booleans()))

    events = [event() for _ in range(draw(st.integers(1, 20)))]
    return [*events, *draw(st.sampled_from([[], [DONE]]))]


def chunk(text: str, finish: str | None = None, **more: Any) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
    return line({"id": "1", "choices": [choice], **more})


def continuous(*written: str) -> list[bytes]:
    """A stream of one kind of event, with the usage as vLLM writes it."""
    return [
        chunk(text, usage={**COUNTS, "completion_tokens": number})
        for number, text in enumerate(written)
    ]


@settings(max_examples=500, deadline=None)
@given(
    blocks=streams(),
    together=st.sampled_from([1, 1, 1, 2, 3]),
    size=st.sampled_from([1, 7, 40, 10**6, 10**6, 10**6]),
    container=st.sampled_from(list(WRITERS)),
)
@example(
    blocks=continuous("a", LOOKS_LIKE_USAGE, "b", '"'),
    together=1,
    size=10**6,
    container="fields",
)
@example(
    blocks=[*continuous("a", "b"), chunk("c", "length", usage=COUNTS)],
    together=1,
    size=10**6,
    container="fields",
)
@example(
    # Two events in one piece, both of a known kind.
    blocks=continuous("a", "b", "c", "d"),
    together=2,
    size=10**6,
    container="fields",
)
@example(
    blocks=[chunk(text) for text in "abcd"], together=2, size=10**6, container="fields"
)
def test_known_events_go_out_as_if_they_were_read(
    blocks: list[bytes], together: int, size: int, container: str
) -> None:
    parts = [
        b"".join(blocks[at : at + together]) for at in range(0, len(blocks), together)
    ]
    pieces = [
        part[at : at + size] for part in parts for at in range(0, len(part), size)
    ]
    # One event alone teaches the kind of those that come in larger pieces.
    pieces = [*blocks[:1], *pieces]
    quick, reading = (
        writer(sealer(), envelopes_for("chat")) for writer in WRITERS[container]
    )
    assert [quick.feed(piece) for piece in pieces] == [
        reading.feed(piece) for piece in pieces
    ]
    assert quick.finish() == reading.finish()


class Counting(PlainEnvelopes):
    """The envelopes of a chat; counts the events that were read."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        self._chat = envelopes_for("chat")

    def event(self, data: bytes) -> Envelope:
        self.count += 1
        return self._chat.event(data)


WITH_DETAILS = [
    event.replace(b"}}\n\n", b',"completion_tokens_details":null}}\n\n')
    for event in continuous(*"abcdefgh")
]


@pytest.mark.parametrize("events", [continuous(*"abcdefgh"), WITH_DETAILS])
def test_events_with_continuous_usage_are_known_again(events: list[bytes]) -> None:
    envelopes = Counting()
    writer = FieldsStream(sealer(), envelopes)
    wire = b"".join(map(writer.feed, events))
    assert envelopes.count == 1
    counts = b',"usage":{"prompt_tokens":     57,"total_tokens":     58,'
    assert wire.count(counts + b'"completion_tokens":      ') == len(events)
    assert wire.endswith(b'"completion_tokens":      7}}\n\n')


@pytest.mark.parametrize(
    "usage",
    [
        None,
        {},
        {**COUNTS, "prompt_tokens": 10_000_000},
        {**COUNTS, "prompt_tokens_details": {"cached_tokens": 4}},
        {**COUNTS, "completion_tokens_details": {"reasoning_tokens": 4}},
        {"prompt_tokens": 57, "completion_tokens": 1},
        {"total_tokens": 58, "completion_tokens": 1, "prompt_tokens": 57},
    ],
)
def test_events_with_another_usage_are_read(usage: Any) -> None:
    envelopes = Counting()
    writer = FieldsStream(sealer(), envelopes)
    for usual in continuous("a", "b", "c"):
        writer.feed(usual)
    known = envelopes.count
    for _ in range(3):
        writer.feed(chunk("a", usage=usage))
    assert envelopes.count == known + 3


def test_events_of_the_responses_api_are_counted_at_one_width() -> None:
    """Also past those whose end was made before."""
    deltas = [
        b"event: response.output_text.delta\n"
        + line(
            {
                "content_index": 0,
                "delta": "a",
                "item_id": "msg_1",
                "logprobs": [],
                "output_index": 0,
                "sequence_number": number,
                "type": "response.output_text.delta",
            }
        )
        for number in range(2100)
    ]
    quick, reading = (
        writer(sealer(), envelopes_for("responses")) for writer in WRITERS["fields"]
    )
    wire = b"".join(map(quick.feed, deltas))
    assert wire == b"".join(map(reading.feed, deltas))
    shown = re.findall(rb'"sequence_number":([ \d]{7}),', wire)
    assert list(map(int, shown)) == list(range(1, 2101))
