"""vLLM's side: settings, the seams into vLLM, and the documented public names.

Public, and contracts once released: ``UserPublicKeyMiddleware``, ``inject_middleware``
and ``BuildAppFunc`` in ``middleware``; ``ephemeral_key_lifespan_factory``,
``inject_key_lifespan`` and ``periodic_refresh`` in ``server_keys``;
``get_shared_registry`` and ``remove_key`` in ``registry``; ``main`` in ``entrypoint``;
``Settings`` and ``load_settings`` in ``settings``.

``settings`` is ``hosting.settings`` under its documented name.

Nothing here imports vLLM when it is imported; only ``_seams`` imports it at all.
"""

from __future__ import annotations

# It says which package is missing.
import stainedglass_output_protection.hosting  # noqa: F401
