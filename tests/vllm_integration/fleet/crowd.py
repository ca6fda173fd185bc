"""Twenty programs that ask at once, and what each of their requests came to."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import openai

from stainedglass_output_protection.client.verdict import EXTENSION, Verdict
from stainedglass_output_protection.errors import ResponseError
from tests.tiny_dialogues import BY_NAME, Dialogue
from tests.vllm_integration.test_sdk import Said, ask

CLIENTS = 20
# Each kind of answer, in few tokens.
SHORT = [
    BY_NAME[name]
    for name in ("canary", "tool_call", "system", "completion", "tool_result")
]
STORY = BY_NAME["story"]


@dataclass
class Asked:
    """One request: what was said until its end, and the named error if there was one."""

    dialogue: Dialogue
    is_stream: bool
    began: float
    said: Said = field(default_factory=Said)
    error: openai.APIError | ResponseError | None = None

    @property
    def is_right(self) -> bool:
        """Whether it is the whole of what the model was taught, to its last word."""
        if self.error is not None:
            return False
        try:
            self.said.check(self.dialogue)
        except AssertionError:
            return False
        return True


class Crowd:
    """Clients of one server, half of them in each profile. Nothing is asked twice."""

    def __init__(self, clients: list[openai.OpenAI], verdicts: list[Verdict]) -> None:
        self._clients = clients
        self.verdicts = verdicts
        self.asked: list[Asked] = []

    def ask(self, count: int, *, stories: int = 0) -> list[Asked]:
        """Ask so often, every other time for a stream; at first for some long ones.

        What is over is in ``asked`` at once.
        """
        numbers = iter(range(count))  # Threads may take from it in turns.

        def ask_on(client: openai.OpenAI) -> list[Asked]:
            mine = []
            for number in numbers:
                dialogue = STORY if number < stories else SHORT[number % len(SHORT)]
                is_stream = number < stories or number // len(SHORT) % 2 == 0
                mine.append(_ask(client, dialogue, is_stream=is_stream))
                self.asked.append(mine[-1])
            return mine

        with ThreadPoolExecutor(CLIENTS) as pool:
            return [it for part in pool.map(ask_on, self._clients) for it in part]


@contextlib.contextmanager
def crowd_at(url: str, make_client: Callable[..., Any]) -> Iterator[Crowd]:
    """Make the clients."""
    verdicts: list[Verdict] = []

    def note(response: Any) -> None:
        verdicts.append(response.extensions[EXTENSION])

    def client_of(profile: str) -> openai.OpenAI:
        http_client = make_client(
            base_url=url, profile=profile, event_hooks={"response": [note]}
        )
        return openai.OpenAI(
            base_url=f"{url}/v1", api_key="none", max_retries=0, http_client=http_client
        )

    profiles = ("sealed", "output") * (CLIENTS // 2)
    yield Crowd([client_of(it) for it in profiles], verdicts)


def count_by_error(asked: Iterable[Asked]) -> dict[str, int]:
    """Return how many ended with which error."""
    names = [type(it.error).__name__ for it in asked if it.error is not None]
    return {name: names.count(name) for name in sorted(set(names))}


def _ask(client: openai.OpenAI, dialogue: Dialogue, *, is_stream: bool) -> Asked:
    asked = Asked(dialogue, is_stream, time.monotonic())
    said = asked.said
    try:
        answer = ask(client, dialogue, stream=is_stream)
        for part in answer if is_stream else [answer]:
            for choice in part.choices:
                if dialogue.prompt is not None:
                    said.content += choice.text
                else:
                    said.add(choice.delta if is_stream else choice.message)
                said.finish_reason = choice.finish_reason or said.finish_reason
    except (openai.APIError, ResponseError) as error:
        asked.error = error
    return asked
