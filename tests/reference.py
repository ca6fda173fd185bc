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
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)
from cryptography.hazmat.primitives.asymmetric.x25519 import (
    X25519PrivateKey,
    X25519PublicKey,
)
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

VERSION, SUITE, PROFILE = 1, 1, 1
FIELDS, OPAQUE = 1, 2
FIRST, FINAL = 0x01, 0x02
PREFIX = "sgop1."
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
    def signed(self) -> bytes:
        digest = sha256(b"sgop1 epoch" + self.body)
        return b"sgop1 statement" + digest + self.evidence_hash

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
    dh: bytes, client_public_key: bytes, response_nonce: bytes, head: bytes
) -> Keys:
    response_secret, request_hash = b"", bytes(32)
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


class Opener:
    def __init__(
        self, private_key: bytes, client: Client, now_ms: int, container: int = FIELDS
    ) -> None:
        self.private_key = private_key
        self.public_key = public_half(private_key)
        self.client = client
        self.now_ms = now_ms
        self.asked = bytes((VERSION, SUITE, PROFILE, container))
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
        keys = key_schedule(
            dh=exchange(self.private_key, statement.response_public_key),
            client_public_key=self.public_key,
            response_nonce=data[12:44],
            head=data[: len(data) - len(ciphertext)],
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
        opener.asked = bytes((VERSION, SUITE, PROFILE, OPAQUE))  # asked or not
        yield from open_opaque(opener, body, limit)
    elif media_type == "text/event-stream":
        yield from open_events(opener, body)
    else:
        yield from open_json(opener, body)
    if is_whole:
        opener.finish()
