"""A backend for weight transfer that transfers nothing, for the routes that drive one.

``--worker-extension-cls`` imports this module in every worker, before it loads a model;
``--weight-transfer-config '{"backend": "doors"}'`` then names the backend.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vllm.distributed.weight_transfer.base import (
    WeightTransferEngine,
    WeightTransferInitInfo,
    WeightTransferUpdateInfo,
)
from vllm.distributed.weight_transfer.factory import WeightTransferEngineFactory

BACKEND = "doors"


@dataclass
class _InitInfo(WeightTransferInitInfo):
    pass


@dataclass
class _UpdateInfo(WeightTransferUpdateInfo):
    pass


class NoWeights(WeightTransferEngine[_InitInfo, _UpdateInfo]):
    """Takes part in everything and changes nothing."""

    init_info_cls = _InitInfo
    update_info_cls = _UpdateInfo

    def init_transfer_engine(self, init_info: _InitInfo) -> None:
        """Need no connection."""

    def start_weight_update(self) -> None:
        """Need no preparation."""

    def receive_weights(self, update_info: _UpdateInfo) -> None:
        """Receive nothing."""

    def finish_weight_update(self) -> None:
        """Have nothing to apply."""

    def shutdown(self) -> None:
        """Have nothing to release."""


class Extension:
    """What the worker is extended by: nothing. Importing it is the point."""


def _register() -> None:
    register: Any = WeightTransferEngineFactory.register_engine
    register(BACKEND, NoWeights)


_register()
