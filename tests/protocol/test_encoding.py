"""Base64, with the library that servers have for it and without."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import base64, sys
if sys.argv[1] == "without":
    sys.modules["pybase64"] = None
from stainedglass_output_protection.protocol.encoding import decode_base64, encode_base64

assert encode_base64.__module__.startswith("pybase64") == (sys.argv[1] == "with")
for length in range(400):
    data = bytes((7 * step + length) % 256 for step in range(length))
    text = base64.b64encode(data)
    assert encode_base64(data) == text
    assert decode_base64(text) == data
    for other in (text + b"=", b" " + text, text + b"\\n", text.replace(b"/", b"_")):
        assert other == text or decode_base64(other) is None
assert decode_base64(b"AB==") is None
"""


@pytest.mark.parametrize("library", ["with", "without"])
def test_there_is_one_text_for_each_value(library: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, library], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
