"""Key documents that something on the way has kept."""

from __future__ import annotations

import pytest

from stainedglass_output_protection.protocol.identity import IdentityKey
from stainedglass_output_protection.server.clock import unix_ms
from tests.apps.doctor.conftest import Examine, serving
from tests.client.sealed_server import HOUR_MS, ring_since
from tests.gateways.simulator import Gateway
from tests.gateways.traffic import Answer, Asked, Forward, pieces, whole
from tests.gateways.upstream import Upstream

MINUTE_MS = 60_000


class Keeps:
    """Answers with the document that it once got, and says how old it is if told to."""

    def __init__(self, text: str | None = None, age: str | None = None) -> None:
        self.text = text
        self.age = age

    async def __call__(self, asked: Asked, forward: Forward) -> Answer:
        answer = await forward(asked)
        if not asked.is_for_document:
            return answer
        body = await whole(answer.body)
        if self.text is not None:
            body = b'{"document":"%s"}' % self.text.encode()
        headers = [*answer.headers, ("age", self.age)] if self.age else answer.headers
        return Answer(answer.status, headers, pieces(body))


@pytest.mark.parametrize(
    ("minutes", "found"),
    [
        (10, {"key-document"}),
        # It may have been fetched before the epoch began, or from a slower replica.
        (1, set()),
    ],
)
def test_a_document_of_an_earlier_epoch_is_named(
    examine: Examine, minutes: int, found: set[str]
) -> None:
    now = unix_ms()
    ring = ring_since(now - HOUR_MS - minutes * MINUTE_MS)
    earlier = ring.current(now - HOUR_MS).document_text
    ring.tick(now - minutes * MINUTE_MS)
    with serving(ring=ring) as server, Gateway(server.port) as gateway:
        gateway.use_acts(Keeps(earlier))
        report = examine(gateway.base_url, "--json", "--identity", server.fingerprint)

    assert (report.status, set(report.findings)) == (0, found)
    assert ("cache" in report.findings.get("key-document", "")) == bool(found)


@pytest.mark.parametrize(
    ("age", "is_named"), [("120", True), ("0", False), ("", False), ("old", False)]
)
def test_a_cache_that_says_so_is_named(
    server: Upstream, gateway: Gateway, examine: Examine, age: str, is_named: bool
) -> None:
    gateway.use_acts(Keeps(age=age))

    report = examine(gateway.base_url, "--json", "--identity", server.fingerprint)

    assert (report.status, "key-document" in report.findings) == (0, is_named)


def test_replicas_with_keys_of_their_own_are_no_cache(examine: Examine) -> None:
    identity = IdentityKey.generate()
    old = ring_since(unix_ms() - 50 * MINUTE_MS, identity=identity)
    new = ring_since(unix_ms() - 20 * MINUTE_MS, identity=identity)
    with (
        serving(ring=old) as one,
        serving(ring=new) as other,
        Gateway(one.port, "alternates_servers", other_port=other.port) as gateway,
    ):
        report = examine(gateway.base_url, "--json", "--identity", one.fingerprint)

    assert set(report.findings) == {"replicas"}
