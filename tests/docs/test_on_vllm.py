"""The quick start as a reader follows it, on real vLLM; then other pages; then the demo.

vLLM starts twice, at the same time: by ``scripts/demo``, by the quick start's own command.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stainedglass_output_protection.protocol.identity import IdentityKey
from tests.docs.blocks import ROOT, blocks_of
from tests.docs.running import Run, Target
from tests.docs.serving import has_vllm
from tests.vllm_integration import servers

QUICK_START = ROOT / "docs" / "quickstart.md"
# What the tiny model was taught to answer, and a word of the answer.
QUESTION, WORD = "Tell me the secret sentence.", "glimmerwort"
# Pages whose commands talk to a server, which here is the quick start's.
OTHERS = (
    *("README.md", "docs/examples.md", "docs/saved-answers.md"),
    *("docs/proxy.md", "docs/chat.md", "docs/doctor.md"),
)
_SHORT = ("--override-generation-config", '{"temperature": 0, "max_new_tokens": 100}')

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.skipif(not has_vllm(), reason="no vLLM: scripts/setup installs one"),
]


class Served:
    """The server that the quick start's command starts, and how its page went."""

    def __init__(self, folder: Path) -> None:
        self.target = Target("", "", servers.MODEL, QUESTION)
        self.run = Run(folder, self.target)
        self.server: servers.Server | None = None

    def follow(self) -> None:
        """Run the page's blocks; what it asks to serve is served."""
        for block in blocks_of(QUICK_START):
            if not block.needs:
                self.run.run(block)
            if self.server is None:
                self._serve_what_was_asked()

    def end(self) -> None:
        """End the server and what the page left running."""
        self.run.end()
        if self.server is not None:
            self.server.end()

    def _serve_what_was_asked(self) -> None:
        asked = [item for item in self.run.recorded if item["arguments"][0] != "pip"]
        if not asked:
            return
        (served,) = asked
        program, *arguments = served["arguments"]
        assert (program, arguments) == ("sg-vllm", ["serve", servers.MODEL])
        identity = self.run.folder / served["settings"]["SG_IDENTITY_KEY_FILE"]
        self.server = servers.start(
            "quick start",
            (
                "stainedglass_output_protection.vllm.entrypoint",
                *("serve", str(servers.MODEL_PATH), *servers.QUICK, *_SHORT),
            ),
            self.run.folder,
            variables={**served["settings"], "SG_IDENTITY_KEY_FILE": str(identity)},
            say=print,
        )
        self.target.origin = self.server.url
        self.target.fingerprint = IdentityKey.from_pem(
            identity.read_bytes()
        ).fingerprint


@pytest.fixture(scope="module")
def demo() -> Iterator[subprocess.Popen[str]]:
    """What scripts/demo runs once scripts/setup, which installs, is done."""
    proxies = ("http_proxy", "https_proxy", "all_proxy")
    demo = subprocess.Popen(
        [sys.executable, ROOT / "scripts" / "demo.py"],
        env={
            name: value
            for name, value in os.environ.items()
            if not name.startswith("SG_") and name.lower() not in proxies
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        process_group=0,
    )
    yield demo
    # It ends its server when it ends, which it does by itself.
    demo.communicate()


@pytest.fixture(scope="module")
def served(
    tmp_path_factory: pytest.TempPathFactory, demo: subprocess.Popen[str]
) -> Iterator[Served]:
    """The quick start, followed to its end, its server still running.

    The demo's loads meanwhile.
    """
    served = Served(tmp_path_factory.mktemp("quickstart"))
    try:
        served.follow()
        yield served
    finally:
        served.end()


def test_the_quick_start_leads_to_a_sealed_answer(served: Served) -> None:
    assert served.server is not None
    assert "Output protection is on." in served.server.log
    program = "\n".join(block.text for block in blocks_of(QUICK_START) if block.title)
    assert "stream=True" in program
    asked = subprocess.run(
        [sys.executable, "ask.py"],
        cwd=served.run.folder,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert WORD in asked.stdout


@pytest.mark.parametrize("page", OTHERS)
def test_other_pages_run_against_it(
    page: str, served: Served, begin: Callable[..., Run]
) -> None:
    run = begin(served.target)
    for block in blocks_of(ROOT / page):
        if not block.needs:
            run.run(block)


def test_the_demo_shows_the_wire_beside_what_the_reader_sees(
    demo: subprocess.Popen[str],
) -> None:
    shown, _ = demo.communicate(timeout=800)
    assert demo.returncode == 0, shown
    left = "\n".join(line.partition("|")[0] for line in shown.splitlines())
    assert re.search(r"sgop1-\s*request\.", left)
    assert WORD in shown
    assert WORD not in left
