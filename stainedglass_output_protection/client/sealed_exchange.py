"""One request in profile ``sealed``, without I/O (``protocol.md#the-client``)."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable

import msgspec

from stainedglass_output_protection.client.document_cache import DocumentCache
from stainedglass_output_protection.client.exchange import Exchange, Outgoing
from stainedglass_output_protection.client.request import Request
from stainedglass_output_protection.client.settings import ClientSettings
from stainedglass_output_protection.errors import UsageError
from stainedglass_output_protection.protocol.constants import (
    CONTAINER_FIELDS,
    CONTAINER_OPAQUE,
    DOCUMENT_PATH,
    DOCUMENT_PREFIX,
    PROFILE_SEALED,
    SEALED_REQUEST_HEADER,
    SECRET_SIZE,
)
from stainedglass_output_protection.protocol.encoding import JSON_ERRORS
from stainedglass_output_protection.protocol.head import Parameters
from stainedglass_output_protection.protocol.key_document import KeyDocument
from stainedglass_output_protection.protocol.key_schedule import RequestSecrets
from stainedglass_output_protection.protocol.keys import ClientKeyPair
from stainedglass_output_protection.protocol.opener import Opener
from stainedglass_output_protection.protocol.request_carriers import (
    carrier_of,
    outer_json,
    outer_multipart,
    routed_members,
    shown_members,
    target_of,
)
from stainedglass_output_protection.protocol.sealed_request import (
    NO_KEY_ID,
    SealedMessage,
    SealedRequest,
    request_info,
)
from stainedglass_output_protection.protocol.statement import Statement
from stainedglass_output_protection.protocol.suites import seal

_KEY_UNKNOWN = "key_unknown"
# With what a gateway may have put around it.
_DOCUMENT = re.compile(re.escape(DOCUMENT_PREFIX) + r"[^\s\"'\\]*")
_OUTER_TYPES = ("content-type", "content-length", "transfer-encoding")


class _Error(msgspec.Struct):
    message: str
    code: str | int | None = None


class _ErrorBody(msgspec.Struct):
    error: _Error


class _DocumentBody(msgspec.Struct):
    document: str


class SealedExchange(Exchange):
    """One attempt of a request that is sealed.

    If ``document_path`` is set, the driver gets it first and hands the answer to
    ``take_document``. If ``may_learn`` says so of an answer's status, it hands the body to
    ``learn``, and sends ``outgoing`` again if that is true.
    """

    def __init__(
        self,
        request: Request,
        *,
        is_clear: bool,
        settings: ClientSettings,
        accept: Callable[[Statement], None],
        documents: DocumentCache,
        owner: bytes,
    ) -> None:
        super().__init__(is_clear=is_clear, settings=settings, accept=accept)
        if request.has_digest:
            raise UsageError(
                "The request has a header with a digest or signature of its body, "
                "which cannot be sealed: leave that header out."
            )
        self._documents = documents
        self._owner = owner
        self._document = documents.usable()
        self._secrets: RequestSecrets | None = None
        self._has_learned = False
        if self._document is None:
            self.document_path = request.prefix + DOCUMENT_PATH

    def take_document(self, status: int, body: bytes) -> None:
        """Take the answer to the request for a key document.

        Raises:
            StatementError: there is one, and it is not acceptable.
        """
        if status != 200:
            return
        try:
            text = msgspec.json.decode(body, type=_DocumentBody).document
        except JSON_ERRORS:
            return  # A page of something on the way.
        if text.startswith(DOCUMENT_PREFIX):
            self._document = self._documents.take(text, newer_than=-1)

    def outgoing(self, request: Request) -> Outgoing:
        """Return the sealed form of ``request``, with fresh keys each time.

        Without a key document it holds nothing: the answer to it brings one.

        Raises:
            KeyDocumentError: the document has no key of the suite.
        """
        self._key_pair = ClientKeyPair.generate()
        document = self._document
        if document is None:
            message = self._message(NO_KEY_ID, b"")
            # Nothing was sealed, so nothing that opens can be an answer.
            self._secrets = RequestSecrets(secrets.token_bytes(SECRET_SIZE), b"", b"")
        else:
            message = self._seal(document, request)
        headers = {"accept-encoding": "identity"}
        # Of the caller's own, the server would take two of these for a fault.
        names = (self._settings.client_key_header, SEALED_REQUEST_HEADER)
        dropped = [*_OUTER_TYPES, *names]
        if self._settings.seals_authorization:
            dropped.append("authorization")
        text = message.to_text()
        body = b""
        if not request.body:
            headers[SEALED_REQUEST_HEADER] = text
        elif request.content_type.lower().startswith("multipart/"):
            shown = routed_members(request.content_type, request.body)
            model = {name: shown[name] for name in ("model",) if name in shown}
            headers["content-type"], body = outer_multipart(text, model)
        else:
            shown = shown_members(request.body, self._settings.exposed)
            headers["content-type"] = "application/json"
            body = outer_json(carrier_of(request.raw_path), text, shown)
        return Outgoing(headers, dropped, body)

    def may_learn(self, status: int) -> bool:
        """Tell whether the answer may say that the key is unknown: once."""
        # Nothing was sealed without a document, so any refusal that has our code in it
        # may bring the first one: gateways rewrite statuses.
        is_refusal = status == 422 or (self._document is None and status >= 400)
        return is_refusal and not self._has_learned

    def learn(self, body: bytes) -> bool:
        """Tell whether an error's body brought a key document to seal to.

        Raises:
            StatementError: it did, and that is not acceptable.
        """
        self._has_learned = True
        try:
            error = msgspec.json.decode(body, type=_ErrorBody).error
        except JSON_ERRORS:
            return False
        text = ""
        if error.code == _KEY_UNKNOWN:
            text = error.message.rpartition(" ")[2]
        elif self._document is None and _KEY_UNKNOWN in error.message:
            # A gateway has put its own code beside it, and its own words around it.
            found = _DOCUMENT.search(error.message)
            text = found[0] if found else ""
        if not text.startswith(DOCUMENT_PREFIX):
            return False
        newest = -1 if self._document is None else self._document.statement.epoch
        document = self._documents.take(text, newer_than=newest)
        if document is None:
            return False
        self._document = document
        return True

    def _seal(self, document: KeyDocument, request: Request) -> SealedMessage:
        statement = document.statement
        suite = self._settings.suite
        opaque = self._settings.asks_opaque
        sealed = SealedRequest(
            response_secret=secrets.token_bytes(SECRET_SIZE),
            owner=self._owner,
            time_ms=self._documents.clock(),
            container=CONTAINER_OPAQUE if opaque else CONTAINER_FIELDS,
            method=request.method,
            target=target_of(request.path, request.query),
            content_type=request.content_type,
            authorization=(
                request.authorization if self._settings.seals_authorization else ""
            ),
            body=request.body,
        )
        info = request_info(suite, statement.digest, self._key_pair.public_key)
        key = document.suite_public_keys.get(suite, b"")
        message = self._message(
            statement.key_id, seal(suite, key, sealed.encode(), info)
        )
        self._secrets = RequestSecrets(
            sealed.response_secret, message.request_hash, statement.digest
        )
        return message

    def _message(self, key_id: bytes, ciphertext: bytes) -> SealedMessage:
        return SealedMessage(
            self._settings.suite, key_id, self._key_pair.public_key, ciphertext
        )

    def _opener_for(self, container: int) -> Opener:
        return Opener(
            self._key_pair,
            accept=self._accept,
            parameters=Parameters(
                suite=self._settings.suite, profile=PROFILE_SEALED, container=container
            ),
            request=self._secrets,
        )
