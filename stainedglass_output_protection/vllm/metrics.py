"""What operators and callers see of a protected app: metrics, and what ``/docs`` says.

The metrics are among vLLM's own. It makes the folder in which its processes share them
when it starts several API servers, and serves what is in it on ``/metrics``; with one it
serves ``prometheus_client``'s own registry.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic_settings import BaseSettings, SettingsConfigDict

from stainedglass_output_protection.errors import ConfigurationError
from stainedglass_output_protection.hosting.middleware_options import options_of
from stainedglass_output_protection.hosting.settings import load_settings
from stainedglass_output_protection.server.observer import observe_with
from stainedglass_output_protection.server.openapi import describe_in_openapi
from stainedglass_output_protection.vllm.environment import has_responses_store

if TYPE_CHECKING:
    import fastapi

_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"


class _Environment(BaseSettings):
    """The variable by which ``prometheus_client`` finds the folder, as it is."""

    model_config = SettingsConfigDict(extra="ignore", frozen=True)

    prometheus_multiproc_dir: str | None = None


def require_metrics_folder() -> None:
    """Refuse a folder for metrics that an operator has set and that cannot be used.

    Raises:
        ConfigurationError: naming the variable and what to do.
    """
    folder = _Environment().prometheus_multiproc_dir
    if folder is None:
        return
    remedy = "Set it to an empty folder that this server can write to, or unset it."
    if not folder:
        raise ConfigurationError(f"{_VARIABLE} is set to nothing. {remedy}")
    try:
        if not Path(folder).is_dir():
            raise NotADirectoryError(0, "not a folder")
        with tempfile.TemporaryFile(dir=folder):
            pass
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a path"
    else:
        reason = "" if _can_be_scraped(folder) else "a .db file in it is of no metrics"
    if reason:
        raise ConfigurationError(
            f"{_VARIABLE}: metrics cannot be kept in {folder!r} ({reason}). {remedy}"
        )


def _can_be_scraped(folder: str) -> bool:
    """Tell whether what lies in the folder can be read, as each scrape will do."""
    # Not before the variable is known: its import decides whether processes share.
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.multiprocess import MultiProcessCollector

    registry = CollectorRegistry()
    try:
        MultiProcessCollector(registry, path=folder)  # type: ignore[no-untyped-call]
        generate_latest(registry)
    except Exception:  # Of any kind: it trusts names and bytes.
        return False
    return True


def show(app: fastapi.FastAPI) -> None:
    """Count what this process does, and describe it in the app's OpenAPI document.

    Call it in the process that serves, before it does. Doing it again changes nothing.

    Raises:
        ConfigurationError: a setting is bad, or the folder for metrics cannot be used.
    """
    options = options_of(load_settings(), has_store=has_responses_store())
    describe_in_openapi(app, options)
    # Not sooner: it is decided at its import whether processes share their numbers.
    from stainedglass_output_protection.server.metrics import prometheus_observer

    observe_with(prometheus_observer())
