"""Changes to the JSON of a body or of each event, as gateways make them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

from stainedglass_output_protection.protocol.events import event_data
from tests.gateways.traffic import Act, both, on_stream, on_unary

Edit = Callable[[dict[str, Any]], dict[str, Any]]
Write = Callable[[dict[str, Any]], str]


def on_json(edit: Edit, write: Write = json.dumps) -> Act:
    """Return the act of editing the JSON object of a body, and of every event."""
    return both(on_unary_json(edit, write), on_event_json(edit, write))


def on_unary_json(edit: Edit, write: Write = json.dumps) -> Act:
    """Return the act of editing the JSON object of a unary body."""
    return on_unary(lambda body: _edited(body, edit, write))


def on_event_json(edit: Edit, write: Write = json.dumps) -> Act:
    """Return the act of editing the JSON object of each event."""

    async def change(blocks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for block in blocks:
            data = event_data(block)
            if data is None or not data.startswith(b"{"):
                yield block
            else:
                yield with_data(block, _edited(data, edit, write))

    return on_stream(change)


def with_data(block: bytes, data: bytes) -> bytes:
    """Return an event with other data, and the ``event:`` line that it had."""
    names = [line for line in block.splitlines() if line.startswith(b"event:")]
    return b"\n".join([*names, b"data: " + data]) + b"\n\n"


def strings_changed(value: Any, change: Callable[[str], str]) -> Any:
    """Return JSON in which every string value is changed."""
    if isinstance(value, dict):
        return {name: strings_changed(value[name], change) for name in value}
    if isinstance(value, list):
        return [strings_changed(item, change) for item in value]
    return change(value) if isinstance(value, str) else value


def _edited(body: bytes, edit: Edit, write: Write) -> bytes:
    try:
        members = json.loads(body)
    except ValueError:
        return body
    return write(edit(members)).encode() if isinstance(members, dict) else body
