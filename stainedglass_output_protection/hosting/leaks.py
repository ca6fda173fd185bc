"""Ways out of the server that protection does not cover, by the name that allows each.

``SG_ALLOW_LEAKS`` takes these names. Everything here is refused without its name. Each
sentence says what leaves; it stands in refusals and in the warning at the start.
"""

from __future__ import annotations

from typing import Final

LEAKS: Final = {
    "stored-responses": "whoever knows a stored response's id can fetch it",
    "log-outputs": "answers are written to the log",
    "log-requests": "prompts, and the answers in them, are written to the log",
    "kv-events": "token ids of prompts and answers are published",
    "kv-transfer": "prompts and answers leave in the KV cache that is sent or stored",
    "profiler": "traces of the engine are written to files",
    "dev-mode": "routes for developers run code and show the engine's state",
    "tool-server": "arguments that the model wrote are sent to other servers",
}
