"""The vectors that are whole bodies: where the frames stand in them, and what ends them."""

from __future__ import annotations

import json

from tests.reference import CARRIERS, OPAQUE, event_of, json_around
from tests.reference import opaque_body as in_opaque
from tests.vectors.vocabulary import (
    EVENTS,
    JSON,
    Response,
    Vector,
    case,
    event_body,
    flipped,
    json_body,
    opaque_body,
    opens,
    refuses,
    sealed,
    text,
)

ONE, TWO, THREE = b"data: 1\n\n", b"data: 2\n\n", b"data: 3\n\n"
ANSWER = b'{"choices":[{"message":{"content":"Hello"}}]}'
DONE = b"data: [DONE]\n\n"
CLEAR_ERROR = event_of({"error": {"message": "no", "type": "t", "code": 500}})


def answer_frame(**how: int) -> bytes:
    """One frame with the whole of ``ANSWER``."""
    return sealed(ANSWER, content_type=JSON, **how)[0]


def answer_text() -> str:
    return text(answer_frame())


def text_with_slash_and_plus() -> str:
    """A frame's text in which both characters are that JSON writers like to escape."""
    candidates = (text(answer_frame(padding=padding)) for padding in range(100))
    return next(one for one in candidates if "/" in one and "+" in one)


def foreign_text() -> str:
    """A good frame of a response to another client."""
    frames = Response(client="another client").frames(ANSWER, content_type=JSON)
    return text(frames[0])


def opens_as_answer(body: str) -> Vector:
    return opens(json_body(body), ANSWER, content_type=JSON)


def chunk(frame: bytes) -> bytes:
    """One event of a chat stream around ``frame``."""
    return event_of(json_around(text(frame), CARRIERS["chat, streamed"]))


def chunks(*payloads: bytes) -> list[bytes]:
    return [chunk(frame) for frame in sealed(*payloads)]


# Container `fields`: the first string


@case("container-fields")
def body_of_chat() -> Vector:
    """A frame in the carrier of its route, with readable members around it."""
    choice = {"index": 0, "message": {"role": "assistant", "content": answer_text()}}
    value = {"id": "chatcmpl-1", "object": "chat.completion", "choices": [choice]}
    return opens_as_answer(json.dumps(value))


@case("container-fields")
def frame_deep_inside_unknown_members() -> Vector:
    """No list of carriers is needed: any depth will do."""
    deep = {"x": [1, None, {"y": [[[{"z": answer_text()}]], True]}]}
    return opens_as_answer(json.dumps({"a": {"b": "c"}, "w": [deep, -1.5e3]}))


@case("container-fields")
def frame_is_all_of_the_json() -> Vector:
    """A string is JSON, too, and depth 0 a depth."""
    return opens_as_answer(json.dumps(answer_text()))


@case("container-fields")
def first_of_two_frames_counts() -> Vector:
    """In the order of the text, not of the names; the second is not looked at."""
    members = f'"z": "{answer_text()}", "a": "sgop1.no base64"'
    return opens_as_answer(f"{{{members}}}")


@case("container-fields")
def prefix_inside_longer_strings_before_the_frame() -> Vector:
    """Only a string that begins with the prefix is a frame."""
    members = {"a": " sgop1.AAAA", "b": "see sgop1.AAAA", "c": "xsgop1.", "d": "sgop1"}
    return opens_as_answer(json.dumps({**members, "text": answer_text()}))


@case("container-fields")
def prefix_in_a_name_before_the_frame() -> Vector:
    """The name of a member is no string value."""
    return opens_as_answer(json.dumps({"sgop1.AAAA": 0, "b": {"c": answer_text()}}))


@case("container-fields")
def frame_with_escaped_characters() -> Vector:
    r"""JSON may write any character as an escape: ``\/``, ``\u002b``, ``\u003D``."""
    written = text_with_slash_and_plus()
    written = (
        written.replace("/", "\\/").replace("+", "\\u002b").replace("=", "\\u003D")
    )
    return opens_as_answer(f'{{"text": "{written}"}}')


@case("container-fields")
def frame_with_an_escaped_prefix() -> Vector:
    """The prefix is its six bytes as they stand."""
    body = json_body(f'{{"text": "\\u0073{answer_text()[1:]}"}}')
    return refuses("UnprotectedResponseError", body)


