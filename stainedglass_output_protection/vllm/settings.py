"""The operator's settings under their documented names; they are ``hosting.settings``."""

from __future__ import annotations

from stainedglass_output_protection.hosting.settings import Settings, load_settings

__all__ = ["Settings", "load_settings"]
