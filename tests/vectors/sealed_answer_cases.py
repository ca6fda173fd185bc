"""The vectors of answers to sealed requests, frame by frame."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from tests import reference
from tests.reference import sha256
from tests.vectors.sealed_vocabulary import (
    BOTH_SUITES,
    EVIDENCE,
    Sealing,
    asked,
    epoch_keys,
    epoch_statement,
    sealed_answer,
    sealed_to,
)
from tests.vectors.vocabulary import (
    CIPHERTEXT,
    EVENTS,
    HEAD,
    HOUR,
    JSON,
    MINUTE,
    NOW,
    SKEW,
    STATEMENT,
    Response,
    Vector,
    accepted,
    add_case,
    case,
    flipped,
    refused,
    sealed,
    secret,
)

ANSWER = b'{"choices":[{"message":{"content":"Hello"}}]}'
ONE, TWO, THREE = b"data: 1\n\n", b"data: 2\n\n", b"data: 3\n\n"
CONTAINERS = {"fields": reference.FIELDS, "opaque": reference.OPAQUE}
# Both suites stand in the statement.
SEALED_CIPHERTEXT = CIPHERTEXT + 2 * 33


def answer(suite: int = 1, container: int = 1, **changes: Any) -> Response:
    return Response(**sealed_answer(suite, container, **changes))


def opened(
    suite: int, container: int, payloads: Sequence[bytes], type_: bytes
) -> Vector:
    frames = answer(suite, container).frames(*payloads, content_type=type_)
    return accepted(
        frames,
        b"".join(payloads),
        content_type=type_,
        container=container,
        sealed_to=sealed_to(suite),
    )


def not_opened(
    error: str,
    frames: Sequence[bytes] | Response,
    *,
    suite: int = 1,
    kept: Vector | None = None,
    **how: Any,
) -> Vector:
    """The client has sealed its request and refuses ``frames``."""
    if isinstance(frames, Response):
        frames = frames.frames(ONE, TWO)
    return refused(error, frames, sealed_to=kept or sealed_to(suite), **how)


for suite in BOTH_SUITES:
    for name, container in CONTAINERS.items():
        about = f"in suite {suite} and container {name}"
        add_case(
            f"sealed_answer_of_suite_{suite}_in_{name}",
            "key-schedule",
            f"A unary answer to a sealed request, {about}.",
            partial(opened, suite, container, [ANSWER], JSON),
        )
        add_case(
            f"sealed_stream_of_suite_{suite}_in_{name}",
            "key-schedule",
            f"A streamed answer to a sealed request, {about}.",
            partial(opened, suite, container, [ONE, TWO, THREE], EVENTS),
        )
        other = reference.OPAQUE if container == reference.FIELDS else reference.FIELDS
        add_case(
            f"sealed_answer_of_suite_{suite}_in_{name}_not_asked",
            "head",
            f"The client has asked for the other container; answered {about}.",
            partial(
                not_opened,
                "UnexpectedParametersError",
                answer(suite, container),
                suite=suite,
                container=other,
            ),
        )


@case("head")
def sealed_answer_of_another_machine() -> Vector:
    """Evidence is per machine; the digest is that of the whole fleet."""
    other = epoch_statement(evidence_hash=sha256(EVIDENCE))
    frames = answer(statement=other).frames(ONE, TWO)
    return accepted(frames, ONE + TWO, sealed_to=sealed_to())


# What the keys depend on

for suite in BOTH_SUITES:
    for name, changes, words in (
        (
            "with_another_response_secret",
            {"response_secret": secret("another response secret")},
            "The sender did not open the request: its secret is another.",
        ),
        (
            "without_a_response_secret",
            {"response_secret": b""},
            "The sender did not open the request: it has no secret.",
        ),
        (
            "to_another_request",
            {"request_hash": sha256(Sealing(asked(body=b"{}"), suite).message)},
            "An answer to another request of the same key pair and secret.",
        ),
        (
            "to_no_request",
            {"request_hash": bytes(32)},
            "The hash is left zero, as in profile output.",
        ),
        (
            "to_the_text",
            {"request_hash": sha256(Sealing(suite=suite).text.encode())},
            "The hash is of the message's text, not of its bytes.",
        ),
        (
            "of_the_response_key_of_another_epoch",
            {"private_key": epoch_keys("earlier epoch").response_private_key},
            "The sender used another epoch's key than its statement names.",
        ),
    ):
        add_case(
            f"sealed_answer_of_suite_{suite}_{name}",
            "key-schedule",
            f"{words} Suite {suite}.",
            partial(
                not_opened,
                "DecryptionError",
                answer(suite, **changes),  # type: ignore[arg-type]
                suite=suite,
            ),
        )


@case("key-schedule")
def sealed_answer_spliced_from_two() -> Vector:
    """Frame 1 is of the answer to another request with the same key pair."""
    other = answer(request_hash=sha256(b"another message"))
    frames = [answer().frames(ONE, TWO)[0], other.frames(ONE, TWO)[1]]
    return not_opened("DecryptionError", frames, released=ONE)


@case("key-schedule")
def sealed_answer_spliced_from_two_sealings() -> Vector:
    """Frame 1 is of another answer to the same request."""
    frames = [
        answer().frames(ONE, TWO)[0],
        answer(nonce="another").frames(ONE, TWO)[1],
    ]
    return not_opened("DecryptionError", frames, released=ONE)


# Downgrades


@case("head")
def clear_requests_answer_to_a_sealed_request() -> Vector:
    """A well-sealed answer in profile output, as to a request in the clear."""
    response = answer(
        parameters=(1, 1, 1, 1), response_secret=b"", request_hash=bytes(32)
    )
    return not_opened("UnexpectedParametersError", response)


@case("head")
def clear_requests_answer_of_another_server() -> Vector:
    """The downgrade with a statement that knows no suites."""
    return not_opened("UnexpectedParametersError", sealed(ONE, TWO))


@case("head")
def clear_requests_answer_to_a_request_of_suite_2() -> Vector:
    """Profile output has suite 1 only; here it keeps the request's."""
    response = answer(
        parameters=(1, 2, 1, 1), response_secret=b"", request_hash=bytes(32)
    )
    return not_opened("UnexpectedParametersError", response, suite=2)


