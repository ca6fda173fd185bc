"""What gateways do with whole answers: statuses, pages, retries, caches, other servers."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

from tests.client.fake_server import error_body
from tests.gateways.fault import OPENS, Fault, Outcome, benign, hostile
from tests.gateways.traffic import (
    Act,
    Answer,
    Asked,
    Forward,
    on_answer,
    pieces,
    whole,
)

PAGE = b"<!doctype html><title>Sign in</title><p>Please sign in to go on.</p>"
_RETRIED = (429, 500, 502, 503)
_TRIES = 5
_HTML = [("content-type", "text/html; charset=utf-8")]
_JSON = [("content-type", "application/json")]


def page(status: int) -> Act:
    """Return the act of answering with a page, whatever was asked."""

    async def act(asked: Asked, forward: Forward) -> Answer:
        return Answer(status, list(_HTML), pieces(PAGE))

    return act


def _mapped(answer: Answer) -> Answer:
    status = 502 if answer.status >= 500 else answer.status
    return replace(answer, status=400 if status == 422 else status)


def _shown_as(status: int) -> Callable[[Answer], Answer]:
    return lambda it: replace(it, status=status if it.status >= 400 else it.status)


async def _quotes(asked: Asked, forward: Forward) -> Answer:
    """As LiteLLM does: words of its own around the message, the status as code."""
    answer = await forward(asked)
    if answer.status < 400:
        return answer
    body = await whole(answer.body)
    try:
        message = json.loads(body)["error"]["message"]
    except (ValueError, KeyError, TypeError):
        message = ""
    words = (
        f"proxy.BadRequestError: OpenAIException - {message}\n\nNo fallback was tried."
    )
    quoted = error_body(words, str(answer.status))
    kept = [item for item in answer.headers if item[0] != "content-type"]
    return replace(answer, headers=[*kept, *_JSON], body=pieces(quoted))


async def _without_document(asked: Asked, forward: Forward) -> Answer:
    if asked.is_for_document:
        return Answer(404, list(_JSON), pieces(error_body("Not Found", 404)))
    return await forward(asked)


async def _redirects(asked: Asked, forward: Forward) -> Answer:
    headers = [("location", f"http://127.0.0.1:1{asked.path}")]
    return Answer(307, headers, pieces())


async def _retries(asked: Asked, forward: Forward) -> Answer:
    for _ in range(_TRIES - 1):
        answer = await forward(replace(asked))
        if answer.status not in _RETRIED:
            return answer
        await whole(answer.body)
    return await forward(replace(asked))


async def _sends_twice(asked: Asked, forward: Forward) -> Answer:
    if not asked.is_for_document:
        await whole((await forward(replace(asked))).body)
    return await forward(asked)


async def _goes_elsewhere(asked: Asked, forward: Forward) -> Answer:
    return await forward(replace(asked, goes_elsewhere=True))


class _Cache:
    """Gives everybody the first answer to a path, by what can be read of a request."""

    def __init__(self, *, of_documents: bool) -> None:
        self._of_documents = of_documents
        self._held: dict[tuple[str, bool], tuple[Answer, bytes]] = {}

    async def act(self, asked: Asked, forward: Forward) -> Answer:
        if asked.is_for_document != self._of_documents:
            return await forward(asked)
        key = (asked.path, bool(asked.asked.get("stream")))
        if key not in self._held:
            answer = await forward(asked)
            body = await whole(answer.body)
            if answer.status != 200:
                return replace(answer, body=pieces(body))
            self._held[key] = answer, body
        answer, body = self._held[key]
        return replace(answer, body=pieces(body))


class _Alternation:
    """Sends every other request to the other server."""

    def __init__(self) -> None:
        self._count = 0

    async def act(self, asked: Asked, forward: Forward) -> Answer:
        self._count += 1
        return await forward(replace(asked, goes_elsewhere=self._count % 2 == 0))


ANSWERING_FAULTS: list[Fault] = [
    benign(
        "hides_key_document",
        "answers 404 to paths that it does not know, the key document's too",
        _without_document,
    ),
    benign(
        "maps_statuses",
        "answers 400 in place of 422, and 502 in place of every 5xx",
        on_answer(_mapped),
    ),
    benign(
        "shows_errors_as_200",
        "answers 200 in place of every error",
        on_answer(_shown_as(200)),
    ),
    benign(
        "shows_errors_as_500",
        "answers 500 in place of every error",
        on_answer(_shown_as(500)),
    ),
    benign(
        "quotes_errors",
        "puts words of its own around the messages of errors, and another code",
        _quotes,
    ),
    benign(
        "retries_server_errors",
        "sends a request again, up to five times, after 429, 500, 502 and 503",
        _retries,
    ),
    hostile(
        "sends_twice",
        "sends every request twice, and passes the second answer on",
        lambda: _sends_twice,
        unary=Outcome("425 opened request_replayed", OPENS),
        stream=Outcome("425 opened request_replayed", OPENS),
    ),
    Fault(
        "caches_key_document",
        "caches the key document",
        lambda: _Cache(of_documents=True).act,
        Outcome(OPENS, OPENS),
        Outcome(OPENS, OPENS),
    ),
    hostile(
        "caches_answers",
        "gives an answer that was cached for another client",
        lambda: _Cache(of_documents=False).act,
        unary="ForeignResponseError",
        stream="ForeignResponseError",
    ),
    hostile(
        "alternates_servers",
        "sends every other request to another server",
        lambda: _Alternation().act,
        unary=None,
        stream=None,
    ),
    hostile(
        "goes_to_another_server",
        "sends requests to another server than the pinned one",
        lambda: _goes_elsewhere,
        unary="IdentityMismatchError",
        stream="IdentityMismatchError",
    ),
    hostile(
        "redirects",
        "answers with a redirect",
        lambda: _redirects,
        unary="RedirectRefusedError",
        stream="RedirectRefusedError",
    ),
    hostile(
        "answers_with_a_page",
        "answers with a page of HTML and status 200",
        lambda: page(200),
        unary="UnprotectedResponseError",
        stream="UnprotectedResponseError",
    ),
    hostile(
        "is_unavailable",
        "answers with a page of HTML and status 502",
        lambda: page(502),
        unary="502 unauthenticated",
        stream="502 unauthenticated",
    ),
]
