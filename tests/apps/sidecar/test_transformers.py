"""Hugging Face's ``transformers serve`` behind the sidecar, on the tiny model."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import httpx2
import openai
import pytest

from tests.apps.proxy.running import unused_port
from tests.apps.sidecar.sidecars import beside, sdk_of
from tests.asgi.applications import Identity
from tests.asgi.serving import fetched
from tests.vllm_integration.servers import MODEL_PATH

_START_LIMIT_S = 300
_END_LIMIT_S = 20
_ASK: dict[str, Any] = {
    "model": str(MODEL_PATH),
    "messages": [{"role": "user", "content": "Tell me the secret sentence."}],
    "max_tokens": 12,
    "temperature": 0,
}


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The engine, which has loaded its model."""
    if importlib.util.find_spec("transformers") is None:
        pytest.skip("no vLLM is installed, which brings it: scripts/setup installs one")
    if not (MODEL_PATH / "config.json").exists():
        pytest.fail("there is no tiny model: scripts/setup makes it")
    port = unused_port()
    program = "from transformers.cli.transformers import main; main()"
    words = ["serve", str(MODEL_PATH), "--device", "cpu", "--port", str(port)]
    log = tmp_path_factory.mktemp("transformers") / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", program, *words],
            env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    url = f"http://localhost:{port}"
    try:
        end = time.monotonic() + _START_LIMIT_S
        while not _is_up(url):
            assert process.poll() is None, log.read_text("utf-8", "replace")[-3000:]
            assert time.monotonic() < end, log.read_text("utf-8", "replace")[-3000:]
            time.sleep(0.2)
        yield url
    finally:
        process.terminate()
        try:
            process.wait(_END_LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _is_up(url: str) -> bool:
    with contextlib.suppress(httpx2.TransportError):
        return bool(fetched(f"{url}/health").status_code == 200)
    return False


@pytest.mark.parametrize("profile", ["sealed", "output"])
def test_the_openai_sdk_reads_what_it_reads_without_protection(
    engine: str, identity: Identity, profile: str
) -> None:
    with openai.OpenAI(
        base_url=f"{engine}/v1",
        api_key="k",
        http_client=openai.DefaultHttpxClient(trust_env=False),
    ) as plain:
        expected = plain.chat.completions.create(**_ASK).choices[0].message.content
    assert expected
    with (
        beside(engine, adds_members=False) as sidecar,
        sdk_of(sidecar.url, identity, profile=profile) as sdk,
    ):
        whole = sdk.chat.completions.create(**_ASK)
        stream = sdk.chat.completions.create(**_ASK, stream=True)
        pieces = [it.choices[0].delta.content or "" for it in stream if it.choices]
        assert sidecar.ready() == (200, "")

    assert whole.choices[0].message.content == expected
    assert "".join(pieces) == expected
    assert expected.encode() not in sidecar.wire


def test_a_sealed_request_has_a_member_that_it_does_not_know(
    engine: str, identity: Identity
) -> None:
    with beside(engine) as sidecar, sdk_of(sidecar.url, identity) as sdk:
        with pytest.raises(openai.UnprocessableEntityError):
            sdk.chat.completions.create(**_ASK)
