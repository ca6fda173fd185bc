"""Programs that ask the light engine: the OpenAI SDK with a protected client."""

from __future__ import annotations

import contextlib
import hashlib
import ssl
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import openai

from stainedglass_output_protection.client import protected_client
from stainedglass_output_protection.client.verdict import EXTENSION, Verdict
from tests.fleet.engine import MODEL, PROMPT_TOKENS, pieces, question
from tests.fleet.kinds import SESSION_HEADER

PROFILES = ("sealed", "output")
TIMEOUT_S = 120.0
# Reading the certificates takes longer than all the rest.
_NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class Told(NamedTuple):
    """A whole answer as a program sees it."""

    text: str
    finish_reason: str | None
    tokens: int | None


def all_told(number: int) -> Told:
    """Return the whole answer to the question with this number."""
    said = pieces(number)
    return Told("".join(said), "stop", PROMPT_TOKENS + len(said))


@contextlib.contextmanager
def sdk_for(
    url: str, identity: str, profile: str, **choices: Any
) -> Iterator[openai.OpenAI]:
    """Make an SDK that asks once: what fails, a test sees."""
    with (
        protected_client(
            identity=identity,
            profile=profile,
            verify=_NO_TLS,
            timeout=TIMEOUT_S,
            **choices,
        ) as http_client,
        openai.OpenAI(
            base_url=f"{url}/v1",
            api_key="none",
            max_retries=0,
            http_client=http_client,
        ) as sdk,
    ):
        yield sdk


def session_of(number: int) -> dict[str, str]:
    """Return the header by which some routers choose a worker: all kinds of names."""
    return {SESSION_HEADER: hashlib.sha256(b"%d" % number).hexdigest()}


def ask(sdk: openai.OpenAI, number: int, *, is_chat: bool, is_stream: bool) -> Told:
    """Ask a question by its number and read the answer to its end."""
    asked: dict[str, Any] = {
        "model": MODEL,
        "stream": is_stream,
        "extra_headers": session_of(number),
    }
    if is_chat:
        message: Any = {"role": "user", "content": question(number)}
        answer: Any = sdk.chat.completions.create(**asked, messages=[message])
    else:
        answer = sdk.completions.create(**asked, prompt=question(number))
    text, reason, tokens = "", None, None
    for part in answer if is_stream else [answer]:
        for choice in part.choices:
            text += _said_in(choice)
            reason = choice.finish_reason or reason
        tokens = part.usage.total_tokens if part.usage else tokens
    return Told(text, reason, tokens)


def ask_all(
    url: str, identity: str, numbers: Sequence[int], *, clients: int = 20
) -> list[Verdict]:
    """Ask all of ``numbers``, by all clients at once, and return what was decided.

    Profile, route and stream differ by the number.

    Raises:
        AssertionError: an answer is not what the engine says to its question.
    """

    def ask_share(at: int) -> list[Verdict]:
        verdicts: list[Verdict] = []

        def note(response: Any) -> None:
            verdicts.append(response.extensions[EXTENSION])

        with sdk_for(
            *(url, identity, PROFILES[at % 2]),
            event_hooks={"response": [note]},
        ) as sdk:
            for turn, number in enumerate(numbers[at::clients]):
                is_chat, is_stream = turn % 3 > 0, (turn + at // 2) % 2 == 0
                told = ask(sdk, number, is_chat=is_chat, is_stream=is_stream)
                assert told == all_told(number)
        return verdicts

    with ThreadPoolExecutor(clients) as pool:
        return [it for part in pool.map(ask_share, range(clients)) for it in part]


def _said_in(choice: Any) -> str:
    part = getattr(choice, "delta", None) or getattr(choice, "message", None)
    return (choice.text if part is None else part.content) or ""
