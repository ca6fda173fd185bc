"""Row 4: request ids are anybody's words, and nothing of the protection hangs on them."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest

from stainedglass_output_protection.client import protected_async_client
from stainedglass_output_protection.client.verdict import Mark
from tests.vllm_integration.asking import TIMEOUT_S
from tests.vllm_integration.server_utilities.conftest import (
    TOKENS,
    Flagged,
    bearer,
    said,
)
from tests.vllm_integration.server_utilities.stub_engine import answer_to, beside
from tests.vllm_integration.shapes import CHAT

pytestmark = pytest.mark.vllm

HEADER = "x-request-id"
PAIRS = 200
AT_ONCE = 16


@pytest.mark.parametrize("profile", ["sealed", "output"])
async def test_row_4_two_clients_with_the_same_ids_each_open_their_own(
    flagged: Flagged, profile: str
) -> None:
    gate = asyncio.Semaphore(AT_ONCE)

    def client() -> Any:
        return protected_async_client(
            identity=flagged.identity,
            profile=profile,
            library="httpx2",
            base_url=flagged.url,
            verify=flagged.tls,
            timeout=TIMEOUT_S,
            headers=bearer(TOKENS[0]),
        )

    async def ask(asking: Any, number: int, own: str, twin: str) -> None:
        answer = await asking.post(
            CHAT,
            json=said(beside(own), stream=number % 2 == 0),
            headers={HEADER: f"id-{number}"},
        )
        assert answer.status_code == 200
        assert answer.extensions["output_protection"].mark is Mark.OPENED
        assert answer.headers.get_list(HEADER) == [f"id-{number}"]
        # The twin's words are known to a server only that has both at the same time.
        expected = answer_to(f"{own} beside {twin}")
        if number % 2:
            (choice,) = answer.json()["choices"]
            assert choice["message"]["content"] == expected
        else:
            pieces = re.findall(r'"content":"([^"]*)"', answer.text)
            assert "".join(pieces) == expected

    async with client() as first, client() as second:

        async def ask_both(number: int) -> None:
            names = f"first {number}", f"second {number}"
            async with gate:
                await asyncio.gather(
                    ask(first, number, *names), ask(second, number, *names[::-1])
                )

        await asyncio.gather(*map(ask_both, range(PAIRS)))


def test_row_4_an_id_is_minted_where_there_is_none(flagged: Flagged) -> None:
    with flagged.protected() as client:
        answers = [client.post(CHAT, json=said("id")) for _ in range(2)]
    ids = {answer.headers[HEADER] for answer in answers}
    assert len(ids) == 2
    assert all(re.fullmatch(r"[0-9a-f]{32}", it) for it in ids)


@pytest.mark.parametrize("given", ["", "a" * 4000, "sgop1.AAAA", "x, y"])
def test_row_4_an_id_of_any_form_changes_nothing(flagged: Flagged, given: str) -> None:
    with flagged.protected() as client:
        answer = client.post(CHAT, json=said("id"), headers={HEADER: given})
    assert answer.status_code == 200
    assert answer.headers[HEADER] == given
    assert answer.extensions["output_protection"].mark is Mark.OPENED
