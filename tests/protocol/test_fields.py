"""What the envelopes of container ``fields`` show, and that they open to the bytes."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stainedglass_output_protection.errors import MalformedFrameError
from stainedglass_output_protection.protocol.carriers import envelopes_for
from stainedglass_output_protection.protocol.encoding import frame_to_text
from stainedglass_output_protection.protocol.events import EventSplitter, event_data
from stainedglass_output_protection.protocol.fields_reader import find_frame
from stainedglass_output_protection.protocol.keys import ClientKeyPair
from tests.asgi_driver import Opened, answering, body_of, call, protect

DONE = b"data: [DONE]\n\n"
SECRET = "zephyrous-quokka"


def event(**members: Any) -> bytes:
    return b"data: " + json.dumps(members, separators=(",", ":")).encode() + b"\n\n"


def chunk(delta: dict[str, Any], index: int = 0, **members: Any) -> bytes:
    choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": None}
    choice.update(members.pop("choice", {}))
    return event(
        id="chatcmpl-1",
        object="chat.completion.chunk",
        created=1,
        model="m",
        choices=[choice],
        **members,
    )


async def wire_and_opened(
    pieces: Iterable[bytes], path: str = "/v1/chat/completions"
) -> tuple[bytes, Opened]:
    key_pair = ClientKeyPair.generate()
    sent = await call(protect(answering(*pieces)), path=path, key_pair=key_pair)
    return body_of(sent), Opened(sent, key_pair)


def shown(wire: bytes) -> list[dict[str, Any]]:
    blocks = EventSplitter().feed(wire)
    datas = [event_data(block) for block in blocks]
    return [json.loads(data) for data in datas if data and data != b"[DONE]"]


STREAMS = {
    "content": [chunk({"content": f"{SECRET} {i}"}) for i in range(5)],
    "role first": [
        chunk({"role": "assistant", "content": ""}),
        chunk({"content": SECRET}),
    ],
    "reasoning": [chunk({"reasoning": f"{SECRET} {i}"}) for i in range(5)],
    "tools": [
        chunk(
            {"tool_calls": [{"index": 0, "id": SECRET, "function": {"name": SECRET}}]}
        ),
        *[
            chunk({"tool_calls": [{"index": 0, "function": {"arguments": SECRET}}]})
            for _ in range(4)
        ],
    ],
    "two choices": [chunk({"content": f"{SECRET}{i}"}, index=i % 2) for i in range(9)],
    "logprobs": [
        chunk(
            {"content": SECRET}, choice={"logprobs": {"content": [{"token": SECRET}]}}
        )
        for _ in range(3)
    ],
    "finish": [
        chunk({"content": SECRET}),
        chunk({}, choice={"finish_reason": "tool_calls", "stop_reason": SECRET}),
    ],
    "usage at the end": [
        chunk({"content": SECRET}),
        event(id="chatcmpl-1", choices=[], usage={"total_tokens": 3}),
    ],
    "usage in each": [
        chunk({"content": SECRET}, usage={"prompt_tokens": 3, "completion_tokens": i})
        for i in range(8, 13)
    ],
    "error": [
        chunk({"content": SECRET}),
        event(error={"message": SECRET, "code": 500}),
    ],
    "no json": [b"data: " + SECRET.encode() + b"\n\n", chunk({"content": SECRET})],
    "a member at the top": [chunk({"content": SECRET}, novelty=SECRET)] * 3,
    "quotes and escapes": [chunk({"content": f'{SECRET}"\\}}]\n\u2028🦀'})] * 3,
    "wrong types": [event(id=[SECRET], choices=[{"index": SECRET}])],
    "choices that are text": [event(id="x", choices=SECRET)],
    "an odd role": [chunk({"role": SECRET, "content": ""})],
}


@pytest.mark.parametrize("name", STREAMS)
async def test_no_stream_shows_its_words_and_each_opens_to_its_bytes(name: str) -> None:
    pieces = [*STREAMS[name], DONE]
    wire, opened = await wire_and_opened(pieces)
    assert opened.is_complete
    assert opened.body == b"".join(pieces)
    assert SECRET.encode() not in wire


async def test_any_cut_of_the_application_s_bytes_gives_the_same_answer() -> None:
    whole = b"".join([*STREAMS["content"], DONE])
    for size in (1, 7, 100, len(whole)):
        pieces = [whole[at : at + size] for at in range(0, len(whole), size)]
        _, opened = await wire_and_opened(pieces)
        assert opened.is_complete
        assert opened.body == whole


async def test_words_of_comments_do_not_pass() -> None:
    wire, opened = await wire_and_opened(
        [b": keep-alive " + SECRET.encode() + b"\n\n", chunk({"content": "a"}), DONE]
    )
    assert wire.startswith(b":\n\n")
    assert opened.body == chunk({"content": "a"}) + DONE


async def test_an_event_without_room_rides_in_the_next_frame() -> None:
    usage = event(id="chatcmpl-1", choices=[], usage={"total_tokens": 3})
    wire, opened = await wire_and_opened([chunk({"content": "a"}), usage, DONE])
    assert opened.payloads == [chunk({"content": "a"}), usage + DONE]
    assert shown(wire)[1] == {
        "id": "chatcmpl-1",
        "choices": [],
        "usage": {"total_tokens": 3},
    }


async def test_a_stream_without_a_known_end_is_complete_all_the_same() -> None:
    wire, opened = await wire_and_opened([chunk({"content": "a"})])
    assert opened.is_complete
    assert opened.payloads == [chunk({"content": "a"}), b""]
    assert b"[DONE]" not in wire


async def test_an_event_of_two_mebibytes_is_ordinary() -> None:
    pieces = [
        chunk({"content": "a"}),
        chunk({"content": "x" * 2**21}),
        chunk({"content": "b"}),
        DONE,
    ]
    _, opened = await wire_and_opened(pieces)
    assert opened.body == b"".join(pieces)


async def test_gateways_see_the_readable_members_and_nothing_else() -> None:
    wire, _ = await wire_and_opened(
        [
            chunk({"role": "assistant", "content": "a"}, service_tier="x"),
            chunk({}, choice={"finish_reason": "length", "stop_reason": "x"}),
            DONE,
        ]
    )
    first, last, final = shown(wire)
    assert first["choices"][0]["delta"]["content"].startswith("sgop1.")
    del first["choices"][0]["delta"]["content"]
    assert first == {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "choices": [
            {"index": 0, "delta": {"role": "assistant"}, "finish_reason": None}
        ],
    }
    assert last["choices"][0]["finish_reason"] == "length"
    assert set(final["choices"][0]) == {"index", "delta", "finish_reason"}


async def test_a_stop_for_a_tool_looks_like_any_stop() -> None:
    wire, _ = await wire_and_opened([*STREAMS["finish"], DONE])
    assert shown(wire)[1]["choices"][0]["finish_reason"] == "stop"


async def test_counts_do_not_change_the_size_of_an_event() -> None:
    wire, _ = await wire_and_opened([*STREAMS["usage in each"], DONE])
    blocks = EventSplitter().feed(wire)[1:-2]
    assert len({len(block) for block in blocks}) == 1
    counts = [envelope["usage"]["completion_tokens"] for envelope in shown(wire)[:5]]
    assert counts == [8, 9, 10, 11, 12]


JSON = st.recursive(
    st.none() | st.integers(0, 9) | st.just(SECRET),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["content", "x", "text", SECRET]), inner)
    ),
    max_leaves=8,
)
MEMBER = st.sampled_from(
    ["novelty", "message", "delta", "logprobs", "content", "text", "prompt_logprobs"]
)


@settings(max_examples=200, deadline=None)
@given(
    extra=st.dictionaries(MEMBER, JSON),
    inner=st.dictionaries(MEMBER, JSON),
    route=st.sampled_from(["chat", "completions"]),
)
def test_a_member_nobody_knows_never_reaches_an_envelope(
    extra: dict[str, Any], inner: dict[str, Any], route: str
) -> None:
    body = json.dumps({"id": "1", "choices": [{"index": 0, **inner}], **extra})
    envelope = envelopes_for(route).body(body.encode())
    rendered = envelope.around(frame_to_text(b"frame"))
    assert SECRET.encode() not in rendered
    assert find_frame(rendered) == b"frame"


async def test_blocks_without_data_that_are_no_comments_are_kept() -> None:
    pieces = [b"retry: 3000\n\n", chunk({"content": "a"}), b"id: 7\n\n", DONE]
    _, opened = await wire_and_opened(pieces)
    assert opened.body == b"".join(pieces)


async def test_events_without_room_do_not_pile_up() -> None:
    bare = event(id="chatcmpl-1", choices=[], usage={"total_tokens": 3}, x="y" * 1000)
    wire, opened = await wire_and_opened([*[bare] * 200, DONE])
    assert opened.body == bare * 200 + DONE
    assert max(len(payload) for payload in opened.payloads) < 70_000
    assert b'"sealed"' in wire


@pytest.mark.parametrize("body", [b'{"id":"\xff"}', b"[" * 100_000, b"\xef\xbb\xbf{}"])
def test_odd_json_is_carried_whole(body: bytes) -> None:
    rendered = envelopes_for("chat").body(body).around(frame_to_text(b"frame"))
    assert find_frame(rendered) == b"frame"


@pytest.mark.parametrize("carrier", ["chat", "completions", "responses", "messages"])
def test_transfer_parameters_are_readable_where_the_operator_shows_them(
    carrier: str,
) -> None:
    params = {"remote_block_ids": [1, 2], "remote_host": "10.0.0.1"}
    body = {
        "id": "1",
        "object": "response",
        "type": "message",
        "choices": [{"index": 0, "message": {"content": SECRET}, "text": SECRET}],
        "kv_transfer_params": params,
    }
    encoded = json.dumps(body).encode()
    shown = envelopes_for(carrier, shows_transfer=True).body(encoded).around(b"x")
    hidden = envelopes_for(carrier).body(encoded).around(b"x")
    assert json.loads(shown)["kv_transfer_params"] == params
    assert b"remote_block_ids" not in hidden
    assert SECRET.encode() not in shown


@pytest.mark.parametrize(
    "body", [b'{"sealed":"sgop1.\xff"}', b'{"sgop1.":' + b"[" * 100_000, b"sgop1.AAAA"]
)
def test_a_frame_in_what_is_no_json_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedFrameError):
        find_frame(body)


@pytest.mark.parametrize("written", ["sgop1.AAAA", "\\u0073gop1.AAAA"])
def test_transfer_parameters_that_look_like_a_frame_are_not_shown(written: str) -> None:
    body = b'{"id":"1","kv_transfer_params":{"a":["%b"]}}' % written.encode()
    envelope = envelopes_for("sealed", shows_transfer=True).body(body)
    assert find_frame(envelope.around(frame_to_text(b"frame"))) == b"frame"


def named(name: str, **members: Any) -> bytes:
    return f"event: {name}\n".encode() + event(type=name, **members)


@pytest.mark.parametrize(
    ("path", "delta", "others"),
    [
        (
            "/v1/responses",
            named("response.output_text.delta", delta="a", sequence_number=1),
            [
                "response.output_item.done",
                "response.nobody_knows_it",
                "response.created",
            ],
        ),
        (
            "/v1/messages",
            named("content_block_delta", delta={"type": "text_delta", "text": "a"}),
            [
                "message_start",
                "content_block_start",
                "message_delta",
                "nobody_knows_it",
            ],
        ),
    ],
)
async def test_a_large_event_of_another_kind_does_not_make_pieces_of_text_larger(
    path: str, delta: bytes, others: list[str]
) -> None:
    for other in others:
        large = named(other, novelty="x" * 5000)
        pieces = [delta] * 4 + [large] + [delta] * 4
        key_pair = ClientKeyPair.generate()
        accept = [(b"accept", b"application/vnd.sgop1")]
        headers = [(b"x-client-public-key", key_pair.header_value.encode()), *accept]
        app = answering(*pieces)
        options = {"has_store": False}
        sent = await call(protect(app, **options), path=path, headers=headers)
        sizes = [len(item["body"]) for item in sent if item.get("body")]
        assert sizes[3] == sizes[7]
        assert Opened(sent, key_pair).body == b"".join(pieces)
