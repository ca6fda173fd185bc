"""Every vector, one short function each, in the order of ``docs/protocol.md``."""

from __future__ import annotations

import base64
from functools import partial

from tests import reference
from tests.reference import FINAL, FIRST, opening, record
from tests.vectors.vocabulary import (
    CIPHERTEXT,
    CLIENT_HASH,
    EPOCH,
    EVIDENCE,
    HEAD,
    HOUR,
    IDENTITY,
    JSON,
    MINUTE,
    NONCE,
    NOT_AFTER,
    NOW,
    RESPONSE_KEY,
    SECOND,
    SIGNATURE,
    SKEW,
    STATEMENT,
    SUITE_COUNT,
    Response,
    Vector,
    accepted,
    add_case,
    case,
    client_public,
    flipped,
    header,
    past_statement,
    refused,
    renumbered,
    seal_input,
    sealed,
    secret,
    sign,
    signed,
    statement,
    text,
)

ONE, TWO, THREE = b"data: 1\n\n", b"data: 2\n\n", b"data: 3\n\n"
OPENING = opening(200, b"text/plain")


# Responses that open


@case("frames")
def unary_response() -> Vector:
    """One frame, first and final at once, with a padded JSON body."""
    body = b'{"choices":[{"message":{"content":"Hello"}}]}'
    frames = sealed(body, content_type=JSON, padding=955)
    return accepted(frames, body, content_type=JSON)


@case("frames")
def streamed_response() -> Vector:
    """Three frames, the last one final."""
    return accepted(sealed(ONE, TWO, THREE), ONE + TWO + THREE)


@case("shared-prefix")
def streamed_response_with_shared_prefixes() -> Vector:
    """Each payload begins like the one before it; k says how far."""
    events = [
        b'data: {"id":"chatcmpl-1","choices":[{"delta":{"content":"%s"}}]}\n\n' % word
        for word in (b"The", b" sky", b" is", b" blue")
    ]
    return accepted(sealed(*events, shared=50), b"".join(events))


@case("shared-prefix")
def streamed_response_of_two_choices() -> Vector:
    """With n=2 the events alternate; there is one final frame for both."""
    events = [
        b'data: {"choices":[{"index":%d,"delta":{"content":"%d"}}]}\n\n' % (i % 2, i)
        for i in range(6)
    ]
    done = b"data: [DONE]\n\n"
    return accepted(sealed(*events, done, shared=27), b"".join(events) + done)


@case("final-frame")
def final_frame_is_empty() -> Vector:
    """The final frame may hold no payload at all."""
    return accepted(sealed(ONE, TWO, b""), ONE + TWO)


@case("frames")
def empty_body_and_no_content_type() -> Vector:
    """A 204 has neither; its one frame says so."""
    frames = sealed(b"", status=204, content_type=b"")
    return accepted(frames, b"", status=204, content_type=b"")


@case("frames")
def sealed_error_of_the_highest_status() -> Vector:
    """An error made after the key is known is sealed like an answer."""
    body = b'{"error":{"message":"no","type":"t","param":null,"code":"c"}}'
    frames = sealed(body, status=599, content_type=JSON)
    return accepted(frames, body, status=599, content_type=JSON)


@case("frames")
def longest_content_type() -> Vector:
    """A content type of 255 bytes."""
    long = b"text/plain; boundary=".ljust(255, b"x")
    return accepted(sealed(ONE, content_type=long), ONE, content_type=long)


@case("implementation-notes")
def frame_of_two_mebibytes() -> Vector:
    """A frame of 2 MiB is ordinary."""
    unit, count = bytes(range(64)), 32 * 1024
    seal = seal_input(Response(), unit, count)
    return accepted([], unit * count, seal=seal)


@case("container-fields")
def text_form() -> Vector:
    """Frames in their text form, as they stand in the carrier."""
    frame_texts = [text(frame) for frame in sealed(ONE, TWO)]
    return accepted([], ONE + TWO, frame_texts=frame_texts)


# Client key

LOW_ORDER_POINTS = {
    "0": 0,
    "1": 1,
    "minus_1": reference.P - 1,
    "order_8_a": (
        325606250916557431795983626356110631294008115727848805560023387167927233504
    ),
    "order_8_b": (
        39382357235489614581723060781553021112529911719440698176882885853963445705823
    ),
    "0_plus_p": reference.P,
    "1_plus_p": reference.P + 1,
}


def little_endian(u: int) -> bytes:
    return u.to_bytes(32, "little")


@case("client-key")
def client_key_canonical() -> Vector:
    """The canonical standard base64 of 32 bytes."""
    return header(client_public(), "success")


@case("client-key")
def client_key_with_the_high_bit() -> Vector:
    """The top bit of an ordinary key is ignored, not refused."""
    key = client_public()
    return header(key[:31] + bytes([key[31] | 0x80]), "success")


