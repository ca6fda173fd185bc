"""What an engine without a model plays: what it does is what it is asked."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.asgi.applications import CANARY, PIECES

PLAYING = "What is played?"
THINKING = "Think, then play."
CALLING = "Have it played."
FAILING = "Play, and fail."
ENDLESS = "Play for minutes."
HELD = "Play when the door is open."
CALL: dict[str, Any] = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "play", "arguments": json.dumps({"what": CANARY})},
}
FAILURE = f"no more {CANARY}"


def pieces_for(prompt: str, door: Path) -> Iterator[str]:
    """Yield what the engine plays, in its own time."""
    pieces = [""] if prompt == CALLING else PIECES
    for number, piece in enumerate(pieces * (1000 if prompt == ENDLESS else 1)):
        if number and prompt == FAILING:
            raise RuntimeError(FAILURE)
        if number and prompt == ENDLESS:
            time.sleep(0.1)
        while number and prompt == HELD and not door.exists():
            time.sleep(0.05)
        yield piece
