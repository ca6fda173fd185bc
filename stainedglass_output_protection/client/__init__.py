"""The client: HTTP clients that open protected answers, for any OpenAI SDK.

::

    client = OpenAI(base_url="https://...", http_client=protected_client())
"""

from __future__ import annotations

from stainedglass_output_protection.client.factory import (
    protected_async_client,
    protected_client,
)

__all__ = ["protected_async_client", "protected_client"]
