"""A request as it travels in profile ``sealed`` (``protocol.md#sealed-requests``)."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from dataclasses import dataclass, field

from stainedglass_output_protection.errors import MalformedFrameError, UsageError
from stainedglass_output_protection.protocol.constants import (
    CONTAINER_FIELDS,
    CONTAINER_OPAQUE,
    KEY_ID_SIZE,
    KEY_SIZE,
    REQUEST_LABEL,
    REQUEST_PREFIX,
    SECRET_SIZE,
    VERSION,
)
from stainedglass_output_protection.protocol.encoding import (
    decode_base64,
    encode_base64,
)
from stainedglass_output_protection.protocol.padding import padme
from stainedglass_output_protection.protocol.suites import SUITE_NUMBERS

_HEADER = struct.Struct(f">BB{KEY_ID_SIZE}s{KEY_SIZE}s")
_FIXED = struct.Struct(f">{SECRET_SIZE}s{SECRET_SIZE}sQB")
_CONTAINERS = (CONTAINER_FIELDS, CONTAINER_OPAQUE)
_LENGTHS = {
    size: struct.Struct(f">{sign}") for size, sign in ((1, "B"), (2, "H"), (4, "I"))
}
# Method, target, content type, authorization, body: the width of each length.
_WIDTHS = (1, 2, 1, 2, 4)
NO_KEY_ID = bytes(KEY_ID_SIZE)


@dataclass(frozen=True)
class SealedRequest:
    """What a sealed request holds. ``time_ms`` is in Unix milliseconds.

    ``repr`` shows no content and no secret.
    """

    response_secret: bytes = field(repr=False)
    owner: bytes = field(repr=False)
    time_ms: int
    container: int
    method: str
    target: str = field(repr=False)
    content_type: str
    authorization: str = field(repr=False)
    body: bytes = field(repr=False)

    def encode(self) -> bytes:
        """Return the padded plaintext.

        Raises:
            UsageError: a part is longer than its length can tell.
        """
        parts = [
            _FIXED.pack(self.response_secret, self.owner, self.time_ms, self.container)
        ]
        values = (
            self.method.encode("utf-8"),
            self.target.encode("utf-8"),
            self.content_type.encode("utf-8"),
            self.authorization.encode("utf-8"),
            self.body,
        )
        for width, value in zip(_WIDTHS, values, strict=True):
            if len(value) >= 1 << 8 * width:
                raise UsageError("A part of the request is too long to be sealed.")
            parts += [_LENGTHS[width].pack(len(value)), value]
        plaintext = b"".join(parts)
        return plaintext.ljust(padme(len(plaintext)), b"\0")

    @classmethod
    def decode(cls, plaintext: bytes) -> SealedRequest:
        """Parse a plaintext.

        Raises:
            MalformedFrameError: it is cut short, has an unknown container, text that
                is not UTF-8, or something other than zeros after its body.
        """
        try:
            secret, owner, time_ms, container = _FIXED.unpack_from(plaintext)
            at = _FIXED.size
            values = []
            for width in _WIDTHS:
                (size,) = _LENGTHS[width].unpack_from(plaintext, at)
                at += width
                values.append(plaintext[at : at + size])
                at += size
            *texts, body = values
            method, target, content_type, authorization = (
                text.decode("utf-8") for text in texts
            )
        except (struct.error, UnicodeDecodeError):
            raise _malformed() from None
        is_whole = at <= len(plaintext)
        if (
            not is_whole
            or container not in _CONTAINERS
            or plaintext.count(0, at) != len(plaintext) - at
        ):
            raise _malformed()
        return cls(
            secret,
            owner,
            time_ms,
            container,
            method,
            target,
            content_type,
            authorization,
            body,
        )


@dataclass(frozen=True)
class SealedMessage:
    """A sealed message, not opened: to which key, in which suite, for whose key."""

    suite: int
    key_id: bytes
    client_public_key: bytes
    ciphertext: bytes = field(repr=False)

    def encode(self) -> bytes:
        """Return the message's bytes."""
        return (
            _HEADER.pack(VERSION, self.suite, self.key_id, self.client_public_key)
            + self.ciphertext
        )

    def to_text(self) -> str:
        """Return the text form."""
        return REQUEST_PREFIX + encode_base64(self.encode()).decode("ascii")

    @property
    def request_hash(self) -> bytes:
        """What binds the response to this message."""
        return hashlib.sha256(self.encode()).digest()

    @classmethod
    def from_text(cls, text: str) -> SealedMessage:
        """Parse the text form. The caller has limited its length.

        Raises:
            MalformedFrameError: it is not canonical, has no whole header, or is of an
                unknown version or suite.
        """
        data = None
        if text.startswith(REQUEST_PREFIX) and text.isascii():
            data = decode_base64(text[len(REQUEST_PREFIX) :].encode("ascii"))
        if data is None or len(data) < _HEADER.size:
            raise _malformed()
        version, suite, key_id, client_public_key = _HEADER.unpack_from(data)
        if version != VERSION or suite not in SUITE_NUMBERS:
            raise _malformed()
        return cls(suite, key_id, client_public_key, data[_HEADER.size :])

    def open(
        self, digest: bytes, open_: Callable[[int, bytes, bytes], bytes]
    ) -> SealedRequest:
        """Return what the message holds.

        ``digest`` is that of the statement with the message's key id, and ``open_`` an
        ``EpochKeys.open``.

        Raises:
            DecryptionError: it does not open.
            MalformedFrameError: what it holds is not a sealed request.
        """
        info = request_info(self.suite, digest, self.client_public_key)
        return SealedRequest.decode(open_(self.suite, self.ciphertext, info))


def request_info(suite: int, digest: bytes, client_public_key: bytes) -> bytes:
    """Return what a request's sealing is bound to."""
    return REQUEST_LABEL + bytes([VERSION, suite]) + digest + client_public_key


def _malformed() -> MalformedFrameError:
    return MalformedFrameError("A sealed request is malformed.")
