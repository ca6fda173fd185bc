"""Any events of any API, cut anywhere: the client gets the bytes, the wire no words."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from stainedglass_output_protection.client.bodies import OpaqueBody, StreamBody
from stainedglass_output_protection.protocol.constants import (
    CONTAINER_FIELDS,
    CONTAINER_OPAQUE,
)
from stainedglass_output_protection.protocol.events import EventSplitter, is_comment
from stainedglass_output_protection.protocol.head import Parameters
from stainedglass_output_protection.protocol.keys import ClientKeyPair
from stainedglass_output_protection.protocol.opener import Opener
from stainedglass_output_protection.protocol.routes import TABLE
from stainedglass_output_protection.server.clock import unix_ms
from stainedglass_output_protection.server.protected_response import ProtectedResponse
from stainedglass_output_protection.server.response_keys import output_keys
from tests.asgi_driver import make_ring

# Neither JSON nor base64 has it by chance.
SECRET = "Zq~7"
PATHS = (
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/responses",
    "/v1/messages",
    "/v1/systemone",
)
RING = make_ring()
KEY_PAIR = ClientKeyPair.generate()

words = st.text(st.sampled_from('ab"\\\n {}[]:,é\u2028'), max_size=12).map(
    lambda text: SECRET + text
)


def line(value: Any, name: str | None = None) -> bytes:
    named = b"" if name is None else b"event: " + name.encode() + b"\n"
    return named + b"data: " + json.dumps(value).encode() + b"\n\n"


@st.composite
def events(draw: st.DrawFn) -> bytes:
    """One event of one of the APIs, or what is none."""
    word = draw(words)
    kind = draw(st.sampled_from(["chat", "text", "response", "message", "other"]))
    index = draw(st.integers(0, 2))
    choice: dict[str, Any] = {"index": index, "finish_reason": None}
    if kind == "chat":
        member = draw(st.sampled_from(["content", "reasoning", "novelty"]))
        return line({"id": "1", "choices": [{**choice, "delta": {member: word}}]})
    if kind == "text":
        return line({"id": "1", "choices": [{**choice, "text": word}]})
    if kind == "response":
        name = draw(
            st.sampled_from(["output_text.delta", "output_text.done", "created", "odd"])
        )
        members = {"content_index": 0, "delta": word, "sequence_number": index}
        name = f"response.{name}"
        return line({**members, "type": name}, name)
    if kind == "message":
        name = draw(st.sampled_from(["content_block_delta", "content_block_stop"]))
        delta = {"type": "text_delta", "text": word}
        return line({"type": name, "delta": delta, "index": index}, name)
    return draw(
        st.sampled_from(
            [
                b": " + SECRET.encode() + b"\n\n",
                b"retry: 1\n\n",
                line({"choices": [], "usage": {"total_tokens": index}}),
                line([SECRET]),
                b"data: [DONE]\n\n",
                line({"type": "message_stop"}, "message_stop"),
                line({"type": "response.completed"}, "response.completed"),
                b"data: " + SECRET.encode() + b"\r\n\r\n",
            ]
        )
    )


@settings(max_examples=300, deadline=None)
@given(
    path=st.sampled_from(PATHS),
    blocks=st.lists(events(), max_size=12),
    together=st.integers(1, 3),
    size=st.sampled_from([1, 3, 40, 10**6]),
    is_opaque=st.booleans(),
)
def test_any_stream_comes_out_as_it_went_in(
    path: str, blocks: list[bytes], together: int, size: int, is_opaque: bool
) -> None:
    response = ProtectedResponse(
        keys=output_keys(RING.current(unix_ms()), KEY_PAIR.public_key),
        route=TABLE.row(path),
        server_key_header="x-server-public-key",
        status=200,
        headers=[(b"content-type", b"text/event-stream")],
        wants_opaque=is_opaque,
    )
    body = b"".join(blocks)
    # Cut by events, as engines do it, and by bytes, as nobody should.
    parts = [b"".join(blocks[at : at + together]) for at in range(0, 12, together)]
    pieces = [
        part[at : at + size] for part in parts for at in range(0, len(part), size)
    ]
    wire = b"".join(map(response.push, pieces)) + response.end()
    container = CONTAINER_OPAQUE if is_opaque else CONTAINER_FIELDS
    opener = Opener(
        KEY_PAIR, accept=lambda _: None, parameters=Parameters(container=container)
    )
    reading = OpaqueBody(opener) if is_opaque else StreamBody(opener, is_error=False)
    opened = b"".join([*reading.feed(wire), *reading.finish()])

    splitter = EventSplitter()
    kept = [block for block in splitter.feed(body) if not is_comment(block)]
    assert opened == b"".join(kept) + splitter.rest()
    assert SECRET.encode() not in wire
