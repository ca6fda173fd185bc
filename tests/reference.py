"""docs/protocol.md once more, formula for formula, in its order.

Slow, plain and independent: nothing of the package is imported, so that a mistake has to be
made twice to go unnoticed. A refusal carries the name of the error that the page names.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import (
    X25519PrivateKey,
    X25519PublicKey,
)
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

VERSION = 1
SUITE, HYBRID_SUITE = 1, 2
PROFILE, SEALED_PROFILE = 1, 2
FIELDS, OPAQUE = 1, 2
FIRST, FINAL = 0x01, 0x02
PREFIX = "sgop1."
REQUEST_PREFIX = "sgop1-request."
DOCUMENT_PREFIX = "sgop1-keys."
OPAQUE_TYPE = "application/vnd.sgop1"
SKEW_MS = 5 * 60 * 1000
MAX_LIFE_MS = 48 * 3600 * 1000
TAG = 16


class Refused(Exception):
    """The page says to refuse; ``name`` is the error it names."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


def require(condition: bool, name: str) -> None:
    if not condition:
        raise Refused(name)


def number(value: int, size: int) -> bytes:
    return value.to_bytes(size, "big")


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def hkdf_extract(salt: bytes, ikm: bytes) -> bytes:
    return hmac.digest(salt, ikm, "sha256")


def hkdf_expand(prk: bytes, info: bytes, length: int) -> bytes:
    return hmac.digest(prk, info + b"\x01", "sha256")[:length]  # length <= 32


def canonical_base64(text: str, error: str) -> bytes:
    """The bytes of ``text`` if it is what the standard encoder writes for them."""
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except (UnicodeEncodeError, binascii.Error):
        raise Refused(error) from None
    require(base64.b64encode(data).decode("ascii") == text, error)
    return data


# Suites: HPKE (RFC 9180) in base mode and one shot, from its section 5 on

HKDF_SHA256, AES_256_GCM = 0x0001, 0x0002
KEMS = {SUITE: 0x0020, HYBRID_SUITE: 0x647A}
MLKEM_PUBLIC_SIZE, MLKEM_CIPHERTEXT_SIZE = 1184, 1088
XWING_LABEL = bytes.fromhex("5c2e2f2f5e5c")


def labeled_extract(suite_id: bytes, salt: bytes, label: bytes, ikm: bytes) -> bytes:
    return hkdf_extract(salt, b"HPKE-v1" + suite_id + label + ikm)


def labeled_expand(
    suite_id: bytes, prk: bytes, label: bytes, info: bytes, length: int
) -> bytes:
    labeled = number(length, 2) + b"HPKE-v1" + suite_id + label + info
    return hkdf_expand(prk, labeled, length)


def dhkem_secret(dh: bytes, enc: bytes, public_key: bytes) -> bytes:
    """Section 4.1: ``ExtractAndExpand`` of DHKEM(X25519, HKDF-SHA256)."""
    suite_id = b"KEM" + number(KEMS[SUITE], 2)
    prk = labeled_extract(suite_id, b"", b"eae_prk", dh)
    return labeled_expand(suite_id, prk, b"shared_secret", enc + public_key, 32)


def hpke_keys(
    kem_id: int,
    shared_secret: bytes,
    info: bytes,
    aead_id: int = AES_256_GCM,
    key_size: int = 32,
) -> tuple[bytes, bytes]:
    """Section 5.1: ``KeySchedule`` in base mode, the key and the base nonce."""
    suite_id = b"HPKE" + number(kem_id, 2) + number(HKDF_SHA256, 2) + number(aead_id, 2)
    mode = b"\x00"
    psk_id_hash = labeled_extract(suite_id, b"", b"psk_id_hash", b"")
    info_hash = labeled_extract(suite_id, b"", b"info_hash", info)
    context = mode + psk_id_hash + info_hash
    secret = labeled_extract(suite_id, shared_secret, b"secret", b"")
    return (
        labeled_expand(suite_id, secret, b"key", context, key_size),
        labeled_expand(suite_id, secret, b"base_nonce", context, 12),
    )


def xwing_secret(ss_m: bytes, ss_x: bytes, ct_x: bytes, pk_x: bytes) -> bytes:
    """draft-connolly-cfrg-xwing-kem-06, section 5.3: the combiner."""
    return hashlib.sha3_256(ss_m + ss_x + ct_x + pk_x + XWING_LABEL).digest()


def hpke_seal(
    suite: int, enc: bytes, shared_secret: bytes, info: bytes, plaintext: bytes
) -> bytes:
    key, nonce = hpke_keys(KEMS[suite], shared_secret, info)
    return enc + AESGCM(key).encrypt(nonce, plaintext, b"")


