"""From a shared secret to one response's key and base nonce.

Pure functions of ``protocol.md#key-schedule``.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from cryptography.hazmat.primitives import hmac
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from stainedglass_output_protection.protocol.constants import (
    KEY_LABEL,
    KEY_SIZE,
    NO_REQUEST_HASH,
    NONCE_LABEL,
    NONCE_SIZE,
    RESPONSE_LABEL,
)


class TrafficKeys:
    """The AEAD key and base nonce of one response. ``repr`` shows neither."""

    __slots__ = ("base_nonce", "key")

    def __init__(self, key: bytes, base_nonce: bytes) -> None:
        self.key = key
        self.base_nonce = base_nonce

    def __repr__(self) -> str:
        return "TrafficKeys(<redacted>)"


class RequestSecrets(NamedTuple):
    """What the response to a sealed request depends on. ``repr`` shows none of it.

    ``digest`` is that of the statement whose epoch the request was sealed to.
    """

    response_secret: bytes
    request_hash: bytes
    digest: bytes

    def __repr__(self) -> str:
        return "RequestSecrets(<redacted>)"


# Profile output.
NO_REQUEST = RequestSecrets(b"", NO_REQUEST_HASH, b"")


def derive_traffic_keys(
    shared_secret: bytes,
    *,
    client_public_key: bytes,
    head: bytes,
    response_nonce: bytes,
    response_secret: bytes = NO_REQUEST.response_secret,
    request_hash: bytes = NO_REQUEST.request_hash,
) -> TrafficKeys:
    """Return the traffic keys of the response whose encoded head is ``head``.

    ``response_secret`` and ``request_hash`` keep their defaults in profile output.
    """
    extract = hmac.HMAC(response_nonce, SHA256())
    extract.update(shared_secret + response_secret)
    prk = extract.finalize()
    context = hashlib.sha256(
        RESPONSE_LABEL
        + client_public_key
        + request_hash
        + hashlib.sha256(head).digest()
    ).digest()
    key = HKDFExpand(SHA256(), KEY_SIZE, KEY_LABEL + context).derive(prk)
    base_nonce = HKDFExpand(SHA256(), NONCE_SIZE, NONCE_LABEL + context).derive(prk)
    return TrafficKeys(key, base_nonce)