@case("key-schedule")
def clear_requests_answer_relabelled() -> Vector:
    """The profile is put right afterwards, but the head is bound."""
    response = answer(
        parameters=(1, 1, 1, 1), response_secret=b"", request_hash=bytes(32)
    )
    frame = response.frames(ONE, TWO)[0]
    relabelled = frame[: HEAD + 2] + b"\x02" + frame[HEAD + 3 :]
    return not_opened("DecryptionError", [relabelled])


@case("head")
def sealed_answer_to_a_clear_request() -> Vector:
    """The client has sealed nothing, and is answered as if it had."""
    return refused("UnexpectedParametersError", answer().frames(ONE, TWO))


@case("head")
def sealed_answer_of_suite_2_to_a_request_of_suite_1() -> Vector:
    """Another suite than the request's."""
    return not_opened("UnexpectedParametersError", answer(2), suite=1)


@case("head")
def sealed_answer_of_suite_1_to_a_request_of_suite_2() -> Vector:
    """A weaker suite than the request's."""
    return not_opened("UnexpectedParametersError", answer(1), suite=2)


@case("key-schedule")
def sealed_answer_of_suite_1_relabelled_2() -> Vector:
    """The suite is put right afterwards, but the head is bound."""
    frame = answer(1, request_hash=sha256(Sealing(suite=2).message)).frames(ONE, TWO)[0]
    relabelled = frame[: HEAD + 1] + b"\x02" + frame[HEAD + 2 :]
    return not_opened("DecryptionError", [relabelled], suite=2)


# The statement


def mismatched(statement: reference.Statement, **how: Any) -> Vector:
    response = answer(statement=statement)
    return not_opened("StatementMismatchError", response, **how)


@case("head")
def sealed_answer_of_an_earlier_epoch() -> Vector:
    """A good answer of the same server, under another epoch that lives."""
    changes: dict[str, Any] = {
        "statement": epoch_statement("earlier epoch"),
        "private_key": epoch_keys("earlier epoch").response_private_key,
    }
    return not_opened("StatementMismatchError", answer(**changes))


@case("head")
def sealed_answer_of_an_epoch_with_another_end() -> Vector:
    """The same keys, the same start; the digest is over all of the body."""
    return mismatched(epoch_statement(not_after=NOW + 2 * HOUR))


@case("head")
def sealed_answer_of_an_epoch_without_suites() -> Vector:
    """The same response key, but no suites."""
    return mismatched(epoch_statement(suites=[]))


@case("head")
def sealed_answer_of_another_identity() -> Vector:
    """Another identity signs for the same keys; a client that pins nothing asks."""
    return mismatched(epoch_statement(identity="another identity"), pins=None)


@case("head")
def sealed_answer_though_sealed_to_another_statement() -> Vector:
    """The client remembers another digest."""
    kept = sealed_to(digest=secret("another digest").hex())
    return not_opened("StatementMismatchError", answer(), kept=kept)


@case("head")
def statement_is_accepted_before_it_is_compared() -> Vector:
    """Neither valid any more nor the one that was sealed to."""
    ended = epoch_statement(epoch=NOW - 2 * HOUR, not_after=NOW - SKEW - MINUTE)
    return not_opened("StatementExpiredError", answer(statement=ended))


@case("head")
def identity_is_compared_before_the_statement() -> Vector:
    """Neither pinned nor the one that was sealed to."""
    other = epoch_statement(identity="another identity")
    return not_opened("IdentityMismatchError", answer(statement=other))


@case("head")
def statement_is_compared_before_anything_opens() -> Vector:
    """Another epoch, and a ciphertext with a bit flipped."""
    other = epoch_statement(not_after=NOW + 2 * HOUR)
    frame = answer(statement=other).frames(ONE, TWO)[0]
    return not_opened("StatementMismatchError", [flipped(frame, -1)])


@case("key-schedule")
def sealed_answer_with_its_statement_exchanged() -> Vector:
    """Another machine's statement for the same epoch; the head is bound."""
    frame = answer().frames(ONE, TWO)[0]
    other = epoch_statement(evidence_hash=sha256(EVIDENCE)).encoded
    changed = frame[:STATEMENT] + other + frame[SEALED_CIPHERTEXT:]
    return not_opened("DecryptionError", [changed])


# The rest is as in profile output


@case("head")
def sealed_answer_for_another_client() -> Vector:
    """An answer to another attempt of the same client: each has its own key pair."""
    return not_opened("ForeignResponseError", answer(client="another client"))


@case("frames")
def sealed_answer_cut_off() -> Vector:
    """The stream ends one frame early."""
    frames = answer().frames(ONE, TWO, THREE)[:2]
    return not_opened("TruncatedError", frames, released=ONE + TWO, finish=True)


@case("frames")
def sealed_answer_with_a_bit_flipped() -> Vector:
    """A bit of the first ciphertext."""
    frame = answer().frames(ONE)[0]
    return not_opened("DecryptionError", [flipped(frame, SEALED_CIPHERTEXT)])


@case("frames")
def sealed_answer_goes_on_after_its_end() -> Vector:
    """The final frame comes twice."""
    frames = answer().frames(ONE, TWO)
    return not_opened("TrailingDataError", [*frames, frames[1]], released=ONE + TWO)
