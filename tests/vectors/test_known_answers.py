"""Published answers for the primitives, against the calls that the package makes.

With ``WYCHEPROOF_ROOT`` set to a checkout of C2SP/wycheproof, its files are run too.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.mlkem import (
    MLKEM768PrivateKey,
    MLKEM768PublicKey,
)
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from stainedglass_output_protection.errors import (
    DecryptionError,
    KeyDocumentError,
    MalformedFrameError,
)
from stainedglass_output_protection.protocol.identity import verify_signature
from stainedglass_output_protection.protocol.keys import exchange
from stainedglass_output_protection.protocol.suites import SuiteKey, seal
from tests import reference
from tests.reference import HYBRID_SUITE, SUITE
from tests.vectors import mlkem768
from tests.vectors.cases import LOW_ORDER_POINTS, little_endian
from tests.vectors.sealed_vocabulary import xwing
from tests.vectors.vocabulary import flipped, secret

unhex = bytes.fromhex


def package_exchange(private_key: bytes, public_key: bytes) -> bytes:
    return exchange(X25519PrivateKey.from_private_bytes(private_key), public_key)


def package_extract(salt: bytes, ikm: bytes) -> bytes:
    extract = HMAC(salt, SHA256())
    extract.update(ikm)
    return extract.finalize()


# X25519


@pytest.mark.parametrize(
    ("private_key", "public_key", "shared_secret"),
    [
        (
            "a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
            "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
            "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552",
        ),
        (
            "4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d",
            "e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493",
            "95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957",
        ),
        (
            "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a",
            "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f",
            "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742",
        ),
    ],
    ids=["5.2 first", "5.2 second", "6.1"],
)
def test_x25519_of_rfc_7748(
    private_key: str, public_key: str, shared_secret: str
) -> None:
    assert (
        package_exchange(unhex(private_key), unhex(public_key)).hex() == shared_secret
    )


@pytest.mark.parametrize("name", LOW_ORDER_POINTS)
@pytest.mark.parametrize("top_bit", [0, 1])
def test_x25519_refuses_low_order(name: str, top_bit: int) -> None:
    public_key = little_endian(LOW_ORDER_POINTS[name] | top_bit << 255)
    with pytest.raises(MalformedFrameError):
        package_exchange(secret("client"), public_key)


def test_x25519_reads_coordinates_that_are_not_reduced() -> None:
    for u in (2, 9, 18):
        plain, added = little_endian(u), little_endian(u + reference.P)
        with_top_bit = little_endian(u | 1 << 255)
        expected = package_exchange(secret("client"), plain)
        assert package_exchange(secret("client"), added) == expected
        assert package_exchange(secret("client"), with_top_bit) == expected


@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_x25519_refuses_other_lengths(size: int) -> None:
    with pytest.raises(MalformedFrameError):
        package_exchange(secret("client"), bytes([9]) * size)


# Ed25519

RFC_8032 = [
    (
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
        "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
    (
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
        "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ),
]
ed25519 = pytest.mark.parametrize(("identity", "message", "signature"), RFC_8032)
GROUP_ORDER = 2**252 + 27742317777372353535851937790883648493


@ed25519
def test_ed25519_of_rfc_8032(identity: str, message: str, signature: str) -> None:
    assert verify_signature(unhex(identity), unhex(signature), unhex(message))


@ed25519
def test_ed25519_refuses_what_is_changed(
    identity: str, message: str, signature: str
) -> None:
    key, text, good = unhex(identity), unhex(message), unhex(signature)
    for bit in range(512):
        assert not verify_signature(key, flipped(good, bit // 8, 1 << bit % 8), text)
    for bit in range(256):
        assert not verify_signature(flipped(key, bit // 8, 1 << bit % 8), good, text)
    assert not verify_signature(key, good, text + b"\0")
    for wrong in (b"", good[:32], good[:63], good + b"\0", good[32:] + good[:32]):
        assert not verify_signature(key, wrong, text)
    for wrong in (b"", key[:31], key + b"\0"):
        assert not verify_signature(wrong, good, text)


@ed25519
def test_ed25519_refuses_another_form_of_a_signature(
    identity: str, message: str, signature: str
) -> None:
    """S plus the group's order solves the equation too, but is not below the order."""
    good = unhex(signature)
    s = int.from_bytes(good[32:], "little")
    for times in range(1, 16):
        higher = (s + times * GROUP_ORDER).to_bytes(33, "little")
        if higher[32] == 0:
            malleable = good[:32] + higher[:32]
            assert not verify_signature(unhex(identity), malleable, unhex(message))


