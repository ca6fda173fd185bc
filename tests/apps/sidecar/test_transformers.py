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
from tests.vllm_integration.servers import MODEL_PATH

_START_LIMIT_S = 300
_NEEDED = ("transformers", "accelerate", "torch")
_ASK: dict[str, Any] = {
    "model": str(MODEL_PATH),
    "messages": [{"role": "user", "content": "Tell me the secret sentence."}],
    "max_tokens": 12,
    "temperature": 0,
}

pytestmark = [
    pytest.mark.skipif(
        not all(map(importlib.util.find_spec, _NEEDED)),
        reason=f"needs {', '.join(_NEEDED)}",
    ),
    pytest.mark.skipif(not MODEL_PATH.exists(), reason="no tiny model: scripts/setup"),
]


@pytest.fixture(scope="module")
def engine() -> Iterator[str]:
    """The engine, which has loaded its model."""
    port = unused_port()
    program = "from transformers.cli.transformers import main; main()"
    words = ["serve", str(MODEL_PATH), "--device", "cpu", "--port", str(port)]
    process = subprocess.Popen(
        [sys.executable, "-c", program, *words],
        env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://localhost:{port}"
    try:
        end = time.monotonic() + _START_LIMIT_S
        while not _is_up(url):
            assert process.poll() is None, "it ended"
            assert time.monotonic() < end, "it did not start"
            time.sleep(0.2)
        yield url
    finally:
        process.terminate()
        process.wait()


def _is_up(url: str) -> bool:
    with contextlib.suppress(httpx2.TransportError):
        return bool(httpx2.get(f"{url}/health", trust_env=False).status_code == 200)
    return False


def test_the_openai_sdk_reads_what_it_reads_without_protection(
    engine: str, identity: Identity
) -> None:
    with openai.OpenAI(
        base_url=f"{engine}/v1",
        api_key="k",
        http_client=openai.DefaultHttpxClient(trust_env=False),
    ) as plain:
        expected = plain.chat.completions.create(**_ASK).choices[0].message.content
    assert expected
    with (
        beside(engine) as sidecar,
        sdk_of(sidecar.url, identity, profile="output") as sdk,
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
