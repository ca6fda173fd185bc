"""How a response is marked: whether its words are the server's or anybody's."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from stainedglass_output_protection.protocol.identity import fingerprint_of
from stainedglass_output_protection.protocol.opener import Opener
from stainedglass_output_protection.protocol.recovery import RecoveryToken
from stainedglass_output_protection.protocol.statement import Statement

MARK_HEADER = "x-output-protection"
EXTENSION = "output_protection"


class Mark(str, Enum):
    """The value of the response header ``x-output-protection``."""

    OPENED = "opened"
    """Sealed by the server, and opened: status, content type and body are its own."""
    UNAUTHENTICATED = "unauthenticated"
    """An error status that anyone on the way may have made up."""
    CLEAR = "clear"
    """An answer on a route that is not protected."""


@dataclass(frozen=True)
class Verdict:
    """``response.extensions["output_protection"]``.

    ``identity`` is the fingerprint of the server that sealed the answer and ``key_id``
    the epoch it was sealed in, in hexadecimal; both are None if nothing was opened.
    An identity is proof of who answered only if the client has a pin.
    ``recovery_token`` opens a stored copy of this answer later, as it came over the
    network (``protocol.md#recovery-token``); of a stream, too, before its end.
    """

    mark: Mark
    identity: str | None = None
    key_id: str | None = None
    # Two verdicts that say the same are equal.
    recovery_token: RecoveryToken | None = field(default=None, compare=False)

    @classmethod
    def opened(cls, statement: Statement, opener: Opener) -> Verdict:
        """Return the verdict on an answer whose frame 0 opened with ``statement``."""
        return cls(
            Mark.OPENED,
            fingerprint_of(statement.identity),
            statement.key_id.hex(),
            RecoveryToken.of(opener),
        )