@case("container-fields")
def frame_after_numbers_lists_and_white_space() -> Vector:
    """What is no string is passed by, white space and all."""
    written = f'\n{{ "a" : [ 0, -1, 2.5E+7, true, null, {{ }}, [ ] ,\t"{answer_text()}" ] }}\r\n'
    return opens_as_answer(written)


@case("container-fields")
def last_of_two_members_of_one_name_counts() -> Vector:
    """As parsers have it: the other is not seen."""
    return opens_as_answer(f'{{"text": "sgop1.no", "text": "{answer_text()}"}}')


@case("container-fields")
def frame_under_five_hundred_lists() -> Vector:
    """Deeper than people write."""
    return opens_as_answer("[" * 500 + f'"{answer_text()}"' + "]" * 500)


@case("http")
def body_without_a_frame() -> Vector:
    """An answer in the clear."""
    return refuses("UnprotectedResponseError", json_body(ANSWER.decode()))


@case("http")
def body_that_is_no_json() -> Vector:
    """Words of something on the way, under the type of JSON."""
    return refuses("UnprotectedResponseError", json_body("upstream is fine\n"))


@case("http")
def body_that_is_empty() -> Vector:
    """A success without a byte."""
    return refuses("UnprotectedResponseError", json_body(""))


@case("http")
def body_of_another_type() -> Vector:
    """A page in HTML with status 200."""
    page = json_body("<html>Please log in</html>", b"text/html")
    return refuses("UnprotectedResponseError", page)


@case("http")
def body_in_the_clear_though_opaque_was_asked() -> Vector:
    """A server without the protection does not know the media type."""
    body = json_body(ANSWER.decode())
    return refuses("UnprotectedResponseError", body, container=OPAQUE)


@case("container-fields")
def frame_in_a_name_alone() -> Vector:
    """A good frame where only a name is."""
    body = json_body(json.dumps({answer_text(): answer_text()[1:]}))
    return refuses("UnprotectedResponseError", body)


@case("container-fields")
def frame_inside_a_longer_string_alone() -> Vector:
    """A good frame behind a space."""
    body = json_body(json.dumps({"text": " " + answer_text()}))
    return refuses("UnprotectedResponseError", body)


@case("container-fields")
def frame_with_the_prefix_in_capitals_alone() -> Vector:
    """Another prefix."""
    body = json_body(json.dumps({"text": answer_text().replace("sgop1", "SGOP1")}))
    return refuses("UnprotectedResponseError", body)


@case("container-fields")
def first_string_not_canonical_before_a_frame() -> Vector:
    """It has the prefix, so it counts, and is not canonical."""
    body = json_body(json.dumps({"note": "sgop1.x", "text": answer_text()}))
    return refuses("MalformedFrameError", body)


@case("container-fields")
def first_string_not_canonical_deep_before_a_frame() -> Vector:
    """Order goes before depth."""
    body = json_body(json.dumps([{"a": [["sgop1.A==="]]}, answer_text()]))
    return refuses("MalformedFrameError", body)


@case("container-fields")
def frame_split_over_two_strings() -> Vector:
    """Strings are not joined; the first one is a frame of no bytes."""
    body = json_body(json.dumps({"text": ["sgop1.", answer_text()[6:]]}))
    return refuses("MalformedFrameError", body)


@case("container-fields")
def frame_with_an_escaped_line_end() -> Vector:
    """A line end that JSON allows and base64 does not."""
    body = json_body(f'{{"text": "{answer_text()}\\n"}}')
    return refuses("MalformedFrameError", body)


@case("container-fields")
def frame_with_an_escaped_nul() -> Vector:
    """A zero character inside."""
    written = answer_text()
    body = json_body(f'{{"text": "{written[:40]}\\u0000{written[40:]}"}}')
    return refuses("MalformedFrameError", body)


@case("container-fields")
def frame_with_half_a_surrogate_pair() -> Vector:
    """A character that no UTF-8 has."""
    body = json_body(f'{{"text": "{answer_text()}\\ud800"}}')
    return refuses("MalformedFrameError", body)


@case("container-fields")
def frame_not_canonical_behind_an_escaped_prefix() -> Vector:
    """The prefix is its six bytes as they stand."""
    body = json_body('{"text": "sgop1\\u002eAB=="}')
    return refuses("UnprotectedResponseError", body)


@case("container-fields")
def frame_for_another_client_first() -> Vector:
    """The good one comes second."""
    body = json_body(f'{{"z": "{foreign_text()}", "a": "{answer_text()}"}}')
    return refuses("ForeignResponseError", body)


