"""The routes that are ours: the middleware answers them itself, whatever it protects."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from starlette.types import Scope, Send

from stainedglass_output_protection.protocol.constants import DOCUMENT_PATH
from stainedglass_output_protection.protocol.path_probe import PROBE_PATH
from stainedglass_output_protection.server.document import answer_document
from stainedglass_output_protection.server.key_ring import KeyRing
from stainedglass_output_protection.server.probe import answer_probe
from stainedglass_output_protection.server.readiness import READY_PATH, answer_readiness


class _Answer(Protocol):
    def __call__(
        self, scope: Scope, send: Send, *, ring_of: Callable[[Scope], KeyRing]
    ) -> Awaitable[None]: ...


OWN_ROUTES: Final[dict[str, _Answer]] = {
    DOCUMENT_PATH: answer_document,
    PROBE_PATH: answer_probe,
    READY_PATH: answer_readiness,
}
