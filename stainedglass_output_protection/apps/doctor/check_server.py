"""Checks of who answers: the server, its key document and its identity."""

from __future__ import annotations

from stainedglass_output_protection.apps.doctor.causes import (
    DOCUMENT,
    IDENTITY,
    LOST_DOCUMENT,
    SERVER,
    causes_for,
)
from stainedglass_output_protection.apps.doctor.check_replicas import check_replicas
from stainedglass_output_protection.apps.doctor.document_age import (
    is_kept_document,
    is_repeated,
)
from stainedglass_output_protection.apps.doctor.findings import (
    Finding,
    Outcome,
    fault,
    not_tested,
    ok,
    warning,
)
from stainedglass_output_protection.apps.doctor.observations import (
    Observations,
    document_in,
)
from stainedglass_output_protection.apps.doctor.refusals import (
    is_clear_answer,
    is_our_refusal,
)

_ASK = "Ask the operator, not through this connection."


def check_server(seen: Observations) -> Finding:
    """Tell whether it is a server of ours that answers, and with which scheme."""
    causes = causes_for(SERVER, [*seen.seals, *seen.header_only], seen)
    if causes:
        return fault(SERVER, causes[0].seen, causes[0].advice)
    how = "over TLS" if seen.url.startswith("https:") else "without TLS"
    if is_ours(seen):
        return ok(SERVER, f"It answers, {how}, with output protection.")
    asked = [it for it in (seen.document, seen.models, seen.empty) if it is not None]
    statuses = sorted({it.last.status for it in asked if it.last})
    if any(300 <= status < 400 for status in statuses):
        return fault(
            SERVER,
            "Requests are answered with a redirect, which a protected client never "
            "follows.",
            "Use the address that it leads to, if you trust it.",
        )
    if any(map(is_clear_answer, [seen.empty, *seen.keyless.values()])):
        return fault(
            SERVER,
            "It answers in clear: a server without output protection.",
            "Check the URL: it may be the engine itself, past its protection. Else ask "
            "the operator to start it with sg-vllm serve, or a sidecar before it.",
        )
    if asked and all(it.last and it.last.status in (401, 403) for it in asked[1:]):
        return fault(
            SERVER,
            "Every request is refused with status 401 or 403.",
            "Check the API key, and what is in front of the server.",
        )
    return fault(
        SERVER,
        f"What answers, with status {' and '.join(map(str, statuses)) or 'none'}, is no "
        "server with output protection.",
        "Check that the server is up, then the URL.",
    )


def is_ours(seen: Observations) -> bool:
    """Tell whether a server with output protection has answered anything."""
    answers = [seen.empty, *seen.keyless.values()]
    return bool(seen.documents) or any(map(is_our_refusal, answers))


def check_document(seen: Observations) -> Finding:
    """Tell how the key document comes, and whether a client would accept it."""
    if not is_ours(seen):
        return not_tested(DOCUMENT, "no server with output protection answers")
    got = seen.document
    status = got.last.status if got is not None and got.last is not None else 0
    if any(it.error == "KeyDocumentError" for it in seen.documents):
        return fault(
            DOCUMENT,
            "The key document is damaged.",
            "If it stays, tell the operator; look for a gateway that rewrites bodies.",
        )
    if got is not None and got.last is not None and document_in(got.last):
        causes = causes_for(DOCUMENT, seen.seals, seen)
        if causes:
            return fault(DOCUMENT, causes[0].seen, causes[0].advice)
        is_shared = check_replicas(seen).outcome in (Outcome.OK, Outcome.NOT_TESTED)
        if is_repeated(seen) or (is_shared and is_kept_document(got.last, seen)):
            return warning(
                DOCUMENT,
                "The key document comes from a cache on the way.",
                "Have it not keep /.well-known/output-protection, which says no-store: "
                "what it kept is refused by clients once its time is over.",
            )
        return ok(DOCUMENT, "It is fetched by its path, and fits its signature.")
    if seen.documents and not causes_for(DOCUMENT, seen.seals, seen):
        return ok(
            DOCUMENT,
            f"Its path is not passed on (status {status}); clients learn it from a "
            "refusal, at the cost of one more round trip.",
        )
    return fault(DOCUMENT, LOST_DOCUMENT.seen, LOST_DOCUMENT.advice)


def check_identity(seen: Observations) -> Finding:
    """Tell who the server is, and whether that was to be expected."""
    if any(it.error == "StatementSignatureError" for it in seen.documents):
        return fault(
            IDENTITY,
            "The signature of the key document does not verify.",
            "Stop using this address, and tell the operator.",
        )
    found = list(dict.fromkeys(it.fingerprint for it in seen.documents))
    found = [it for it in found if it]
    if not found:
        return not_tested(IDENTITY, "no usable key document came")
    strange = [it for it in found if not seen.trusts(it)]
    if strange:
        what = "the pinned one" if seen.pins is not None else "the one known here"
        who = "The server's identity is"
        if len(found) > len(strange):
            who = "More than one server answers here; the identity of one is"
        return fault(
            IDENTITY,
            f"{who} {strange[0]}, which is not {what}.",
            f"Stop, and {_ASK[0].lower()}{_ASK[1:]} Only if the operator has replaced "
            "the identity, pin the new one.",
        )
    causes = causes_for(IDENTITY, [*seen.seals, *seen.header_only], seen)
    if causes or len(found) > 1:
        return fault(
            IDENTITY,
            f"{max(len(found), 2)} servers with different identities answer here.",
            "Ask the operator which servers are behind this address. They all need the "
            "same SG_IDENTITY_KEY_FILE.",
        )
    if seen.pins is not None:
        return ok(IDENTITY, f"It is {found[0]}, as pinned.")
    if seen.known:
        return ok(IDENTITY, f"It is {found[0]}, as known since its first use.")
    return warning(
        IDENTITY,
        f"Nothing says whether this is the right server: its identity is {found[0]}.",
        f"{_ASK} If that is its identity, pin it: SG_SERVER_IDENTITY={found[0]}",
    )
