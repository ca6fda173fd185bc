"""The vectors of epoch keys, the fleet's ratchet, key documents and owners."""

from __future__ import annotations

import base64
import re
from functools import partial
from itertools import accumulate

from tests import reference
from tests.reference import DOCUMENT_PREFIX, MAX_DOCUMENT_TEXT, sha256
from tests.vectors.sealed_vocabulary import (
    EVIDENCE,
    LIFE,
    UNKNOWN_SUITE,
    Text,
    document,
    epoch_keys,
    epoch_statement,
    read,
    text_of,
    unread,
)
from tests.vectors.vocabulary import (
    HOUR,
    MINUTE,
    NOW,
    SKEW,
    Vector,
    add_case,
    case,
    flipped,
    secret,
    sign,
    signed,
)

# Epoch keys and fleet


@case("epoch-keys")
def epoch_keys_from_a_secret() -> Vector:
    """The response key and the public key of each suite; also the suites' definition."""
    epoch_secret = secret("epoch")
    keys = epoch_keys()
    return {
        "expect": "success",
        "epoch_secret": epoch_secret.hex(),
        "seeds": {str(u): reference.seed(epoch_secret, u).hex() for u in (0, 1, 2)},
        "response_public_key": keys.response_public_key.hex(),
        "suite_public_keys": {
            str(u): key.hex() for u, key in keys.suite_public_keys.items()
        },
    }


@case("fleet")
def ratchet_of_a_fleet() -> Vector:
    """Four epochs from the secret of the first."""
    steps = [secret("ratchet")]
    for _ in range(3):
        steps.append(reference.next_ratchet_secret(steps[-1]))
    return {
        "expect": "success",
        "ratchet_secrets": [step.hex() for step in steps],
        "epoch_secrets": [reference.fleet_epoch_secret(step).hex() for step in steps],
    }


# Key document: accepted


@case("key-document")
def document_of_two_suites() -> Vector:
    """A key for each suite of this version, no evidence."""
    return read(document())


@case("key-document")
def document_with_evidence() -> Vector:
    """The evidence stands before the keys; its hash is in the statement."""
    return read(document(evidence=EVIDENCE))


@case("key-document")
def document_with_an_unknown_suite() -> Vector:
    """A key of a suite that the client does not know is checked and passed over."""
    keys = {**epoch_keys().suite_public_keys, UNKNOWN_SUITE: b"a key of tomorrow"}
    suites = [(u, sha256(key)) for u, key in keys.items()]
    return read(document(epoch_statement(suites=suites), keys=keys))


@case("key-document")
def document_of_one_suite() -> Vector:
    """A server need not offer both."""
    keys = {1: epoch_keys().suite_public_keys[1]}
    suites = [(1, sha256(keys[1]))]
    return read(document(epoch_statement(suites=suites), keys=keys))


@case("key-document")
def document_that_retires_at_another_time() -> Vector:
    """Nobody signs that time, so whoever passes the document on can change it."""
    return read(document(retires_at=2**64 - 1))


@case("accepting-a-statement")
def document_of_an_older_epoch_within_the_slack() -> Vector:
    """The overlap of two epochs is no rollback."""
    newer = epoch_statement(epoch=NOW - MINUTE, not_after=NOW - MINUTE + LIFE)
    return read(document(), accepted_before=[(newer, NOW)])


def of_length(length: int) -> tuple[reference.KeyDocument, Text]:
    """A document with a text of so many characters, nearly all of them evidence."""
    without = len(document(evidence=b"\0").encoded) - 1
    size = (length - len(DOCUMENT_PREFIX)) // 4 * 3 - without
    made = document(evidence=bytes(size))
    text = text_of(made)
    assert len(text) == length
    zeros = re.search("A{1000,}", text)
    assert zeros is not None
    repeated = {"repeat": "A", "count": len(zeros[0])}
    return made, [text[: zeros.start()], repeated, text[zeros.end() :]]


LONGEST = (MAX_DOCUMENT_TEXT - len(DOCUMENT_PREFIX)) // 4 * 4 + len(DOCUMENT_PREFIX)


@case("key-document")
def document_of_the_longest_text() -> Vector:
    """The longest text that is canonical and within the limit."""
    made, text = of_length(LONGEST)
    return read(made, text)


# Key document: not whole

PARTS = {
    "the_statement": len(epoch_statement().encoded),
    "retires_at": 8,
    "the_evidence_length": 4,
    "the_evidence": len(EVIDENCE),
    "the_first_key_length": 2,
    "the_first_key": 32,
    "the_second_key_length": 2,
    "the_second_key": 1216,
}
ENDS = dict(zip(PARTS, accumulate(PARTS.values()), strict=True))


def cut_document(at: int) -> Vector:
    return unread(reference.document_text(document(evidence=EVIDENCE).encoded[:at]))


