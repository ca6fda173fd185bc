"""The vectors of stored answers that are opened with a recovery token."""

from __future__ import annotations

import hashlib
import json

from tests import reference
from tests.reference import event_of, json_around, recovery_text, recovery_token
from tests.vectors.sealed_vocabulary import sealed_answer
from tests.vectors.vocabulary import (
    EVENTS,
    HEAD,
    JSON,
    NONCE,
    STATEMENT,
    Response,
    Vector,
    add_case,
    case,
    flipped,
    statement,
    text,
)

ONE, TWO, THREE = b"data: 1\n\n", b"data: 2\n\n", b"data: [DONE]\n\n"
STREAM = ONE + TWO + THREE
UNARY = b'{"choices":[{"message":{"content":"Hello"}}]}'
DONE = "data: [DONE]\n\n"
ANSWER = Response()
FRAMES = ANSWER.frames(ONE, TWO, THREE)
TOKEN = recovery_token(ANSWER.keys, ANSWER.head)
RAW = ANSWER.keys.key + ANSWER.keys.base_nonce + reference.sha256(ANSWER.head)


def chat_event(frame: bytes) -> str:
    carrier = reference.CARRIERS["chat, streamed"]
    return event_of(json_around(text(frame), carrier)).decode("ascii")


def stream(*frames: bytes) -> str:
    return "".join(map(chat_event, frames)) + DONE


def unary(frame: bytes) -> str:
    return json.dumps(json_around(text(frame), reference.CARRIERS["chat"]))


def opens(
    stored: str | bytes,
    payload: bytes,
    token: str = TOKEN,
    *,
    status: int = 200,
    content_type: bytes = EVENTS,
) -> Vector:
    """The token opens what is stored."""
    return _given(token, stored) | {
        "expect": "success",
        "status": status,
        "content_type": content_type.decode("ascii"),
        "payload_sha256": hashlib.sha256(payload).hexdigest(),
    }


def refuses(
    error: str, stored: str | bytes, token: str = TOKEN, *, released: bytes = b""
) -> Vector:
    """The token, or what is stored, is refused after ``released``."""
    digest = hashlib.sha256(released).hexdigest()
    return _given(token, stored) | {"expect": error, "released_sha256": digest}


def _given(token: str, stored: str | bytes) -> Vector:
    kept = {"text": stored} if isinstance(stored, str) else {"hex": stored.hex()}
    return {"token": token, "stored": kept}


# What opens


@case("recovery-token")
def saved_stream() -> Vector:
    """A stream as a log keeps it: with CRLF, comments and clear events of a gateway."""
    kept = ": OPENROUTER\n\n" + chat_event(FRAMES[0]) + 'data: {"cost":1}\n\n'
    kept += chat_event(FRAMES[1]) + chat_event(FRAMES[2]) + DONE
    return opens(kept.replace("\n", "\r\n"), STREAM)


@case("recovery-token")
def saved_body_serialised_again() -> Vector:
    """A unary body as a database keeps it: members sorted, indented, others added."""
    frames = ANSWER.frames(UNARY, status=400, content_type=JSON)
    kept = json.loads(unary(frames[0])) | {"model": "renamed", "_id": 7, "a": "b"}
    return opens(
        json.dumps(kept, indent=2, sort_keys=True) + "\n",
        UNARY,
        status=400,
        content_type=JSON,
    )


@case("recovery-token")
def saved_octets_of_a_sealed_request() -> Vector:
    """Container opaque, suite 2: the token says nothing of suite, profile, container."""
    answer = Response(**sealed_answer(2, reference.OPAQUE))
    kept = reference.opaque_body(answer.frames(ONE, b"", THREE))
    return opens(kept, ONE + THREE, recovery_token(answer.keys, answer.head))


@case("recovery-token")
def saved_whoever_signed() -> Vector:
    """The statement was accepted when the token was made; it is not judged again."""
    answer = Response(statement=statement(epoch=1, not_after=2, signer="nobody"))
    token = recovery_token(answer.keys, answer.head)
    return opens(stream(*answer.frames(ONE, TWO)), ONE + TWO, token)


# The token

_STRAY = {"A": "B", "Q": "R", "g": "h", "w": "x"}  # the last digit has two bits

for name, words, token in (
    ("padded", "The digits have their padding.", TOKEN + "=="),
    ("with_a_line_end", "A line end follows the token.", TOKEN + "\n"),
    ("with_a_space_inside", "A space stands among the digits.", f"{TOKEN[:60]} {TOKEN[61:]}"),
    ("with_stray_bits", "The last digit has a bit that means nothing.", TOKEN[:-1] + _STRAY[TOKEN[-1]]),
    ("in_the_standard_alphabet", "Plus and slash stand in place of minus and underscore.", TOKEN.replace("-", "+").replace("_", "/").replace("sgop1+", "sgop1-")),
    ("cut_by_one_byte", "The last byte is missing.", recovery_text(RAW[:-1])),
    ("with_one_byte_more", "A byte follows.", recovery_text(RAW + b"\x00")),
    ("of_version_2", "The prefix is that of a version to come.", TOKEN.replace("sgop1-", "sgop2-")),
    ("with_a_capital_in_its_prefix", "The prefix is exact.", TOKEN.replace("sgop1-", "Sgop1-")),
    ("without_its_prefix", "The digits alone are no token.", TOKEN.removeprefix(reference.RECOVERY_PREFIX)),
    ("with_the_prefix_of_a_frame", "A frame's text is no token.", reference.PREFIX + TOKEN.removeprefix(reference.RECOVERY_PREFIX)),
    ("with_a_digit_that_is_not_ascii", "A full-width digit stands for its like.", f"{TOKEN[:60]}\uff11{TOKEN[61:]}"),
):  # fmt: skip
    add_case(
        f"saved_with_a_token_{name}",
        "recovery-token",
        words,
        lambda token=token: refuses(  # type: ignore[misc]
            "ConfigurationError", stream(*FRAMES), token
        ),
    )


