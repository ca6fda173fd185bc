"""The doors that only developers' switches mount, in the order in which they are tried."""

from __future__ import annotations

from typing import Final

from tests.vllm_integration.doors.door import ECHOED, Ask, Door, refused

_NEEDS_DRAFT: Final = "needs speculative decoding with a draft model"
_NO_DISCARD: Final = "vLLM cannot discard a part of its memory on the CPU"

DEVELOPER: dict[tuple[str, str], Door] = {
    ("POST", "/start_profile"): Door(
        (Ask({"profile_prefix": "doors"}),), refused({"max_iterations": ECHOED})
    ),
    ("POST", "/stop_profile"): Door((Ask(),)),
    ("GET", "/server_info"): Door(
        (Ask(), Ask(path="/server_info?config_format=json")),
        (Ask(path="/server_info?config_format=neither"),),
    ),
    ("POST", "/collective_rpc"): Door(
        (Ask({"method": "get_model_inspection"}),),
        refused({"args": [ECHOED]}, {"method": f"no_{ECHOED}"}),
    ),
    ("POST", "/reset_prefix_cache"): Door(
        (Ask(),), (Ask(path="/reset_prefix_cache?reset_external=neither"),)
    ),
    ("POST", "/reset_mm_cache"): Door((Ask(),)),
    ("POST", "/reset_encoder_cache"): Door((Ask(),)),
    ("POST", "/abort_requests"): Door(
        (Ask({"request_ids": ["nobody"]}),), refused([ECHOED])
    ),
    ("GET", "/weight_info"): Door((Ask(),)),
    ("POST", "/update_weight_version"): Door(
        (Ask({"new_version": "2"}),), refused({"version": ECHOED})
    ),
    ("POST", "/weight_checker"): Door(
        (Ask({"action": "checksum"}), Ask({"action": "compare", "baseline": {}})),
        refused({"action": ECHOED}, {"action": "compare", "other": ECHOED}),
    ),
    ("POST", "/init_weight_transfer_engine"): Door(
        (Ask({"init_info": {}}),), refused({"init_info": ECHOED})
    ),
    ("POST", "/start_weight_update"): Door((Ask(),), (Ask(),)),
    ("POST", "/start_draft_weight_update"): Door((), (Ask(),), reason=_NEEDS_DRAFT),
    ("POST", "/update_weights"): Door(
        (Ask({"update_info": {}}),), refused({"update_info": ECHOED})
    ),
    ("POST", "/finish_weight_update"): Door(
        (Ask({"weight_version": "3"}),), refused({"weight_version": [ECHOED]})
    ),
    ("POST", "/shutdown_weight_transfer_engine"): Door((Ask(),)),
    ("POST", "/pause"): Door((Ask(),), (Ask(path="/pause?mode=neither"),)),
    ("POST", "/resume"): Door((Ask(),)),
    ("POST", "/sleep"): Door((Ask(),), (Ask(path="/sleep?level=9"),)),
    ("POST", "/release_kv_cache_memory"): Door((), (Ask(),), reason=_NO_DISCARD),
    ("POST", "/wake_up"): Door((Ask(),)),
    ("POST", "/scale_elastic_ep"): Door(
        (Ask({"new_data_parallel_size": 1}),),
        refused({"new_data_parallel_size": ECHOED}),
    ),
    ("POST", "/is_scaling_elastic_ep"): Door((Ask(),)),
    ("POST", "/fault_tolerance/apply"): Door(
        (Ask({"instruction": "retry"}),), refused({"instruction": ECHOED})
    ),
}
