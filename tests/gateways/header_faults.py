"""What gateways do to the headers of answers, and to the coding of their bodies."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator
from dataclasses import replace

from tests.gateways.fault import OPENS, Fault, Outcome, benign, hostile
from tests.gateways.traffic import Answer, Headers, on_answer, on_headers

_OURS = ("x-server-public-key", "cache-control", "access-control-expose-headers")
_OF_THE_BODY = ("content-type", "content-encoding")


def _renamed(headers: Headers) -> Headers:
    return [
        (name if name in _OF_THE_BODY else f"llm_provider-{name}", value)
        for name, value in headers
    ]


def _joined(headers: Headers) -> Headers:
    found: dict[str, str] = {}
    for name, value in headers:
        found[name] = f"{found[name]}, {value}" if name in found else value
    return list(found.items())


def _doubled(headers: Headers) -> Headers:
    date = ("date", "Thu, 01 Jan 1970 00:00:00 GMT")
    return [*headers, ("x-request-id", "its-own"), date, date]


def _without_charset(headers: Headers) -> Headers:
    return [
        (name, value.partition(";")[0] if name == "content-type" else value)
        for name, value in headers
    ]


def _compressed(answer: Answer) -> Answer:
    async def packed(body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        packer = zlib.compressobj(wbits=31)
        async for piece in body:
            yield packer.compress(piece) + packer.flush(zlib.Z_SYNC_FLUSH)
        yield packer.flush()

    headers = [*answer.headers, ("content-encoding", "gzip")]
    return replace(answer, headers=headers, body=packed(answer.body))


HEADER_FAULTS: list[Fault] = [
    benign(
        "drops_response_headers",
        "drops every header of the answer but its content type",
        on_headers(lambda it: [item for item in it if item[0] in _OF_THE_BODY]),
    ),
    benign(
        "drops_our_headers",
        "drops the headers of the protection from the answer",
        on_headers(lambda it: [item for item in it if item[0] not in _OURS]),
    ),
    benign(
        "renames_response_headers",
        "renames the answer's headers to llm_provider-…",
        on_headers(_renamed),
    ),
    benign(
        "joins_repeated_headers",
        "joins repeated headers of the answer to one",
        on_headers(_joined),
    ),
    benign(
        "doubles_headers",
        "adds a second request id and a second date to the answer",
        on_headers(_doubled),
    ),
    benign(
        "adds_cors_headers",
        "adds CORS headers of its own to the answer",
        on_headers(lambda it: [*it, ("access-control-expose-headers", "*")]),
    ),
    benign(
        "drops_charset",
        "shortens the content type to what stands before the semicolon",
        on_headers(_without_charset),
    ),
    hostile(
        "drops_content_type",
        "drops the answer's content type",
        lambda: on_headers(
            lambda it: [item for item in it if item[0] != "content-type"]
        ),
        unary=Outcome(OPENS, OPENS),
        stream="MalformedFrameError",
    ),
    benign(
        "compresses",
        "compresses answers with gzip, although nobody asked it to",
        on_answer(_compressed),
    ),
]
