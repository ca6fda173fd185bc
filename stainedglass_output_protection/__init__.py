"""Makes LLM output unreadable to everything between the vLLM process and the client.

This module holds the version and re-exports the root of the errors; it imports no HTTP library,
no server code and no vLLM. Clients import ``stainedglass_output_protection.client``.
"""

from __future__ import annotations

from stainedglass_output_protection.errors import OutputProtectionError

__version__ = "0.1.0"

__all__ = ["OutputProtectionError", "__version__"]
