"""Envelopes are valid for vLLM's own response models (``vllm_models.py``)."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.protocol.answers import (
    BODIES,
    CANARY,
    NUMBER,
    RESPONSE,
    chat_events,
    completion_events,
    messages_events,
    named_event,
    poisoned,
    sealed,
    sealed_events,
    shown,
)

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("vllm") is None, reason="vLLM is not installed"
)

STREAMS = {
    "chat": ("/v1/chat/completions", chat_events()),
    "completions": ("/v1/completions", completion_events()),
    "messages": ("/v1/messages", messages_events()),
}
# What the host's own tools do. Nothing in these events has a place for a frame.
SEALED_WHOLE = {
    f"response.{tool}.{step}"
    for tool, steps in {
        "code_interpreter_call": ("in_progress", "interpreting", "completed"),
        "mcp_call": ("in_progress", "completed"),
        "web_search_call": ("in_progress", "searching", "completed"),
    }.items()
    for step in steps
}


def ask_vllm(*arguments: str, lines: str = "") -> tuple[list[str], str]:
    """Return the lines that the script prints, and its errors."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.vllm_layer.vllm_models", *arguments],
        input=lines,
        capture_output=True,
        text=True,
        timeout=300,
        cwd=Path(__file__).parents[2],
    )
    return done.stdout.splitlines(), done.stderr


def response_event(kind: str) -> dict[str, Any]:
    """Return an event of the Responses API with a canary in every member."""
    words = ("delta", "text", "arguments", "input", "code", "name", "item_id", "item")
    members: dict[str, Any] = {**dict.fromkeys(words, CANARY), "part": {"text": CANARY}}
    if kind in ("response.created", "response.in_progress", "response.completed"):
        members = {"response": RESPONSE}
    return {**members, "sequence_number": NUMBER, "type": kind}


@pytest.fixture(scope="module")
def event_types() -> list[str]:
    """The types of the events that the installed vLLM sends as responses."""
    (line,), errors = ask_vllm("events")
    assert line, errors
    return line.split()


async def _collect(event_types: list[str]) -> list[tuple[str, str, bytes]]:
    """Return every envelope with a label of its own and the model that it must be."""
    found = []
    for name, (path, body) in BODIES.items():
        wire = await sealed(path, json.dumps(poisoned(body)).encode())
        found.append((name, name, wire))
    for name, (path, events) in STREAMS.items():
        datas = await sealed_events(path, *events)
        found += [(f"{name} {n}", f"{name} event", it) for n, it in enumerate(datas)]
    for kind in event_types:
        event = named_event(response_event(kind))
        data = (await sealed_events("/v1/responses", event))[0]
        if kind in SEALED_WHOLE:
            assert shown(data) == b'{"sealed":"FRAME"}'
        else:
            found.append((kind, kind, data))
    error = {"message": CANARY, "type": "BadRequestError", "param": CANARY, "code": 400}
    for path in ("/v1/chat/completions", "/v1/responses", "/score"):
        wire = await sealed(path, json.dumps({"error": error}).encode())
        found.append((f"error of {path}", "error", wire))
    data = json.dumps({"type": "error", "error": error}).encode()
    found.append(
        ("messages error", "anthropic error", await sealed("/v1/messages", data))
    )
    return found


def test_every_envelope_is_valid_for_vllm_s_model(event_types: list[str]) -> None:
    found = asyncio.run(_collect(event_types))
    for label, _, wire in found:
        assert CANARY.encode() not in wire, label
        assert str(NUMBER).encode() not in shown(wire), label
    lines = [json.dumps([label, model, wire.decode()]) for label, model, wire in found]
    valid, errors = ask_vllm(lines="\n".join(lines))
    assert valid == [label for label, _, _ in found], errors


def test_every_event_that_vllm_sends_is_known(event_types: list[str]) -> None:
    assert SEALED_WHOLE <= set(event_types)