class SuiteKey:
    """The private half of an epoch's key for one suite."""

    def __init__(self, suite: int, private_seed: bytes) -> None:
        self.suite = suite
        self.mlkem: MLKEM768PrivateKey | None = None
        self.x25519, self.public_key = private_seed, b""
        if suite == HYBRID_SUITE:
            expanded = hashlib.shake_256(private_seed).digest(96)
            self.mlkem = MLKEM768PrivateKey.from_seed_bytes(expanded[:64])
            self.x25519 = expanded[64:]
            self.public_key = self.mlkem.public_key().public_bytes_raw()
        self.public_key += public_half(self.x25519)

    def shared_secret(self, enc: bytes) -> bytes:
        if self.mlkem is None:
            return dhkem_secret(exchange(self.x25519, enc), enc, self.public_key)
        ct_m, ct_x = enc[:MLKEM_CIPHERTEXT_SIZE], enc[MLKEM_CIPHERTEXT_SIZE:]
        ss_m, ss_x = self.mlkem.decapsulate(ct_m), exchange(self.x25519, ct_x)
        return xwing_secret(ss_m, ss_x, ct_x, self.public_key[MLKEM_PUBLIC_SIZE:])

    def open(self, sealed: bytes, info: bytes, error: str) -> bytes:
        enc_size = 32 if self.mlkem is None else MLKEM_CIPHERTEXT_SIZE + 32
        require(len(sealed) >= enc_size + TAG, error)
        enc, ciphertext = sealed[:enc_size], sealed[enc_size:]
        try:
            key, nonce = hpke_keys(KEMS[self.suite], self.shared_secret(enc), info)
            return AESGCM(key).decrypt(nonce, ciphertext, b"")
        except (InvalidTag, Refused):
            raise Refused(error) from None


# Client key

P = 2**255 - 19
LOW_ORDER = {
    0,
    1,
    P - 1,
    325606250916557431795983626356110631294008115727848805560023387167927233504,
    39382357235489614581723060781553021112529911719440698176882885853963445705823,
}


def is_low_order(public_key: bytes) -> bool:
    u = (
        int.from_bytes(public_key, "little") % 2**255
    )  # RFC 7748: the top bit is ignored
    return u % P in LOW_ORDER


def client_key(header: str) -> bytes:
    public_key = canonical_base64(header, "ClientKeyError")
    require(len(public_key) == 32, "ClientKeyError")
    require(not is_low_order(public_key), "ClientKeyError")
    return public_key


def public_half(private_key: bytes) -> bytes:
    return (
        X25519PrivateKey.from_private_bytes(private_key).public_key().public_bytes_raw()
    )


# Identity


def identity_public_half(private_key: bytes) -> bytes:
    private = Ed25519PrivateKey.from_private_bytes(private_key)
    return private.public_key().public_bytes_raw()


def fingerprint(identity_public_key: bytes) -> str:
    digest = sha256(b"sgop1 identity" + identity_public_key)
    return "SHA256:" + base64.b64encode(digest).decode("ascii").rstrip("=")


# Epoch keys

RESPONSE_USE = 0


def seed(epoch_secret: bytes, use: int) -> bytes:
    return hkdf_expand(epoch_secret, b"sgop1 seed" + number(use, 1), 32)


class EpochKeys:
    def __init__(self, epoch_secret: bytes) -> None:
        self.response_private_key = seed(epoch_secret, RESPONSE_USE)
        self.response_public_key = public_half(self.response_private_key)
        self.suites = {u: SuiteKey(u, seed(epoch_secret, u)) for u in sorted(KEMS)}

    @property
    def suite_public_keys(self) -> dict[int, bytes]:
        return {u: key.public_key for u, key in self.suites.items()}


# Fleet


def next_ratchet_secret(ratchet_secret: bytes) -> bytes:
    return hkdf_expand(ratchet_secret, b"sgop1 ratchet", 32)


def fleet_epoch_secret(ratchet_secret: bytes) -> bytes:
    return hkdf_expand(ratchet_secret, b"sgop1 epoch secret", 32)


# Epoch statement


@dataclass(frozen=True)
class Statement:
    version: int
    epoch: int
    not_after: int
    response_public_key: bytes
    suites: tuple[tuple[int, bytes], ...]  # (suite id, SHA-256 of its public key)
    identity: bytes
    evidence_hash: bytes = bytes(32)
    signature: bytes = bytes(64)

    @property
    def body(self) -> bytes:
        return (
            number(self.version, 1)
            + number(self.epoch, 8)
            + number(self.not_after, 8)
            + self.response_public_key
            + number(len(self.suites), 1)
            + b"".join(number(suite, 1) + key_hash for suite, key_hash in self.suites)
            + self.identity
        )

    @property
    def digest(self) -> bytes:
        return sha256(b"sgop1 epoch" + self.body)

    @property
    def key_id(self) -> bytes:
        return self.digest[:8]

    @property
    def signed(self) -> bytes:
        return b"sgop1 statement" + self.digest + self.evidence_hash

    @property
    def encoded(self) -> bytes:
        return self.body + self.evidence_hash + self.signature