@case("client-key")
def client_key_not_low_order_after_the_top_bit() -> Vector:
    """-1 plus p needs the top bit; without that bit it is another, ordinary point."""
    return header(little_endian(2 * reference.P - 1), "success")


@case("client-key")
def client_key_empty() -> Vector:
    """Nothing."""
    return header("")


@case("client-key")
def client_key_not_base64() -> Vector:
    """44 characters, but not of the alphabet."""
    return header("!" * 43 + "=")


@case("client-key")
def client_key_not_ascii() -> Vector:
    """A digit of another script is no base64."""
    return header(header(client_public())["header"][:-2] + "\u0663=")


@case("client-key")
def client_key_url_safe() -> Vector:
    """The URL-safe alphabet is not the standard one."""
    return header(base64.urlsafe_b64encode(b"\xfb\xff" * 16).decode("ascii"))


@case("client-key")
def client_key_without_padding() -> Vector:
    """The padding is part of the canonical form."""
    return header(header(client_public())["header"].rstrip("="))


@case("client-key")
def client_key_with_excess_padding() -> Vector:
    """One padding character too many."""
    return header(header(client_public())["header"] + "=")


@case("client-key")
def client_key_with_a_leading_space() -> Vector:
    """White space in front."""
    return header(" " + header(client_public())["header"])


@case("client-key")
def client_key_with_a_line_end() -> Vector:
    """A line end behind."""
    return header(header(client_public())["header"] + "\n")


@case("client-key")
def client_key_with_a_space_inside() -> Vector:
    """White space inside, in place of a character."""
    value = header(client_public())["header"]
    return header(value[:20] + " " + value[21:])


@case("client-key")
def client_key_twice_in_one_value() -> Vector:
    """Two headers that an intermediary has joined."""
    value = header(client_public())["header"]
    return header(f"{value}, {value}")


@case("client-key")
def client_key_in_hex() -> Vector:
    """Hexadecimal digits."""
    return header(client_public().hex())


@case("client-key")
def client_key_of_31_bytes() -> Vector:
    """44 characters of canonical base64, but 31 bytes."""
    return header(client_public()[:31])


@case("client-key")
def client_key_of_33_bytes() -> Vector:
    """44 characters of canonical base64, but 33 bytes."""
    return header(client_public() + b"\0")


@case("client-key")
def client_key_with_stray_bits() -> Vector:
    """The last character holds two bits that are no part of the key."""
    value = header(bytes(31) + b"\x09")["header"]
    return header(value[:-2] + chr(ord(value[-2]) + 1) + "=")


for name, u in LOW_ORDER_POINTS.items():
    add_case(
        f"client_key_low_order_{name}",
        "client-key",
        f"The low-order point {name.replace('_', ' ')}.",
        partial(header, little_endian(u)),
    )
    add_case(
        f"client_key_low_order_{name}_with_the_high_bit",
        "client-key",
        f"The low-order point {name.replace('_', ' ')}, its top bit set.",
        partial(header, little_endian(u | 1 << 255)),
    )


# Epoch statement: acceptance


@case("epoch-statement")
def statement_with_suites() -> Vector:
    """A recipient ignores what the suites of a statement mean."""
    suites = [(1, secret("suite 1")), (2, secret("suite 2"))]
    response = Response(statement=statement(suites=suites))
    return accepted(response.frames(ONE, TWO), ONE + TWO)


@case("epoch-statement")
def statement_with_evidence() -> Vector:
    """The evidence hash is signed and need not be zero."""
    response = Response(statement=statement(evidence_hash=secret("evidence")))
    return accepted(response.frames(ONE), ONE)


@case("accepting-a-statement")
def no_pin() -> Vector:
    """A client without a pin accepts every identity."""
    response = Response(statement=statement(identity="another identity"))
    return accepted(response.frames(ONE), ONE, pins=None)


@case("accepting-a-statement")
def second_of_two_pins() -> Vector:
    """A pin is a set, so that an identity can be replaced."""
    response = Response(statement=statement(identity="next identity"))
    return accepted(response.frames(ONE), ONE, pins=["identity", "next identity"])


@case("accepting-a-statement")
def clock_behind_by_the_skew() -> Vector:
    """The client's clock is five minutes before the epoch, the most that is allowed."""
    response = Response(statement=statement(epoch=NOW + SKEW, not_after=NOW + HOUR))
    return accepted(response.frames(ONE), ONE)


@case("accepting-a-statement")
def clock_ahead_by_the_skew() -> Vector:
    """The client's clock is five minutes after the end, the most that is allowed."""
    response = Response(statement=statement(epoch=NOW - HOUR, not_after=NOW - SKEW))
    return accepted(response.frames(ONE), ONE)


