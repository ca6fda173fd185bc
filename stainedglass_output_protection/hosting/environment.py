"""The environment: what operators set, and what ``sg-vllm`` leaves for its children.

No other server module touches ``os.environ``, but vLLM's own; ``settings`` reads it by
its library.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

PREFIX = "SG_"
IDENTITY_VARIABLE = "SG_IDENTITY_KEY_FILE"
FLEET_VARIABLE = "SG_FLEET_SECRET_FILE"
EVIDENCE_VARIABLE = "SG_EVIDENCE_PROVIDER"

# Set by ``sg-vllm`` for its child processes: every API server must be protected.
_MARK = "SG_PROTECT_EVERY_SERVER"
# Files that it makes for the processes of one server to share.
_EPOCH_TABLE = "SG_SHARED_EPOCHS_FILE"
_REPLAY_STORE = "SG_SHARED_REPLAY_FILE"
_INTERNAL = (_MARK, _EPOCH_TABLE, _REPLAY_STORE)
# Read by clients, so it may be set on a machine that runs a server too.
_FOREIGN = (
    "SG_SERVER_IDENTITY",
    "SG_CLIENT_PROFILE",
    "SG_REQUEST_SUITE",
    "SG_TRUST_ON_FIRST_USE",
    "SG_KNOWN_SERVERS_FILE",
    "SG_OWNER_SECRET_FILE",
    "SG_SEAL_AUTHORIZATION",
    "SG_PROXY_TOKEN",
    "SG_UPSTREAM_API_KEY",
    "SG_RECOVERY_TOKEN",
)
# Kubernetes injects SG_VLLM_SERVICE_HOST and others for a service called sg-vllm.
_IGNORED_PREFIX = "SG_VLLM_"


def is_set(variable: str) -> bool:
    """Tell whether ``variable`` is set, to anything; in any case, as it is read."""
    return variable in map(str.upper, os.environ)


def variable_of(field: str) -> str:
    """Return the name of the variable that sets a field of the settings."""
    return PREFIX + field.upper()


def mark_for_children() -> None:
    """Tell child processes that ``sg-vllm`` started them."""
    os.environ[_MARK] = "1"


def is_marked() -> bool:
    """Tell whether ``sg-vllm`` started this process or one of its parents."""
    return os.environ.get(_MARK) == "1"


def hand_identity_to_children(path: Path) -> None:
    """Make this process and its children use the identity in ``path``."""
    os.environ[IDENTITY_VARIABLE] = str(path)


def hand_epoch_table_to_children(path: Path | None) -> None:
    """Make this process and its children share the epochs in ``path``, or none."""
    os.environ.pop(_EPOCH_TABLE, None)
    if path is not None:
        os.environ[_EPOCH_TABLE] = str(path)


def hand_replay_store_to_children(path: Path) -> None:
    """Make this process and its children share the replay store in ``path``."""
    os.environ[_REPLAY_STORE] = str(path)


def epoch_table_path() -> Path | None:
    """Return the file with the epochs that this server's processes share, if any."""
    return _shared_path(_EPOCH_TABLE)


def replay_store_path() -> Path | None:
    """Return the file for the replay store of this server's processes, if any.

    It may not be there yet; its folder is, until ``sg-vllm`` ends.
    """
    return _shared_path(_REPLAY_STORE)


def _shared_path(variable: str) -> Path | None:
    # A name that somebody else has set means nothing.
    path = os.environ.get(variable) if is_marked() else None
    return Path(path) if path else None


def unknown_variable_warnings(known: Iterable[str]) -> Iterator[str]:
    """Yield one sentence for each ``SG_`` name that nothing reads: a likely typo."""
    names = sorted({*known, *_FOREIGN})
    for name in sorted(os.environ):
        if not name.startswith(PREFIX) or name.startswith(_IGNORED_PREFIX):
            continue
        if name not in _INTERNAL and name not in names:
            nearest = difflib.get_close_matches(name, names, n=1, cutoff=0.0)[0]
            yield f"{name} is not a setting and has no effect; the nearest is {nearest}."