@case("container-fields")
def frame_for_another_client_deep_and_first() -> Vector:
    """The good one comes second, in the carrier."""
    unknown = {"x": {"y": [{"z": foreign_text()}]}}
    carrier = json_around(answer_text(), CARRIERS["chat"])
    body = json_body(json.dumps([unknown, carrier]))
    return refuses("ForeignResponseError", body)


@case("container-fields")
def frame_for_another_client_in_the_last_of_two_members_of_one_name() -> Vector:
    """The good one is the first of its name."""
    body = json_body(f'{{"text": "{answer_text()}", "text": "{foreign_text()}"}}')
    return refuses("ForeignResponseError", body)


@case("container-fields")
def frame_with_a_bit_flipped_in_the_carrier() -> Vector:
    """The tag covers every bit, in text as well."""
    changed = text(flipped(answer_frame(), -1))
    return refuses("DecryptionError", json_body(json.dumps({"text": changed})))


@case("frames")
def body_with_a_frame_that_is_not_final() -> Vector:
    """The beginning of a stream as a unary body."""
    frame = sealed(ANSWER, ONE, content_type=JSON)[0]
    body = json_body(json.dumps({"text": text(frame)}))
    return refuses("TruncatedError", body)


@case("frames")
def body_with_a_later_frame() -> Vector:
    """The end of a stream as a unary body."""
    frame = sealed(ANSWER, ONE, content_type=JSON)[1]
    body = json_body(json.dumps({"text": text(frame)}))
    return refuses("SequenceError", body)


# Container `fields`: streams


@case("streams")
def stream_of_chat() -> Vector:
    """Three events, and the clear end."""
    payload = ONE + TWO + DONE
    return opens(event_body(*chunks(ONE, TWO, DONE), DONE), payload)


@case("streams")
def stream_with_clear_events_and_comments_between() -> Vector:
    """The client drops what carries no frame; lines end as they like."""
    one, two, last = chunks(ONE, TWO, b"")
    clear = event_of({"choices": [], "usage": {"total_tokens": 3}})
    body = event_body(
        b":\n\n",
        one.replace(b"\n", b"\r\n"),
        clear,
        b"retry: 10\n\n",
        two.replace(b"\n", b"\r"),
        b": keep-alive\n\n",
        last,
        clear,
        CLEAR_ERROR,
        DONE,
    )
    return opens(body, ONE + TWO)


def responses_events(*payloads: bytes) -> list[bytes]:
    """One event for each payload, the last one ``response.completed``."""
    names = ["response.created", *["response.output_text.delta"] * (len(payloads) - 2)]
    events = []
    frames = sealed(*payloads)
    for i, name in enumerate([*names, "response.completed"]):
        carrier = "delta" if name.endswith("delta") else "response"
        around = json_around(text(frames[i]), CARRIERS[carrier])
        assert isinstance(around, dict)
        value = {"type": name, "sequence_number": i, **around}
        events.append(event_of(value, name))
    return events


def messages_event(carrier: str, frame: bytes) -> bytes:
    name = {
        "message": "message_start",
        "content block": "content_block_start",
        "text delta": "content_block_delta",
    }[carrier]
    around = json_around(text(frame), CARRIERS[carrier])
    assert isinstance(around, dict)
    return event_of({"type": name, **around}, name)


def messages_events() -> list[bytes]:
    """``message_start``, a block with a delta, and the final frame in another delta."""
    start, block, delta, last = sealed(ONE, TWO, THREE, b"")
    block_stop = event_of(
        {"type": "content_block_stop", "index": 0}, "content_block_stop"
    )
    return [
        messages_event("message", start),
        messages_event("content block", block),
        event_of({"type": "ping"}, "ping"),
        messages_event("text delta", delta),
        block_stop,
        messages_event("text delta", last),
    ]


MESSAGE_STOP = event_of({"type": "message_stop"}, "message_stop")


@case("streams")
def stream_of_responses() -> Vector:
    """The final frame stands in the event that was held."""
    return opens(event_body(*responses_events(ONE, TWO, THREE)), ONE + TWO + THREE)


@case("streams")
def stream_of_messages() -> Vector:
    """The final frame stands in a delta, and message_stop follows it in the clear."""
    body = event_body(*messages_events(), MESSAGE_STOP)
    return opens(body, ONE + TWO + THREE)