@case("accepting-a-statement")
def older_epoch_within_the_slack() -> Vector:
    """After a rotation, a response sealed under the epoch before is still accepted."""
    response = Response(statement=past_statement(age=MINUTE))
    return accepted(
        response.frames(ONE), ONE, accepted_before=[(past_statement(), NOW)]
    )


@case("accepting-a-statement")
def newer_epoch_of_another_identity() -> Vector:
    """Epochs are remembered for each identity by itself."""
    newer = past_statement(age=-HOUR, identity="another identity")
    response = Response(statement=past_statement())
    return accepted(
        response.frames(ONE), ONE, pins=None, accepted_before=[(newer, NOW + HOUR)]
    )


@case("accepting-a-statement")
def epoch_that_had_not_begun_is_not_remembered() -> Vector:
    """An epoch ahead of the client's clock is accepted, but not remembered."""
    now = NOW - 2 * HOUR
    ahead = statement(epoch=NOW, not_after=NOW + HOUR)
    response = Response(statement=statement(epoch=now - HOUR, not_after=now - SKEW))
    return accepted(
        response.frames(ONE), ONE, now=now, accepted_before=[(ahead, NOW - SKEW)]
    )


# Epoch statement: refusals


@case("frames")
def statement_cut_short() -> Vector:
    """The frame ends inside the statement."""
    return refused("MalformedFrameError", [sealed(ONE)[0][: SIGNATURE + 63]])


@case("epoch-statement")
def suite_count_beyond_the_frame() -> Vector:
    """The statement announces more suites than the frame has room for."""
    frame = bytearray(sealed(ONE)[0])
    frame[SUITE_COUNT] = 255
    return refused("MalformedFrameError", [bytes(frame)])


@case("epoch-statement")
def suites_out_of_order() -> Vector:
    """Suite ids ascend."""
    suites = [(2, secret("suite 2")), (1, secret("suite 1"))]
    response = Response(statement=statement(suites=suites))
    return refused("MalformedFrameError", response.frames(ONE))


@case("epoch-statement")
def suite_twice() -> Vector:
    """Suite ids ascend, so none comes twice."""
    suites = [(1, secret("suite 1")), (1, secret("suite 1"))]
    response = Response(statement=statement(suites=suites))
    return refused("MalformedFrameError", response.frames(ONE))


@case("accepting-a-statement")
def statement_of_version_2() -> Vector:
    """A well-signed statement of another version."""
    response = Response(statement=statement(version=2))
    return refused("MalformedFrameError", response.frames(ONE))


@case("accepting-a-statement")
def statement_without_duration() -> Vector:
    """An epoch that ends when it begins."""
    response = Response(statement=statement(epoch=NOW, not_after=NOW))
    return refused("MalformedFrameError", response.frames(ONE))


@case("accepting-a-statement")
def statement_that_ends_before_it_begins() -> Vector:
    """An epoch with its times exchanged, well signed."""
    times = statement(epoch=NOW + MINUTE, not_after=NOW - MINUTE)
    return refused("MalformedFrameError", Response(statement=times).frames(ONE))


@case("accepting-a-statement")
def statement_signed_by_another() -> Vector:
    """The statement names the pinned identity, but another one has signed it."""
    forged = statement(signer="another identity")
    return refused("StatementSignatureError", Response(statement=forged).frames(ONE))


@case("accepting-a-statement")
def statement_without_a_signature() -> Vector:
    """64 zero bytes in the signature's place."""
    unsigned = signed(statement(), bytes(64))
    return refused("StatementSignatureError", Response(statement=unsigned).frames(ONE))


@case("epoch-statement")
def statement_signed_without_its_label() -> Vector:
    """The signature is the identity's, but over other bytes than the labelled digest."""
    honest = statement()
    message = honest.signed.removeprefix(b"sgop1 statement")
    forged = signed(honest, sign("identity", message))
    return refused("StatementSignatureError", Response(statement=forged).frames(ONE))


@case("accepting-a-statement")
def statement_of_an_identity_that_is_no_point() -> Vector:
    """The identity public key is no point of the curve."""
    no_point = statement(identity_public_key=b"\x02" + bytes(31))
    return refused(
        "StatementSignatureError", Response(statement=no_point).frames(ONE), pins=None
    )


@case("accepting-a-statement")
def identity_not_pinned() -> Vector:
    """A well-signed statement of an identity that is not pinned."""
    response = Response(statement=statement(identity="another identity"))
    return refused("IdentityMismatchError", response.frames(ONE))


@case("accepting-a-statement")
def no_identity_is_pinned() -> Vector:
    """An empty set of pins is a pin that nobody meets."""
    return refused("IdentityMismatchError", sealed(ONE), pins=[])


@case("accepting-a-statement")
def statement_expired() -> Vector:
    """The client's clock is a millisecond past the end and the skew."""
    ended = statement(epoch=NOW - HOUR, not_after=NOW - SKEW - 1)
    return refused("StatementExpiredError", Response(statement=ended).frames(ONE))


