"""The key document that a client seals to (``protocol.md#key-document``)."""

from __future__ import annotations

from collections.abc import Callable

from stainedglass_output_protection.protocol.key_document import KeyDocument


class DocumentCache:
    """The newest key document that a client has accepted.

    ``accept`` raises for one that it does not accept; ``clock`` returns Unix
    milliseconds. Safe to share by threads.
    """

    def __init__(
        self, accept: Callable[[KeyDocument], None], clock: Callable[[], int]
    ) -> None:
        self._accept = accept
        self.clock = clock
        self._document: KeyDocument | None = None

    def usable(self) -> KeyDocument | None:
        """Return the document, unless its keys are gone or soon will be."""
        document = self._document
        if document is None:
            return None
        # When its keys go, nobody has signed; when its statement ends, the server has.
        end = min(document.retires_at, document.statement.not_after)
        life = end - document.statement.epoch
        is_old = self.clock() >= end - life // 4
        return None if is_old else document

    def take(self, text: str, *, newer_than: int) -> KeyDocument | None:
        """Return the newest document if that in ``text`` is of a newer epoch; else None.

        Raises:
            StatementError: it is not acceptable.
        """
        document = KeyDocument.from_text(text)
        if document.statement.epoch <= newer_than:
            return None
        self._accept(document)
        known = self._document
        if known is not None and known.statement.epoch > document.statement.epoch:
            # An older one still passes where epochs overlap, but nobody is moved to it.
            return known
        self._document = document
        return document
