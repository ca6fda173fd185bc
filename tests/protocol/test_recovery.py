"""Recovery tokens: one text for each, one response for each, and any bytes are refused."""

from __future__ import annotations

import copy
import pickle
import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stainedglass_output_protection.client.saved_answer import (
    SavedAnswer,
    open_saved_answer,
)
from stainedglass_output_protection.errors import (
    ConfigurationError,
    DecryptionError,
    ForeignResponseError,
    ResponseError,
    UsageError,
)
from stainedglass_output_protection.protocol.recovery import (
    RECOVERY_PREFIX,
    RecoveryToken,
    SavedOpener,
)
from tests import reference
from tests.properties.test_frames import fresh_opener
from tests.vectors.recovery_cases import (
    ANSWER,
    FRAMES,
    ONE,
    RAW,
    STREAM,
    THREE,
    TOKEN,
    TWO,
    stream,
    unary,
)
from tests.vectors.vocabulary import Response, flipped

STORED = stream(*FRAMES).encode()
DIGITS = string.ascii_letters + string.digits + "-_"


def test_the_token_of_a_response_is_known_once_frame_0_has_opened() -> None:
    opener = fresh_opener()
    with pytest.raises(UsageError):
        RecoveryToken.of(opener)
    opener.open(FRAMES[0])
    assert RecoveryToken.of(opener).reveal() == TOKEN


def test_a_frame_0_that_does_not_open_gives_no_token() -> None:
    opener = fresh_opener()
    with pytest.raises(DecryptionError):
        opener.open(flipped(FRAMES[0], -1))
    with pytest.raises(UsageError):
        RecoveryToken.of(opener)


def test_a_token_is_one_line_of_a_fixed_length_that_parses_to_itself() -> None:
    assert len(TOKEN) == 117
    assert set(TOKEN.removeprefix(RECOVERY_PREFIX)) <= set(DIGITS)
    assert RecoveryToken.parse(TOKEN).reveal() == TOKEN


def test_nothing_shows_a_token_but_the_call_that_says_so() -> None:
    token = RecoveryToken.parse(TOKEN)
    shown = f"{token} {token!r} {[token]} {SavedOpener(token)!r} {SavedAnswer(token)!r}"
    for part in (TOKEN[20:40], RAW[:8].hex(), repr(RAW[:8])):
        assert part not in shown


def test_a_copied_token_still_opens() -> None:
    token = RecoveryToken.parse(TOKEN)
    for twin in (copy.deepcopy(token), pickle.loads(pickle.dumps(token))):
        assert b"".join(SavedAnswer(twin).open(STORED)) == STREAM


@given(st.text(DIGITS, min_size=102, max_size=102))
def test_any_digits_are_the_only_text_of_a_token_or_none(digits: str) -> None:
    text = RECOVERY_PREFIX + digits
    try:
        assert RecoveryToken.parse(text).reveal() == text
    except ConfigurationError:
        assert digits[-1] not in "AQgw"


@given(st.text() | st.binary().map(lambda data: RECOVERY_PREFIX + data.hex()))
@example(TOKEN + "\n")
@example(TOKEN + "\0")
@example(RECOVERY_PREFIX + "\ud800" * 102)
@example(RECOVERY_PREFIX + "\N{ARABIC-INDIC DIGIT ONE}" * 102)
def test_any_text_is_refused_without_being_shown(text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        RecoveryToken.parse(text)
    digits = text.removeprefix(RECOVERY_PREFIX)
    assert len(digits) < len(RECOVERY_PREFIX) or digits not in str(caught.value)


@pytest.mark.parametrize("size", [len(RAW) - 1, len(RAW) + 1, 0, 3 * 25, 3 * 26])
def test_a_token_of_another_size_is_refused(size: int) -> None:
    with pytest.raises(ConfigurationError):
        RecoveryToken.parse(reference.recovery_text(RAW.ljust(size, b"\0")[:size]))


def test_a_token_of_a_later_version_is_called_one() -> None:
    with pytest.raises(ConfigurationError, match="another version"):
        RecoveryToken.parse("sgop2-recovery.AAAA")


def test_every_flipped_bit_of_a_token_is_refused() -> None:
    for bit in range(8 * len(RAW)):
        text = reference.recovery_text(flipped(RAW, bit // 8, 1 << bit % 8))
        expected = ForeignResponseError if bit // 8 >= 44 else DecryptionError
        with pytest.raises(expected):
            open_saved_answer(STORED, text)


def test_a_token_opens_no_other_response_of_the_same_client() -> None:
    for other in (Response(nonce="another"), Response(client="another client")):
        stored = stream(*other.frames(b"data: x\n\n", b"data: y\n\n")).encode()
        with pytest.raises(ForeignResponseError):
            open_saved_answer(stored, TOKEN)


OPAQUE = Response(parameters=(1, 1, 1, reference.OPAQUE))
UNARY = ANSWER.frames(STREAM)[0]
# What is stored, and the token for it.
FORMS = {
    "events": (STORED, TOKEN),
    "events with CRLF": (STORED.replace(b"\n", b"\r\n"), TOKEN),
    "JSON": (unary(UNARY).encode(), TOKEN),
    "octets": (
        reference.opaque_body(OPAQUE.frames(ONE, TWO, THREE)),
        reference.recovery_token(OPAQUE.keys, OPAQUE.head),
    ),
}


@pytest.mark.parametrize("form", FORMS)
@given(st.data())
def test_damage_to_a_stored_answer_is_a_named_error_or_does_not_matter(
    form: str, data: st.DataObject
) -> None:
    stored, token = FORMS[form]
    at = data.draw(st.integers(0, len(stored)))
    to = data.draw(st.integers(at, min(len(stored), at + 60)))
    piece = data.draw(st.binary(max_size=20))
    answer = SavedAnswer(RecoveryToken.parse(token))
    released = b""
    try:
        for payload in answer.open(stored[:at] + piece + stored[to:]):
            released += payload
    except ResponseError:
        assert STREAM.startswith(released)
    else:
        assert released == STREAM


@pytest.mark.parametrize("form", FORMS)
def test_no_beginning_of_a_stored_answer_is_taken_for_the_whole(form: str) -> None:
    stored, token = FORMS[form]
    whole = len(stored.rstrip())
    if form.startswith("events"):
        # Behind the blank line of the last frame's event only a clear end follows.
        blank = b"\r\n\r\n" if b"\r" in stored else b"\n\n"
        whole = stored.index(blank, stored.rindex(b"sgop1.")) + len(blank)
    for size in range(whole - 1):  # A CR alone ends a line, too.
        with pytest.raises(ResponseError):
            open_saved_answer(stored[:size], token)
    assert open_saved_answer(stored[:whole], token) == STREAM


@given(st.binary())
@example(b"\0")
@example(b"\x08\0\0\0")
@example(b"\x08\0\0\1")
@example(b"{" * 100_000 + b"sgop1.")
@example(b"data: sgop1.\n\n")
@example(b"\xef\xbb\xbf")
@example(b"\xff\xfed\0a\0t\0a\0")
def test_any_bytes_are_no_answer(stored: bytes) -> None:
    with pytest.raises(ResponseError):
        open_saved_answer(stored, TOKEN)
