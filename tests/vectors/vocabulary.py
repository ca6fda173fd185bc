"""The words in which ``cases.py`` is written.

Everything is a function of fixed names, so that writing the vectors again gives the
same bytes. Every part of a response can be made wrong, with the rest right around it.
"""

from __future__ import annotations

import base64
import hashlib
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests import reference
from tests.reference import FINAL, FIRST, Statement

SECOND = 1000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
SKEW = reference.SKEW_MS
NOW = 1_800_000_000_000
JSON = b"application/json"
EVENTS = b"text/event-stream"

Vector = dict[str, Any]
CASES: dict[str, Callable[[], Vector]] = {}


def case(anchor: str) -> Callable[[Callable[[], Vector]], Callable[[], Vector]]:
    """Make a function a vector: its name, its docstring and the rule at ``anchor``."""

    def register(function: Callable[[], Vector]) -> Callable[[], Vector]:
        name, description = function.__name__, inspect.getdoc(function) or ""
        add_case(name, anchor, " ".join(description.split()), function)
        return function

    return register


def add_case(
    name: str, anchor: str, description: str, vector: Callable[[], Vector]
) -> None:
    if name in CASES:
        raise ValueError(f"two vectors are called {name}")
    about = {"description": description, "spec": f"protocol.md#{anchor}"}
    CASES[name] = lambda: about | vector()


# Keys and statements


def secret(name: str) -> bytes:
    return hashlib.sha256(b"stainedglass vector " + name.encode()).digest()


def response_public(name: str) -> bytes:
    return reference.public_half(secret(name))


def client_public(name: str = "client") -> bytes:
    return reference.public_half(secret(name))


def fingerprint(identity: str = "identity") -> str:
    return reference.fingerprint(reference.identity_public_half(secret(identity)))


def sign(identity: str, message: bytes) -> bytes:
    return Ed25519PrivateKey.from_private_bytes(secret(identity)).sign(message)


def statement(
    *,
    identity: str = "identity",
    epoch: int = NOW - HOUR,
    not_after: int = NOW + HOUR,
    response_public_key: bytes | None = None,
    suites: Sequence[tuple[int, bytes]] = (),
    evidence_hash: bytes = bytes(32),
    version: int = 1,
    signer: str | None = None,
    identity_public_key: bytes | None = None,
) -> Statement:
    """A signed statement; the response key is the one called ``response``."""
    unsigned = Statement(
        version=version,
        epoch=epoch,
        not_after=not_after,
        response_public_key=response_public_key or response_public("response"),
        suites=tuple(suites),
        identity=identity_public_key
        or reference.identity_public_half(secret(identity)),
        evidence_hash=evidence_hash,
    )
    return signed(unsigned, sign(signer or identity, unsigned.signed))


def signed(unsigned: Statement, signature: bytes) -> Statement:
    return Statement(**(vars(unsigned) | {"signature": signature}))


def past_statement(age: int = 0, **changes: Any) -> Statement:
    """A statement of a server that rotates every minute, ``age`` before now."""
    epoch = NOW - age
    return statement(epoch=epoch, not_after=epoch + 2 * MINUTE, **changes)


# Responses


@dataclass(frozen=True)
class Response:
    """A response as an honest server would seal it, but for the fields that differ."""

    client: str = "client"
    nonce: str = "nonce"
    statement: Statement = field(default_factory=statement)
    parameters: Sequence[int] = (1, 1, 1, 1)
    encoded_statement: bytes | None = None
    dh: bytes | None = None
    private_key: bytes = secret("response")
    response_secret: bytes = b""
    request_hash: bytes = bytes(32)

    @property
    def head(self) -> bytes:
        return reference.head_of(
            client_public(self.client),
            secret(self.nonce),
            self.statement.encoded
            if self.encoded_statement is None
            else self.encoded_statement,
            self.parameters,
        )

    @property
    def keys(self) -> reference.Keys:
        public_key = client_public(self.client)
        dh = self.dh or reference.exchange(self.private_key, public_key)
        return reference.key_schedule(
            dh,
            public_key,
            secret(self.nonce),
            self.head,
            self.response_secret,
            self.request_hash,
        )

    def frames(
        self,
        *payloads: bytes,
        status: int = 200,
        content_type: bytes = EVENTS,
        shared: int = 0,
        padding: int = 16,
    ) -> list[bytes]:
        return reference.seal_response(
            self.keys,
            self.head,
            payloads,
            status=status,
            content_type=content_type,
            shared=shared,
            padding=padding,
        )

    def frame(self, i: int, plaintext: bytes, flags: int | None = None) -> bytes:
        """Frame ``i`` with any plaintext and flags; by default final but not wrong."""
        if flags is None:
            flags = FINAL | (FIRST if i == 0 else 0)
        aad = reference.frame_header(flags, i) + (b"" if i else self.head)
        return aad + self.keys.seal(i, aad, plaintext)


def sealed(*payloads: bytes, **how: Any) -> list[bytes]:
    return Response().frames(*payloads, **how)


