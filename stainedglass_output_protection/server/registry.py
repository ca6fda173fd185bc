"""Request id to client public key while a request lives: one registry per process.

It answers which requests are being protected and holds no secret: the traffic keys of
a response exist in its responder only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, MutableMapping

REMOVE_AFTER_S = 60.0


class KeyRegistry(MutableMapping[str, bytes | None]):
    """Client public keys by request id. A finished request leaves None for a while."""

    def __init__(self) -> None:
        self._keys: dict[str, bytes | None] = {}

    def __getitem__(self, request_id: str) -> bytes | None:
        return self._keys[request_id]

    def __setitem__(self, request_id: str, key: bytes | None) -> None:
        self._keys[request_id] = key

    def __delitem__(self, request_id: str) -> None:
        del self._keys[request_id]

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._keys))

    def __len__(self) -> int:
        return len(self._keys)

    def remove(self, request_id: str, *, after_s: float = REMOVE_AFTER_S) -> None:
        """Put the sentinel None in place of the key now, drop the entry later."""
        if request_id not in self._keys:
            return
        self._keys[request_id] = None
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            del self._keys[request_id]
            return
        loop.call_later(after_s, self._keys.pop, request_id, None)

    def __repr__(self) -> str:
        return f"KeyRegistry({len(self)} requests)"


SHARED_REGISTRY = KeyRegistry()
