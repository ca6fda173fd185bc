"""Signals while the server starts: no effect, or an end without a traceback.

SIGUSR1 at any moment of a start that succeeds is in ``test_operating.py``.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.vllm_integration.conftest import Identity
from tests.vllm_integration.server_utilities.conftest import START_LIMIT_S, STUB
from tests.vllm_integration.server_utilities.stub_engine import LOADING
from tests.vllm_integration.servers import Server, free_port, launch, tail, wait_for

pytestmark = pytest.mark.vllm

END_LIMIT_S = 120.0


def test_signals_while_the_engine_loads_end_it_without_a_traceback(
    folder: Path, identity: Identity
) -> None:
    process, log_path = launch(
        "signalled early",
        (*STUB, "--host", "127.0.0.1", "--port", str(free_port())),
        folder,
        {"SG_IDENTITY_KEY_FILE": str(identity.path), "STUB_LOADS": "1"},
    )
    server = Server(0, process, log_path)

    def has_said(words: str) -> bool:
        assert process.poll() is None, tail(log_path)
        return words in server.log

    try:
        wait_for(lambda: has_said(LOADING), "the engine", START_LIMIT_S)
        for _ in range(5):
            os.kill(process.pid, signal.SIGUSR1)
        # It does not interrupt the start, and is not lost.
        wait_for(lambda: has_said("SIGUSR1: new epoch keys."), "the new keys", 60)
        process.send_signal(signal.SIGTERM)
        status = process.wait(END_LIMIT_S)
    finally:
        server.end()
    assert status == 1
    assert "Aborted!" in server.log
    assert "Traceback" not in server.log
