"""Measure sealed beside clear requests: ``python -m benchmarks.sealed [--quick] [--json]``.

Both profiles in one run, in pairs, over the same application: processor time of the
server per unary request, and per event of a stream; and the requests that a client sends.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import time
from collections.abc import Sequence
from typing import Any

from benchmarks.cost import new_loop
from benchmarks.events import Shape
from benchmarks.harness import (
    App,
    application,
    discard,
    fresh_client_key,
    key_ring,
    one_response,
    protection,
    receiving,
    scope_of,
)
from stainedglass_output_protection.client.exchange import Outgoing
from stainedglass_output_protection.client.protection import Protection
from stainedglass_output_protection.client.request import Request
from stainedglass_output_protection.client.settings import ClientSettings
from stainedglass_output_protection.protocol.constants import PROFILE_SEALED
from stainedglass_output_protection.protocol.suites import SUITE_NAMES
from stainedglass_output_protection.server.clock import unix_ms

TARGET_MS = 0.4
# Two medians of one thing differ by a few hundredths.
TARGET_EVENT_RATIO = 1.05
REQUESTS = 1_000
STREAMS = 60
EVENTS = 500
_PATH = "/v1/chat/completions"
_PROMPT = "What does a gateway see of this? " * 100
_BODY = json.dumps(
    {"model": "m", "messages": [{"role": "user", "content": _PROMPT}], "stream": True}
).encode("ascii")
_ANSWER = b'{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"m","choices":[]}'


class Client:
    """Makes the requests of one client that has the key document already."""

    def __init__(self, suite: str) -> None:
        pins = frozenset({key_ring().identity.fingerprint})
        self._protection = Protection(
            ClientSettings(pins=pins, profile=PROFILE_SEALED, suite=SUITE_NAMES[suite])
        )
        self.documents_fetched = 0

    def outgoing(self) -> Outgoing:
        """Return the next request, sealed."""
        request = Request(
            method="POST",
            origin=("http", "localhost", 8000),
            raw_path=_PATH,
            path=_PATH,
            query="",
            content_type="application/json",
            authorization="",
            body=_BODY,
        )
        exchange = self._protection.begin(request)
        if exchange.document_path is not None:
            self.documents_fetched += 1
            document = key_ring().current(unix_ms()).document_text
            exchange.take_document(200, json.dumps({"document": document}).encode())
        return exchange.outgoing(request)


def measure(suite: str, *, requests: int, streams: int) -> dict[str, Any]:
    """Return what one suite costs over profile ``output``."""
    client = Client(suite)
    added_ms = _added_ms(client, requests)
    ratio = _event_ratio(client, streams)
    return {
        "suite": suite,
        "added_ms": round(added_ms, 4),
        "event_ratio": round(ratio, 4),
        "requests": requests + 2 * streams,
        "documents_fetched": client.documents_fetched,
        "met": added_ms <= TARGET_MS
        and ratio <= TARGET_EVENT_RATIO
        and client.documents_fetched == 1,
    }


def _added_ms(client: Client, requests: int) -> float:
    app = protection(_unary)
    taken: dict[str, list[float]] = {"output": [], "sealed": []}
    loop, _ = new_loop()
    try:
        for number in range(requests + 10):
            for name in ("output", "sealed") if number % 2 else ("sealed", "output"):
                scope, body = _request(client, name)
                seconds = loop.run_until_complete(_once(app, scope, body))
                taken[name].append(seconds)
    finally:
        loop.close()
    pairs = zip(taken["sealed"][10:], taken["output"][10:], strict=True)
    return statistics.median(left - right for left, right in pairs) * 1e3


def _event_ratio(client: Client, streams: int) -> float:
    """Return what an event costs in ``sealed`` over ``output``; first events apart."""
    shape = Shape("content")
    long, short = (
        protection(application([e.data for e in one_response(shape, count)]))
        for count in (EVENTS, 1)
    )
    taken: dict[str, list[float]] = {"output": [], "sealed": []}
    loop, _ = new_loop()
    try:
        for number in range(streams):
            for name in ("output", "sealed") if number % 2 else ("sealed", "output"):
                spent = [
                    loop.run_until_complete(_once(app, *_request(client, name)))
                    for app in (long, short)
                ]
                taken[name].append(spent[0] - spent[1])
    finally:
        loop.close()
    return statistics.median(taken["sealed"]) / statistics.median(taken["output"])


def _request(client: Client, profile: str) -> tuple[dict[str, Any], bytes]:
    scope = scope_of(_PATH, fresh_client_key())
    if profile == "output":
        return scope, _BODY
    # A client in profile sealed sends no clear key, which is the last header.
    scope["headers"].pop()
    return scope, client.outgoing().body or b""


async def _once(app: App, scope: dict[str, Any], body: bytes) -> float:
    started = time.thread_time()
    await app(scope, receiving(body), discard)
    return time.thread_time() - started


async def _unary(scope: Any, receive: Any, send: Any) -> None:
    message = await receive()
    assert b"gateway" in message["body"]
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": _ANSWER, "more_body": False})
    await asyncio.sleep(0)


def table(rows: list[dict[str, Any]]) -> str:
    """Return the measurements as text."""
    lines = [
        f"Sealed beside clear requests: at most {TARGET_MS} ms more of processor time "
        f"for a request, {TARGET_EVENT_RATIO} times for an event, one document"
    ]
    lines += [
        f"  {row['suite']:16} {row['added_ms']:.3f} ms more, events "
        f"{row['event_ratio']:.3f}, {row['documents_fetched']} document for "
        f"{row['requests']} requests{'' if row['met'] else '  MISSED'}"
        for row in rows
    ]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sealed")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--quick", action="store_true", help="seconds, no verdict")
    options = parser.parse_args(arguments)
    sizes = (20, 2) if options.quick else (REQUESTS, STREAMS)
    rows = [
        measure(suite, requests=sizes[0], streams=sizes[1]) for suite in SUITE_NAMES
    ]
    print(json.dumps(rows, indent=2) if options.json else table(rows))
    return 0 if options.quick or all(row["met"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