@case("recovery-token")
def saved_with_the_token_of_another_answer() -> Vector:
    """Another answer to the same client, under the same statement."""
    other = Response(nonce="another")
    token = recovery_token(other.keys, other.head)
    return refuses("ForeignResponseError", stream(*FRAMES), token)


@case("recovery-token")
def saved_with_another_hash_of_a_head() -> Vector:
    """The keys would open it, but the token says that it is not the one."""
    token = recovery_text(flipped(RAW, 44))
    return refuses("ForeignResponseError", stream(*FRAMES), token)


@case("recovery-token")
def saved_with_another_key() -> Vector:
    """The hash of the head is right, the key is not."""
    token = recovery_text(flipped(RAW, 0))
    return refuses("DecryptionError", stream(*FRAMES), token)


@case("recovery-token")
def saved_with_another_base_nonce() -> Vector:
    """The hash of the head is right, the base nonce is not."""
    token = recovery_text(flipped(RAW, 32))
    return refuses("DecryptionError", stream(*FRAMES), token)


# What is stored


@case("recovery-token")
def saved_with_a_bit_flipped_in_the_response_nonce() -> Vector:
    """The head was changed, so it is not the head of the token's answer."""
    frames = [flipped(FRAMES[0], NONCE), *FRAMES[1:]]
    return refuses("ForeignResponseError", stream(*frames))


@case("recovery-token")
def saved_with_another_profile_in_its_head() -> Vector:
    """The four parameters are in the hash; nothing else looks at them."""
    frames = [flipped(FRAMES[0], HEAD + 2, 0x03), *FRAMES[1:]]
    return refuses("ForeignResponseError", stream(*frames))


@case("recovery-token")
def saved_with_a_statement_of_version_2() -> Vector:
    """The head does not parse, so that nobody knows where it ends."""
    frames = [flipped(FRAMES[0], STATEMENT, 0x03), *FRAMES[1:]]
    return refuses("MalformedFrameError", stream(*frames))


@case("recovery-token")
def saved_stream_that_was_cut() -> Vector:
    """The final frame is missing; a clear end stands in its place."""
    return refuses("TruncatedError", stream(*FRAMES[:2]), released=ONE + TWO)


@case("recovery-token")
def saved_stream_cut_inside_an_event() -> Vector:
    """The file ends in the middle of the final frame."""
    kept = stream(*FRAMES).removesuffix(DONE)[:-40]
    return refuses("TruncatedError", kept, released=ONE + TWO)


@case("recovery-token")
def saved_stream_with_an_event_dropped() -> Vector:
    """The second frame is missing."""
    return refuses("SequenceError", stream(FRAMES[0], FRAMES[2]), released=ONE)


@case("recovery-token")
def saved_stream_with_a_frame_appended() -> Vector:
    """A log has kept an event twice."""
    kept = stream(*FRAMES, FRAMES[2])
    return refuses("TrailingDataError", kept, released=STREAM)


@case("recovery-token")
def saved_stream_with_two_answers() -> Vector:
    """Another answer follows in the same file."""
    other = Response(nonce="another").frames(ONE, TWO)
    kept = stream(*FRAMES) + stream(*other)
    return refuses("TrailingDataError", kept, released=STREAM)


@case("recovery-token")
def saved_stream_spliced_from_two() -> Vector:
    """The second frame is of another answer."""
    other = Response(nonce="another").frames(ONE, TWO, THREE)
    kept = stream(FRAMES[0], other[1], FRAMES[2])
    return refuses("DecryptionError", kept, released=ONE)


@case("recovery-token")
def saved_body_that_was_cut() -> Vector:
    """Half of a JSON body."""
    kept = unary(ANSWER.frames(UNARY, content_type=JSON)[0])[:-30]
    return refuses("MalformedFrameError", kept)


@case("recovery-token")
def saved_octets_that_were_cut() -> Vector:
    """The last byte of a body in container opaque is missing."""
    answer = Response(parameters=(1, 1, 1, reference.OPAQUE))
    kept = reference.opaque_body(answer.frames(ONE, TWO))[:-1]
    token = recovery_token(answer.keys, answer.head)
    return refuses("TruncatedError", kept, token, released=ONE)


@case("recovery-token")
def saved_octets_with_something_appended() -> Vector:
    """Bytes follow the final frame of container opaque."""
    answer = Response(parameters=(1, 1, 1, reference.OPAQUE))
    kept = reference.opaque_body(answer.frames(ONE, TWO)) + b"\n"
    token = recovery_token(answer.keys, answer.head)
    return refuses("TrailingDataError", kept, token, released=ONE + TWO)


@case("recovery-token")
def saved_body_that_was_opened() -> Vector:
    """What a reader sees has no frame."""
    return refuses("UnprotectedResponseError", UNARY.decode("ascii"))


@case("recovery-token")
def saved_words_that_quote_a_frame() -> Vector:
    """The prefix stands in a text, and no string begins with it."""
    kept = json.dumps({"choices": [{"message": {"content": f"see {text(FRAMES[0])}"}}]})
    return refuses("UnprotectedResponseError", kept)


@case("recovery-token")
def saved_file_without_a_byte() -> Vector:
    """An empty file."""
    return refuses("UnprotectedResponseError", "")
