"""``sg-vllm doctor URL``: what lies between here and the server, and whether it holds."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import click

from stainedglass_output_protection.apps.doctor.inputs import (
    api_key_of,
    base_url_of,
    known_at,
)
from stainedglass_output_protection.apps.doctor.observations import Observations
from stainedglass_output_protection.apps.unknown_variables import (
    warn_of_unknown_variables,
)
from stainedglass_output_protection.client.settings import (
    PROFILE_VARIABLE,
    ClientSettings,
)
from stainedglass_output_protection.errors import ConfigurationError
from stainedglass_output_protection.protocol.constants import PROFILE_SEALED

_LIMIT_FACTOR = 6


@click.command()
@click.argument("url")
@click.option(
    "--identity",
    "pins",
    multiple=True,
    metavar="FINGERPRINT",
    help="The server must have this identity; may be given more than once "
    "[SG_SERVER_IDENTITY].",
)
@click.option("--model", help="The model to ask; else the first that is listed.")
@click.option(
    "--profile",
    type=click.Choice(["sealed", "output"]),
    help=f"What the verdict is about [{PROFILE_VARIABLE}; sealed].",
)
@click.option(
    "--api-key-file",
    type=click.Path(path_type=Path),
    help="A file that holds the API key [else OPENAI_API_KEY].",
)
@click.option("--api-key", envvar="OPENAI_API_KEY", hidden=True)
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(0.1, 3600),
    default=30.0,
    show_default=True,
    help="Seconds that one answer may take; the whole run takes six times as many "
    "at most.",
)
@click.option(
    "--probes",
    type=click.IntRange(4, 1000),
    default=8,
    show_default=True,
    help="How many sealed requests, to meet as many replicas.",
)
@click.option(
    "--provoke-error",
    "provokes_error",
    is_flag=True,
    help="Also ask the server for one error, a 503, to see whether anything sends "
    "requests again. A router may count it as a failure of the server.",
)
@click.option("--json", "is_json", is_flag=True, help="Print JSON instead of a table.")
def doctor(
    url: str,
    pins: tuple[str, ...],
    model: str | None,
    profile: str | None,
    api_key_file: Path | None,
    api_key: str | None,
    timeout_s: float,
    probes: int,
    provokes_error: bool,
    is_json: bool,
) -> None:
    """Tell what lies between here and the server at URL, and whether protection holds.

    It sends nearly thirty short requests, about a dozen of which a model answers with
    a few words; their words are constants. Ends with status 0 if protection holds, 1
    if it does not or that was not shown, 2 if the server could not be asked.
    """
    try:
        import rich  # noqa: F401

        from stainedglass_output_protection.apps.doctor.probe import Target, observe
        from stainedglass_output_protection.apps.doctor.wire import http_library

        http_library()
    except ImportError:
        raise ConfigurationError(
            "This command needs the extra [cli]: pip install '.[cli]' in the checkout "
            "of this package"
        ) from None
    warn_of_unknown_variables()
    settings = ClientSettings.load(pins or None, profile=profile)
    base_url = base_url_of(url)
    key = api_key_of(api_key_file, api_key)
    seen = Observations(
        url=base_url,
        profile="sealed" if settings.profile == PROFILE_SEALED else "output",
        pins=settings.pins,
        known=known_at(settings, base_url),
        has_api_key=key is not None,
        provokes_error=provokes_error,
    )
    target = Target(
        base_url=base_url,
        settings=settings,
        api_key=key,
        model=model,
        probes=probes,
        timeout_s=timeout_s,
        limit_s=_LIMIT_FACTOR * timeout_s,
    )
    asyncio.run(observe(target, seen))
    sys.exit(_report(seen, is_json=is_json))


def _report(seen: Observations, *, is_json: bool) -> int:
    """Print what was found; return the exit status."""
    from stainedglass_output_protection.apps.doctor import report
    from stainedglass_output_protection.apps.doctor.checks import (
        findings_of,
        holds,
        summary_of,
    )

    failure = _why_not_asked(seen)
    findings = [] if failure else findings_of(seen)
    status = report.HOLDS if holds(findings, seen.profile) else report.BROKEN
    status = report.UNREACHABLE if failure else status
    summary = failure or summary_of(findings, seen.profile)
    if is_json:
        text = report.json_text(
            findings,
            url=seen.url,
            profile=seen.profile,
            exit_status=status,
            summary=summary,
            requests=sum(len(answer.seen) for answer in seen.answers),
        )
        click.echo(text)
    elif findings:
        report.print_table(findings, seen.url, sys.stdout)
        if seen.pins is None and seen.identity and not seen.known:
            # Whole, to be copied: a table breaks it.
            click.echo(f"The line that pins it: SG_SERVER_IDENTITY={seen.identity}")
    if status != report.HOLDS:
        click.echo(f"sg-vllm: {summary}", err=True)
    elif not is_json:
        click.echo(summary)
    return status


def _why_not_asked(seen: Observations) -> str | None:
    """Return why the server could not be asked at all; None if it answered."""
    document, models = seen.document, seen.models
    if document is None:
        return "No whole answer came. Check the URL, or give a longer --timeout."
    if document.failure is not None:
        return document.failure
    if models is not None and models.status == 401 and not seen.has_api_key:
        return "The server asks for an API key: give --api-key-file, or set OPENAI_API_KEY."
    return None
