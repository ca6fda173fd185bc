"""The whole exception tree, split by who must act.

::

    OutputProtectionError
    |-- ConfigurationError                 the operator: a setting is wrong
    |-- UsageError                         the calling code
    |-- RequestError (ValueError)          the client: its request is refused, status 4xx
    |   `-- ClientKeyError
    |-- KeysUnavailableError (TypeError)   the server has no usable epoch key, status 503
    `-- ResponseError                      the answer is not acceptable: trust none of it
        |-- UnprotectedResponseError       a success that is not sealed
        |-- RedirectRefusedError
        |-- MalformedFrameError
        |-- UnexpectedParametersError      version, suite, profile or container not asked for
        |-- ForeignResponseError           sealed for another client's key
        |-- StatementError
        |   |-- StatementSignatureError
        |   |-- IdentityMismatchError      another server than the pinned one
        |   |   `-- IdentityChangedError   another than on first use
        |   |-- StatementExpiredError
        |   |-- StatementRolledBackError
        |   |-- StatementMismatchError     another epoch than the request was sealed to
        |   |-- KeyDocumentError           no usable key document
        |   `-- EvidenceError              the attestation evidence is refused
        |-- SequenceError                  a frame dropped, doubled, swapped or injected
        |-- DecryptionError                a tag did not verify
        |-- TruncatedError                 the answer ended before its final frame
        |-- TrailingDataError              frames after the final frame
        `-- TooLargeError

None derives from an HTTP library's error: SDKs retry those and hide the cause.
Messages hold no key material, no plaintext and none of the peer's bytes.
"""

from __future__ import annotations

from typing import ClassVar

_ASK_AGAIN = (
    "Ask again. If it stays, look for a gateway that rewrites answers: `sg-vllm doctor "
    "URL` tells what is on the way."
)
_STOP = "Stop, and tell the operator."


class OutputProtectionError(Exception):
    """The root of every error this package raises on purpose."""


class ConfigurationError(OutputProtectionError):
    """A setting is wrong; the message names the variable and what to do."""


class UsageError(OutputProtectionError):
    """The calling code used an object in a way it does not allow."""


class RequestError(OutputProtectionError, ValueError):
    """A client's request is refused (``protocol.md#errors``).

    ``code`` is the machine-readable code and ``status`` the HTTP status to answer.
    """

    def __init__(self, message: str, *, code: str, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.status = status


class ClientKeyError(RequestError):
    """The client key is missing, duplicated or malformed."""


class KeysUnavailableError(OutputProtectionError, TypeError):
    """The server has no usable epoch key: its lifespan has not run, or rotation died."""


class ResponseError(OutputProtectionError):
    """An answer is not acceptable. Nothing released after this; trust none of it.

    ``advice`` says what to do next; it ends the error's words, whatever they are.
    """

    advice: ClassVar[str] = ""

    def __str__(self) -> str:
        return " ".join(filter(None, [super().__str__(), self.advice]))


class UnprotectedResponseError(ResponseError):
    """A success came back that is not sealed, on a route that must be."""

    advice = (
        "Check the base URL, and ask the operator whether protection is on; `sg-vllm "
        "doctor URL` tells what is on the way."
    )


class RedirectRefusedError(ResponseError):
    """A protected request was answered with a redirect, which is never followed."""


class MalformedFrameError(ResponseError):
    """Bytes that are not a frame of this protocol."""

    advice = _ASK_AGAIN


class UnexpectedParametersError(ResponseError):
    """Version, suite, profile or container are not the ones asked for."""


class ForeignResponseError(ResponseError):
    """The answer was sealed for another client key, by a cache for instance."""


class StatementError(ResponseError):
    """The server's epoch statement is not acceptable."""


class StatementSignatureError(StatementError):
    """The statement's signature does not verify."""

    advice = _STOP


class IdentityMismatchError(StatementError):
    """The statement is signed by another identity than the pinned one."""


class StatementExpiredError(StatementError):
    """The clock is outside the statement's validity, skew included."""


class StatementRolledBackError(StatementError):
    """The statement had retired before one that was accepted earlier."""

    advice = _STOP


class IdentityChangedError(IdentityMismatchError):
    """The server has another identity than the one remembered from first use."""


class StatementMismatchError(StatementError):
    """The answer is under another epoch than the one the request was sealed to."""

    advice = "Ask again. If it stays, stop, and tell the operator."


class KeyDocumentError(StatementError):
    """The server's key document is missing, or does not fit its signed statement."""

    advice = "Ask again. If it stays, tell the operator."


class EvidenceError(StatementError):
    """The attestation evidence is missing, or was refused by the client's verifier."""

    advice = _STOP


class SequenceError(ResponseError):
    """A frame is not the expected one: dropped, doubled, swapped or injected."""

    advice = _ASK_AGAIN


class DecryptionError(ResponseError):
    """A tag did not verify: the bytes were changed or belong to another response."""

    advice = _ASK_AGAIN


class TruncatedError(ResponseError):
    """The answer ended before its final frame; what was released is not complete."""

    advice = "Discard what came, and ask again."


class TrailingDataError(ResponseError):
    """There are frames after the final one."""

    advice = _ASK_AGAIN


class TooLargeError(ResponseError):
    """Something exceeds this implementation's limits."""

    advice = "Ask for less."
