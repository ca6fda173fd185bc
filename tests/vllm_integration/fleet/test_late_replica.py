"""A replica that starts when its fleet has served for long and its file was moved on."""

from __future__ import annotations

import urllib.request

import msgspec
import pytest

from stainedglass_output_protection.client.verdict import EXTENSION, Mark
from stainedglass_output_protection.protocol.constants import DOCUMENT_PATH
from stainedglass_output_protection.protocol.key_document import KeyDocument
from stainedglass_output_protection.server.clock import unix_ms
from tests.vllm_integration.fleet.before import CANARY, EPOCHS_OVER, TIMES, Before
from tests.vllm_integration.fleet.conftest import Starting
from tests.vllm_integration.servers import Server

pytestmark = pytest.mark.vllm


@pytest.fixture(scope="module")
def before(starting: Starting) -> Before:
    """What went on before it started."""
    return starting.before


def test_file_was_moved_on_before_it_started(before: Before) -> None:
    assert f"The base epoch of {before.fleet_path} was 0." in before.advanced
    moved = EPOCHS_OVER - TIMES.overlap
    assert any(f"base epoch: {moved + n}," in before.advanced for n in range(3))


def test_it_has_the_keys_of_the_replica_that_read_the_older_file(
    late: Server, before: Before
) -> None:
    with urllib.request.urlopen(late.url + DOCUMENT_PATH, timeout=60) as answer:
        text = msgspec.json.decode(answer.read())["document"]
    statement = KeyDocument.from_text(text).statement

    peers = before.peer.by_id(statement.key_id, unix_ms())

    assert peers is not None
    assert peers.statement == statement


def test_what_was_sealed_before_it_started_opens_and_does_not_run(
    late: Server, before: Before
) -> None:
    answer = before.waiting.result(timeout=120)

    # It cannot know whether another replica has run it.
    assert answer.status_code == 425
    assert answer.json()["error"]["code"] == "request_mistimed"
    # Sealed, so opened, under the epoch that was named before.
    verdict = answer.extensions[EXTENSION]
    assert verdict.mark is Mark.OPENED
    assert verdict.key_id == before.document.statement.key_id.hex()


def test_client_asks_it_with_the_key_document_that_it_had_before(
    late: Server, before: Before
) -> None:
    before.waiting.result(timeout=120)
    sent = len(before.relay.requests)

    answer = before.ask()

    assert answer.status_code == 200
    assert answer.json()["choices"][0]["message"]["content"] == CANARY.content
    verdict = answer.extensions[EXTENSION]
    assert verdict.mark is Mark.OPENED
    assert verdict.key_id == before.document.statement.key_id.hex()
    assert len(before.relay.requests) == sent + 1
