"""What the answer to one request is sealed with, in either profile."""

from __future__ import annotations

from typing import NamedTuple

from stainedglass_output_protection.protocol.constants import (
    PROFILE_OUTPUT,
    SUITE_X25519,
)
from stainedglass_output_protection.protocol.key_schedule import (
    NO_REQUEST,
    RequestSecrets,
)
from stainedglass_output_protection.server.key_ring import EpochKey


class ResponseKeys(NamedTuple):
    """Everything of an epoch that a response needs, so that its private key may go.

    ``key_id`` is the epoch's, in hex, for people to read. ``repr`` shows no secret.
    """

    client_public_key: bytes
    shared_secret: bytes
    encoded_statement: bytes
    server_key: str
    suite: int = SUITE_X25519
    profile: int = PROFILE_OUTPUT
    request: RequestSecrets = NO_REQUEST
    key_id: str = ""

    def __repr__(self) -> str:
        return f"ResponseKeys(profile={self.profile}, <redacted>)"


def output_keys(epoch_key: EpochKey, client_public_key: bytes) -> ResponseKeys:
    """Return the keys of an answer in profile ``output``."""
    return ResponseKeys(
        client_public_key,
        epoch_key.exchange(client_public_key),
        epoch_key.encoded_statement,
        epoch_key.public_key_base64,
        key_id=epoch_key.key_id_hex,
    )
