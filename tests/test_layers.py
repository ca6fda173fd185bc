"""What an import pulls in, in a fresh interpreter: lazy imports count too."""

from __future__ import annotations

import subprocess
import sys

import pytest

PACKAGE = "stainedglass_output_protection"
SERVER_SIDE = ("starlette", "fastapi", "pydantic", "uvicorn", "vllm", "torch", "click")
HTTP = ("httpx", "httpx2", "openai")

RULES = {
    PACKAGE: (*SERVER_SIDE, *HTTP, "asyncio"),
    f"{PACKAGE}.protocol.fields_writer": (*SERVER_SIDE, *HTTP, "asyncio"),
    f"{PACKAGE}.protocol.sealer": (*SERVER_SIDE, *HTTP, "asyncio"),
    f"{PACKAGE}.protocol.sealed_request": (*SERVER_SIDE, *HTTP, "asyncio"),
    f"{PACKAGE}.protocol.request_carriers": (*SERVER_SIDE, *HTTP, "asyncio"),
    f"{PACKAGE}.protocol.key_document": (*SERVER_SIDE, *HTTP, "asyncio"),
    f"{PACKAGE}.client": (*SERVER_SIDE, *HTTP, "sqlite3"),
    f"{PACKAGE}.client.sealed_exchange": (*SERVER_SIDE, *HTTP, "asyncio", "sqlite3"),
    f"{PACKAGE}.server.middleware": ("vllm", "torch", *HTTP),
    f"{PACKAGE}.server.sealed_authorization": ("vllm", "torch", *HTTP),
    f"{PACKAGE}.asgi": ("vllm", "torch", *HTTP),
    f"{PACKAGE}.hosting.settings": ("vllm", "torch", *HTTP),
    f"{PACKAGE}.vllm.middleware": ("vllm", "torch", *HTTP),
    f"{PACKAGE}.vllm.server_keys": ("vllm", "torch", *HTTP),
    f"{PACKAGE}.vllm.plugin": ("vllm", "torch", *HTTP),
    f"{PACKAGE}.vllm.entrypoint": ("vllm", "torch", *HTTP),
    f"{PACKAGE}.apps.cli": ("vllm", "torch", *HTTP),
}


@pytest.mark.parametrize("module", RULES)
def test_an_import_pulls_no_other_layer(module: str) -> None:
    program = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.split())
    assert not loaded & set(RULES[module])
    assert module in loaded