def parse_statement(data: bytes) -> tuple[Statement, bytes]:
    """The statement that ``data`` begins with, and what follows it."""

    def take(size: int) -> bytes:
        nonlocal data
        require(len(data) >= size, "MalformedFrameError")
        taken, data = data[:size], data[size:]
        return taken

    statement = Statement(
        version=take(1)[0],
        epoch=int.from_bytes(take(8), "big"),
        not_after=int.from_bytes(take(8), "big"),
        response_public_key=take(32),
        suites=tuple((take(1)[0], take(32)) for _ in range(take(1)[0])),
        identity=take(32),
        evidence_hash=take(32),
        signature=take(64),
    )
    require(statement.version == 1, "MalformedFrameError")
    life = statement.not_after - statement.epoch
    require(0 < life <= MAX_LIFE_MS, "MalformedFrameError")
    ids = [suite for suite, _ in statement.suites]
    require(ids == sorted(set(ids)), "MalformedFrameError")
    return statement, data


@dataclass
class Client:
    """What a client brings to every response: its pins, and the epochs it has seen."""

    pins: Collection[str] | None = None
    newest: dict[bytes, int] = field(default_factory=dict)

    def accept(self, statement: Statement, now_ms: int) -> None:
        identity = statement.identity
        try:
            verifier = Ed25519PublicKey.from_public_bytes(identity)
            verifier.verify(statement.signature, statement.signed)
        except InvalidSignature:
            raise Refused("StatementSignatureError") from None
        pinned = self.pins is None or fingerprint(identity) in self.pins
        require(pinned, "IdentityMismatchError")
        begun = statement.epoch - SKEW_MS <= now_ms
        ended = now_ms > statement.not_after + SKEW_MS
        require(begun and not ended, "StatementExpiredError")
        newest = self.newest.get(identity, -1)
        require(statement.not_after > newest, "StatementRolledBackError")
        if statement.epoch <= now_ms:
            self.newest[identity] = max(newest, statement.epoch)


# Key document

MAX_DOCUMENT_TEXT = 128 * 1024
NO_EVIDENCE_HASH = bytes(32)


@dataclass(frozen=True)
class KeyDocument:
    statement: Statement
    retires_at: int
    evidence: bytes
    suite_public_keys: dict[int, bytes]

    @property
    def encoded(self) -> bytes:
        keys = [self.suite_public_keys[suite] for suite, _ in self.statement.suites]
        return (
            self.statement.encoded
            + number(self.retires_at, 8)
            + number(len(self.evidence), 4)
            + self.evidence
            + b"".join(number(len(key), 2) + key for key in keys)
        )


def document_text(encoded: bytes) -> str:
    return DOCUMENT_PREFIX + base64.b64encode(encoded).decode("ascii")


def parse_document(text: str) -> KeyDocument:
    error = "KeyDocumentError"
    require(len(text) <= MAX_DOCUMENT_TEXT, error)
    require(text.startswith(DOCUMENT_PREFIX), error)
    data = canonical_base64(text.removeprefix(DOCUMENT_PREFIX), error)
    try:
        statement, data = parse_statement(data)
    except Refused:
        raise Refused(error) from None

    def take(size: int) -> bytes:
        nonlocal data
        require(len(data) >= size, error)
        taken, data = data[:size], data[size:]
        return taken

    retires_at = int.from_bytes(take(8), "big")
    evidence = take(int.from_bytes(take(4), "big"))
    evidence_hash = sha256(evidence) if evidence else NO_EVIDENCE_HASH
    require(evidence_hash == statement.evidence_hash, error)
    keys = {}
    for suite, key_hash in statement.suites:
        keys[suite] = take(int.from_bytes(take(2), "big"))
        require(sha256(keys[suite]) == key_hash, error)
    require(data == b"", error)
    return KeyDocument(statement, retires_at, evidence, keys)


# Head


def head_of(
    client_public_key: bytes,
    response_nonce: bytes,
    statement: bytes,
    parameters: Sequence[int] = (VERSION, SUITE, PROFILE, FIELDS),
) -> bytes:
    return (
        bytes(parameters) + sha256(client_public_key)[:8] + response_nonce + statement
    )


# Key schedule


@dataclass(frozen=True)
class Keys:
    key: bytes
    base_nonce: bytes

    def nonce(self, i: int) -> bytes:
        padded = bytes(8) + number(i, 4)
        return bytes(a ^ b for a, b in zip(self.base_nonce, padded, strict=True))

    def seal(self, i: int, aad: bytes, plaintext: bytes) -> bytes:
        return AESGCM(self.key).encrypt(self.nonce(i), plaintext, aad)

    def open(self, i: int, aad: bytes, ciphertext: bytes) -> bytes:
        try:
            return AESGCM(self.key).decrypt(self.nonce(i), ciphertext, aad)
        except InvalidTag:
            raise Refused("DecryptionError") from None