@case("accepting-a-statement")
def statement_not_yet_valid() -> Vector:
    """The client's clock is a millisecond short of the beginning and the skew."""
    ahead = statement(epoch=NOW + SKEW + 1, not_after=NOW + HOUR)
    return refused("StatementExpiredError", Response(statement=ahead).frames(ONE))


@case("epoch-statement")
def epoch_of_forty_eight_hours() -> Vector:
    """The longest life a statement may have."""
    longest = statement(epoch=NOW, not_after=NOW + 48 * HOUR)
    return accepted(Response(statement=longest).frames(ONE), ONE)


@case("accepting-a-statement")
def epoch_longer_than_forty_eight_hours() -> Vector:
    """A millisecond more than that."""
    longer = statement(epoch=NOW, not_after=NOW + 48 * HOUR + 1)
    return refused("MalformedFrameError", Response(statement=longer).frames(ONE))


@case("accepting-a-statement")
def statement_rolled_back_though_valid() -> Vector:
    """Its end is within the clock's skew, but before an epoch already accepted."""
    newer = past_statement(age=MINUTE)
    return refused(
        "StatementRolledBackError",
        Response(statement=past_statement(age=4 * MINUTE)).frames(ONE),
        accepted_before=[(newer, NOW)],
    )


@case("accepting-a-statement")
def statement_rolled_back() -> Vector:
    """The client's clock went back, and so did the server's epoch."""
    newer = past_statement(age=-HOUR)
    return refused(
        "StatementRolledBackError",
        Response(statement=past_statement()).frames(ONE),
        accepted_before=[(newer, NOW + HOUR)],
    )


@case("accepting-a-statement")
def statement_rolled_back_to_the_millisecond() -> Vector:
    """The end is just the newest epoch, which is not later."""
    old = past_statement()
    newer = statement(epoch=old.not_after, not_after=old.not_after + HOUR)
    return refused(
        "StatementRolledBackError",
        Response(statement=old).frames(ONE),
        accepted_before=[(newer, newer.epoch)],
    )


@case("accepting-a-statement")
def newest_epoch_is_kept_after_an_older_one() -> Vector:
    """Accepting an older epoch that overlaps does not forget the newest."""
    newest, older = past_statement(age=-8 * MINUTE), past_statement(age=-7 * MINUTE)
    between = past_statement(age=-5 * MINUTE - 30 * SECOND)
    return refused(
        "StatementRolledBackError",
        Response(statement=between).frames(ONE),
        now=newest.epoch,
        accepted_before=[(newest, newest.epoch), (older, newest.epoch)],
    )


@case("accepting-a-statement")
def signature_is_checked_before_the_pin() -> Vector:
    """Neither signed well nor pinned."""
    wrong = statement(identity="another identity", signer="identity")
    return refused("StatementSignatureError", Response(statement=wrong).frames(ONE))


@case("accepting-a-statement")
def pin_is_checked_before_the_times() -> Vector:
    """Neither pinned nor valid any more."""
    wrong = statement(identity="another identity", epoch=0, not_after=1)
    return refused("IdentityMismatchError", Response(statement=wrong).frames(ONE))


@case("accepting-a-statement")
def times_are_checked_before_the_rollback() -> Vector:
    """Neither valid any more nor after the newest epoch."""
    ended = statement(epoch=NOW - 2 * HOUR, not_after=NOW - HOUR)
    return refused(
        "StatementExpiredError",
        Response(statement=ended).frames(ONE),
        accepted_before=[(past_statement(), NOW)],
    )


# Head


@case("head")
def version_2() -> Vector:
    """Another version, otherwise well sealed."""
    response = Response(parameters=(2, 1, 1, 1))
    return refused("UnexpectedParametersError", response.frames(ONE))


@case("head")
def version_0() -> Vector:
    """There is no version 0."""
    response = Response(parameters=(0, 1, 1, 1))
    return refused("UnexpectedParametersError", response.frames(ONE))


@case("head")
def suite_2() -> Vector:
    """Another suite."""
    response = Response(parameters=(1, 2, 1, 1))
    return refused("UnexpectedParametersError", response.frames(ONE))


@case("head")
def profile_sealed() -> Vector:
    """The reserved profile, which the client did not ask for."""
    response = Response(parameters=(1, 1, 2, 1))
    return refused("UnexpectedParametersError", response.frames(ONE))


@case("head")
def profile_3() -> Vector:
    """A profile that is not even reserved."""
    response = Response(parameters=(1, 1, 3, 1))
    return refused("UnexpectedParametersError", response.frames(ONE))


@case("head")
def container_opaque() -> Vector:
    """The reserved container, which the client did not ask for."""
    response = Response(parameters=(1, 1, 1, 2))
    return refused("UnexpectedParametersError", response.frames(ONE))


