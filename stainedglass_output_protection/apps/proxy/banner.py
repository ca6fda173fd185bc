"""What the proxy says when it begins to listen: where it is, and whom it trusts."""

from __future__ import annotations

from stainedglass_output_protection.client.settings import ClientSettings


def banner(
    listens_on: str,
    url: str,
    server: str,
    settings: ClientSettings,
    *,
    has_token: bool,
) -> str:
    """Return the lines; ``url`` is what programs are given as the base URL."""
    who = "any that answers (answers only are sealed, and nobody is verified)"
    if settings.trusts_first_use:
        who = "who answers first, remembered from then on"
    if settings.pins is not None:
        who = ", ".join(sorted(settings.pins))
    lines = [
        f"The proxy listens on {listens_on}",
        f"  server:   {server}",
        f"  identity: {who}",
        "Give programs one of these:",
        f"  OPENAI_BASE_URL={url}/v1",
        f"  ANTHROPIC_BASE_URL={url}",
    ]
    if has_token:
        lines.append("and the proxy's token as their API key.")
    return "\n".join(lines)
