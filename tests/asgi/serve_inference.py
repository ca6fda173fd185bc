"""``python -m tests.asgi.serve_inference KIND PORT DOOR protected|bare`` serves one.

``KIND`` is ``easydel``, where that is installed, or ``stand-in``. ``DOOR`` is the file that
``HELD`` waits for.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from stainedglass_output_protection.asgi import protect
from tests.asgi.easydel_server import easydel_server
from tests.asgi.inference_server import StandIn

# The rows that EasyDeL has and the table has not.
ROUTES: dict[str, Any] = {
    "protected_routes": ("/v1/tools/execute",),
    "clear_routes": ("/v1/tools", "/v1/models/{model_id}"),
}

if __name__ == "__main__":
    kind, port, waited_for, way = sys.argv[1:]
    make: Any = {"easydel": easydel_server, "stand-in": StandIn}[kind]
    server = make(Path(waited_for))
    if way == "protected":
        protect(server.app, **ROUTES, key_refresh_time_s=0.3)
    server.run(host="127.0.0.1", port=int(port), log_level="warning")
