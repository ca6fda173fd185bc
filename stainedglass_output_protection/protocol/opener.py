"""The opener: one object opens one response (``protocol.md#frames``).

It takes each nonce from its own count. Once it has failed it is dead for good, and it
has released authenticated bytes only. ``recovery.py`` has the other way to begin.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from stainedglass_output_protection.errors import (
    DecryptionError,
    MalformedFrameError,
    SequenceError,
    StatementMismatchError,
    TrailingDataError,
    TruncatedError,
    UsageError,
)
from stainedglass_output_protection.protocol.constants import (
    FLAG_FINAL,
    FLAG_FIRST,
    FRAME_HEADER_SIZE,
    NONCE_SIZE,
    RECORD_HEADER_SIZE,
    TAG_SIZE,
)
from stainedglass_output_protection.protocol.head import Head, Parameters
from stainedglass_output_protection.protocol.key_schedule import (
    NO_REQUEST,
    RequestSecrets,
    TrafficKeys,
    derive_traffic_keys,
)
from stainedglass_output_protection.protocol.keys import ClientKeyPair
from stainedglass_output_protection.protocol.layout import (
    HEADER,
    PRINTABLE,
    RECORD,
    STATUS,
    STATUS_RANGE,
)
from stainedglass_output_protection.protocol.statement import Statement


class FrameOpener(ABC):
    """Opens the frames of one response, in order; a subclass says with which keys.

    ``status`` and ``content_type`` are set once frame 0 has opened. The caller must
    call ``finish`` at the end of the body.
    """

    def __init__(self) -> None:
        self._decrypt: Callable[[bytes, bytes, bytes], bytes] = _no_key_yet
        self._base_nonce = 0
        self._seq = 0
        self._previous = b""
        self._failed = False
        self.is_complete = False
        self.status: int | None = None
        self.content_type: str | None = None

    @abstractmethod
    def _begin(self, frame: bytes) -> tuple[TrafficKeys, bytes]:
        """Judge the head of frame 0 and return the keys, and the head's bytes.

        ``require_room`` comes before anything that is remembered.
        """

    def open(self, frame: bytes) -> bytes:
        """Return the payload of the next frame.

        Raises:
            ResponseError: any of its subclasses; from then on every call fails.
        """
        if self._failed:
            raise UsageError("This opener has failed before and opens nothing more.")
        try:
            return self._open(frame)
        except BaseException:
            self._failed = True
            self.is_complete = False
            raise

    def finish(self) -> None:
        """State that the body has ended.

        Raises:
            TruncatedError: the final frame has not been opened.
        """
        if self._failed:
            raise UsageError("This opener has failed before and opens nothing more.")
        if not self.is_complete:
            self._failed = True
            raise TruncatedError(
                "The answer ended before its final frame: it was cut off on the way, "
                "or the server stopped. Do not use it as a complete answer."
            )

    def _open(self, frame: bytes) -> bytes:
        if self.is_complete:
            raise TrailingDataError("There is a frame after the final one.")
        if len(frame) < FRAME_HEADER_SIZE + TAG_SIZE:
            raise MalformedFrameError("A frame is too short.")
        flags, seq = HEADER.unpack_from(frame)
        if flags & ~(FLAG_FIRST | FLAG_FINAL):
            raise MalformedFrameError("A frame has an unknown flag.")
        if seq != self._seq or bool(flags & FLAG_FIRST) != (seq == 0):
            raise SequenceError(
                "A frame is not the expected one: frames were dropped, repeated, "
                "swapped or injected on the way."
            )
        aad_size = FRAME_HEADER_SIZE if seq else self._take_keys(frame)
        nonce = (self._base_nonce ^ seq).to_bytes(NONCE_SIZE, "big")
        try:
            plaintext = self._decrypt(nonce, frame[aad_size:], frame[:aad_size])
        except InvalidTag:
            raise DecryptionError(
                "A frame does not open: it was changed on the way, or belongs to "
                "another response."
            ) from None
        payload = self._read_record(
            plaintext, 0 if seq else self._read_status(plaintext)
        )
        self._seq = seq + 1
        self._previous = payload
        self.is_complete = bool(flags & FLAG_FINAL)
        return payload

    def _take_keys(self, frame: bytes) -> int:
        keys, head = self._begin(frame)
        self._decrypt = AESGCM(keys.key).decrypt
        self._base_nonce = int.from_bytes(keys.base_nonce, "big")
        return FRAME_HEADER_SIZE + len(head)

    def _read_status(self, plaintext: bytes) -> int:
        if len(plaintext) < STATUS.size:
            raise MalformedFrameError("Frame 0 holds no status.")
        status, size = STATUS.unpack_from(plaintext)
        end: int = STATUS.size + size
        media_type = plaintext[STATUS.size : end]
        if status not in STATUS_RANGE or not all(c in PRINTABLE for c in media_type):
            raise MalformedFrameError("Frame 0's status or content type is malformed.")
        self.status = status
        self.content_type = media_type.decode("ascii")
        return end

    def _read_record(self, plaintext: bytes, start: int) -> bytes:
        tail_start = start + RECORD_HEADER_SIZE
        if len(plaintext) < tail_start:
            raise MalformedFrameError("A frame holds no record.")
        shared, length = RECORD.unpack_from(plaintext, start)
        tail_end = tail_start + length
        if (
            shared > len(self._previous)
            or tail_end > len(plaintext)
            or plaintext.count(0, tail_end) != len(plaintext) - tail_end
        ):
            raise MalformedFrameError("A frame's record is malformed.")
        return self._previous[:shared] + plaintext[tail_start:tail_end]

    def __repr__(self) -> str:
        return f"{type(self).__name__}(next frame {self._seq}, <redacted>)"


class Opener(FrameOpener):
    """Opens the answer to one request with its client key pair.

    ``accept`` is called once with the statement of frame 0 and raises a
    ``StatementError`` if it is not acceptable. ``request`` is what the response to a
    sealed request depends on beside the key.
    """

    def __init__(
        self,
        key_pair: ClientKeyPair,
        *,
        accept: Callable[[Statement], None],
        parameters: Parameters | None = None,
        request: RequestSecrets | None = None,
    ) -> None:
        super().__init__()
        self._key_pair = key_pair
        self._accept = accept
        self._parameters = parameters or Parameters()
        self._request = request
        self._keys_and_head: tuple[TrafficKeys, bytes] | None = None
        self.statement: Statement | None = None

    def keys_and_head(self) -> tuple[TrafficKeys, bytes]:
        """Return this response's keys and encoded head, for a recovery token.

        Raises:
            UsageError: frame 0 has not opened.
        """
        if self._keys_and_head is None or self.status is None:
            raise UsageError("Frame 0 has not been opened.")
        return self._keys_and_head

    def _begin(self, frame: bytes) -> tuple[TrafficKeys, bytes]:
        head = Head.parse_prefix(
            frame,
            FRAME_HEADER_SIZE,
            asked=self._parameters,
            client_public_key=self._key_pair.public_key,
        )
        require_room(frame, head.encoded)
        self._accept(head.statement)
        request = self._request or NO_REQUEST
        if self._request and head.statement.digest != request.digest:
            raise StatementMismatchError(
                "The answer is under another epoch than the one the request was "
                "sealed to: it is not the answer of the server that opened it."
            )
        traffic_keys = derive_traffic_keys(
            self._key_pair.exchange(head.statement.response_public_key),
            client_public_key=self._key_pair.public_key,
            head=head.encoded,
            response_nonce=head.response_nonce,
            response_secret=request.response_secret,
            request_hash=request.request_hash,
        )
        self.statement = head.statement
        self._keys_and_head = traffic_keys, head.encoded
        return self._keys_and_head


def require_room(frame: bytes, head: bytes) -> None:
    """Return if a frame 0 with this head has room for its tag.

    Raises:
        MalformedFrameError: it has none.
    """
    if len(frame) < FRAME_HEADER_SIZE + len(head) + TAG_SIZE:
        raise MalformedFrameError("Frame 0 is too short.")


def _no_key_yet(nonce: bytes, data: bytes, aad: bytes) -> bytes:
    raise UsageError("Frame 0 has not been opened.")