def exchange(private_key: bytes, public_key: bytes) -> bytes:
    """``dh``, the same from both sides: one's private key, the other's public key."""
    private = X25519PrivateKey.from_private_bytes(private_key)
    try:
        return private.exchange(X25519PublicKey.from_public_bytes(public_key))
    except ValueError:  # the library's word for all zeros
        raise Refused("MalformedFrameError") from None


def key_schedule(
    dh: bytes,
    client_public_key: bytes,
    response_nonce: bytes,
    head: bytes,
    response_secret: bytes = b"",
    request_hash: bytes = bytes(32),
) -> Keys:
    ikm = dh + response_secret
    prk = hkdf_extract(response_nonce, ikm)
    context = sha256(
        b"sgop1 response" + client_public_key + request_hash + sha256(head)
    )
    return Keys(
        key=hkdf_expand(prk, b"sgop1 key" + context, 32),
        base_nonce=hkdf_expand(prk, b"sgop1 nonce" + context, 12),
    )


# Frames: the sender's side


def frame_header(flags: int, sequence_number: int) -> bytes:
    return number(flags, 1) + number(sequence_number, 4)


def record(tail: bytes, k: int = 0, padding: int = 0) -> bytes:
    return number(k, 4) + number(len(tail), 4) + tail + bytes(padding)


def opening(status: int, content_type: bytes) -> bytes:
    """What stands before the record in frame 0."""
    return number(status, 2) + number(len(content_type), 1) + content_type


def common_prefix(one: bytes, other: bytes) -> int:
    pairs = enumerate(zip(one, other, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(one), len(other)))


def seal_response(
    keys: Keys,
    head: bytes,
    payloads: Sequence[bytes],
    *,
    status: int = 200,
    content_type: bytes = b"text/event-stream",
    shared: int = 0,
    padding: int = 0,
) -> list[bytes]:
    """Every payload in a frame, the last one final; ``shared`` is the most that k may be."""
    frames, previous = [], b""
    for i, payload in enumerate(payloads):
        k = min(shared, common_prefix(previous, payload))
        plaintext = record(payload[k:], k, padding)
        flags = FINAL if i == len(payloads) - 1 else 0
        if i == 0:
            aad = frame_header(flags | FIRST, i) + head
            plaintext = opening(status, content_type) + plaintext
        else:
            aad = frame_header(flags, i)
        frames.append(aad + keys.seal(i, aad, plaintext))
        previous = payload
    return frames


# Frames: the recipient's side


@dataclass(frozen=True)
class SealedTo:
    """What a client keeps of a request that it has sealed."""

    suite: int
    response_secret: bytes
    request_hash: bytes
    digest: bytes