for name, end in ENDS.items():
    add_case(
        f"document_cut_inside_{name}",
        "key-document",
        f"The last byte of {name.replace('_', ' ')} is missing, and all behind it.",
        partial(cut_document, end - 1),
    )
    if name != "the_second_key":
        add_case(
            f"document_cut_behind_{name}",
            "key-document",
            f"Nothing is there behind {name.replace('_', ' ')}.",
            partial(cut_document, end),
        )


@case("key-document")
def document_of_no_bytes() -> Vector:
    """The prefix alone."""
    return unread(DOCUMENT_PREFIX)


@case("key-document")
def document_with_a_byte_behind() -> Vector:
    """A byte more than the last key's length says."""
    return unread(reference.document_text(document().encoded + b"\0"))


@case("key-document")
def document_with_a_key_too_many() -> Vector:
    """A third key, which the statement does not name."""
    third = b"\x00\x20" + bytes(32)
    return unread(reference.document_text(document().encoded + third))


def with_evidence_length(length: int) -> Vector:
    """Evidence at the end, as the statement names it, but with another length."""
    signed = epoch_statement(suites=[], evidence_hash=sha256(EVIDENCE))
    encoded = document(signed, evidence=EVIDENCE).encoded
    at = len(signed.encoded) + 8
    changed = encoded[:at] + length.to_bytes(4, "big") + encoded[at + 4 :]
    return unread(reference.document_text(changed))


@case("key-document")
def document_with_the_evidence_length_one_too_large() -> Vector:
    """All that is there has the right hash, but one byte more is announced."""
    return with_evidence_length(len(EVIDENCE) + 1)


@case("key-document")
def document_with_the_largest_evidence_length() -> Vector:
    """2^32 - 1."""
    return with_evidence_length(2**32 - 1)


@case("key-document")
def document_with_the_last_key_length_one_too_large() -> Vector:
    """All that is there has the right hash, but one byte more is announced."""
    key = epoch_keys().suite_public_keys[2]
    encoded = document().encoded
    at = len(encoded) - len(key) - 2
    changed = encoded[:at] + (len(key) + 1).to_bytes(2, "big") + key
    return unread(reference.document_text(changed))


# Key document: the text form


def text_to_change() -> str:
    """A document's text that ends in ``==``."""
    texts = (text_of(document(evidence=EVIDENCE + bytes(i))) for i in range(3))
    return next(text for text in texts if text.endswith("=="))


@case("key-document")
def document_text_with_stray_bits() -> Vector:
    """The last character holds bits that are no part of the document."""
    good = text_to_change()
    return unread(good[:-3] + chr(ord(good[-3]) + 1) + "==")


@case("key-document")
def document_text_without_padding() -> Vector:
    """The padding is part of the canonical form."""
    return unread(text_to_change().rstrip("="))


@case("key-document")
def document_text_with_excess_padding() -> Vector:
    """One padding character too many."""
    return unread(text_to_change() + "=")


@case("key-document")
def document_text_with_a_line_end() -> Vector:
    """A line end behind."""
    return unread(text_of(document()) + "\n")


@case("key-document")
def document_text_with_a_line_end_inside() -> Vector:
    """Base64 in lines, as mail has it."""
    text = text_of(document())
    return unread(text[:87] + "\n" + text[87:])


@case("key-document")
def document_text_with_a_space_in_front() -> Vector:
    """White space in front of the prefix."""
    return unread(" " + text_of(document()))


@case("key-document")
def document_text_url_safe() -> Vector:
    """The URL-safe alphabet."""
    encoded = document().encoded
    text = base64.urlsafe_b64encode(encoded).decode("ascii")
    assert "-" in text or "_" in text
    return unread(DOCUMENT_PREFIX + text)


@case("key-document")
def document_text_not_ascii() -> Vector:
    """A full-width letter."""
    return unread(text_of(document()).replace("A", "\uff21", 1))


@case("key-document")
def document_text_with_half_a_surrogate_pair() -> Vector:
    """A character that is none: JSON can carry it."""
    return unread(text_of(document())[:-4] + "\ud800AA=")


@case("key-document")
def document_text_without_its_prefix() -> Vector:
    """The base64 alone."""
    return unread(text_of(document()).removeprefix(DOCUMENT_PREFIX))


@case("key-document")
def document_text_with_the_prefix_of_a_frame() -> Vector:
    """Three prefixes, so that nothing is taken for something else."""
    return unread(text_of(document()).replace(DOCUMENT_PREFIX, reference.PREFIX))


@case("key-document")
def document_text_with_the_prefix_in_capitals() -> Vector:
    """A prefix in capitals is another prefix."""
    return unread(text_of(document()).replace("sgop1-keys", "SGOP1-KEYS"))


