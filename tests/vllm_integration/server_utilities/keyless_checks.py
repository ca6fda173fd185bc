"""Checks of requests without a client key, in the installed vLLM's app; run as a script.

Each function whose name begins with ``check_`` is one test in ``test_keyless.py``.
"""

from __future__ import annotations

import logging
import os
import sys
from unittest.mock import patch

import uvloop

from tests.vllm_integration.server_utilities.checks import BODY, Warnings, build
from tests.vllm_integration.server_utilities.stub_engine import ACCENT, SECRET
from tests.vllm_layer.app import post, started

ASKED = 3


async def check_allow_answers_in_the_clear_and_says_so() -> None:
    """As vLLM does without protection, and an operator can read that it happens."""
    logged = Warnings()
    package = logging.getLogger("stainedglass_output_protection")
    # What is above it says only errors here.
    package.setLevel(logging.INFO)
    package.addHandler(logged)
    with patch.dict(os.environ, {"SG_KEYLESS_REQUESTS": "allow"}):
        app = await build()
        async with started(app):
            for number in range(ASKED):
                asked = {**BODY, "stream": number == 0}
                status, headers, body = await post(app, asked)
                assert status == 200
                assert SECRET.encode() in body
                assert b"sgop1." not in body
                assert "x-server-public-key" not in headers
    package.removeHandler(logged)
    told = [line for line in logged.lines if "Answered in the clear" in line]
    # For the first and for the second; not for the third.
    assert len(told) == ASKED - 1, logged.lines
    assert "SG_KEYLESS_REQUESTS=allow" in told[0]
    assert not [line for line in logged.lines if SECRET in line or ACCENT in line]


async def check_required_answers_nothing() -> None:
    """What is set where nothing is set."""
    with patch.dict(os.environ):
        os.environ.pop("SG_KEYLESS_REQUESTS", None)
        app = await build()
        async with started(app):
            status, _, body = await post(app, {**BODY, "stream": False})
    assert status == 400
    assert b"client_key_missing" in body
    assert SECRET.encode() not in body


def main(names: list[str]) -> None:
    """Run the named checks, each in a loop of its own; print those that pass."""
    # Nothing here is to be read by whoever reads the names.
    report, sys.stdout = sys.stdout, sys.stderr
    for name in names:
        uvloop.run(globals()[name]())
        print(name, file=report, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
