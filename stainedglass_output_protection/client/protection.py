"""What all transports of one client share: settings, trust, key document and origin."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from stainedglass_output_protection.client.document_cache import DocumentCache
from stainedglass_output_protection.client.evidence import EvidenceCheck
from stainedglass_output_protection.client.exchange import Exchange
from stainedglass_output_protection.client.owner import load_owner
from stainedglass_output_protection.client.request import Origin, Request
from stainedglass_output_protection.client.sealed_exchange import SealedExchange
from stainedglass_output_protection.client.settings import ClientSettings
from stainedglass_output_protection.errors import ConfigurationError, UsageError
from stainedglass_output_protection.protocol.constants import PROFILE_SEALED
from stainedglass_output_protection.protocol.key_document import KeyDocument
from stainedglass_output_protection.protocol.routes import is_clear_url
from stainedglass_output_protection.protocol.statement import Statement
from stainedglass_output_protection.protocol.trust import StatementPolicy

if TYPE_CHECKING:
    from stainedglass_output_protection.client.known_servers import KnownServers


class Protection:
    """Makes the exchanges of one client. Safe to share by threads.

    ``clock`` returns Unix seconds.

    Raises:
        ConfigurationError: profile ``sealed`` without a pin or trust on first use, or
            the owner's file is unusable.
    """

    def __init__(
        self,
        settings: ClientSettings | None = None,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings = settings or ClientSettings()
        self._is_sealed = settings.profile == PROFILE_SEALED
        if self._is_sealed and settings.pins is None and not settings.trusts_first_use:
            raise ConfigurationError(
                "Sealed requests need to know the server: pin its fingerprint, which it "
                "prints when it starts, with identity='SHA256:...' or "
                "SG_SERVER_IDENTITY. Or trust whoever answers first with "
                "trust_on_first_use=True, or seal answers only with profile='output'."
            )
        if not self._is_sealed and (
            settings.seals_authorization or settings.verify_evidence
        ):
            raise ConfigurationError(
                "seal_authorization and verify_evidence need sealed requests: choose "
                "profile='sealed', or leave them out."
            )
        self._policy = StatementPolicy(settings.pins)
        self._known: KnownServers | None = None
        if settings.trusts_first_use:
            # Here, since most clients do without it, and programs start sooner so.
            from stainedglass_output_protection.client.known_servers import (
                KnownServers,
            )

            self._known = KnownServers(
                settings.known_servers, pinned=settings.pins is not None, clock=clock
            )
        self._evidence = EvidenceCheck(settings.verify_evidence)
        self._owner = load_owner(settings.owner_file)
        self._clock = clock
        # By base URL: below one origin there may be several servers.
        self._documents: dict[str, DocumentCache] = {}
        self._origin: Origin | None = None
        self._lock = threading.Lock()

    @classmethod
    def load(
        cls, identity: str | Iterable[str] | None = None, **choices: object
    ) -> Protection:
        """Return one with the environment's settings; arguments go first.

        Takes what ``ClientSettings.load`` takes.

        Raises:
            ConfigurationError: a setting is wrong.
        """
        return cls(ClientSettings.load(identity, **choices))  # type: ignore[arg-type]

    @property
    def reads_bodies(self) -> bool:
        """Whether the driver has to read the bodies of requests first."""
        return self._is_sealed

    def begin(self, request: Request) -> Exchange:
        """Return the exchange for one attempt, with a key pair of its own.

        Raises:
            UsageError: the request is for another origin than the first one was, or
                cannot be sealed.
        """
        with self._lock:
            if self._origin is None:
                self._origin = request.origin
        if request.origin != self._origin:
            raise UsageError(
                "A protected client serves one origin only, that of its first "
                "request. Make another client for another server."
            )
        is_clear = is_clear_url(request.method, request.raw_path)
        base_url = request.base_url

        # On a clear route only the API key is sealed, if it is to be.
        seals_key = self._settings.seals_authorization and request.authorization
        if not self._is_sealed or (is_clear and not seals_key):

            def accept(statement: Statement) -> None:
                self._check(statement)
                self._remember(statement, base_url)

            return Exchange(is_clear=is_clear, settings=self._settings, accept=accept)
        return SealedExchange(
            request,
            settings=self._settings,
            accept=self._check,
            is_clear=is_clear,
            documents=self._documents_of(base_url),
            owner=self._owner.secret,
        )

    def _documents_of(self, base_url: str) -> DocumentCache:
        def accept(document: KeyDocument) -> None:
            self._check(document.statement)
            self._evidence.check(document)
            # Last: whom the evidence speaks against is not the one to remember.
            self._remember(document.statement, base_url)

        with self._lock:
            if base_url not in self._documents:
                self._documents[base_url] = DocumentCache(accept, self._now_ms)
            return self._documents[base_url]

    def _check(self, statement: Statement) -> None:
        self._policy.accept(statement, now_ms=self._now_ms())

    def _remember(self, statement: Statement, base_url: str) -> None:
        if self._known is not None:
            self._known.check(base_url, statement)

    def _now_ms(self) -> int:
        return int(self._clock() * 1000)