@case("streams")
def stream_with_a_clear_done_before_the_final_frame() -> Vector:
    """Whoever ends the stream early cannot write the final frame."""
    one, two, last = chunks(ONE, TWO, THREE)
    body = event_body(one, two, DONE, last)
    return refuses("TruncatedError", body, released=ONE + TWO)


@case("streams")
def stream_with_a_clear_error_before_the_final_frame() -> Vector:
    """An error event that is not sealed ends the stream, even if it goes on."""
    one, last = chunks(ONE, TWO)
    body = event_body(one, CLEAR_ERROR, last)
    return refuses("TruncatedError", body, released=ONE)


@case("streams")
def stream_of_messages_with_a_clear_error() -> Vector:
    """The same in the shape of the messages route."""
    events = messages_events()
    value = {"type": "error", "error": {"type": "api_error", "message": "no"}}
    body = event_body(*events[:3], event_of(value, "error"), *events[3:])
    return refuses("TruncatedError", body, released=ONE + TWO)


@case("streams")
def stream_of_responses_with_a_clear_error() -> Vector:
    """The same in the shape of the responses route, which has no member for errors."""
    created, *rest = responses_events(ONE, TWO, THREE)
    value = {"type": "error", "code": "server_error", "message": "no", "param": None}
    body = event_body(created, event_of(value, "error"), *rest)
    return refuses("TruncatedError", body, released=ONE)


@case("streams")
def stream_that_ends_before_the_final_frame() -> Vector:
    """The body ends between two events."""
    body = event_body(*chunks(ONE, TWO, THREE)[:2])
    return refuses("TruncatedError", body, released=ONE + TWO)


@case("streams")
def stream_that_ends_inside_the_final_event() -> Vector:
    """All of the final frame is there, but the blank line is not."""
    one, last = chunks(ONE, TWO)
    body = event_body(one, last.removesuffix(b"\n"))
    return refuses("TruncatedError", body, released=ONE)


@case("streams")
def stream_whose_final_frame_was_taken_out() -> Vector:
    """The event is there without its frame, and the clear end."""
    one, _ = chunks(ONE, TWO)
    emptied = event_of(json_around("", CARRIERS["chat, streamed"]))
    body = event_body(one, emptied, DONE)
    return refuses("TruncatedError", body, released=ONE)


@case("streams")
def stream_of_responses_without_the_final_frame() -> Vector:
    """A clear response.completed ends nothing."""
    clear = {"type": "response.completed", "response": {"status": "completed"}}
    events = responses_events(ONE, TWO, THREE)[:2]
    body = event_body(*events, event_of(clear, "response.completed"))
    return refuses("TruncatedError", body, released=ONE + TWO)


@case("streams")
def stream_of_messages_without_the_final_frame() -> Vector:
    """A clear message_stop ends nothing."""
    body = event_body(*messages_events()[:-1], MESSAGE_STOP)
    return refuses("TruncatedError", body, released=ONE + TWO + THREE)


@case("frames")
def stream_with_an_event_after_the_final_frame() -> Vector:
    """A well-sealed event more, behind the clear end."""
    frames = [*sealed(ONE, TWO), sealed(ONE, TWO, THREE)[2]]
    one, two, more = (chunk(frame) for frame in frames)
    body = event_body(one, two, DONE, more)
    return refuses("TrailingDataError", body, released=ONE + TWO)


@case("frames")
def stream_with_two_events_swapped() -> Vector:
    """The third before the second."""
    one, two, three = chunks(ONE, TWO, THREE)
    body = event_body(one, three, two)
    return refuses("SequenceError", body, released=ONE)


@case("frames")
def stream_with_an_event_doubled() -> Vector:
    """The first comes twice."""
    one, two = chunks(ONE, TWO)
    return refuses("SequenceError", event_body(one, one, two), released=ONE)


@case("frames")
def stream_with_an_event_dropped() -> Vector:
    """The second is gone."""
    one, _, three = chunks(ONE, TWO, THREE)
    return refuses("SequenceError", event_body(one, three), released=ONE)


@case("streams")
def stream_with_an_event_made_a_comment() -> Vector:
    """A frame in a comment is none; the next one is out of order."""
    one, two, three = chunks(ONE, TWO, THREE)
    body = event_body(one, two.replace(b"data:", b":"), three)
    return refuses("SequenceError", body, released=ONE)


