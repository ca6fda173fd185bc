"""The byte layout of frames that sealer and opener share (``protocol.md#frames``)."""

from __future__ import annotations

import struct
from typing import Final

HEADER: Final = struct.Struct(">BI")
RECORD: Final = struct.Struct(">II")
STATUS: Final = struct.Struct(">HB")
STATUS_RANGE: Final = range(200, 600)
PRINTABLE: Final = range(0x20, 0x7F)
