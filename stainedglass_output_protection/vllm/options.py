"""vLLM options under which answers would leave in the clear, refused before loading."""

from __future__ import annotations

from argparse import Namespace

from stainedglass_output_protection.errors import ConfigurationError


def refuse_unprotectable(options: Namespace, *, has_rust_front_end: bool) -> None:
    """Refuse what bypasses the API that is protected.

    Raises:
        ConfigurationError: naming the option and what to do.
    """
    if getattr(options, "grpc", False):
        raise ConfigurationError(
            "--grpc answers outside the protected HTTP API: leave it out."
        )
    if has_rust_front_end:
        raise ConfigurationError(
            "VLLM_USE_RUST_FRONTEND answers outside the protected HTTP API: unset it."
        )
    if getattr(options, "enable_log_outputs", False):
        raise ConfigurationError(
            "--enable-log-outputs writes every answer into the log in the clear: leave "
            "it out."
        )
