"""A router that counts the tokens of answers still can: ``usage`` stays readable."""

from __future__ import annotations

import re

import pytest

from tests.fleet.asking import PROFILES, all_told, ask, sdk_for
from tests.fleet.engine import PROMPT_TOKENS, pieces
from tests.fleet.kinds import STACK, Kind
from tests.fleet.light import Fleet
from tests.vllm_integration.fleet.router import Router

ANSWERS = 7


@pytest.mark.parametrize("kind", STACK[:1], ids=str)
def test_the_tokens_of_whole_answers_are_counted(fleet: Fleet, kind: Kind) -> None:
    with (
        fleet.replicas("counted one", "counted two") as servers,
        kind.running("counter", fleet.folder, *(it.url for it in servers)) as router,
    ):
        for profile in PROFILES:
            with sdk_for(router.url, fleet.identity, profile) as sdk:
                for number in range(ANSWERS):
                    told = ask(sdk, number, is_chat=True, is_stream=False)
                    assert told == all_told(number)

        asked = ANSWERS * len(PROFILES)
        assert _total(router, "vllm:input_tokens_total") == asked * PROMPT_TOKENS
        assert _total(router, "vllm:output_tokens_total") == asked * len(pieces(0))


def _total(router: Router, name: str) -> float:
    counts = re.findall(rf"^{name}{{.*}} (\S+)$", router.metrics_text(), re.M)
    return sum(map(float, counts))