# HKDF with SHA-256

RFC_5869 = [
    (
        "0b" * 22,
        "000102030405060708090a0b0c",
        "f0f1f2f3f4f5f6f7f8f9",
        "077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5",
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf"
        "34007208d5b887185865",
    ),
    (
        bytes(range(0x50)).hex(),
        bytes(range(0x60, 0xB0)).hex(),
        bytes(range(0xB0, 0x100)).hex(),
        "06a6b88c5853361a06104c9ceb35b45cef760014904671014a193f40c15fc244",
        "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c"
        "59045a99cac7827271cb41c65e590e09da3275600c2f09b8367793a9aca3db71"
        "cc30c58179ec3e87c14c01d5c1f3434f1d87",
    ),
    (
        "0b" * 22,
        "",
        "",
        "19ef24a32c717b167f33a91d6f648bdf96596776afdb6377ac434c1c293ccb04",
        "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d"
        "9d201395faa4b61a96c8",
    ),
]


@pytest.mark.parametrize(("ikm", "salt", "info", "prk", "okm"), RFC_5869)
def test_hkdf_of_rfc_5869(ikm: str, salt: str, info: str, prk: str, okm: str) -> None:
    if salt:  # the package never extracts without one
        assert package_extract(unhex(salt), unhex(ikm)).hex() == prk
    assert reference.hkdf_extract(unhex(salt), unhex(ikm)).hex() == prk
    expanded = HKDFExpand(SHA256(), len(okm) // 2, unhex(info)).derive(unhex(prk))
    assert expanded.hex() == okm
    first = reference.hkdf_expand(unhex(prk), unhex(info), 32)
    assert first.hex() == okm[:64]


# AES-256-GCM

GCM_KEY = unhex("feffe9928665731c6d6a8f9467308308" * 2)
GCM_NONCE = unhex("cafebabefacedbaddecaf888")
GCM_TEXT = unhex(
    "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
    "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255"
)
GCM_AAD = unhex("feedfacedeadbeeffeedfacedeadbeefabaddad2")
GCM_SEALED = unhex(
    "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
    "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662"
)
# McGrew and Viega, "The Galois/Counter Mode of Operation", appendix B.
GCM_ANSWERS = {
    13: (bytes(32), bytes(12), b"", b"", unhex("530f8afbc74536b9a963b4f1c4cb738b")),
    14: (
        bytes(32),
        bytes(12),
        bytes(16),
        b"",
        unhex("cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919"),
    ),
    15: (
        GCM_KEY,
        GCM_NONCE,
        GCM_TEXT,
        b"",
        GCM_SEALED + unhex("898015adb094dac5d93471bdec1a502270e3cc6c"),
    ),
    16: (
        GCM_KEY,
        GCM_NONCE,
        GCM_TEXT[:60],
        GCM_AAD,
        GCM_SEALED + unhex("76fc6ece0f4e1768cddf8853bb2d551b"),
    ),
}


@pytest.mark.parametrize("number", GCM_ANSWERS)
def test_aes_256_gcm(number: int) -> None:
    key, nonce, text, aad, sealed = GCM_ANSWERS[number]
    assert AESGCM(key).encrypt(nonce, text, aad) == sealed
    assert AESGCM(key).decrypt(nonce, sealed, aad) == text


def test_aes_256_gcm_refuses_what_is_changed() -> None:
    key, nonce, _, aad, sealed = GCM_ANSWERS[16]
    wrong = [
        (nonce, flipped(sealed, bit // 8, 1 << bit % 8), aad)
        for bit in range(8 * len(sealed))
    ]
    wrong += [(nonce, sealed[:size], aad) for size in range(len(sealed))]
    wrong += [(nonce, sealed + b"\0", aad), (nonce, sealed, b"")]
    wrong += [(flipped(nonce, 11), sealed, aad), (nonce, sealed, aad + b"\0")]
    for other_nonce, other, other_aad in wrong:
        with pytest.raises(InvalidTag):
            AESGCM(key).decrypt(other_nonce, other, other_aad)


# HPKE


def test_reference_seals_as_rfc_9180() -> None:
    """Appendix A.1.1, which has another AEAD than suite 1; the rest is the same."""
    ephemeral = unhex(
        "52c4a758a802cd8b936eceea314432798d5baf2d7e9235dc084ab1b9cfa2f736"
    )
    recipient = unhex(
        "4612c550263fc8ad58375df3f557aac531d26850903e55a9f23f21d8534e8ac8"
    )
    info = unhex("4f6465206f6e2061204772656369616e2055726e")
    enc, public_key = map(reference.public_half, (ephemeral, recipient))
    dh = reference.exchange(ephemeral, public_key)
    shared = reference.dhkem_secret(dh, enc, public_key)
    assert shared.hex() == (
        "fe0e18c9f024ce43799ae393c7e8fe8fce9d218875e8227b0187c04e7d2ea1fc"
    )
    key, nonce = reference.hpke_keys(0x0020, shared, info, aead_id=0x0001, key_size=16)
    assert key.hex() == "4531685d41d65f03dc48f6b8302c05b0"
    assert nonce.hex() == "56d890e5accaaf011cff4b7d"
    text = b"Beauty is truth, truth beauty"
    assert AESGCM(key).encrypt(nonce, text, b"Count-0").hex() == (
        "f938558b5d72f1a23810b4be2ab4f84331acc02fc97babc53a52ae8218a355a9"
        "6d8770ac83d07bea87e13c512a"
    )


# X-Wing: draft-connolly-cfrg-xwing-kem-06, appendix C. Seeds and randomness come from
# one stream, so that the shared secret and two hashes say it all.

XWING_STREAM = hashlib.shake_128(b"").digest(3 * 96)
XWING_ANSWERS = [
    (
        "d2df0522128f09dd8e2c92b1e905c793d8f57a54c3da25861f10bf4ca613e384",
        "2e816deebcd76c5c80d0cd2d174478871658e8e2ff42bc9d4a6e486372e856bb",
        "17cd532d657e44c897ca6583e548a5424fc70bf54f99515a4d2bcf99e3469f33",
    ),
    (
        "f2e86241c64d60f6649fbc6c5b7d17180b780a3f34355e64a85749949c45f150",
        "c42ba5f8430d7d2c83739338203819f090e8303ce9c8b02107c272bfa5376916",
        "1661ea86d608a1924ba30840cb0a65f13ae051e3aec9cf0f064efc0bc92f2154",
    ),
    (
        "953f7f4e8c5b5049bdc771d1dffada0dd961477d1a2ae0988baa7ea6898d893f",
        "6b080d6b84f095342092fa7a22423e58bd681397ad0ef00eac92bd254db4fa95",
        "d3ca5578500344b5896cffc4fd740c9311946b82951df155e6fd86a7966b43c6",
    ),
]


@pytest.mark.parametrize("number", range(3))
def test_suite_2_is_x_wing(number: int) -> None:
    shared_secret, public_key_hash, enc_hash = XWING_ANSWERS[number]
    seeds = XWING_STREAM[96 * number :][:96]
    key = SuiteKey.from_seed(HYBRID_SUITE, seeds[:32])
    theirs = reference.SuiteKey(HYBRID_SUITE, seeds[:32])
    assert key.public_key == theirs.public_key
    assert hashlib.sha256(key.public_key).hexdigest() == public_key_hash
    enc, shared = xwing(key.public_key, seeds[32:64], seeds[64:])
    assert hashlib.sha256(enc).hexdigest() == enc_hash
    assert shared == theirs.shared_secret(enc) == unhex(shared_secret)
    sealed = reference.hpke_seal(HYBRID_SUITE, enc, unhex(shared_secret), b"i", b"text")
    assert key.open(sealed, b"i") == b"text"
    sealed = seal(HYBRID_SUITE, key.public_key, b"text", b"i")
    assert theirs.open(sealed, b"i", "DecryptionError") == b"text"


# What the suites refuse

KEYS = {suite: SuiteKey.from_seed(suite, secret("seed")) for suite in (1, 2)}
ENC_SIZES = {SUITE: 32, HYBRID_SUITE: 1120}
both_suites = pytest.mark.parametrize("suite", KEYS)


@both_suites
def test_suite_opens_nothing_that_is_changed(suite: int) -> None:
    key, info = KEYS[suite], b"info"
    sealed = seal(suite, key.public_key, b"text", info)
    size = ENC_SIZES[suite]
    assert len(sealed) == size + len(b"text") + 16
    assert key.open(sealed, info) == b"text"
    step = 1 if suite == SUITE else 37
    cuts = [*range(0, size, step), *range(size, len(sealed))]
    wrong = [sealed[:at] for at in cuts] + [sealed + b"\0", b"\0" + sealed]
    wrong += [flipped(sealed, at, 0x40) for at in [*cuts, size - 2, len(sealed) - 1]]
    for changed in wrong:
        # RFC 7748 ignores one bit, but HPKE binds the encapsulated key as it stands.
        with pytest.raises(DecryptionError):
            key.open(changed, info)
    for other in (b"", b"inf", b"info\0"):
        with pytest.raises(DecryptionError):
            key.open(sealed, other)
    other_key = SuiteKey.from_seed(suite, secret("another seed"))
    with pytest.raises(DecryptionError):
        other_key.open(sealed, info)
    with pytest.raises(DecryptionError):
        KEYS[3 - suite].open(sealed, info)


@pytest.mark.parametrize("top_bit", [0, 1])
@pytest.mark.parametrize("name", LOW_ORDER_POINTS)
def test_suite_1_opens_nothing_of_low_order(name: str, top_bit: int) -> None:
    """Sealed by somebody who knows no key: the exchange gives everybody zeros."""
    key, enc = KEYS[SUITE], little_endian(LOW_ORDER_POINTS[name] | top_bit << 255)
    shared = reference.dhkem_secret(bytes(32), enc, key.public_key)
    with pytest.raises(DecryptionError):
        key.open(reference.hpke_seal(SUITE, enc, shared, b"", b"text"), b"")


@both_suites
def test_suite_seals_to_no_key_of_another_length(suite: int) -> None:
    good = KEYS[suite].public_key
    for wrong in (b"", good[:-1], good + b"\0", KEYS[3 - suite].public_key):
        with pytest.raises(KeyDocumentError):
            seal(suite, wrong, b"text", b"")


@both_suites
def test_suite_seals_to_no_key_of_low_order(suite: int) -> None:
    for u in LOW_ORDER_POINTS.values():
        wrong = KEYS[suite].public_key[:-32] + little_endian(u)
        with pytest.raises(KeyDocumentError):
            seal(suite, wrong, b"text", b"")


@pytest.mark.parametrize("place", [0, 1, 767])
@pytest.mark.parametrize("value", [3329, 3330, 4095])
def test_suite_2_seals_to_no_key_that_is_not_reduced(place: int, value: int) -> None:
    """FIPS 203, section 7.2: the modulus check of encapsulation keys."""
    good = KEYS[HYBRID_SUITE].public_key
    number = int.from_bytes(good[:1152], "little")
    number &= ~(0xFFF << 12 * place)
    for coefficient, refused in ((value, True), (3328, False)):
        changed = (number | coefficient << 12 * place).to_bytes(1152, "little")
        if refused:
            with pytest.raises(KeyDocumentError):
                seal(HYBRID_SUITE, changed + good[1152:], b"text", b"")
        else:
            assert seal(HYBRID_SUITE, changed + good[1152:], b"text", b"")


def test_our_ml_kem_is_the_library_s() -> None:
    for i in range(20):
        private_key = MLKEM768PrivateKey.from_seed_bytes(secret(f"d{i}") + secret("z"))
        public_key = private_key.public_key().public_bytes_raw()
        shared, ciphertext = mlkem768.encapsulate(public_key, secret(f"m{i}"))
        assert private_key.decapsulate(ciphertext) == shared


# Wycheproof: https://github.com/C2SP/wycheproof (Apache-2.0), not kept here

WYCHEPROOF = os.environ.get("WYCHEPROOF_ROOT")
wycheproof = pytest.mark.skipif(not WYCHEPROOF, reason="WYCHEPROOF_ROOT is not set")


def wycheproof_tests(
    name: str,
) -> Iterator[tuple[dict[str, Any], dict[str, Any], bool]]:
    """Group, test, and whether it is to be accepted."""
    path = Path(WYCHEPROOF or "", "testvectors_v1", f"{name}_test.json")
    for group in json.loads(path.read_text("utf-8"))["testGroups"]:
        for test in group["tests"]:
            yield group, test, test["result"] != "invalid"


@wycheproof
def test_wycheproof_x25519() -> None:
    for _, test, _ in wycheproof_tests("x25519"):
        private_key, public_key = unhex(test["private"]), unhex(test["public"])
        if not int(test["shared"], 16):
            with pytest.raises(MalformedFrameError):
                package_exchange(private_key, public_key)
        else:
            assert package_exchange(private_key, public_key).hex() == test["shared"]


@wycheproof
def test_wycheproof_ed25519() -> None:
    for group, test, is_good in wycheproof_tests("ed25519"):
        identity = unhex(group["publicKey"]["pk"])
        verified = verify_signature(identity, unhex(test["sig"]), unhex(test["msg"]))
        assert verified == is_good, test["tcId"]


@wycheproof
def test_wycheproof_aes_256_gcm() -> None:
    for group, test, is_good in wycheproof_tests("aes_gcm"):
        if (group["keySize"], group["ivSize"], group["tagSize"]) != (256, 96, 128):
            continue
        aead, nonce, aad = AESGCM(unhex(test["key"])), unhex(test["iv"]), test["aad"]
        sealed, text = unhex(test["ct"] + test["tag"]), unhex(test["msg"])
        if is_good:
            assert aead.decrypt(nonce, sealed, unhex(aad)) == text
            assert aead.encrypt(nonce, text, unhex(aad)) == sealed
        else:
            with pytest.raises(InvalidTag):
                aead.decrypt(nonce, sealed, unhex(aad))


@wycheproof
def test_wycheproof_hkdf_sha256() -> None:
    for _, test, is_good in wycheproof_tests("hkdf_sha256"):
        ikm, salt, info = (unhex(test[name]) for name in ("ikm", "salt", "info"))
        prk = reference.hkdf_extract(salt, ikm)
        if salt:
            assert package_extract(salt, ikm) == prk
        if is_good:
            okm = HKDFExpand(SHA256(), test["size"], info).derive(prk)
            assert okm.hex() == test["okm"]
            first = reference.hkdf_expand(prk, info, min(test["size"], 32))
            assert okm.startswith(first)
        else:
            with pytest.raises(ValueError):
                HKDFExpand(SHA256(), test["size"], info)


@wycheproof
def test_wycheproof_mlkem_768_keys() -> None:
    for _, test, _ in wycheproof_tests("mlkem_768_keygen_seed"):
        private_key = MLKEM768PrivateKey.from_seed_bytes(unhex(test["seed"]))
        assert private_key.public_key().public_bytes_raw().hex() == test["ek"]


@wycheproof
def test_wycheproof_mlkem_768_decapsulation() -> None:
    for _, test, is_good in wycheproof_tests("mlkem_768"):
        try:
            private_key = MLKEM768PrivateKey.from_seed_bytes(unhex(test["seed"]))
            shared = private_key.decapsulate(unhex(test["c"]))
        except ValueError:
            assert not is_good, test["tcId"]
        else:
            assert is_good, test["tcId"]
            assert shared.hex() == test["K"]


@wycheproof
def test_wycheproof_mlkem_768_encapsulation() -> None:
    x25519_half = KEYS[HYBRID_SUITE].public_key[-32:]
    for _, test, is_good in wycheproof_tests("mlkem_768_encaps"):
        public_key = unhex(test["ek"])
        if is_good:
            MLKEM768PublicKey.from_public_bytes(public_key)
            shared, ciphertext = mlkem768.encapsulate(public_key, unhex(test["m"]))
            assert (shared.hex(), ciphertext.hex()) == (test["K"], test["c"])
        else:
            with pytest.raises(KeyDocumentError):
                seal(HYBRID_SUITE, public_key + x25519_half, b"text", b"")
            with pytest.raises(ValueError):
                mlkem768.encapsulate(public_key, unhex(test["m"]))
