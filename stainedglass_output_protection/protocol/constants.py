"""The specification's numbers and labels, in its order, then this implementation's limits.

Nothing here is computed and nothing may be changed without a new protocol version.
"""

from __future__ import annotations

from typing import Final

# protocol.md#constants
VERSION: Final = 1
SUITE_X25519: Final = 1
SUITE_MLKEM768_X25519: Final = 2
PROFILE_OUTPUT: Final = 1
PROFILE_SEALED: Final = 2
CONTAINER_FIELDS: Final = 1
CONTAINER_OPAQUE: Final = 2
FLAG_FIRST: Final = 0x01
FLAG_FINAL: Final = 0x02
TEXT_PREFIX: Final = "sgop1."
REQUEST_PREFIX: Final = "sgop1-request."
DOCUMENT_PREFIX: Final = "sgop1-keys."

OPAQUE_MEDIA_TYPE: Final = "application/vnd.sgop1"

# protocol.md#client-key
KEY_SIZE: Final = 32
DEFAULT_CLIENT_KEY_HEADER: Final = "x-client-public-key"
DEFAULT_CLIENT_KEY_MEMBER: Final = "sg_client_public_key"
DEFAULT_SERVER_KEY_HEADER: Final = "x-server-public-key"

# protocol.md#identity and protocol.md#epoch-statement
IDENTITY_LABEL: Final = b"sgop1 identity"
EPOCH_LABEL: Final = b"sgop1 epoch"
STATEMENT_LABEL: Final = b"sgop1 statement"
KEY_ID_SIZE: Final = 8
SIGNATURE_SIZE: Final = 64
HASH_SIZE: Final = 32
NO_EVIDENCE: Final = bytes(HASH_SIZE)
CLOCK_SKEW_MS: Final = 5 * 60 * 1000
MIN_EPOCH_LIFE_MS: Final = 10 * 60 * 1000
MAX_EPOCH_LIFE_MS: Final = 48 * 3600 * 1000

# protocol.md#epoch-keys
SEED_LABEL: Final = b"sgop1 seed"
RATCHET_LABEL: Final = b"sgop1 ratchet"
EPOCH_SECRET_LABEL: Final = b"sgop1 epoch secret"

# protocol.md#key-document
DOCUMENT_PATH: Final = "/.well-known/output-protection"

# protocol.md#sealed-requests
REQUEST_LABEL: Final = b"sgop1 request"
SEALED_REQUEST_HEADER: Final = "x-sealed-request"
SECRET_SIZE: Final = 32
MAX_AHEAD_MS: Final = 60 * 1000

# protocol.md#head and protocol.md#key-schedule
CLIENT_HASH_SIZE: Final = 8
NONCE_SEED_SIZE: Final = 32
RESPONSE_LABEL: Final = b"sgop1 response"
KEY_LABEL: Final = b"sgop1 key"
NONCE_LABEL: Final = b"sgop1 nonce"
NONCE_SIZE: Final = 12
TAG_SIZE: Final = 16
NO_REQUEST_HASH: Final = bytes(HASH_SIZE)

# protocol.md#frames
FRAME_HEADER_SIZE: Final = 5
RECORD_HEADER_SIZE: Final = 8
MAX_SEQUENCE: Final = 2**32 - 1

# protocol.md#implementation-notes
MAX_FRAME_TEXT: Final = 96 * 1024 * 1024
MAX_EVENT: Final = 128 * 1024 * 1024
MAX_BODY: Final = 128 * 1024 * 1024
MAX_DOCUMENT_TEXT: Final = 128 * 1024
MAX_SEALED_REQUEST: Final = 64 * 1024 * 1024