class Opener:
    def __init__(
        self,
        private_key: bytes,
        client: Client,
        now_ms: int,
        container: int = FIELDS,
        sealed_to: SealedTo | None = None,
    ) -> None:
        self.private_key = private_key
        self.public_key = public_half(private_key)
        self.client = client
        self.now_ms = now_ms
        self.sealed_to = sealed_to
        if sealed_to is None:
            self.asked = bytes((VERSION, SUITE, PROFILE, container))
        else:
            self.asked = bytes((VERSION, sealed_to.suite, SEALED_PROFILE, container))
        self.keys: Keys | None = None
        self.count = 0
        self.k = 0  # of the latest record
        self.previous = b""
        self.is_complete = False
        self.status: int | None = None
        self.content_type: str | None = None

    def open(self, frame: bytes) -> bytes:
        require(not self.is_complete, "TrailingDataError")
        require(len(frame) >= 5 + TAG, "MalformedFrameError")
        flags, sequence_number = frame[0], int.from_bytes(frame[1:5], "big")
        require(flags & ~(FIRST | FINAL) == 0, "MalformedFrameError")
        require(bool(flags & FIRST) == (self.count == 0), "SequenceError")
        require(sequence_number == self.count, "SequenceError")

        ciphertext = frame[5:]
        if self.count == 0:
            self.keys, ciphertext = self.read_head(frame[5:])
        assert self.keys is not None
        aad = frame[: len(frame) - len(ciphertext)]
        plaintext = self.keys.open(self.count, aad, ciphertext)

        if self.count == 0:
            plaintext = self.read_opening(plaintext)
        self.previous = self.read_record(plaintext)
        self.count += 1
        self.is_complete = bool(flags & FINAL)
        return self.previous

    def finish(self) -> None:
        require(self.is_complete, "TruncatedError")

    def read_head(self, data: bytes) -> tuple[Keys, bytes]:
        require(len(data) >= 4 + 8 + 32, "MalformedFrameError")
        require(data[:4] == self.asked, "UnexpectedParametersError")
        own = sha256(self.public_key)[:8]
        require(data[4:12] == own, "ForeignResponseError")
        statement, ciphertext = parse_statement(data[44:])
        require(len(ciphertext) >= TAG, "MalformedFrameError")
        self.client.accept(statement, self.now_ms)
        response_secret, request_hash = b"", bytes(32)
        if self.sealed_to is not None:
            is_same = statement.digest == self.sealed_to.digest
            require(is_same, "StatementMismatchError")
            response_secret = self.sealed_to.response_secret
            request_hash = self.sealed_to.request_hash
        keys = key_schedule(
            dh=exchange(self.private_key, statement.response_public_key),
            client_public_key=self.public_key,
            response_nonce=data[12:44],
            head=data[: len(data) - len(ciphertext)],
            response_secret=response_secret,
            request_hash=request_hash,
        )
        return keys, ciphertext

    def read_opening(self, plaintext: bytes) -> bytes:
        require(len(plaintext) >= 3, "MalformedFrameError")
        status, length = int.from_bytes(plaintext[:2], "big"), plaintext[2]
        content_type, rest = plaintext[3 : 3 + length], plaintext[3 + length :]
        require(len(content_type) == length, "MalformedFrameError")
        require(200 <= status <= 599, "MalformedFrameError")
        is_in_range = all(0x20 <= byte <= 0x7E for byte in content_type)
        require(is_in_range, "MalformedFrameError")
        self.status, self.content_type = status, content_type.decode("ascii")
        return rest

    def read_record(self, data: bytes) -> bytes:
        require(len(data) >= 8, "MalformedFrameError")
        k, length = int.from_bytes(data[:4], "big"), int.from_bytes(data[4:8], "big")
        require(k <= len(self.previous), "MalformedFrameError")  # so 0 in frame 0
        self.k = k
        require(length <= len(data) - 8, "MalformedFrameError")
        tail, padding = data[8 : 8 + length], data[8 + length :]
        require(not any(padding), "MalformedFrameError")
        return self.previous[:k] + tail


# Padding


