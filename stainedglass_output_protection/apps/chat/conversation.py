"""A conversation: what was said, and one request for each question."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from stainedglass_output_protection.apps.chat.words import (
    Words,
    error_in_json,
    words_in_json,
)
from stainedglass_output_protection.client.verdict import EXTENSION, Mark
from stainedglass_output_protection.protocol.events import EventSplitter, event_data

_EVENT_STREAM: Final = "text/event-stream"


class AnswerError(Exception):
    """No answer, or not the whole of one; the message is for people."""


class Conversation:
    """Keeps the messages of one chat. ``client`` is a protected HTTP client.

    A question whose answer did not come whole is not kept.
    """

    def __init__(
        self, client: Any, base_url: str, *, model: str | None, system: str | None
    ) -> None:
        self._client = client
        self._base_url = base_url
        self._model = model
        self._first = [{"role": "system", "content": system}] if system else []
        self._messages: list[dict[str, str]] = []

    @property
    def model(self) -> str:
        """The model that is asked: the one given, or else the server's first.

        Raises:
            AnswerError: the server names none.
        """
        if self._model is None:
            response = self._client.get(f"{self._base_url}/models")
            _require_success(response)
            try:
                self._model = str(response.json()["data"][0]["id"])
            except (ValueError, LookupError, TypeError):
                raise AnswerError(
                    "The server has not said which models it has: give --model."
                ) from None
        return self._model

    def forget(self) -> None:
        """Begin anew."""
        self._messages.clear()

    def ask(self, question: str) -> Iterator[list[Words]]:
        """Yield the words of each event of the answer, as it opens.

        Raises:
            AnswerError: the server, or something on the way, answered with an error.
            ResponseError: the answer is not acceptable.
        """
        asked = {"role": "user", "content": question}
        body = {
            "model": self.model,
            "messages": [*self._first, *self._messages, asked],
            "stream": True,
        }
        url = f"{self._base_url}/chat/completions"
        answer = []
        with self._client.stream("POST", url, json=body) as response:
            _require_success(response)
            for words in _words_of(response):
                answer += [part.text for part in words if not part.is_reasoning]
                yield words
        self._messages += [asked, {"role": "assistant", "content": "".join(answer)}]


def _words_of(response: Any) -> Iterator[list[Words]]:
    if not response.headers.get("content-type", "").startswith(_EVENT_STREAM):
        yield _words_or_error(response.read())
        return
    splitter = EventSplitter()
    for payload in response.iter_bytes():
        datas = map(event_data, splitter.feed(payload))
        yield [part for data in datas if data for part in _words_or_error(data)]


def _words_or_error(data: bytes) -> list[Words]:
    message = error_in_json(data)
    if message is not None:
        raise AnswerError(f"The server ended the answer with an error: {message}")
    return list(words_in_json(data))


def _require_success(response: Any) -> None:
    if response.status_code < 400:
        return
    message = error_in_json(response.read()) or "it says nothing more."
    verdict = response.extensions[EXTENSION]
    if verdict.mark is Mark.OPENED:
        raise AnswerError(f"The server refused ({response.status_code}): {message}")
    hint = " Give --api-key-file." if response.status_code == 401 else ""
    raise AnswerError(
        f"The server, or something on the way, answered with status "
        f"{response.status_code}, not sealed: {message}{hint}"
    )