@case("key-document")
def document_text_too_long() -> Vector:
    """The next canonical length above the limit; everything in it is good."""
    return unread(of_length(LONGEST + 4)[1])


# Key document: what the statement says of the rest


def with_key(suite: int, key: bytes) -> reference.KeyDocument:
    """The epoch's signed statement, with another key than it names."""
    return document(keys={**epoch_keys().suite_public_keys, suite: key})


@case("key-document")
def document_with_a_bit_flipped_in_the_first_key() -> Vector:
    """The key of suite 1 is not the one that the statement names."""
    return unread(with_key(1, flipped(epoch_keys().suite_public_keys[1], 31, 0x80)))


@case("key-document")
def document_with_a_bit_flipped_in_the_second_key() -> Vector:
    """The key of suite 2 is not the one that the statement names."""
    return unread(with_key(2, flipped(epoch_keys().suite_public_keys[2], -1, 0x80)))


@case("key-document")
def document_with_the_key_of_another_epoch() -> Vector:
    """A good key, but of another epoch."""
    return unread(with_key(2, epoch_keys("earlier epoch").suite_public_keys[2]))


@case("key-document")
def document_with_an_empty_key() -> Vector:
    """A key of no bytes where the statement names one."""
    return unread(with_key(1, b""))


@case("key-document")
def document_with_a_longer_key() -> Vector:
    """The key with a byte more."""
    return unread(with_key(1, epoch_keys().suite_public_keys[1] + b"\0"))


@case("key-document")
def document_with_a_bit_flipped_in_an_unknown_key() -> Vector:
    """The hash of a suite that the client does not know is checked too."""
    keys = {**epoch_keys().suite_public_keys, UNKNOWN_SUITE: b"a key of tomorrow"}
    suites = [(u, sha256(key)) for u, key in keys.items()]
    other = {**keys, UNKNOWN_SUITE: b"a key of tomorroW"}
    return unread(document(epoch_statement(suites=suites), keys=other))


@case("key-document")
def document_with_its_keys_swapped() -> Vector:
    """The keys stand in the statement's order."""
    keys = epoch_keys().suite_public_keys
    return unread(document(keys={1: keys[2], 2: keys[1]}))


@case("key-document")
def document_with_a_bit_flipped_in_the_evidence() -> Vector:
    """The evidence is not the one that the statement names."""
    made = document(evidence=EVIDENCE)
    return unread(document(made.statement, evidence=flipped(EVIDENCE, 0)))


@case("key-document")
def document_whose_evidence_is_missing() -> Vector:
    """The statement names evidence, and none is there."""
    return unread(document(document(evidence=EVIDENCE).statement))


@case("key-document")
def document_with_evidence_that_is_not_named() -> Vector:
    """Evidence is there though the statement says that there is none."""
    return unread(document(document().statement, evidence=EVIDENCE))


@case("key-document")
def document_with_the_hash_of_nothing() -> Vector:
    """No evidence is 32 zero bytes, not the hash of no bytes."""
    return unread(document(epoch_statement(evidence_hash=sha256(b""))))


@case("accepting-a-statement")
def document_with_the_evidence_and_its_hash_exchanged() -> Vector:
    """They fit one another, but the identity has signed another hash."""
    honest = document(evidence=EVIDENCE).statement
    other = flipped(EVIDENCE, 0)
    forged = epoch_statement(evidence_hash=sha256(other))
    forged = signed(forged, honest.signature)
    return unread(document(forged, evidence=other), "StatementSignatureError")


@case("accepting-a-statement")
def document_with_a_key_and_its_hash_exchanged() -> Vector:
    """Somebody else's key, with its hash; the signature is of the honest statement."""
    keys = {**epoch_keys().suite_public_keys, 1: reference.public_half(secret("thief"))}
    suites = [(u, sha256(key)) for u, key in keys.items()]
    forged = signed(epoch_statement(suites=suites), epoch_statement().signature)
    return unread(document(forged, keys=keys), "StatementSignatureError")


# Key document: its statement


@case("key-document")
def document_with_a_statement_of_version_2() -> Vector:
    """A well-signed statement of another version: the rest may have another form."""
    return unread(document(epoch_statement(version=2)))


@case("key-document")
def document_with_suites_out_of_order() -> Vector:
    """Suite ids ascend."""
    keys = epoch_keys().suite_public_keys
    suites = [(2, sha256(keys[2])), (1, sha256(keys[1]))]
    return unread(document(epoch_statement(suites=suites), keys=keys))


@case("key-document")
def document_of_an_epoch_without_end() -> Vector:
    """An epoch of more than 48 hours."""
    longer = epoch_statement(not_after=NOW + 49 * HOUR)
    return unread(document(longer))


@case("accepting-a-statement")
def document_signed_by_another() -> Vector:
    """The statement names the pinned identity, but another one has signed it."""
    forged = epoch_statement(signer="another identity")
    return unread(document(forged), "StatementSignatureError")


