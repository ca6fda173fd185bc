"""Refusals that a gateway has rewritten still bring a key document, and still open."""

from __future__ import annotations

import pytest

from tests.client.fake_server import error_body
from tests.client.sealed_server import plain_answer
from tests.gateways.asking import PROMPT, Asking
from tests.gateways.fault import OPENS
from tests.gateways.simulator import Gateway
from tests.gateways.upstream import Upstream

REWRITTEN = {
    "another status": ["maps_statuses"],
    "a server's status": ["shows_errors_as_500"],
    "other words and code": ["quotes_errors"],
    "all of it": ["quotes_errors", "maps_statuses"],
}
REFUSED = {**PROMPT, "model": "unknown"}


@pytest.mark.parametrize("how", REWRITTEN)
def test_the_first_key_document_comes_with_a_rewritten_refusal(
    how: str, shape: str, asking: Asking, upstream: Upstream, gateway: Gateway
) -> None:
    gateway.use(*REWRITTEN[how], "hides_key_document")
    seen = asking("sealed", shape)
    assert seen.outcome == OPENS
    assert seen.body == plain_answer(upstream.app.calls[-1]).body
    # One for the document by GET, one for it by POST, and the question.
    assert [asked.method for asked in gateway.received] == ["GET", "POST", "POST"]


@pytest.mark.parametrize("how", REWRITTEN)
def test_a_sealed_error_opens_among_other_words(
    how: str, profile: str, asking: Asking, gateway: Gateway
) -> None:
    gateway.use(*REWRITTEN[how])
    seen = asking(profile, asked=REFUSED)
    assert (seen.status, seen.mark) == (400, "opened")
    assert seen.body == error_body("The model `unknown` is secret.")


def test_a_strangers_document_in_a_refusal_is_refused(
    asking: Asking, gateway: Gateway
) -> None:
    gateway.use("quotes_errors", "hides_key_document", "goes_to_another_server")
    assert asking("sealed").outcome == "IdentityMismatchError"
    assert len(gateway.received) == 2


@pytest.mark.parametrize("status", ["maps_statuses", "shows_errors_as_500"])
def test_a_refusal_without_a_document_stays_a_refusal(
    status: str, asking: Asking, upstream: Upstream, gateway: Gateway
) -> None:
    gateway.use(status, "is_unavailable")
    assert asking("sealed").outcome.endswith("unauthenticated")
    assert not upstream.app.calls