@case("head")
def container_0() -> Vector:
    """There is no container 0."""
    response = Response(parameters=(1, 1, 1, 0))
    return refused("UnexpectedParametersError", response.frames(ONE))


@case("head")
def container_not_asked() -> Vector:
    """The client asked for container 2 and is answered in 1."""
    return refused("UnexpectedParametersError", sealed(ONE), container=2)


@case("head")
def version_is_checked_before_the_rest() -> Vector:
    """A later version whose statement has another form is still named as what it is."""
    response = Response(parameters=(2, 1, 1, 1), encoded_statement=b"\xff" * 64)
    return refused("UnexpectedParametersError", response.frames(ONE))


@case("head")
def parameters_are_checked_before_the_client_key() -> Vector:
    """Another suite, and another client's."""
    response = Response(parameters=(1, 2, 1, 1), client="another client")
    return refused("UnexpectedParametersError", response.frames(ONE))


@case("head")
def response_for_another_client() -> Vector:
    """A cache's answer to somebody else."""
    response = Response(client="another client")
    return refused("ForeignResponseError", response.frames(ONE))


@case("head")
def client_key_is_checked_before_the_statement() -> Vector:
    """Another client's, and with a statement that does not verify."""
    wrong = statement(signer="another identity")
    response = Response(client="another client", statement=wrong)
    return refused("ForeignResponseError", response.frames(ONE))


@case("key-schedule")
def response_for_another_client_relabelled() -> Vector:
    """The eight bytes are put right, but the key schedule has the whole client key."""
    frame = Response(client="another client").frames(ONE)[0]
    own = sealed(ONE)[0][CLIENT_HASH:NONCE]
    return refused("DecryptionError", [frame[:CLIENT_HASH] + own + frame[NONCE:]])


@case("key-schedule")
def statement_exchanged_for_another() -> Vector:
    """Both statements are the server's, and of one response key; the head is bound."""
    frame, other = sealed(ONE)[0], statement(not_after=NOW + 2 * HOUR).encoded
    return refused("DecryptionError", [frame[:STATEMENT] + other + frame[CIPHERTEXT:]])


@case("key-schedule")
def statement_taken_over() -> Vector:
    """Another identity signs for the same response key; a client without a pin asks."""
    frame, other = sealed(ONE)[0], statement(identity="another identity").encoded
    frames = [frame[:STATEMENT] + other + frame[CIPHERTEXT:]]
    return refused("DecryptionError", frames, pins=None)


for name in ("0", "1", "minus_1", "order_8_a", "order_8_b", "0_plus_p"):
    point = statement(response_public_key=little_endian(LOW_ORDER_POINTS[name]))
    response = Response(statement=point, dh=bytes(32))
    add_case(
        f"response_key_low_order_{name}",
        "key-schedule",
        "The response key is of low order and the frame sealed with the all-zero "
        "secret that this gives, which everybody knows.",
        partial(refused, "MalformedFrameError", response.frames(ONE)),
    )


# Frames: what is too short or unknown


@case("frames")
def frame_empty() -> Vector:
    """No bytes at all."""
    return refused("MalformedFrameError", [b""])


@case("frames")
def frame_empty_later() -> Vector:
    """No bytes at all, in the middle of a stream."""
    frames = sealed(ONE, TWO)
    return refused("MalformedFrameError", [frames[0], b""], released=ONE)


@case("frames")
def frame_without_a_whole_header() -> Vector:
    """Four bytes."""
    frames = sealed(ONE, TWO)
    return refused("MalformedFrameError", [frames[0], frames[1][:4]], released=ONE)


@case("frames")
def frame_too_short_for_a_tag() -> Vector:
    """A header and fifteen bytes."""
    frames = sealed(ONE, TWO)
    return refused("MalformedFrameError", [frames[0], frames[1][:20]], released=ONE)


@case("frames")
def frame_0_without_a_head() -> Vector:
    """A frame that is first, but long enough for a later one only."""
    return refused("MalformedFrameError", [sealed(ONE)[0][:40]])


@case("frames")
def frame_0_without_a_ciphertext() -> Vector:
    """A whole head and nothing behind it."""
    return refused("MalformedFrameError", [sealed(ONE)[0][:CIPHERTEXT]])


@case("frames")
def unknown_flag_in_frame_0() -> Vector:
    """A flag that version 1 does not define, well sealed."""
    frame = Response().frame(0, OPENING + record(ONE), FIRST | FINAL | 0x04)
    return refused("MalformedFrameError", [frame])


@case("frames")
def unknown_flag_later() -> Vector:
    """The highest flag, well sealed."""
    frames = [sealed(ONE, TWO)[0], Response().frame(1, record(TWO), FINAL | 0x80)]
    return refused("MalformedFrameError", frames, released=ONE)


# Frames: order


@case("frames")
def first_flag_missing() -> Vector:
    """Frame 0 without its flag, well sealed."""
    frame = Response().frame(0, OPENING + record(ONE), FINAL)
    return refused("SequenceError", [frame])


