"""The real LiteLLM proxy, in a virtual environment of its own, before a server."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from tests.client.environments import environment
from tests.vllm_integration.servers import free_port

LITELLM = "litellm[proxy]==1.106.2"
# It is refused without one.
MASTER_KEY = "sk-of-a-test"
# A model of the server, and a name that only the proxy knows.
MODEL, ALIAS = "tiny", "best-of-all"
_START_LIMIT_S = 240.0
_END_LIMIT_S = 30.0


@contextlib.contextmanager
def litellm(
    folder: Path, upstream_port: int, *, forwards_headers: bool
) -> Iterator[int]:
    """Run LiteLLM before a server for as long as the block lasts; yield its port."""
    python = environment("venv-litellm", "python3.12", LITELLM)
    config, log = folder / "litellm.yaml", folder / "litellm.log"
    config.write_text(json.dumps(_config(upstream_port, forwards_headers)))
    port = free_port()
    listen = ("--host", "127.0.0.1", "--port", str(port), "--telemetry", "False")
    with log.open("wb") as output:
        process = subprocess.Popen(
            [python.with_name("litellm"), "--config", config, *listen],
            env=_environment(folder),
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        _wait(process, port, log)
        yield port
    finally:
        process.terminate()
        try:
            process.wait(_END_LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _config(upstream_port: int, forwards_headers: bool) -> dict[str, object]:
    behind = {
        "model": f"openai/{MODEL}",
        "api_base": f"http://127.0.0.1:{upstream_port}/v1",
        "api_key": "none",
    }
    return {
        "model_list": [
            {"model_name": name, "litellm_params": behind} for name in (MODEL, ALIAS)
        ],
        "general_settings": {
            "master_key": MASTER_KEY,
            "forward_client_headers_to_llm_api": forwards_headers,
        },
        "litellm_settings": {"num_retries": 0},
    }


def _environment(folder: Path) -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("SG_") and not name.lower().endswith("_proxy")
    }
    # It would fetch its list of prices.
    return {**kept, "HOME": str(folder), "LITELLM_LOCAL_MODEL_COST_MAP": "True"}


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    end = time.monotonic() + _START_LIMIT_S
    while True:
        try:
            url = f"http://127.0.0.1:{port}/health/liveliness"
            urllib.request.urlopen(url, timeout=10).close()
        except OSError:
            tail = log.read_text(errors="replace")[-3000:]
            assert process.poll() is None, tail
            assert time.monotonic() < end, tail
            time.sleep(0.2)
        else:
            return
