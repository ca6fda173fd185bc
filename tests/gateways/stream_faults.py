"""What gateways do to streams and still mean well: framing, pace, extra events."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

from stainedglass_output_protection.protocol.events import event_data, is_comment
from tests.gateways.fault import Fault, benign, hostile
from tests.gateways.traffic import Act, Answer, on_answer, on_stream, whole

Blocks = AsyncIterator[bytes]
DONE = b"data: [DONE]\n\n"
USAGE = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}


def each_block(change: Callable[[bytes], bytes]) -> Act:
    """Return the act of changing each event; one that becomes nothing is dropped."""

    async def changed(blocks: Blocks) -> Blocks:
        async for block in blocks:
            if it := change(block):
                yield it

    return on_stream(changed)


def _is_done(block: bytes) -> bool:
    return (event_data(block) or b"").startswith(b"[DONE]")


def _without_comments(block: bytes) -> bytes:
    return b"" if is_comment(block) else block


def _without_names(block: bytes) -> bytes:
    lines = [it for it in block.splitlines() if not it.startswith(b"event:")]
    return b"\n".join(lines) + b"\n"


def _with_text_only(block: bytes) -> bytes:
    """Drop chat chunks without a choice, and those whose choices say nothing."""
    data = event_data(block)
    if data is None or not data.startswith(b"{"):
        return block
    chunk = json.loads(data)
    if "choices" not in chunk:
        return block
    deltas = [choice.get("delta") or {} for choice in chunk["choices"]]
    says = any(delta.get("content") or delta.get("tool_calls") for delta in deltas)
    return block if says else b""


def _over_lines(block: bytes) -> bytes:
    """Write the JSON of an event over several lines of data."""
    data = event_data(block)
    if data is None or not data.startswith(b"{"):
        return block
    lines = json.dumps(json.loads(data), indent=1).encode().split(b"\n")
    return b"\n".join(b"data: " + line for line in lines) + b"\n\n"


async def _with_usage(blocks: Blocks) -> Blocks:
    chunk = {"id": "its-own", "object": "chat.completion.chunk", "choices": []}
    event = b"data: " + json.dumps({**chunk, "usage": USAGE}).encode() + b"\n\n"
    async for block in blocks:
        if _is_done(block):
            yield event
        yield block


async def _with_comments(blocks: Blocks) -> Blocks:
    yield b": connected\n\n"
    async for block in blocks:
        yield block
        yield b": keep-alive\n\n"


async def _with_more_after_done(blocks: Blocks) -> Blocks:
    async for block in blocks:
        yield block
    yield b'data: {"cost": 0.001}\n\n'
    yield DONE


def _recut(cut: Callable[[AsyncIterator[bytes]], AsyncIterator[bytes]]) -> Act:
    return on_answer(lambda it: replace(it, body=cut(it.body)))


async def _bytewise(body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    async for piece in body:
        for byte in piece:
            yield bytes([byte])


async def _in_one(body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield await whole(body)


def cut_at(place: int) -> Act:
    """Return the act of sending a body in two pieces, the first of ``place`` bytes."""

    async def cut(body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        everything = await whole(body)
        yield everything[:place]
        yield everything[place:]

    return _recut(cut)


def _called_a_stream(answer: Answer) -> Answer:
    rest = [item for item in answer.headers if item[0] != "content-type"]
    return replace(answer, headers=[*rest, ("content-type", "text/event-stream")])


STREAM_FAULTS: list[Fault] = [
    benign(
        "drops_comments",
        "drops the comments of streams",
        each_block(_without_comments),
    ),
    benign(
        "adds_comments",
        "adds comments to streams",
        on_stream(_with_comments),
    ),
    benign(
        "drops_event_lines",
        "drops the event: lines of streams",
        each_block(_without_names),
    ),
    benign(
        "drops_space_after_data",
        "writes data: without the space",
        each_block(lambda it: it.replace(b"data: ", b"data:", 1)),
    ),
    benign(
        "writes_crlf",
        "writes CRLF line ends in streams",
        each_block(lambda it: it.replace(b"\n", b"\r\n")),
    ),
    benign(
        "splits_data_lines",
        "writes an event's JSON over several data: lines",
        each_block(_over_lines),
    ),
    benign(
        "drops_chunks_without_text",
        "drops chunks that hold no text, that with the usage too",
        each_block(_with_text_only),
    ),
    benign(
        "adds_usage_chunk",
        "adds a chunk with token counts of its own",
        on_stream(_with_usage),
    ),
    benign(
        "drops_done",
        "drops the [DONE] at the end",
        each_block(lambda it: b"" if _is_done(it) else it),
    ),
    benign(
        "adds_after_done",
        "sends more events, and another [DONE], after the [DONE]",
        on_stream(_with_more_after_done),
    ),
    benign(
        "sends_single_bytes",
        "passes bodies on one byte at a time",
        _recut(_bytewise),
    ),
    benign(
        "holds_everything",
        "holds a body until it has ended, and sends it in one piece",
        _recut(_in_one),
    ),
    hostile(
        "calls_everything_a_stream",
        "calls every answer a stream, whatever it is",
        lambda: on_answer(_called_a_stream),
        unary="TruncatedError",
        stream="opens",
    ),
]