@case("frames")
def first_flag_later() -> Vector:
    """Frame 1 with the flag of frame 0, well sealed."""
    frames = [sealed(ONE, TWO)[0], Response().frame(1, record(TWO), FIRST | FINAL)]
    return refused("SequenceError", frames, released=ONE)


@case("frames")
def sequence_number_of_frame_0() -> Vector:
    """Frame 0 says that it is frame 1."""
    return refused("SequenceError", [renumbered(sealed(ONE)[0], 1)])


@case("frames")
def first_frame_dropped() -> Vector:
    """The stream begins with its second frame."""
    return refused("SequenceError", sealed(ONE, TWO)[1:])


@case("frames")
def frame_dropped() -> Vector:
    """The middle one of three frames is missing."""
    first, _, third = sealed(ONE, TWO, THREE)
    return refused("SequenceError", [first, third], released=ONE)


@case("frames")
def frame_dropped_and_the_next_renumbered() -> Vector:
    """The sequence number is put right, but the nonce and the tag are of another."""
    first, _, third = sealed(ONE, TWO, THREE)
    return refused("DecryptionError", [first, renumbered(third, 1)], released=ONE)


@case("frames")
def first_frame_doubled() -> Vector:
    """Frame 0 comes twice."""
    first = sealed(ONE, TWO)[0]
    return refused("SequenceError", [first, first], released=ONE)


@case("frames")
def frame_doubled() -> Vector:
    """Frame 1 comes twice."""
    first, second, _ = sealed(ONE, TWO, THREE)
    return refused("SequenceError", [first, second, second], released=ONE + TWO)


@case("frames")
def frames_swapped() -> Vector:
    """Frames 1 and 2 have changed places."""
    first, second, third, _ = sealed(ONE, TWO, THREE, b"")
    return refused("SequenceError", [first, third, second], released=ONE)


@case("frames")
def frame_of_another_response() -> Vector:
    """Frame 1 of another response to the same client key, under the same epoch."""
    first, other = sealed(ONE, TWO)[0], Response(nonce="another").frames(ONE, TWO)[1]
    return refused("DecryptionError", [first, other], released=ONE)


@case("frames")
def another_response_begins() -> Vector:
    """Frame 0 of another response stands where frame 1 should."""
    first, other = sealed(ONE, TWO)[0], Response(nonce="another").frames(THREE)[0]
    return refused("SequenceError", [first, other], released=ONE)


# Frames: changed bits


@case("frames")
def bit_flipped_in_the_version() -> Vector:
    """A bit of the head's version."""
    return refused("UnexpectedParametersError", [flipped(sealed(ONE)[0], HEAD)])


@case("frames")
def bit_flipped_in_the_client_hash() -> Vector:
    """A bit of the client public key's hash."""
    return refused("ForeignResponseError", [flipped(sealed(ONE)[0], CLIENT_HASH + 7)])


@case("frames")
def bit_flipped_in_the_response_nonce() -> Vector:
    """A bit of the response nonce."""
    return refused("DecryptionError", [flipped(sealed(ONE)[0], NONCE + 31)])


@case("frames")
def bit_flipped_in_the_statement_version() -> Vector:
    """A bit of the statement's version."""
    return refused("MalformedFrameError", [flipped(sealed(ONE)[0], STATEMENT, 0x80)])


@case("frames")
def bit_flipped_in_the_suite_count() -> Vector:
    """One suite more: everything behind it is read in another place."""
    frames = [flipped(sealed(ONE, padding=64)[0], SUITE_COUNT)]
    return refused("StatementSignatureError", frames)


for name, at in {
    "epoch": EPOCH + 7,
    "not_after": NOT_AFTER + 7,
    "response_key": RESPONSE_KEY,
    "identity": IDENTITY,
    "evidence_hash": EVIDENCE,
    "signature_first_half": SIGNATURE,
    "signature_second_half": SIGNATURE + 32,
}.items():
    add_case(
        f"bit_flipped_in_the_{name}",
        "frames",
        f"A bit of the statement's {name.replace('_', ' ')}.",
        partial(refused, "StatementSignatureError", [flipped(sealed(ONE)[0], at)]),
    )


@case("frames")
def bit_flipped_in_the_first_ciphertext() -> Vector:
    """A bit of frame 0's ciphertext."""
    return refused("DecryptionError", [flipped(sealed(ONE)[0], CIPHERTEXT)])


@case("frames")
def bit_flipped_in_the_first_tag() -> Vector:
    """The last bit of frame 0's tag."""
    return refused("DecryptionError", [flipped(sealed(ONE)[0], -1)])


@case("frames")
def bit_flipped_in_a_sequence_number() -> Vector:
    """A bit of frame 1's header."""
    first, second = sealed(ONE, TWO)
    return refused("SequenceError", [first, flipped(second, 1, 0x80)], released=ONE)


