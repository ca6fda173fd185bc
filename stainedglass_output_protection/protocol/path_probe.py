"""What a server sends, or is asked, only to show what a path does to it.

Specification: ``protocol.md#path-probe``. None of it holds anything of anybody's.
"""

from __future__ import annotations

from typing import Final

from stainedglass_output_protection.protocol.constants import DOCUMENT_PATH

PROBE_PATH: Final = f"{DOCUMENT_PATH}/probe"
PROBE_HEADER: Final = "x-output-protection-probe"
PROBE_VALUES: Final = ("one", "two")
PROBE_COMMENT: Final = b": output-protection probe"
PROBE_OBJECT: Final = "output-protection.probe"
PROBE_BODY: Final = PROBE_COMMENT + b'\n\ndata: {"object":"%s"}\n\n' % (
    PROBE_OBJECT.encode("ascii")
)

# The content type inside of a sealed request that asks for an error.
ERROR_MEDIA_TYPE: Final = "application/vnd.sgop1-error"
