"""Which model to ask, by the list that a server shows."""

from __future__ import annotations

from typing import Final

import msgspec

from stainedglass_output_protection.protocol.encoding import JSON_ERRORS

_MOST_MODEL_ID: Final = 1000


class _Model(msgspec.Struct):
    id: str


class _Models(msgspec.Struct):
    data: list[_Model]


def first_model(body: bytes) -> str | None:
    """Return the first model that a list of models names."""
    try:
        models = msgspec.json.decode(body, type=_Models).data
    except JSON_ERRORS:
        return None
    return models[0].id if models and len(models[0].id) <= _MOST_MODEL_ID else None