@case("frames")
def bit_flipped_in_a_later_ciphertext() -> Vector:
    """A bit of frame 1's ciphertext."""
    first, second = sealed(ONE, TWO)
    return refused("DecryptionError", [first, flipped(second, 20, 0x10)], released=ONE)


@case("frames")
def bit_flipped_in_a_later_tag() -> Vector:
    """A bit of frame 1's tag."""
    first, second = sealed(ONE, TWO)
    return refused("DecryptionError", [first, flipped(second, -16)], released=ONE)


@case("frames")
def final_flag_set_on_the_way() -> Vector:
    """The second of three frames is made to look like the last."""
    first, second, _ = sealed(ONE, TWO, THREE)
    return refused("DecryptionError", [first, flipped(second, 0, FINAL)], released=ONE)


@case("frames")
def final_flag_set_on_frame_0() -> Vector:
    """A stream is made to look like a unary answer."""
    return refused("DecryptionError", [flipped(sealed(ONE, TWO)[0], 0, FINAL)])


@case("frames")
def final_flag_taken_away() -> Vector:
    """The last frame is made to look like one in the middle."""
    first, last = sealed(ONE, TWO)
    return refused("DecryptionError", [first, flipped(last, 0, FINAL)], released=ONE)


@case("frames")
def tail_cut() -> Vector:
    """The last frame has lost its last byte."""
    first, last = sealed(ONE, TWO)
    return refused("DecryptionError", [first, last[:-1]], released=ONE)


@case("frames")
def byte_added() -> Vector:
    """The last frame has a byte more."""
    first, last = sealed(ONE, TWO)
    return refused("DecryptionError", [first, last + b"\0"], released=ONE)


# Frames: the end


@case("frames")
def no_final_frame() -> Vector:
    """The stream ends one frame early."""
    frames = sealed(ONE, TWO, THREE)[:2]
    return refused("TruncatedError", frames, released=ONE + TWO, finish=True)


@case("frames")
def no_frame_at_all() -> Vector:
    """The body ends before it has begun."""
    return refused("TruncatedError", [], finish=True)


@case("frames")
def frame_after_the_final_one() -> Vector:
    """A well-sealed frame more."""
    frames = [*sealed(ONE, TWO), Response().frame(2, record(THREE))]
    return refused("TrailingDataError", frames, released=ONE + TWO)


@case("frames")
def final_frame_doubled() -> Vector:
    """The final frame comes twice."""
    first, last = sealed(ONE, TWO)
    return refused("TrailingDataError", [first, last, last], released=ONE + TWO)


@case("frames")
def frame_after_a_unary_response() -> Vector:
    """A whole response follows the whole response."""
    frames = sealed(ONE, content_type=JSON) * 2
    return refused("TrailingDataError", frames, released=ONE)


# Frames: plaintexts, all of them well sealed


@case("frames")
def plaintext_0_empty() -> Vector:
    """Frame 0 without a status."""
    return refused("MalformedFrameError", [Response().frame(0, b"")])


@case("frames")
def plaintext_0_without_a_record() -> Vector:
    """A status and a content type alone."""
    return refused("MalformedFrameError", [Response().frame(0, OPENING)])


@case("frames")
def content_type_beyond_the_plaintext() -> Vector:
    """The content type's length is more than there is."""
    plaintext = b"\x00\xc8\xff" + record(ONE, padding=20)
    return refused("MalformedFrameError", [Response().frame(0, plaintext)])


@case("frames")
def content_type_not_ascii() -> Vector:
    """A content type in Latin-1."""
    frames = sealed(ONE, content_type=b"text/pl\xe4in")
    return refused("MalformedFrameError", frames)


@case("frames")
def content_type_with_a_control_character() -> Vector:
    """A line end, 0x0A."""
    frames = sealed(ONE, content_type=b"text/plain\nx: y")
    return refused("MalformedFrameError", frames)


@case("frames")
def content_type_with_a_delete() -> Vector:
    """0x7F is the first byte past the range."""
    return refused("MalformedFrameError", sealed(ONE, content_type=b"text/plain\x7f"))


@case("frames")
def status_199() -> Vector:
    """A status that is not final."""
    return refused("MalformedFrameError", sealed(ONE, status=199))


@case("frames")
def status_600() -> Vector:
    """A status beyond the range."""
    return refused("MalformedFrameError", sealed(ONE, status=600))


@case("frames")
def status_0() -> Vector:
    """No status."""
    return refused("MalformedFrameError", sealed(ONE, status=0))


@case("frames")
def k_in_frame_0() -> Vector:
    """There is no payload before frame 0 to take from."""
    frame = Response().frame(0, OPENING + record(ONE, k=1))
    return refused("MalformedFrameError", [frame])


