"""What belongs to the owner of a sealed request (``protocol.md#owner``)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from typing import Final

CACHE_SALT_LABEL: Final = b"sgop1 cache salt"
_RESPONSE_LABEL = b"sgop1 response id"
_RANDOM_SIZE = 16
_MARK_SIZE = 16
_ID = re.compile(r"resp_([0-9a-f]{64})")


def cache_salt(owner: bytes) -> str:
    """Return the salt that keeps an owner's prompts apart in a shared prefix cache."""
    digest = hmac.new(owner, CACHE_SALT_LABEL, hashlib.sha256).digest()
    return base64.urlsafe_b64encode(digest).decode("ascii").rstrip("=")


def new_response_id(owner: bytes) -> str:
    """Return a fresh id for a stored response of ``owner``."""
    random = secrets.token_bytes(_RANDOM_SIZE)
    return "resp_" + (random + _mark(owner, random)).hex()


def owns_response(owner: bytes, response_id: str) -> bool:
    """Tell whether ``response_id`` was made for ``owner``."""
    match = _ID.fullmatch(response_id)
    if match is None:
        return False
    data = bytes.fromhex(match[1])
    mark = _mark(owner, data[:_RANDOM_SIZE])
    return hmac.compare_digest(mark, data[_RANDOM_SIZE:])


def _mark(owner: bytes, random: bytes) -> bytes:
    digest = hmac.new(owner, _RESPONSE_LABEL + random, hashlib.sha256).digest()
    return digest[:_MARK_SIZE]
