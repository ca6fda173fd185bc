"""A LoRA adapter that changes nothing, for the routes that load one."""

from __future__ import annotations

import json
import struct
from pathlib import Path

_RANK = 8
_WIDTH = 128
_MODULE = "base_model.model.model.layers.0.self_attn.q_proj"
_CONFIG = {
    "peft_type": "LORA",
    "r": _RANK,
    "lora_alpha": _RANK,
    "target_modules": ["q_proj"],
    "bias": "none",
}


def make_adapter(folder: Path) -> Path:
    """Write an adapter of zeros for the tiny model."""
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps(_CONFIG))
    size = 4 * _RANK * _WIDTH
    header = {
        f"{_MODULE}.lora_{name}.weight": {
            "dtype": "F32",
            "shape": shape,
            "data_offsets": [at * size, (at + 1) * size],
        }
        for at, (name, shape) in enumerate(
            (("A", [_RANK, _WIDTH]), ("B", [_WIDTH, _RANK]))
        )
    }
    written = json.dumps(header).encode()
    written += b" " * (-len(written) % 8)
    (folder / "adapter_model.safetensors").write_bytes(
        struct.pack("<Q", len(written)) + written + bytes(2 * size)
    )
    return folder