@case("streams")
def stream_with_a_frame_in_an_event_name() -> Vector:
    """The name of an event is no JSON."""
    one, two, three = sealed(ONE, TWO, THREE)
    misplaced = event_of({"choices": []}, text(two))
    body = event_body(chunk(one), misplaced, chunk(three))
    return refuses("SequenceError", body, released=ONE)


@case("container-fields")
def stream_with_two_frames_in_one_event() -> Vector:
    """The first of them counts; the second is missed by the next event."""
    one, two, three = sealed(ONE, TWO, THREE)
    both = event_of({"delta": text(one), "text": text(two)})
    body = event_body(both, chunk(three))
    return refuses("SequenceError", body, released=ONE)


@case("container-fields")
def stream_with_a_text_not_canonical() -> Vector:
    """A string with the prefix stands before the frame of the second event."""
    one, two = sealed(ONE, TWO)
    worse = event_of({"model": "sgop1.model", "text": text(two)})
    body = event_body(chunk(one), worse)
    return refuses("MalformedFrameError", body, released=ONE)


@case("frames")
def stream_of_responses_with_a_delta_dropped() -> Vector:
    """The numbers of the events are not believed; those of the frames are."""
    created, _, completed = responses_events(ONE, TWO, THREE)
    renumbered = completed.replace(b'"sequence_number":2', b'"sequence_number":1')
    body = event_body(created, renumbered)
    return refuses("SequenceError", body, released=ONE)


@case("frames")
def stream_of_responses_with_its_end_moved_forward() -> Vector:
    """response.completed before a delta."""
    created, delta, completed = responses_events(ONE, TWO, THREE)
    body = event_body(created, completed, delta)
    return refuses("SequenceError", body, released=ONE)


@case("frames")
def stream_of_messages_with_two_events_swapped() -> Vector:
    """The delta before its block."""
    start, block, ping, delta, *rest = messages_events()
    body = event_body(start, delta, ping, block, *rest)
    return refuses("SequenceError", body, released=ONE)


@case("frames")
def stream_of_messages_with_its_start_dropped() -> Vector:
    """What comes first then is no first frame."""
    return refuses("SequenceError", event_body(*messages_events()[1:]))


# Container `opaque`


def opaque_frames(*payloads: bytes, content_type: bytes = EVENTS) -> list[bytes]:
    response = Response(parameters=(1, 1, 1, OPAQUE))
    return response.frames(*payloads, content_type=content_type)


def opaque_response(frames: list[bytes], rest: bytes = b"") -> Vector:
    return opaque_body(in_opaque(frames) + rest)


def opaque_refused(
    error: str, data: bytes, *, released: bytes = b"", finish: bool = True
) -> Vector:
    """Refused by a client that asked for the container."""
    body = opaque_body(data)
    return refuses(error, body, released=released, finish=finish, container=OPAQUE)


@case("container-opaque")
def opaque_unary_response() -> Vector:
    """One frame behind its length."""
    body = opaque_response(opaque_frames(ANSWER, content_type=JSON))
    return opens(body, ANSWER, content_type=JSON, container=OPAQUE)


@case("container-opaque")
def opaque_not_asked() -> Vector:
    """Binary embeddings come opaque, asked or not."""
    binary, kind = bytes(range(256)), b"application/octet-stream"
    return opens(
        opaque_response(opaque_frames(binary, content_type=kind)),
        binary,
        content_type=kind,
    )


@case("container-opaque")
def opaque_stream() -> Vector:
    """A frame for each event, and the end of the stream in the final one."""
    body = opaque_response(opaque_frames(ONE, TWO, DONE))
    return opens(body, ONE + TWO + DONE, container=OPAQUE)


@case("container-opaque")
def opaque_stream_with_frames_for_comments() -> Vector:
    """A comment's frame has an empty payload."""
    body = opaque_response(opaque_frames(b"", ONE, b"", b"", DONE))
    return opens(body, ONE + DONE, container=OPAQUE)


@case("container-opaque")
def opaque_cut_inside_a_length() -> Vector:
    """Three bytes of the second length."""
    first, last = opaque_frames(ONE, TWO)
    data = in_opaque([first]) + in_opaque([last])[:3]
    return opaque_refused("TruncatedError", data, released=ONE)


@case("container-opaque")
def opaque_cut_behind_a_length() -> Vector:
    """The second length, and nothing behind it."""
    first, last = opaque_frames(ONE, TWO)
    data = in_opaque([first]) + in_opaque([last])[:4]
    return opaque_refused("TruncatedError", data, released=ONE)