def flipped(frame: bytes, at: int, bit: int = 0x01) -> bytes:
    """The frame with one bit changed; ``at`` counts from the end if negative."""
    changed = bytearray(frame)
    changed[at] ^= bit
    return bytes(changed)


def renumbered(frame: bytes, sequence_number: int) -> bytes:
    return frame[:1] + sequence_number.to_bytes(4, "big") + frame[5:]


def text(frame: bytes) -> str:
    return reference.text_of(frame)


# Where things stand in frame 0

HEAD = 5
CLIENT_HASH = HEAD + 4
NONCE = CLIENT_HASH + 8
STATEMENT = NONCE + 32
EPOCH = STATEMENT + 1
NOT_AFTER = EPOCH + 8
RESPONSE_KEY = NOT_AFTER + 8
SUITE_COUNT = RESPONSE_KEY + 32
IDENTITY = SUITE_COUNT + 1
EVIDENCE = IDENTITY + 32
SIGNATURE = EVIDENCE + 32
CIPHERTEXT = SIGNATURE + 64


# What a vector says


def accepted(
    frames: Sequence[bytes],
    payload: bytes,
    *,
    status: int = 200,
    content_type: bytes = EVENTS,
    **given: Any,
) -> Vector:
    """The client opens ``frames`` and reads ``payload``."""
    return _given(frames, finish=True, **given) | {
        "expect": "success",
        "status": status,
        "content_type": content_type.decode("ascii"),
        "payload_sha256": hashlib.sha256(payload).hexdigest(),
    }


def refused(
    error: str,
    frames: Sequence[bytes],
    *,
    released: bytes = b"",
    finish: bool = False,
    **given: Any,
) -> Vector:
    """One of ``frames``, or the end after them, is refused after ``released``."""
    return _given(frames, finish=finish, **given) | {
        "expect": error,
        "released_sha256": hashlib.sha256(released).hexdigest(),
    }


def _given(
    frames: Sequence[bytes],
    *,
    finish: bool,
    client: str = "client",
    pins: Sequence[str] | None = ("identity",),
    now: int = NOW,
    container: int = 1,
    sealed_to: Vector | None = None,
    accepted_before: Sequence[tuple[Statement, int]] = (),
    frame_texts: Sequence[str] | None = None,
    seal: Vector | None = None,
    body: Vector | None = None,
) -> Vector:
    vector: Vector = {
        "client_private_key": secret(client).hex(),
        "pins": None if pins is None else [fingerprint(pin) for pin in pins],
        "now_ms": now,
        "container": container,
    }
    if sealed_to is not None:
        vector["sealed_to"] = sealed_to
    if accepted_before:
        vector["accepted_before"] = before(accepted_before)
    if frame_texts is not None:
        vector["frame_texts"] = list(frame_texts)
    elif seal is not None:
        vector["seal"] = seal
    elif body is not None:
        vector["body"] = body
    else:
        vector["frames"] = [frame.hex() for frame in frames]
    return vector | {"finish": finish}


def before(accepted_before: Sequence[tuple[Statement, int]]) -> list[Vector]:
    """Statements that the client has accepted, and when."""
    return [
        {"statement": earlier.encoded.hex(), "now_ms": then}
        for earlier, then in accepted_before
    ]


# Bodies


def json_body(text: str, content_type: bytes = JSON) -> Vector:
    return {"content_type": content_type.decode("ascii"), "text": text}


def event_body(*events: bytes, content_type: bytes = EVENTS) -> Vector:
    return json_body(b"".join(events).decode("utf-8"), content_type)


def opaque_body(data: bytes) -> Vector:
    return {"content_type": reference.OPAQUE_TYPE, "hex": data.hex()}


def opens(body: Vector, payload: bytes, **given: Any) -> Vector:
    """The client reads ``payload`` out of ``body``."""
    return accepted([], payload, body=body, **given)


def refuses(
    error: str,
    body: Vector,
    *,
    released: bytes = b"",
    finish: bool = True,
    **given: Any,
) -> Vector:
    """``body``, or its end if it is there, is refused after ``released``."""
    return refused(error, [], body=body, released=released, finish=finish, **given)


def seal_input(response: Response, unit: bytes, count: int) -> Vector:
    """What the runner seals by itself, where the frames are too long for a file."""
    frames = response.frames(unit * count, padding=0)
    return {
        "response_private_key": secret("response").hex(),
        "response_nonce": secret(response.nonce).hex(),
        "statement": response.statement.encoded.hex(),
        "status": 200,
        "content_type": EVENTS.decode("ascii"),
        "repeat": {"unit": unit.hex(), "count": count},
        "frames_sha256": hashlib.sha256(b"".join(frames)).hexdigest(),
    }


def header(value: str | bytes, expect: str = "ClientKeyError") -> Vector:
    """A client key header; bytes are encoded, text stands as it is."""
    if isinstance(value, bytes):
        value = base64.b64encode(value).decode("ascii")
    return {"header": value, "expect": expect}