def padme(length: int) -> int:
    exponent = length.bit_length() - 1
    step = 1 << max(0, exponent - exponent.bit_length())
    return max(1024, -(-length // step) * step)


# Sealed requests

MALFORMED_REQUEST = "sealed_request_malformed"
MAX_REQUEST_TEXT = 64 * 2**20


@dataclass(frozen=True)
class SealedRequest:
    response_secret: bytes
    owner: bytes
    time: int
    container: int
    method: str
    target: str
    content_type: str
    authorization: str
    body: bytes

    @property
    def parts(self) -> list[bytes]:
        """The plaintext's fields, a length and what has it apart, without padding."""
        texts = (
            (1, self.method.encode()),
            (2, self.target.encode()),
            (1, self.content_type.encode()),
            (2, self.authorization.encode()),
            (4, self.body),
        )
        fixed = [self.response_secret, self.owner, number(self.time, 8)]
        fixed.append(number(self.container, 1))
        return fixed + [p for size, t in texts for p in (number(len(t), size), t)]

    @property
    def plaintext(self) -> bytes:
        whole = b"".join(self.parts)
        return whole.ljust(padme(len(whole)), b"\x00")


def parse_plaintext(data: bytes) -> SealedRequest:
    def take(size: int) -> bytes:
        nonlocal data
        require(len(data) >= size, MALFORMED_REQUEST)
        taken, data = data[:size], data[size:]
        return taken

    def text(size: int) -> str:
        try:
            return take(int.from_bytes(take(size), "big")).decode("utf-8")
        except UnicodeDecodeError:
            raise Refused(MALFORMED_REQUEST) from None

    request = SealedRequest(
        response_secret=take(32),
        owner=take(32),
        time=int.from_bytes(take(8), "big"),
        container=take(1)[0],
        method=text(1),
        target=text(2),
        content_type=text(1),
        authorization=text(2),
        body=take(int.from_bytes(take(4), "big")),
    )
    require(request.container in (FIELDS, OPAQUE), MALFORMED_REQUEST)
    require(not any(data), MALFORMED_REQUEST)
    return request


def message_header(
    suite: int, key_id: bytes, client_public_key: bytes, version: int = VERSION
) -> bytes:
    return number(version, 1) + number(suite, 1) + key_id + client_public_key


def request_info(
    suite: int, digest: bytes, client_public_key: bytes, version: int = VERSION
) -> bytes:
    parameters = number(version, 1) + number(suite, 1)
    return b"sgop1 request" + parameters + digest + client_public_key


def request_text(message: bytes) -> str:
    return REQUEST_PREFIX + base64.b64encode(message).decode("ascii")


# Carriage

Headers = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class HttpRequest:
    """A request as it arrives. ``path`` is raw, ``query`` without its mark."""

    method: str
    path: str
    query: str
    headers: Headers
    body: bytes

    def header(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name]

    @property
    def content_type(self) -> str:
        return "".join(self.header("content-type"))


def multipart(content_type: str, body: bytes) -> list[tuple[str, bytes]]:
    """Name and content of each part (RFC 7578)."""
    boundary = re.search(r'boundary="?([^";]+)"?', content_type)
    require(boundary is not None, MALFORMED_REQUEST)
    assert boundary is not None
    sections = (b"\r\n" + body).split(b"\r\n--" + boundary[1].encode())
    parts = []
    for section in sections[1:-1]:
        head, _, content = section.partition(b"\r\n\r\n")
        name = re.search(rb'; name="([^"]*)"', head)
        parts += [(name[1].decode(), content)] if name else []
    return parts


def texts_in(request: HttpRequest) -> list[str]:
    """The sealed request's text: in the header, and in the body."""
    texts = request.header("x-sealed-request")
    prefix = REQUEST_PREFIX.encode()
    if prefix not in request.body:
        return texts
    if request.content_type.lower().startswith("multipart/"):
        contents = [one for _, one in multipart(request.content_type, request.body)]
        return texts + [one.decode() for one in contents if one.startswith(prefix)]
    try:
        value = json.loads(request.body)
    except ValueError:
        raise Refused(MALFORMED_REQUEST) from None
    found = [text for text in string_values(value) if text.startswith(REQUEST_PREFIX)]
    return texts + found[:1]


def routed(content_type: str, body: bytes) -> Mapping[str, object]:
    """``model`` and ``stream`` of a body, as far as they are there."""
    if content_type.lower().startswith("multipart/"):
        members: object = dict(multipart(content_type, body))
    else:
        try:
            members = json.loads(body)
        except ValueError:
            members = None
    if not isinstance(members, dict):
        return {}
    return {name: members[name] for name in ("model", "stream") if name in members}


def is_same_value(one: object, other: object) -> bool:
    """As JSON has it: 1 is neither true nor 1.0 here, and null is not false."""
    return type(one) is type(other) and one == other


def table_paths() -> list[re.Pattern[str]]:
    """The paths of the page's table of routes."""
    page = Path(__file__).parents[1] / "docs" / "protocol.md"
    rows = re.findall(r"^\| (`/.*?) \|", page.read_text("utf-8"), re.MULTILINE)
    paths = re.findall(r"`(/[^`]*)`", " ".join(rows))
    return [re.compile(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(p))) for p in paths]


TABLE_PATHS = table_paths()


def target_of(path: str, query: str) -> str:
    path = unquote(path)
    segments = path.split("/")
    places = range(1, len(segments))
    at = 1
    if "v1" in segments:
        at = segments.index("v1")
    else:
        rests = {i: "/" + "/".join(segments[i:]) for i in places}
        known = [i for i in places if any(t.fullmatch(rests[i]) for t in TABLE_PATHS)]
        at = known[0] if known else 1
    target = "/" + "/".join(segments[at:])
    return f"{target}?{query}" if query else target


# Opening and Replay


@dataclass(frozen=True)
class Epoch:
    keys: EpochKeys
    statement: Statement
    retires_at: int


@dataclass
class Server:
    """The server's side of sealed requests; ``mark`` and ``seen`` are of its store."""

    epochs: Sequence[Epoch]
    limit: int = MAX_REQUEST_TEXT
    mark: int = 0
    seen: set[bytes] = field(default_factory=set)

    def open(self, text: str, clear_keys: Sequence[str], now: int) -> SealedRequest:
        """Steps 1 to 5 and 7, of a text without the request that carries it."""
        request = self.read(text, clear_keys, now)
        self.enter(request, now)
        return request

    def read(self, text: str, clear_keys: Sequence[str], now: int) -> SealedRequest:
        """Steps 1 to 5."""
        require(len(text) <= self.limit, "request_too_large")
        require(text.startswith(REQUEST_PREFIX), MALFORMED_REQUEST)
        encoded = text.removeprefix(REQUEST_PREFIX)
        message = canonical_base64(encoded, MALFORMED_REQUEST)
        require(len(message) >= 1 + 1 + 8 + 32, MALFORMED_REQUEST)
        version, suite, key_id, sealed_key = (
            message[0],
            message[1],
            message[2:10],
            message[10:42],
        )
        require(version == VERSION and suite in KEMS, MALFORMED_REQUEST)
        require(not is_low_order(sealed_key), "client_key_malformed")
        same = base64.b64encode(sealed_key).decode("ascii")
        require(all(key == same for key in clear_keys), "client_key_duplicated")
        live = {
            epoch.statement.key_id: epoch
            for epoch in self.epochs
            if now < epoch.retires_at
        }
        require(key_id in live, "key_unknown")
        epoch = live[key_id]
        info = request_info(suite, epoch.statement.digest, sealed_key)
        key = epoch.keys.suites[suite]
        return parse_plaintext(key.open(message[42:], info, MALFORMED_REQUEST))

    def enter(self, request: SealedRequest, now: int) -> None:
        known = sha256(request.response_secret)
        require(known not in self.seen, "request_replayed")
        in_time = self.mark < request.time <= now + 60_000
        require(in_time, "request_mistimed")
        self.seen.add(known)

    def receive(
        self, http: HttpRequest, clear_keys: Sequence[str], now: int
    ) -> SealedRequest:
        """All steps, from the request that carries the text."""
        texts = texts_in(http)
        require(len(texts) == 1, MALFORMED_REQUEST)
        request = self.read(texts[0], clear_keys, now)
        is_meant = request.method == http.method and request.target == target_of(
            http.path, http.query
        )
        require(is_meant, "sealed_request_mismatch")
        self.enter(request, now)
        outer = routed(http.content_type, http.body)
        inner = routed(request.content_type, request.body)
        said = {"model": inner.get("model"), "stream": inner.get("stream", False)}
        agrees = all(is_same_value(value, said[name]) for name, value in outer.items())
        require(agrees, "sealed_request_mismatch")
        return request


# Owner


def cache_salt(owner: bytes) -> str:
    digest = hmac.digest(owner, b"sgop1 cache salt", "sha256")
    return base64.urlsafe_b64encode(digest).decode("ascii").rstrip("=")


def response_id(owner: bytes, r: bytes) -> str:
    mark = hmac.digest(owner, b"sgop1 response id" + r, "sha256")[:16]
    return "resp_" + (r + mark).hex()


def require_owner(owner: bytes, asked: str) -> None:
    form = re.fullmatch(r"resp_([0-9a-f]{32})[0-9a-f]{32}", asked, re.ASCII)
    is_own = form is not None and asked == response_id(owner, bytes.fromhex(form[1]))
    require(is_own, "response_not_found")


# Container `fields`: a frame's text


def text_of(frame: bytes) -> str:
    return PREFIX + base64.b64encode(frame).decode("ascii")


def frame_of(text: str) -> bytes:
    require(text.startswith(PREFIX), "MalformedFrameError")
    return canonical_base64(text.removeprefix(PREFIX), "MalformedFrameError")


# Container `fields`: where a frame stands

CARRIERS: dict[str, tuple[str | int, ...]] = {
    "chat": ("choices", 0, "message", "content"),
    "chat, streamed": ("choices", 0, "delta", "content"),
    "completions": ("choices", 0, "text"),
    "responses": ("output", 0, "content", 0, "text"),
    "messages": ("content", 0, "text"),
    "embeddings": ("data", 0, "embedding"),
    "transcription": ("text",),
    "prompt": ("prompt",),
    "sealed": ("sealed",),
    "error": ("error", "message"),
    "delta": ("delta",),
    "text": ("text",),
    "arguments": ("arguments",),
    "input": ("input",),
    "code": ("code",),
    "refusal": ("refusal",),
    "part": ("part", "text"),
    "item": ("item", "content", 0, "text"),
    "response": ("response", "output", 0, "content", 0, "text"),
    "message of an error": ("message",),
    "text delta": ("delta", "text"),
    "content block": ("content_block", "text"),
    "message": ("message", "content", 0, "text"),
}


def json_around(text: str, carrier: Sequence[str | int]) -> object:
    """The least JSON that has ``text`` in the place of the carrier."""
    value: object = text
    for step in reversed(carrier):
        value = [value] if isinstance(step, int) else {step: value}
    return value


def event_of(value: object, name: str | None = None) -> bytes:
    """One event: a line of JSON, after its name where the endpoint has one."""
    named = b"" if name is None else b"event: " + name.encode() + b"\n"
    line = json.dumps(value, separators=(",", ":"))
    return named + b"data: " + line.encode() + b"\n\n"


def parsed(text: str) -> object:
    """JSON text; ``ValueError`` if it is none, NaN and the infinities included."""

    def refuse(constant: str) -> None:
        raise ValueError(constant)

    try:
        return json.loads(text, parse_int=len, parse_float=len, parse_constant=refuse)
    except RecursionError as error:
        raise ValueError("too deep for this parser") from error


def string_values(value: object) -> Iterator[str]:
    """The string values of parsed JSON in its order, at any depth; not the names."""
    waiting = [value]
    while waiting:
        value = waiting.pop(0)
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            waiting[:0] = value.values()
        elif isinstance(value, list):
            waiting[:0] = value


def frame_in(data: bytes) -> bytes | None:
    """The frame in a JSON body or event, None if there is none."""
    if PREFIX.encode() not in data:
        return None
    try:
        value = parsed(data.decode("utf-8"))
    except ValueError as error:
        raise Refused("MalformedFrameError") from error
    for text in string_values(value):
        if text.startswith(PREFIX):
            return frame_of(text)
    return None


def event_datas(body: bytes) -> list[bytes]:
    """The data of every event that has some and that is complete."""
    lines = body.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    datas: list[bytes] = []
    current: list[bytes] = []
    for line in lines[:-1]:  # what stands behind the last line's end is no line
        name, _, value = line.partition(b":")
        if line == b"":
            datas += [b"\n".join(current)] if current else []
            current = []
        elif name == b"data":
            current.append(value.removeprefix(b" "))
    return datas


def ends_the_stream(data: bytes) -> bool:
    """Whether a clear event is ``[DONE]`` or an error."""
    if data == b"[DONE]":
        return True
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return False
    if not isinstance(value, dict):
        return False
    return value.get("error") is not None or value.get("type") == "error"


# Container `opaque`


def opaque_body(frames: Sequence[bytes]) -> bytes:
    return b"".join(number(len(frame), 4) + frame for frame in frames)


def open_opaque(opener: Opener, body: bytes, limit: int) -> Iterator[bytes]:
    while body:
        require(not opener.is_complete, "TrailingDataError")
        length = int.from_bytes(body[:4], "big")
        if len(body) >= 4:
            require(length <= limit, "TooLargeError")
        if len(body) < 4 + length:
            return  # cut, or not there yet
        frame, body = body[4 : 4 + length], body[4 + length :]
        yield opener.open(frame)


# The body of a 2xx, with the outer content type


def open_events(opener: Opener, body: bytes) -> Iterator[bytes]:
    for data in event_datas(body):
        frame = frame_in(data)
        if frame is not None:
            yield opener.open(frame)
        elif ends_the_stream(data):
            opener.finish()


def open_json(opener: Opener, body: bytes) -> Iterator[bytes]:
    frame = frame_in(body)
    if frame is None:
        raise Refused("UnprotectedResponseError")
    payload = opener.open(frame)
    opener.finish()
    yield payload


def open_body(
    opener: Opener,
    content_type: str,
    body: bytes,
    *,
    limit: int = 128 * 2**20,
    is_whole: bool = True,
) -> Iterator[bytes]:
    """What a client releases of ``body``, piece by piece; it may go on if not whole."""
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type == OPAQUE_TYPE:
        opener.asked = opener.asked[:3] + bytes([OPAQUE])  # asked or not
        yield from open_opaque(opener, body, limit)
    elif media_type == "text/event-stream":
        yield from open_events(opener, body)
    else:
        yield from open_json(opener, body)
    if is_whole:
        opener.finish()


# Recovery token

RECOVERY_PREFIX = "sgop1-recovery."


def recovery_text(token: bytes) -> str:
    digits = base64.urlsafe_b64encode(token).decode("ascii").rstrip("=")
    return RECOVERY_PREFIX + digits


def recovery_token(keys: Keys, head: bytes) -> str:
    return recovery_text(keys.key + keys.base_nonce + sha256(head))


class SavedOpener(Opener):
    """Opens a stored response: the token has the keys, and says whose they are."""

    def __init__(self, text: str) -> None:
        error = "ConfigurationError"
        form = re.fullmatch(r"sgop1-recovery\.([A-Za-z0-9_-]{102})", text, re.ASCII)
        require(form is not None, error)
        assert form is not None
        token = base64.urlsafe_b64decode(form[1] + "==")
        require(recovery_text(token) == text, error)
        self.token_keys = Keys(token[:32], token[32:44])
        self.head_hash = token[44:76]
        self.asked = b""
        self.keys = None
        self.count = 0
        self.previous = b""
        self.is_complete = False
        self.status = None
        self.content_type = None

    def read_head(self, data: bytes) -> tuple[Keys, bytes]:
        require(len(data) >= 4 + 8 + 32, "MalformedFrameError")
        _, ciphertext = parse_statement(data[44:])
        require(len(ciphertext) >= TAG, "MalformedFrameError")
        head = data[: len(data) - len(ciphertext)]
        require(sha256(head) == self.head_hash, "ForeignResponseError")
        return self.token_keys, ciphertext


def open_saved(opener: SavedOpener, stored: bytes) -> Iterator[bytes]:
    """What is released of a stored body, piece by piece."""
    stored = stored.removeprefix(b"\xef\xbb\xbf")
    if stored and stored[0] <= 8:
        yield from open_opaque(opener, stored, 128 * 2**20)
        opener.finish()
        return
    require(PREFIX.encode() in stored, "UnprotectedResponseError")
    if stored.lstrip()[:1] in (b"{", b"["):
        yield from open_json(opener, stored)
        return
    yield from open_events(opener, stored)
    has_data = bool(event_datas(stored))
    require(opener.count > 0 or not has_data, "UnprotectedResponseError")
    opener.finish()
