"""``sg-vllm proxy``: plain requests of programs on this machine in, sealed ones out."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

import click

from stainedglass_output_protection.apps.limit_options import (
    grace,
    max_request,
    max_running,
    seconds,
)
from stainedglass_output_protection.apps.proxy.banner import banner
from stainedglass_output_protection.apps.proxy.client_settings import (
    client_settings_from,
)
from stainedglass_output_protection.apps.proxy.key_texts import (
    from_environment_only,
    read_token,
    read_upstream_key,
)
from stainedglass_output_protection.apps.unknown_variables import (
    warn_of_unknown_variables,
)
from stainedglass_output_protection.client.protection import Protection
from stainedglass_output_protection.errors import ConfigurationError

_FILE = click.Path(path_type=Path)
_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


@click.command()
@click.argument("url")
@click.option(
    "--identity",
    "identities",
    multiple=True,
    metavar="FP",
    help="The server's fingerprint, SHA256:...; several while one is being replaced (SG_SERVER_IDENTITY).",
)
@click.option(
    "--trust-on-first-use",
    is_flag=True,
    default=None,
    help="Trust who answers first, and remember it (SG_TRUST_ON_FIRST_USE).",
)
@click.option(
    "--profile",
    type=click.Choice(["sealed", "output"]),
    help="sealed (SG_CLIENT_PROFILE).",
)
@click.option("--suite", help="mlkem768-x25519 (SG_REQUEST_SUITE).")
@click.option(
    "--owner-file",
    type=_FILE,
    help="Whom stored responses belong to (SG_OWNER_SECRET_FILE).",
)
@click.option(
    "--expose",
    multiple=True,
    metavar="NAME",
    help="A member of the body that routers may read.",
)
@click.option(
    "--opaque", is_flag=True, help="Ask for answers in which gateways can read nothing."
)
@click.option(
    "--seal-authorization",
    is_flag=True,
    default=None,
    help="Send the API key inside (SG_SEAL_AUTHORIZATION).",
)
@click.option(
    "--ca-file", type=_FILE, help="Certificates to trust, for a private authority."
)
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Where to listen; other than loopback needs a token.",
)
@click.option("--port", default=8123, show_default=True, type=click.IntRange(0, 65535))
@click.option(
    "--token-file",
    type=_FILE,
    help="What programs have to send as their API key (or SG_PROXY_TOKEN).",
)
@click.option(
    "--token", envvar="SG_PROXY_TOKEN", hidden=True, callback=from_environment_only
)
@click.option(
    "--api-key-file",
    type=_FILE,
    help="The API key for the server (or SG_UPSTREAM_API_KEY). Default: the program's own.",
)
@click.option(
    "--api-key",
    envvar="SG_UPSTREAM_API_KEY",
    hidden=True,
    callback=from_environment_only,
)
@click.option(
    "--allow-origin",
    "origins",
    multiple=True,
    metavar="ORIGIN",
    help="A web page's origin that may ask, such as https://app.example.com.",
)
@seconds("--timeout", "timeout_s", 600.0, "Seconds without a byte from the server.")
@max_request()
@max_running()
@grace(10, who="the proxy")
@click.option(
    "--log-requests", is_flag=True, help="One line for each request, without content."
)
def proxy(url: str, **options: Any) -> None:
    """Let any program use the protected server at URL, by plain OpenAI or Anthropic.

    Requests are sealed here and answers opened here; nothing is ever sent in plaintext
    in their place.
    """  # fmt: skip
    from stainedglass_output_protection.apps.forwarding import Limits
    from stainedglass_output_protection.apps.listening import Address, url_of
    from stainedglass_output_protection.apps.proxy.access import Rules
    from stainedglass_output_protection.apps.proxy.application import make_proxy
    from stainedglass_output_protection.apps.proxy.browsers import parse_origins
    from stainedglass_output_protection.apps.proxy.running import (
        room_for_requests,
        run,
        url_for_programs,
    )
    from stainedglass_output_protection.apps.proxy.upstream import connect

    warn_of_unknown_variables()
    settings = client_settings_from(options)
    upstream = connect(url, Protection(settings), ca_file=options["ca_file"])
    token = read_token(options["token_file"], options["token"])
    key = read_upstream_key(options["api_key_file"], options["api_key"])
    origins = parse_origins(options["origins"])
    address = Address(options["host"], options["port"], who="The proxy")
    if not address.is_loopback and token is None:
        raise ConfigurationError(
            f"Others could use a proxy on {address.name}: give --token-file, whose "
            "content programs then send as their API key, or listen on 127.0.0.1."
        )
    # Elsewhere the token keeps out who comes under a name that is not known here.
    hosts = _LOOPBACK_NAMES | {address.name} if address.is_loopback else frozenset()
    listener = address.listen()
    limits = Limits(
        request_bytes=options["max_request"] * 1024 * 1024,
        at_once=min(options["max_running"], room_for_requests()),
        silence_s=options["timeout_s"],
    )
    app = make_proxy(
        upstream,
        Rules(hosts, origins, token, key, settings.seals_authorization),
        limits=limits,
        logs_requests=options["log_requests"],
    )
    _log_to_stderr()
    click.echo(
        banner(
            url_of(listener),
            url_for_programs(listener),
            upstream.base_url,
            settings,
            has_token=token is not None,
        )
    )
    run(app, listener, grace_s=options["grace_s"])


def _log_to_stderr() -> None:
    logger = logging.getLogger("stainedglass_output_protection")
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)

    def show(message: Any, *args: Any, **kwargs: Any) -> None:
        logger.warning("%s", message)

    warnings.showwarning = show
