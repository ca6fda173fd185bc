"""The sealer: one object seals one response (``protocol.md#frames``).

Sequence numbers and nonces live in here; no caller passes one.
"""

from __future__ import annotations

from collections.abc import Callable

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from stainedglass_output_protection.errors import UsageError
from stainedglass_output_protection.protocol.constants import (
    FLAG_FINAL,
    FLAG_FIRST,
    MAX_SEQUENCE,
    NONCE_SIZE,
)
from stainedglass_output_protection.protocol.key_schedule import TrafficKeys
from stainedglass_output_protection.protocol.layout import (
    HEADER,
    PRINTABLE,
    RECORD,
    STATUS,
    STATUS_RANGE,
)
from stainedglass_output_protection.protocol.padding import PaddedRecords, padme, rung


class Sealer:
    """Seals the frames of one response, in order.

    ``traffic_keys`` must have been derived from exactly this ``head`` and be used for
    nothing else. A unary response takes one ``seal_body``, a stream one ``seal_event``
    for each payload, the last one final.
    """

    __slots__ = (
        "_apart",
        "_base_nonce",
        "_encrypt",
        "_end",
        "_head",
        "_preamble",
        "_seq",
        "_usual",
    )

    def __init__(
        self,
        traffic_keys: TrafficKeys,
        *,
        head: bytes,
        status: int,
        content_type: str,
    ) -> None:
        self._encrypt = AESGCM(traffic_keys.key).encrypt
        self._base_nonce = int.from_bytes(traffic_keys.base_nonce, "big")
        self._head = head
        media_type = content_type.encode("ascii", "replace")
        if status not in STATUS_RANGE or len(media_type) > 255:
            raise UsageError("A response has an impossible status or content type.")
        media_type = bytes(c for c in media_type if c in PRINTABLE)
        self._preamble = STATUS.pack(status, len(media_type)) + media_type
        self._seq = 0
        self._usual = PaddedRecords()
        self._apart = PaddedRecords()
        # The sequence number that no frame may have; after the final one, all.
        self._end = MAX_SEQUENCE

    @property
    def sealed(self) -> int:
        """The number of frames sealed so far."""
        return self._seq

    def seal_body(self, payload: bytes) -> bytes:
        """Return the only frame of a unary response, padded by Padmé.

        Raises:
            UsageError: something was sealed before.
        """
        return self._seal_first(payload, padme, is_final=True)

    def seal_event(
        self,
        payload: bytes,
        shared: int = 0,
        *,
        is_final: bool = False,
        is_apart: bool = False,
    ) -> bytes:
        """Return the next frame of a stream, padded to the sticky ladder.

        ``shared`` bytes of ``payload`` are those of the previous one; what it may be is
        in ``protocol.md#shared-prefix``. Frames that are ``is_apart`` climb a ladder of
        their own.

        Raises:
            UsageError: the final frame was sealed before, or the key is used up.
        """
        seq = self._seq
        if not seq:
            return self._seal_first(payload, rung, is_final=is_final)
        if seq >= self._end:
            raise UsageError("This sealer has sealed its last frame.")
        tail = payload[shared:]
        records = self._apart if is_apart else self._usual
        length = len(tail)
        if length > records.room:
            records.make_room(length)
        self._seq = seq + 1
        flags = 0
        if is_final:
            self._end = 0
            flags = FLAG_FINAL
        header = HEADER.pack(flags, seq)
        nonce = (self._base_nonce ^ seq).to_bytes(NONCE_SIZE, "big")
        record = records.pack(shared, length, tail)
        return header + self._encrypt(nonce, record, header)

    def _seal_first(
        self, payload: bytes, size_of: Callable[[int], int], *, is_final: bool
    ) -> bytes:
        if self._seq:
            raise UsageError("This sealer has sealed its first frame.")
        self._seq = 1
        if is_final:
            self._end = 0
        flags = FLAG_FIRST | FLAG_FINAL if is_final else FLAG_FIRST
        prefix = HEADER.pack(flags, 0) + self._head
        plaintext = self._preamble + RECORD.pack(0, len(payload)) + payload
        nonce = self._base_nonce.to_bytes(NONCE_SIZE, "big")
        padded = plaintext.ljust(size_of(len(plaintext)), b"\0")
        return prefix + self._encrypt(nonce, padded, prefix)

    def __repr__(self) -> str:
        return f"Sealer(next frame {self._seq}, <redacted>)"
