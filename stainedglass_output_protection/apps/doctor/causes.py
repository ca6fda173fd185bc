"""Why a probe failed, in the words of one check: each failure is named once.

No word of an answer is repeated. What is said depends on the error that the protected
client raised, on one of our codes, or on the status.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from stainedglass_output_protection.apps.doctor.observations import (
    Answer,
    Observations,
    document_in,
)

# The check of the probe itself: nobody else has a better name for it.
OWN: Final = ""
SERVER, DOCUMENT, IDENTITY = "server", "key-document", "identity"
CLOCK, REPLAY, REPLICAS = "clock", "replay", "replicas"
REWRITING, AUTHORIZATION, CACHING = "request-rewriting", "authorization", "caching"


class Cause(NamedTuple):
    """The check that names it, what was seen, and what to do."""

    check: str
    seen: str
    advice: str


_BODIES = (
    "Look for a gateway that rewrites bodies, and have it pass them on as they are."
)
_STREAMS = (
    "Look for a gateway that rewrites streams, and have it pass them on as they are."
)
_KEYS = (
    "Give all servers behind this address the same SG_IDENTITY_KEY_FILE and "
    "SG_FLEET_SECRET_FILE."
)

_ERRORS: Final = {
    "UnprotectedResponseError": Cause(
        OWN,
        "The answer came back in clear.",
        "Ask the operator whether protection is on; look for something on the way that "
        "answers itself, or writes words of its own into answers.",
    ),
    "RedirectRefusedError": Cause(
        SERVER,
        "Requests are answered with a redirect, which a protected client never follows.",
        "Use the address that it leads to, if you trust it.",
    ),
    "MalformedFrameError": Cause(
        OWN, "A sealed text was shortened, merged or changed on the way.", _BODIES
    ),
    "SequenceError": Cause(
        OWN, "Events were dropped, doubled, swapped or replaced on the way.", _STREAMS
    ),
    "DecryptionError": Cause(OWN, "Sealed bytes were changed on the way.", _BODIES),
    "TruncatedError": Cause(
        OWN,
        "The answer ended before its last sealed event: it was cut, or an error event "
        "that is not sealed came in between.",
        "Look for a gateway that ends streams early: by a time limit, a size limit or "
        "an error of its own.",
    ),
    "TrailingDataError": Cause(
        OWN, "Sealed text came after the end of an answer.", _STREAMS
    ),
    "TooLargeError": Cause(
        OWN, "An answer to a few words was far too large.", "Check the URL."
    ),
    "UnexpectedParametersError": Cause(
        OWN,
        "An answer has another version, suite or profile than was asked for.",
        "Update the client or the server.",
    ),
    "ForeignResponseError": Cause(
        CACHING,
        "An answer came that was sealed for another request: a cache answers.",
        "Switch off the cache on the way for this server.",
    ),
    "IdentityMismatchError": Cause(
        IDENTITY,
        "Answers came from another identity than that of the key document.",
        "Ask the operator which servers are behind this address. " + _KEYS,
    ),
    "StatementSignatureError": Cause(
        IDENTITY,
        "The signature of a key statement does not verify.",
        "Stop using this address, and tell the operator.",
    ),
    "StatementExpiredError": Cause(
        CLOCK,
        "An answer is of an epoch that is not valid at this machine's time.",
        "Set the clocks of both machines; otherwise an old answer was replayed.",
    ),
    "StatementRolledBackError": Cause(
        REPLICAS,
        "An answer is of an epoch that had ended before one used earlier.",
        "Look for an old server, or an old answer, behind this address. " + _KEYS,
    ),
    "StatementMismatchError": Cause(
        REPLICAS,
        "An answer is of another epoch than the one that its request was sealed to.",
        "If it stays, stop using this address, and tell the operator.",
    ),
    "KeyDocumentError": Cause(
        DOCUMENT,
        "The key document is damaged, or lacks the suite.",
        "If it stays, tell the operator.",
    ),
}

_CODES: Final = {
    "sealed_request_mismatch": Cause(
        REWRITING,
        "The method, the URL, model or stream is changed on the way.",
        "Have the gateway pass them on, without aliases of models; or use profile "
        "output.",
    ),
    "sealed_request_malformed": Cause(
        REWRITING, "The sealed text of requests is changed on the way.", _BODIES
    ),
    "client_key_missing": Cause(
        REWRITING, "The sealed text of requests does not arrive.", _BODIES
    ),
    "request_replayed": Cause(
        REPLAY,
        "A request that was sent once arrived more than once.",
        "Switch off retries and mirroring on the way.",
    ),
    "request_mistimed": Cause(
        CLOCK,
        "The server takes the time of a request for wrong.",
        "Set the clocks of both machines. A server that has just started: try again in "
        "a minute.",
    ),
    "key_unknown": Cause(
        REPLICAS,
        "A request that was sealed to one server's key reached another one, which does "
        "not have it.",
        _KEYS,
    ),
    "keys_unavailable": Cause(
        SERVER,
        "The server has no usable key at the moment.",
        "Try again; if it stays, the operator's log says why.",
    ),
    "sealed_request_required": Cause(
        OWN,
        "This server takes sealed requests only.",
        "Use profile sealed.",
    ),
}


LOST_DOCUMENT: Final = Cause(
    DOCUMENT,
    "The key document comes neither by its path nor in a refusal that a client "
    "understands, so nothing can be sealed.",
    "Have the gateway pass GET /.well-known/output-protection, or errors with status "
    "422, on as they are.",
)


def cause_of(answer: Answer, seen: Observations) -> Cause | None:
    """Return why ``answer`` is none that opened; None if it is."""
    if answer.failure is not None:
        what, _, remedy = answer.failure.partition(". ")
        return Cause(OWN, f"{what}.", remedy)
    if _was_not_learned(answer, seen):
        return LOST_DOCUMENT
    if answer.error is not None:
        return _cause_of_error(answer.error, seen)
    code = answer.said.code
    if isinstance(code, str) and code in _CODES:
        return _CODES[code]
    if answer.is_opened:
        return None
    if answer.status in (401, 403):
        return Cause(
            AUTHORIZATION,
            f"Requests are refused with status {answer.status}.",
            "Check the API key. If it is right, look for a gateway that removes the "
            "header Authorization.",
        )
    return Cause(
        OWN,
        f"Something on the way answered, with status {answer.status}.",
        "Ask whoever runs the gateway in front of the server.",
    )


def _was_not_learned(answer: Answer, seen: Observations) -> bool:
    """Tell whether the refusal that brings the document did not come as such."""
    if any(it.seen.method == "GET" for it in seen.documents):
        return False
    if answer.error not in (None, "UnprotectedResponseError"):
        return False  # It was taken, and refused.
    asked = [it for it in answer.seen if it.method == "POST"]
    return len(asked) == 1 and document_in(asked[0]) is not None


def _cause_of_error(name: str, seen: Observations) -> Cause:
    cause = _ERRORS.get(name)
    if cause is None:
        return Cause(
            OWN, f"The client refused the answer: {name}.", "Tell the operator."
        )
    is_cached = any(it.error == "ForeignResponseError" for it in seen.answers)
    if name == "UnexpectedParametersError" and is_cached:
        return _ERRORS["ForeignResponseError"]
    return cause


def causes_for(check: str, answers: list[Answer], seen: Observations) -> list[Cause]:
    """Return, once each, the causes of failures that this check has to name."""
    causes = [cause_of(answer, seen) for answer in answers]
    return list(dict.fromkeys(it for it in causes if it and it.check == check))
