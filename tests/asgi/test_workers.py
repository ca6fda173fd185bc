"""Several processes behind one address: with one secret, and each with its own keys."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from stainedglass_output_protection.asgi import protect
from stainedglass_output_protection.client import protected_client
from stainedglass_output_protection.hosting import start_barrier
from tests.asgi.applications import ASK, PIECES, Bare, Identity, started
from tests.asgi.serving import TIMEOUT_S, served

_COUNT = 10


class TakingTurns:
    """Two workers, of which each connection has the next one, and keeps it."""

    def __init__(self, workers: list[Any]) -> None:
        self._workers = workers
        self._next: Iterator[Any] = itertools.cycle(workers)
        self._of: dict[Any, Any] = {}

    def all_to(self, number: int) -> None:
        """Give every connection this worker from now on, those that are there too."""
        self._of.clear()
        self._next = itertools.repeat(self._workers[number])

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            async with contextlib.AsyncExitStack() as stack:
                for worker in self._workers:
                    await stack.enter_async_context(started(worker))
                await receive()
                await send({"type": "lifespan.startup.complete"})
                await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        peer = tuple(scope["client"])
        worker = self._of.setdefault(peer, next(self._next))
        await worker(scope, receive, send)


def all_pieces(url: str, **choices: Any) -> list[list[str | None]]:
    """Ask again and again with one client, on one connection after another."""
    told = []
    with openai.OpenAI(
        base_url=f"{url}/v1",
        api_key="k",
        max_retries=0,
        http_client=protected_client(**choices, timeout=TIMEOUT_S),
        default_headers={"connection": "close"},
    ) as sdk:
        for _ in range(_COUNT):
            stream = sdk.chat.completions.create(**ASK, stream=True)
            told.append([it.choices[0].delta.content for it in stream])
    return told


@pytest.mark.parametrize("profile", ["sealed", "output"])
def test_with_a_fleet_s_secret_any_worker_answers(
    identity: Identity,
    fleet_file: Path,
    profile: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(start_barrier, "_MARK_MS", 0)
    files = {"identity_key_file": identity.path, "fleet_secret_file": fleet_file}
    workers = [protect(Bare(), **files) for _ in range(2)]
    with served(TakingTurns(workers)) as url:
        told = all_pieces(url, identity=identity.fingerprint, profile=profile)

    assert told == [PIECES] * _COUNT


def test_without_one_answers_are_sealed_by_whichever_it_is(identity: Identity) -> None:
    workers = [protect(Bare(), identity_key_file=identity.path) for _ in range(2)]
    with served(TakingTurns(workers)) as url:
        told = all_pieces(url, identity=identity.fingerprint, profile="output")

    assert told == [PIECES] * _COUNT


def test_without_one_sealed_requests_are_refused_by_the_worker_with_the_older_key(
    identity: Identity,
) -> None:
    workers = [protect(Bare(), identity_key_file=identity.path) for _ in range(2)]
    turns = TakingTurns(workers)
    with (
        served(turns) as url,
        openai.OpenAI(
            base_url=f"{url}/v1",
            api_key="k",
            max_retries=0,
            http_client=protected_client(
                identity=identity.fingerprint, timeout=TIMEOUT_S
            ),
        ) as sdk,
    ):
        turns.all_to(0)
        first = sdk.chat.completions.create(**ASK)
        turns.all_to(1)
        # Sealed again, to a key that is newer than the one before.
        second = sdk.chat.completions.create(**ASK)
        turns.all_to(0)
        # No client goes back to an older key: it might be a stolen one.
        with pytest.raises(openai.UnprocessableEntityError) as refused:
            sdk.chat.completions.create(**ASK)

    for it in (first, second):
        assert it.choices[0].message.content == "".join(PIECES)
    assert refused.value.code == "key_unknown"
    assert "SG_FLEET_SECRET_FILE" in refused.value.message
