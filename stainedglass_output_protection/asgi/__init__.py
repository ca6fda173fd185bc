"""Protects any ASGI application, whatever engine is behind it: ``protect``."""

from __future__ import annotations

from stainedglass_output_protection.asgi.protection import protect

__all__ = ["protect"]
