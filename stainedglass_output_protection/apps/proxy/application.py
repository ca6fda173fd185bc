"""Puts the proxy together: access, forwarding and what protects, and its log."""

from __future__ import annotations

import logging

from stainedglass_output_protection.apps.connection_variables import proxy_variable_of
from stainedglass_output_protection.apps.forwarding import Done, Forwarding, Limits
from stainedglass_output_protection.apps.proxy.access import Access, Rules
from stainedglass_output_protection.apps.proxy.failures import ApiFailures
from stainedglass_output_protection.apps.proxy.upstream import Upstream

logger = logging.getLogger(__name__)


def make_proxy(
    upstream: Upstream, rules: Rules, *, limits: Limits, logs_requests: bool = False
) -> Access:
    """Return the ASGI application. No request or answer is stored or logged."""
    failures = ApiFailures(
        upstream.library, proxy_variable=proxy_variable_of(upstream.base_url)
    )

    def done(it: Done) -> None:
        if it.error is not None:
            words = failures.log_line(it.error)
            logger.error("%s %s: %s", it.method, it.path, words)
        if logs_requests:
            logger.info(
                "%s %s %s %s %.0f ms",
                it.method,
                it.path,
                it.status or "left",
                it.mark or "-",
                it.took_ms,
            )

    forwarding = Forwarding(
        upstream.transport,
        library=upstream.library,
        base_url=upstream.base_url,
        failures=failures,
        limits=limits,
        done=done,
    )
    return Access(forwarding, rules, failures=failures)