@case("container-opaque")
def opaque_cut_inside_a_frame() -> Vector:
    """The last byte is missing."""
    data = in_opaque(opaque_frames(ONE, TWO))[:-1]
    return opaque_refused("TruncatedError", data, released=ONE)


@case("container-opaque")
def opaque_cut_inside_a_unary_response() -> Vector:
    """Half of the only frame."""
    data = in_opaque(opaque_frames(ANSWER, content_type=JSON))
    return opaque_refused("TruncatedError", data[: len(data) // 2])


@case("container-opaque")
def opaque_without_the_final_frame() -> Vector:
    """Cut between two frames."""
    data = in_opaque(opaque_frames(ONE, TWO, THREE)[:2])
    return opaque_refused("TruncatedError", data, released=ONE + TWO)


@case("container-opaque")
def opaque_empty_body() -> Vector:
    """Not a byte."""
    return opaque_refused("TruncatedError", b"")


@case("container-opaque")
def opaque_length_0() -> Vector:
    """A frame of no bytes has no room for a tag."""
    return opaque_refused("MalformedFrameError", bytes(4), finish=False)


@case("container-opaque")
def opaque_length_0_later() -> Vector:
    """A length of 0 between two good frames is not passed over."""
    first, last = opaque_frames(ONE, TWO)
    data = in_opaque([first, b"", last])
    return opaque_refused("MalformedFrameError", data, released=ONE, finish=False)


@case("container-opaque")
def opaque_length_of_a_frame_too_short_for_a_tag() -> Vector:
    """A header and fifteen bytes."""
    first, last = opaque_frames(ONE, TWO)
    data = in_opaque([first, last[:20]])
    return opaque_refused("MalformedFrameError", data, released=ONE, finish=False)


@case("container-opaque")
def opaque_length_largest() -> Vector:
    """2^32 - 1, refused before another byte has come."""
    return opaque_refused("TooLargeError", b"\xff" * 4, finish=False)


@case("container-opaque")
def opaque_length_largest_later() -> Vector:
    """The same behind a good frame."""
    data = in_opaque(opaque_frames(ONE, TWO)[:1]) + b"\xff" * 4
    return opaque_refused("TooLargeError", data, released=ONE, finish=False)


@case("container-opaque")
def opaque_frames_in_their_text_form() -> Vector:
    """Text without a length: its first four letters are one."""
    data = "".join(text(frame) for frame in opaque_frames(ONE, TWO)).encode("ascii")
    return opaque_refused("TooLargeError", data, finish=False)


@case("container-opaque")
def opaque_type_on_clear_json() -> Vector:
    """The first four bytes of a clear answer are too large a length."""
    return opaque_refused("TooLargeError", ANSWER, finish=False)


@case("container-opaque")
def opaque_length_one_too_small() -> Vector:
    """The frame lacks the last byte of its tag."""
    first, second, _ = opaque_frames(ONE, TWO, THREE)
    length = (len(second) - 1).to_bytes(4, "big")
    data = in_opaque([first]) + length + second
    return opaque_refused("DecryptionError", data, released=ONE, finish=False)


@case("container-opaque")
def opaque_length_one_too_large() -> Vector:
    """The frame has the first byte of the next length behind its tag."""
    first, second, last = opaque_frames(ONE, TWO, THREE)
    length = (len(second) + 1).to_bytes(4, "big")
    data = in_opaque([first]) + length + second + in_opaque([last])
    return opaque_refused("DecryptionError", data, released=ONE, finish=False)


@case("container-opaque")
def opaque_with_a_byte_after_the_final_frame() -> Vector:
    """One byte, no length yet."""
    data = in_opaque(opaque_frames(ONE, TWO)) + b"\0"
    return opaque_refused("TrailingDataError", data, released=ONE + TWO)


@case("container-opaque")
def opaque_with_a_length_of_0_after_the_final_frame() -> Vector:
    """Four zero bytes."""
    data = in_opaque(opaque_frames(ONE, TWO)) + bytes(4)
    return opaque_refused("TrailingDataError", data, released=ONE + TWO)


@case("container-opaque")
def opaque_with_a_line_end_after_a_unary_response() -> Vector:
    """A line end that something on the way has added."""
    data = in_opaque(opaque_frames(ANSWER, content_type=JSON)) + b"\n"
    return opaque_refused("TrailingDataError", data, released=ANSWER)


@case("container-opaque")
def opaque_with_a_length_too_large_after_the_final_frame() -> Vector:
    """Whatever the bytes are, they are after the final frame."""
    data = in_opaque(opaque_frames(ONE, TWO)) + b"\xff" * 4
    return opaque_refused("TrailingDataError", data, released=ONE + TWO)


@case("container-opaque")
def opaque_with_a_frame_after_the_final_one() -> Vector:
    """A well-sealed frame more."""
    frames = [*opaque_frames(ONE, TWO), opaque_frames(ONE, TWO, THREE)[2]]
    data = in_opaque(frames)
    return opaque_refused("TrailingDataError", data, released=ONE + TWO)


@case("container-opaque")
def opaque_response_twice() -> Vector:
    """The whole body is sent again behind itself."""
    data = in_opaque(opaque_frames(ANSWER, content_type=JSON)) * 2
    return opaque_refused("TrailingDataError", data, released=ANSWER)


@case("frames")
def opaque_frame_dropped() -> Vector:
    """The second of three."""
    first, _, last = opaque_frames(ONE, TWO, THREE)
    return opaque_refused("SequenceError", in_opaque([first, last]), released=ONE)


@case("frames")
def opaque_first_frame_dropped() -> Vector:
    """Nothing opens without frame 0."""
    return opaque_refused("SequenceError", in_opaque(opaque_frames(ONE, TWO)[1:]))


@case("frames")
def opaque_frame_of_a_comment_dropped() -> Vector:
    """It holds nothing, but it counts."""
    first, _, last = opaque_frames(ONE, b"", DONE)
    return opaque_refused("SequenceError", in_opaque([first, last]), released=ONE)


@case("frames")
def opaque_frames_swapped() -> Vector:
    """The third before the second."""
    first, second, last = opaque_frames(ONE, TWO, THREE)
    data = in_opaque([first, last, second])
    return opaque_refused("SequenceError", data, released=ONE)


@case("frames")
def opaque_frame_repeated() -> Vector:
    """The second of three comes twice."""
    first, second, last = opaque_frames(ONE, TWO, THREE)
    data = in_opaque([first, second, second, last])
    return opaque_refused("SequenceError", data, released=ONE + TWO)


@case("frames")
def opaque_frame_with_a_bit_flipped() -> Vector:
    """In the ciphertext of the second frame."""
    first, last = opaque_frames(ONE, TWO)
    data = in_opaque([first, flipped(last, 9)])
    return opaque_refused("DecryptionError", data, released=ONE)


@case("head")
def opaque_body_with_a_fields_head() -> Vector:
    """Frames of the other container, put behind lengths."""
    return opaque_refused("UnexpectedParametersError", in_opaque(sealed(ONE, TWO)))


@case("head")
def opaque_body_with_a_fields_head_though_fields_was_asked() -> Vector:
    """What a client may get unasked is container opaque, head and all."""
    body = opaque_response(sealed(ANSWER, content_type=JSON))
    return refuses("UnexpectedParametersError", body)


@case("head")
def opaque_body_with_a_relabelled_head() -> Vector:
    """Frames of the other container with that byte changed: the head is bound."""
    first, last = sealed(ONE, TWO)
    relabelled = first[:8] + bytes([OPAQUE]) + first[9:]
    return opaque_refused("DecryptionError", in_opaque([relabelled, last]))


@case("head")
def opaque_head_in_a_json_body() -> Vector:
    """An opaque response that something on the way has wrapped in JSON."""
    frame = opaque_frames(ANSWER, content_type=JSON)[0]
    body = json_body(json.dumps({"sealed": text(frame)}))
    return refuses("UnexpectedParametersError", body)


@case("head")
def opaque_head_in_a_stream() -> Vector:
    """The same for events."""
    body = event_body(*(chunk(frame) for frame in opaque_frames(ONE, TWO)))
    return refuses("UnexpectedParametersError", body)


@case("container-opaque")
def fields_body_though_opaque_was_asked() -> Vector:
    """A client that has asked for container opaque takes no other."""
    body = json_body(json.dumps({"text": answer_text()}))
    return refuses("UnexpectedParametersError", body, container=OPAQUE)


@case("container-opaque")
def fields_stream_though_opaque_was_asked() -> Vector:
    """The same for events."""
    body = event_body(*chunks(ONE, TWO), DONE)
    return refuses("UnexpectedParametersError", body, container=OPAQUE)
