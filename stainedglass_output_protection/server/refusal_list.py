"""Every refusal that the protection can answer with, for documents and metrics."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from stainedglass_output_protection.errors import ClientKeyError, RequestError
from stainedglass_output_protection.protocol.keys import parse_client_key
from stainedglass_output_protection.server import (
    provoked_error,
    refusals,
    replay_store,
)


def _all() -> Iterator[RequestError]:
    try:
        parse_client_key("")
    except ClientKeyError as error:
        yield error.with_traceback(None)
    yield refusals.client_key_missing()
    yield refusals.client_key_duplicated()
    yield refusals.sealed_request_required()
    yield refusals.sealed_request_malformed()
    yield refusals.sealed_request_mismatch()
    yield refusals.route_not_protected()
    yield refusals.stored_response_refused()
    yield refusals.response_not_found()
    yield refusals.method_not_allowed()
    yield refusals.request_too_large()
    yield refusals.key_unknown("")
    yield replay_store.request_replayed()
    yield replay_store.request_mistimed()
    yield refusals.keys_unavailable()
    yield provoked_error.error_provoked()


# By code: the status to answer, and what it means.
REFUSALS: Final[dict[str, tuple[int, str]]] = {
    error.code: (error.status, str(error)) for error in _all()
}
