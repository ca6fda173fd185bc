"""Key documents through gateways: hidden, cached, of a server that has moved on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from stainedglass_output_protection.client import protected_client
from stainedglass_output_protection.server.clock import unix_ms
from stainedglass_output_protection.server.key_ring import KeyRing
from tests.client.sealed_server import plain_answer, ring_since
from tests.gateways.asking import PROMPT, Asking
from tests.gateways.fault import OPENS
from tests.gateways.simulator import Gateway
from tests.gateways.upstream import Upstream, running


def later(ring: KeyRing) -> KeyRing:
    """Return a ring of the same identity, with another epoch only."""
    return ring_since(unix_ms(), identity=ring.identity)


@pytest.fixture
def own(gateway: Gateway) -> Iterator[tuple[Upstream, Gateway]]:
    """A server whose keys may be changed, and a gateway before it."""
    with running(Upstream()) as upstream, Gateway(upstream.port) as before:
        yield upstream, before


@pytest.mark.parametrize(
    "faults",
    [
        ["caches_key_document"],
        ["hides_key_document"],
        ["hides_key_document", "rewrites_ids"],
    ],
    ids=str,
)
def test_a_client_seals_again_after_the_server_has_moved_on(
    faults: list[str], shape: str, own: tuple[Upstream, Gateway]
) -> None:
    upstream, gateway = own
    asking = Asking(gateway, upstream.fingerprint)
    gateway.use(*faults)
    assert asking("sealed", shape).outcome == OPENS
    upstream.ring = later(upstream.ring)
    assert asking("sealed", shape).outcome == OPENS


def test_replicas_of_one_secret_answer_in_turns(
    own: tuple[Upstream, Gateway], profile: str, shape: str
) -> None:
    upstream, _ = own
    with (
        running(Upstream(upstream.ring)) as replica,
        Gateway(
            upstream.port, "alternates_servers", other_port=replica.port
        ) as gateway,
    ):
        url = f"{gateway.base_url}/chat/completions"
        asked = {**PROMPT, "stream": shape == "stream"}
        with protected_client(identity=upstream.fingerprint, profile=profile) as client:
            for _ in range(4):
                answer = client.post(url, json=asked)
                assert (
                    answer.content
                    == plain_answer((*upstream.app.calls, *replica.app.calls)[-1]).body
                )
        assert len(upstream.app.calls) == len(replica.app.calls) == 2


def test_replicas_with_keys_of_their_own_never_make_a_wrong_answer(
    own: tuple[Upstream, Gateway], profile: str
) -> None:
    upstream, _ = own
    with (
        running(Upstream(later(upstream.ring))) as replica,
        Gateway(
            upstream.port, "alternates_servers", other_port=replica.port
        ) as gateway,
    ):
        asking = Asking(gateway, upstream.fingerprint)
        outcomes = {asking(profile).outcome for _ in range(4)}
        assert outcomes <= {OPENS, "422 unauthenticated key_unknown"}
        assert outcomes == {OPENS} or profile == "sealed"


def test_a_strangers_document_is_refused_before_anything_is_sealed_to_it(
    asking: Asking, gateway: Gateway
) -> None:
    gateway.use("goes_to_another_server")
    assert asking("sealed").outcome == "IdentityMismatchError"
    assert [asked.method for asked in gateway.received] == ["GET"]