@case("frames")
def k_too_large() -> Vector:
    """One byte more than the payload before."""
    frames = [sealed(ONE, TWO)[0], Response().frame(1, record(TWO, k=len(ONE) + 1))]
    return refused("MalformedFrameError", frames, released=ONE)


@case("frames")
def k_largest() -> Vector:
    """2^32 - 1."""
    frames = [sealed(ONE, TWO)[0], Response().frame(1, record(TWO, k=2**32 - 1))]
    return refused("MalformedFrameError", frames, released=ONE)


@case("frames")
def k_of_the_payload_before_the_previous() -> Vector:
    """k counts in the previous payload, not in all of them together."""
    frames = [
        *sealed(ONE, b"", THREE)[:2],
        Response().frame(2, record(TWO, k=1)),
    ]
    return refused("MalformedFrameError", frames, released=ONE)


@case("frames")
def record_cut_short() -> Vector:
    """Seven bytes, one less than the two lengths."""
    frames = [sealed(ONE, TWO)[0], Response().frame(1, bytes(7))]
    return refused("MalformedFrameError", frames, released=ONE)


@case("frames")
def length_too_large() -> Vector:
    """One byte more than the plaintext holds."""
    plaintext = bytes(4) + (len(TWO) + 1).to_bytes(4, "big") + TWO
    frames = [sealed(ONE, TWO)[0], Response().frame(1, plaintext)]
    return refused("MalformedFrameError", frames, released=ONE)


@case("frames")
def length_largest() -> Vector:
    """2^32 - 1."""
    plaintext = bytes(4) + b"\xff\xff\xff\xff" + TWO
    frames = [sealed(ONE, TWO)[0], Response().frame(1, plaintext)]
    return refused("MalformedFrameError", frames, released=ONE)


@case("frames")
def padding_not_zero() -> Vector:
    """The last byte of the padding is 1."""
    frames = [sealed(ONE, TWO)[0], Response().frame(1, record(TWO, padding=9) + b"\1")]
    return refused("MalformedFrameError", frames, released=ONE)


@case("frames")
def padding_of_frame_0_not_zero() -> Vector:
    """The first byte of the padding is 0x80."""
    plaintext = OPENING + record(ONE) + b"\x80" + bytes(15)
    return refused("MalformedFrameError", [Response().frame(0, plaintext)])


# Container `fields`: the text form


def second_text(change: str) -> Vector:
    """Frame 0 in good text, then the second text changed."""
    return refused(
        "MalformedFrameError",
        [],
        frame_texts=[text(sealed(ONE, TWO)[0]), change],
        released=ONE,
    )


def text_to_change() -> str:
    """The text of a frame of 3n + 1 bytes, which ends in ``==``."""
    frame = sealed(ONE, TWO, padding=16)[1]
    return text(sealed(ONE, TWO, padding=16 + (1 - len(frame)) % 3)[1])


@case("container-fields")
def text_with_stray_bits() -> Vector:
    """The last character holds bits that are no part of the frame."""
    good = text_to_change()
    return second_text(good[:-3] + chr(ord(good[-3]) + 1) + "==")


@case("container-fields")
def text_without_padding() -> Vector:
    """The padding is missing."""
    return second_text(text_to_change().rstrip("="))


@case("container-fields")
def text_with_excess_padding() -> Vector:
    """One padding character too many."""
    return second_text(text_to_change() + "=")


@case("container-fields")
def text_with_a_line_end() -> Vector:
    """A line end behind."""
    return second_text(text_to_change() + "\n")


@case("container-fields")
def text_with_a_space() -> Vector:
    """A space behind the prefix."""
    return second_text(text_to_change().replace(".", ". ", 1))


@case("container-fields")
def text_url_safe() -> Vector:
    """The URL-safe alphabet."""
    return second_text("sgop1." + base64.urlsafe_b64encode(b"\xfb\xff" * 30).decode())


@case("container-fields")
def text_not_ascii() -> Vector:
    """A full-width letter."""
    return second_text(text_to_change().replace("A", "\uff21", 1))


@case("container-fields")
def text_empty() -> Vector:
    """The prefix alone: a frame of no bytes."""
    return second_text("sgop1.")


@case("streams")
def text_without_its_prefix() -> Vector:
    """What does not begin like a frame is none: the event is dropped, the end missed."""
    first, last = (text(frame) for frame in sealed(ONE, TWO))
    texts = [first, last.removeprefix("sgop1.")]
    return refused("TruncatedError", [], frame_texts=texts, released=ONE, finish=True)


@case("streams")
def text_with_another_prefix() -> Vector:
    """A prefix in capitals is another prefix; the frame after it is out of order."""
    first, second, last = (text(frame) for frame in sealed(ONE, TWO, THREE))
    texts = [first, second.replace("sgop1.", "SGOP1."), last]
    return refused("SequenceError", [], frame_texts=texts, released=ONE)
