"""``sg-vllm sidecar``: sealed answers from an engine that knows nothing of sealing."""

from __future__ import annotations

import logging
import re
import sys
from pathlib import Path
from typing import Any

import click

from stainedglass_output_protection.apps.limit_options import (
    grace,
    max_request,
    max_running,
    seconds,
)
from stainedglass_output_protection.errors import ConfigurationError

_FILE = click.Path(path_type=Path)
# What can stand in a request line as it is.
_PATH = re.compile(r"/[!-~]*")


@click.command()
@click.option(
    "--upstream",
    required=True,
    metavar="URL|unix:PATH",
    help="The engine: http://127.0.0.1:30000, https://..., or unix:/run/engine.sock.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option("--port", default=8100, show_default=True, type=click.IntRange(0, 65535))
@click.option(
    "--uds", type=_FILE, help="Listen at this path in place of host and port."
)
@click.option(
    "--ca-file", type=_FILE, help="Certificates to trust, for an engine with https."
)
@click.option(
    "--allow-clear-upstream",
    is_flag=True,
    help="Let answers travel in the clear from an engine on another machine.",
)
@click.option(
    "--health-path",
    default="/health",
    show_default=True,
    help="What readiness asks the engine for.",
)
@seconds(
    "--health-timeout", "health_s", 2.0, "Seconds that readiness waits for the engine."
)
@click.option(
    "--keeps-no-responses",
    is_flag=True,
    help="The engine keeps no responses, so requests need not say store: false.",
)
@click.option(
    "--adds-no-members",
    is_flag=True,
    help="For an engine that refuses requests with cache_salt or request_id.",
)
@seconds("--connect-timeout", "connect_s", 10.0, "Seconds to reach the engine.")
@seconds("--timeout", "timeout_s", 600.0, "Seconds without a byte from the engine.")
@max_request()
@max_running()
@grace(30, who="the sidecar")
def sidecar(upstream: str, **options: Any) -> None:
    """Seal the answers of an engine that you cannot change.

    It stands in front of the engine and takes requests as `sg-vllm serve` does. The
    settings of the protection are the same SG_ variables: see `sg-vllm settings`.
    """  # fmt: skip
    try:
        from stainedglass_output_protection.server.rotation_signal import (
            block_rotation_signal,
        )

        # First of all: what starts a thread before it would be ended by the signal.
        block_rotation_signal()
        from stainedglass_output_protection.apps.forwarding import Limits
        from stainedglass_output_protection.apps.proxy.running import room_for_requests
        from stainedglass_output_protection.apps.sidecar.application import make_sidecar
        from stainedglass_output_protection.apps.sidecar.rotation import (
            heed_rotation_signal,
        )
        from stainedglass_output_protection.apps.sidecar.running import (
            listening,
            run,
            shown,
        )
        from stainedglass_output_protection.apps.sidecar.upstream import (
            connect,
            refuse_itself,
        )
        from stainedglass_output_protection.hosting.settings import load_settings

        engine = connect(
            upstream,
            ca_file=options["ca_file"],
            allow_clear=options["allow_clear_upstream"],
        )
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"The sidecar needs {error.name}: install the extras [cli] and [server]: "
            "pip install '.[cli,server]' in the checkout of this package"
        ) from None
    health_path = options["health_path"]
    if not _PATH.fullmatch(health_path):
        raise ConfigurationError(
            "--health-path must be a path like /health: a slash, and no blanks."
        )
    limits = Limits(
        request_bytes=options["max_request"] * 1024 * 1024,
        at_once=min(options["max_running"], room_for_requests()),
        connect_s=options["connect_s"],
        silence_s=options["timeout_s"],
    )
    _log_to_stderr()
    settings = load_settings()
    heed_rotation_signal(settings)
    app = make_sidecar(
        engine,
        limits=limits,
        keeps_responses=not options["keeps_no_responses"],
        adds_members=not options["adds_no_members"],
        health_path=health_path,
        health_s=options["health_s"],
        settings=settings,
    )
    with listening(options["host"], options["port"], options["uds"]) as listener:
        refuse_itself(engine, listener)
        click.echo(f"The sidecar listens on {shown(listener)}\n  engine: {engine.name}")
        sys.stdout.flush()
        if not run(app, listener, grace_s=options["grace_s"]):
            raise ConfigurationError(
                "The sidecar could not start: its log says why, in the lines above."
            )


def _log_to_stderr() -> None:
    logger = logging.getLogger("stainedglass_output_protection")
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
