"""Recovery tokens: open a stored copy of one response (``protocol.md#recovery-token``).

Whoever has a token can read that response, and could make another that opens with it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from typing import Final

from stainedglass_output_protection.errors import (
    ConfigurationError,
    ForeignResponseError,
)
from stainedglass_output_protection.protocol.constants import (
    CLIENT_HASH_SIZE,
    FRAME_HEADER_SIZE,
    HASH_SIZE,
    KEY_SIZE,
    NONCE_SEED_SIZE,
    NONCE_SIZE,
)
from stainedglass_output_protection.protocol.key_schedule import TrafficKeys
from stainedglass_output_protection.protocol.opener import (
    FrameOpener,
    Opener,
    require_room,
)
from stainedglass_output_protection.protocol.statement import Statement

RECOVERY_PREFIX: Final = "sgop1-recovery."
# Version, suite, profile and container stand before these in the head.
_STATEMENT_AT = FRAME_HEADER_SIZE + 4 + CLIENT_HASH_SIZE + NONCE_SEED_SIZE
# Of the unpadded base64url.
_DIGITS: Final = (8 * (KEY_SIZE + NONCE_SIZE + HASH_SIZE) + 5) // 6
_ANY_VERSION = re.compile(r"sgop[0-9]+-recovery\.")


class RecoveryToken:
    """The key and base nonce of one response, and the hash of its head.

    Keep what ``reveal`` returns as you would keep the answer itself. ``repr`` and
    ``str`` show nothing of it.
    """

    __slots__ = ("_head_hash", "_keys")

    def __init__(self, keys: TrafficKeys, head_hash: bytes) -> None:
        self._keys = keys
        self._head_hash = head_hash

    @classmethod
    def of(cls, opener: Opener) -> RecoveryToken:
        """Return the token of the response that ``opener`` has begun to open.

        Raises:
            UsageError: its frame 0 has not opened.
        """
        keys, head = opener.keys_and_head()
        return cls(keys, hashlib.sha256(head).digest())

    @classmethod
    def parse(cls, text: str) -> RecoveryToken:
        """Return the token that ``reveal`` has returned as ``text``.

        Raises:
            ConfigurationError: it is not one; the message does not show it.
        """
        data = _decode(text)
        if data is not None:
            keys = TrafficKeys(data[:KEY_SIZE], data[KEY_SIZE:-HASH_SIZE])
            return cls(keys, data[-HASH_SIZE:])
        found = _ANY_VERSION.match(text)
        if found is not None and found[0] != RECOVERY_PREFIX:
            raise ConfigurationError(
                "The recovery token is of another version of the protocol. Open the "
                "answer with a release that knows it."
            )
        raise ConfigurationError(
            f"The recovery token is not whole: it is one line of "
            f"{len(RECOVERY_PREFIX) + _DIGITS} characters that begins with "
            f"{RECOVERY_PREFIX}"
        )

    def reveal(self) -> str:
        """Return the token's text: a secret, one line without spaces."""
        data = self._keys.key + self._keys.base_nonce + self._head_hash
        digits = base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")
        return RECOVERY_PREFIX + digits

    def keys_for(self, head: bytes) -> TrafficKeys:
        """Return the keys, if ``head`` is that of the token's own response.

        Raises:
            ForeignResponseError: it is another's.
        """
        if hashlib.sha256(head).digest() != self._head_hash:
            raise ForeignResponseError(
                "The token is for another answer than this one, or the beginning of "
                "the stored answer was changed. Use the token that was kept with it."
            )
        return self._keys

    def __repr__(self) -> str:
        return "RecoveryToken(<redacted>)"


class SavedOpener(FrameOpener):
    """Opens the frames of a stored response with its token, in order.

    Who sealed it was accepted when the token was made; nothing of that is asked again,
    so it opens after the server's keys and statement have ended. The caller must call
    ``finish`` at the end of the body.
    """

    def __init__(self, token: RecoveryToken) -> None:
        super().__init__()
        self._token = token

    def _begin(self, frame: bytes) -> tuple[TrafficKeys, bytes]:
        _, end = Statement.parse_prefix(frame, _STATEMENT_AT)
        head = frame[FRAME_HEADER_SIZE:end]
        require_room(frame, head)
        return self._token.keys_for(head), head


def _decode(text: str) -> bytes | None:
    """Return the bytes of a token's text; None unless it is the one text for them."""
    digits = text.removeprefix(RECOVERY_PREFIX)
    if len(text) - len(digits) != len(RECOVERY_PREFIX) or len(digits) != _DIGITS:
        return None
    try:
        # The decoder skips foreign characters: encoding again finds them.
        data = base64.urlsafe_b64decode(digits.encode("ascii") + b"==")
    except (UnicodeEncodeError, binascii.Error):
        return None
    again = base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")
    return data if again == digits else None
