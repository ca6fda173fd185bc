"""A replica of a fleet: the light engine under ``protect``, a process of its own.

python -m tests.fleet.replica --port PORT

``SG_`` variables are its settings, as everywhere.
"""

from __future__ import annotations

import argparse

import uvicorn

from stainedglass_output_protection.asgi import protect
from stainedglass_output_protection.hosting import start_barrier
from stainedglass_output_protection.server.clock import unix_ms
from tests.fleet.engine import Engine


def main() -> None:
    """Serve until a signal comes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    port = parser.parse_args().port
    # No earlier process of this fleet took requests: there is no minute to wait.
    start_barrier._MARK_MS = unix_ms()
    uvicorn.run(
        protect(Engine()),
        host="127.0.0.1",
        port=port,
        # As vLLM's server has it.
        http="h11",
        h11_max_incomplete_event_size=4 * 1024 * 1024,
        # A machine that stands still must not close what is about to be used.
        timeout_keep_alive=600,
    )


if __name__ == "__main__":
    main()
