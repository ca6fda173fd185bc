"""Node's ``openai`` through the proxy."""

from __future__ import annotations

from tests.apps.proxy.node_openai import ask
from tests.apps.proxy.running import Running, proxied
from tests.client.drivers import protection_for
from tests.client.fake_server import ANSWER, Wire
from tests.client.sealed_cases import is_seen
from tests.client.sealed_server import SealedServer


def test_nodes_openai_asks_and_streams(server: SealedServer, proxy: Running) -> None:
    told = ask(proxy.v1)

    assert told == {"unary": ANSWER, "streamed": ANSWER, "error": None}
    assert not is_seen(server, "Where to?", ANSWER)


def test_nodes_openai_shows_another_identity_and_does_not_ask_again(
    server: SealedServer,
) -> None:
    with proxied(server.base_url, protection_for(SealedServer())) as proxy:
        told = ask(proxy.v1)

    assert told["unary"] is None
    assert told["error"]["code"] == "identity_mismatch"
    assert told["error"]["status"] == 502
    # One for the key document, which is where it ends.
    assert len(server.received) == 1


def test_nodes_openai_shows_a_cut_stream(server: SealedServer, proxy: Running) -> None:
    def cut(wire: Wire) -> Wire:
        parts = wire.parts
        return Wire(wire.status, wire.headers, parts if len(parts) == 1 else parts[:3])

    server.tamper = cut

    told = ask(proxy.v1)

    assert told["unary"] == ANSWER
    assert told["error"]["code"] == "truncated"
    assert told["streamed"]
    assert ANSWER.startswith(told["streamed"])
    assert told["streamed"] != ANSWER
