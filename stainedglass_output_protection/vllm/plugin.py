"""What vLLM's plugin loaders call: one general plugin and one endpoint plugin.

Importing this module imports neither vLLM nor the rest of this package: vLLM loads it
in every process, the engine's included, where it only watches the log.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stainedglass_output_protection.hosting.environment import is_marked
from stainedglass_output_protection.vllm.environment import PLUGIN_NAME

if TYPE_CHECKING:
    import fastapi


def register() -> None:
    """Protect the API servers of this process, if ``sg-vllm`` started it.

    Entry point of ``vllm.general_plugins``: silent, fast and safe to call again.
    ``sg-vllm`` does not depend on it; it is a second line of defence.
    """
    if is_marked():
        from stainedglass_output_protection.vllm import _seams
        from stainedglass_output_protection.vllm.log import join_vllm_logging

        join_vllm_logging()  # The engine's processes too log what a model wrote.
        _seams.patch_loaded()


class ProtectionEndpointPlugin:
    """Protects a plain ``vllm serve`` through vLLM's own interface.

    Entry point of ``vllm.endpoint_plugins``; satisfies vLLM's ``EndpointPlugin``. vLLM
    skips an endpoint plugin that fails to load, and then serves in the clear: only
    ``sg-vllm`` guarantees protection.
    """

    name = PLUGIN_NAME
    required_tasks = None

    def attach_router(self, app: fastapi.FastAPI) -> None:
        """Protect ``app``; an error in here keeps vLLM from starting."""
        from stainedglass_output_protection.hosting.identity import process_identity
        from stainedglass_output_protection.hosting.settings import load_settings
        from stainedglass_output_protection.vllm.protection import protect_app
        from stainedglass_output_protection.vllm.report import report_settings

        protect_app(app)
        if not is_marked():  # ``sg-vllm`` has said it for all its processes.
            settings = load_settings()
            report_settings(settings, process_identity(settings.identity_key_file))

    async def init_state(self, engine_client: Any, state: Any, args: Any) -> None:
        """Do nothing: the keys come with the app's lifespan."""