@case("accepting-a-statement")
def document_signed_without_its_evidence() -> Vector:
    """The signature covers the evidence's hash, not the digest alone."""
    honest = epoch_statement()
    message = b"sgop1 statement" + honest.digest
    forged = signed(honest, sign("identity", message))
    return unread(document(forged), "StatementSignatureError")


@case("accepting-a-statement")
def document_of_an_identity_not_pinned() -> Vector:
    """A well-signed document of an identity that is not pinned."""
    other = epoch_statement(identity="another identity")
    return unread(document(other), "IdentityMismatchError")


@case("accepting-a-statement")
def document_expired() -> Vector:
    """The client's clock is a millisecond past the end and the skew."""
    ended = epoch_statement(epoch=NOW - HOUR, not_after=NOW - SKEW - 1)
    return unread(document(ended), "StatementExpiredError")


@case("accepting-a-statement")
def document_not_yet_valid() -> Vector:
    """The client's clock is a millisecond short of the beginning and the skew."""
    ahead = epoch_statement(epoch=NOW + SKEW + 1, not_after=NOW + HOUR)
    return unread(document(ahead), "StatementExpiredError")


@case("accepting-a-statement")
def document_rolled_back() -> Vector:
    """An intermediary kept an old document whose keys it has got hold of since."""
    newer = epoch_statement(epoch=NOW, not_after=NOW + LIFE)
    old = epoch_statement(epoch=NOW - LIFE, not_after=NOW)
    return unread(
        document(old), "StatementRolledBackError", accepted_before=[(newer, NOW)]
    )


@case("key-document")
def document_is_checked_before_its_statement() -> Vector:
    """Neither a key nor the signature is right."""
    forged = epoch_statement(signer="another identity")
    keys = {**epoch_keys().suite_public_keys, 1: bytes(32)}
    return unread(document(forged, keys=keys))


# Owner


def owned(owner: str, response_id: str, expect: str) -> Vector:
    return {
        "expect": expect,
        "owner": secret(owner).hex(),
        "response_id": response_id,
    }


def own_id(owner: str = "owner") -> str:
    return reference.response_id(secret(owner), secret("response id")[:16])


def not_owned(response_id: str, owner: str = "owner") -> Vector:
    return owned(owner, response_id, "response_not_found")


@case("owner")
def owner_of_a_cache() -> Vector:
    """The salt that keeps an owner's prompts apart."""
    salt = reference.cache_salt(secret("owner"))
    return {"expect": "success", "owner": secret("owner").hex(), "cache_salt": salt}


@case("owner")
def owner_of_a_response() -> Vector:
    """The id of a stored response, which its owner made."""
    random = {"random": secret("response id")[:16].hex()}
    return owned("owner", own_id(), "success") | random


@case("owner")
def owner_of_another_response() -> Vector:
    """The response of somebody else."""
    return not_owned(own_id("another owner"))


@case("owner")
def owner_of_an_id_with_its_mark_exchanged() -> Vector:
    """The owner's mark for other random bytes."""
    other = reference.response_id(secret("owner"), secret("another id")[:16])
    return not_owned(own_id()[:37] + other[37:])


for place, at in {"first": 5, "last": 36}.items():
    add_case(
        f"owner_of_an_id_with_its_{place}_random_digit_changed",
        "owner",
        f"The {place} digit of the random half is another.",
        partial(
            not_owned,
            own_id()[:at] + "%x" % (int(own_id()[at], 16) ^ 1) + own_id()[at + 1 :],
        ),
    )

for place, at in {"first": 37, "last": 68}.items():
    add_case(
        f"owner_of_an_id_with_its_{place}_mark_digit_changed",
        "owner",
        f"The {place} digit of the mark is another.",
        partial(
            not_owned,
            own_id()[:at] + "%x" % (int(own_id()[at], 16) ^ 8) + own_id()[at + 1 :],
        ),
    )

for name, changed, words in (
    ("in_capitals", "resp_" + own_id()[5:].upper(), "Hexadecimal is in lower case."),
    ("too_short", own_id()[:-1], "A digit is missing."),
    ("too_long", own_id() + "0", "A digit more."),
    ("without_its_prefix", own_id()[5:], "The digits alone."),
    ("with_another_prefix", "msg_" + own_id()[5:], "Another prefix."),
    ("with_a_line_end", own_id() + "\n", "A line end behind."),
    ("in_other_digits", own_id()[:-1] + "\u0661", "A digit of another script."),
    ("empty", "", "Nothing."),
    ("of_the_engine", "resp_0123456789abcdef", "An id that the engine made by itself."),
):
    add_case(f"owner_of_an_id_{name}", "owner", words, partial(not_owned, changed))
