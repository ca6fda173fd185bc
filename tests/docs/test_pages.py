"""Every command and snippet of the pages runs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.docs.blocks import (
    NEEDS,
    PARSED,
    ROOT,
    RUN,
    SHOWN,
    Block,
    all_blocks,
    blocks_of,
    pages_with_something_to_run,
)
from tests.docs.child import Child
from tests.docs.running import STAND_INS, Run, Target
from tests.docs.serving import check_recorded

BLOCKS = all_blocks()


def test_there_is_something_to_run() -> None:
    assert len(pages_with_something_to_run()) > 4
    assert sum(block.language == "python" for block in BLOCKS) > 3


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_blocks_say_what_they_are(block: Block) -> None:
    assert block.language in (*RUN, *PARSED, *SHOWN), "a fence needs a known language"
    for need in filter(None, block.needs.split(", ")):
        assert need in NEEDS


@pytest.mark.parametrize(
    "block", [block for block in BLOCKS if block.language in PARSED], ids=str
)
def test_data_can_be_parsed(block: Block) -> None:
    if block.language == "json":
        json.loads(block.text)
    else:
        assert list(yaml.safe_load_all(block.text))


@pytest.mark.parametrize(
    "page", pages_with_something_to_run(), ids=lambda page: str(page.relative_to(ROOT))
)
def test_commands_and_snippets_run(
    page: Path, target: Target, begin: Callable[..., Run], parser: Child | None
) -> None:
    run = begin(target)
    for block in blocks_of(page):
        if not block.needs:
            run.run(block)
    check_recorded(run.recorded, parser)


def test_the_list_of_what_is_not_run(capsys: pytest.CaptureFixture[str]) -> None:
    left = [block for block in BLOCKS if block.language in RUN and block.needs]
    parsed = "read by vLLM's parser, its settings checked, not served"
    stand_ins = {
        "sg-vllm serve": f"{parsed}; test_on_vllm.py serves the quick start's",
        "vllm serve": parsed,
        "pip install": "extras looked up; test_installing.py installs",
        "python -m benchmarks": "its options are read; test_benchmarks.py measures",
        "scripts/demo": "test_on_vllm.py runs it",
        "scripts/test": "it is what runs this",
    }
    with capsys.disabled():
        print("\nBlocks of the documents that are not run:")
        for block in left:
            print(f"  {block}: needs {block.needs}")
        print("Commands for which the run has a stand-in:")
        for command, instead in stand_ins.items():
            print(f"  {command}: {instead}")
    # Whoever adds a stand-in adds it here.
    functions = re.findall(r"^([a-z][a-z-]+)\(\)", STAND_INS.read_text(), re.MULTILINE)
    programs = {command.split()[0] for command in stand_ins}
    assert set(functions) == {name for name in programs if "/" not in name}
