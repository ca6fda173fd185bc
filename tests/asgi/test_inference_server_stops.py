"""A server of EasyDeL's make: its streams as keys change, clients leave and it ends."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest

from stainedglass_output_protection.asgi import protect
from stainedglass_output_protection.errors import TruncatedError
from tests.asgi.applications import CANARY, CHAT, PIECES, Identity, started
from tests.asgi.asking import COMPLETIONS, RESPONSES, client_of, sdk_of, stream_of
from tests.asgi.inference_server import StandIn
from tests.asgi.scripted_engine import ENDLESS, HELD
from tests.asgi.serving import TIMEOUT_S, fetched

# What it logs as it stops, by its own code.
_LAST_WORDS = {
    "stand-in": ["The stand-in has stopped."],
    "easydel": [
        "Shutting down EasyDeL eSurge API Server",
        "Thread pool shut down",
        "eSurge API Server shutdown complete",
    ],
}


def wait_until(is_true: Callable[[], bool]) -> None:
    """Return when it is."""
    end = time.monotonic() + TIMEOUT_S
    while not is_true():
        assert time.monotonic() < end
        time.sleep(0.05)


def epoch_of(url: str) -> Any:
    """Return the name of its key."""
    return fetched(f"{url}/.well-known/output-protection").json()["key_id"]


def test_a_stream_outlives_the_keys_that_it_began_with(
    url: str, sdk: openai.OpenAI
) -> None:
    seen = {epoch_of(url)}
    with stream_of(sdk, CHAT, ENDLESS) as stream:
        while len(seen) < 4:
            assert next(stream).choices[0].delta.content in PIECES
            seen.add(epoch_of(url))


def is_playing(url: str) -> bool:
    """Tell by its own health whether a place of its engine is taken."""
    told = fetched(f"{url}/health").json()
    return int(told["active_generation_slots"]) > 0


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS, RESPONSES])
def test_who_leaves_a_stream_frees_its_place(
    url: str, sdk: openai.OpenAI, path: str
) -> None:
    wait_until(lambda: not is_playing(url))
    with stream_of(sdk, path, ENDLESS) as stream:
        assert next(stream)
        assert is_playing(url)
    wait_until(lambda: not is_playing(url))


@contextlib.contextmanager
def sdks_of(url: str, identity: Identity) -> Iterator[list[openai.OpenAI]]:
    """Yield an SDK of each profile."""
    with contextlib.ExitStack() as stack:
        clients = [client_of(identity, profile) for profile in ("sealed", "output")]
        yield [sdk_of(url, stack.enter_context(client)) for client in clients]


def test_its_stop_leaves_a_stream_its_time_and_its_keys(
    start: Any, maker: str, owned: Identity
) -> None:
    with start("protected") as server, sdks_of(server.url, owned) as sdks:
        streams = [stream_of(sdk, CHAT, HELD) for sdk in sdks]
        firsts = [next(stream) for stream in streams]
        began_with = epoch_of(server.url)
        wait_until(lambda: epoch_of(server.url) != began_with)

        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: not server.is_listening())
        assert server.process.poll() is None
        server.door.touch()
        for first, stream in zip(firsts, streams, strict=True):
            chunks = [first, *stream]
            assert [it.choices[0].delta.content for it in chunks] == [*PIECES, ""]
            assert chunks[-1].choices[0].finish_reason == "stop"
        server.process.wait(TIMEOUT_S)
        log = server.log.read_text("utf-8")

    assert [it for it in _LAST_WORDS[maker] if it not in log] == []
    assert CANARY not in log


# As an operator in haste, and as the kernel without memory.
ENDS = {
    "interrupted twice": [signal.SIGINT, signal.SIGINT],
    "killed": [signal.SIGKILL],
}


@pytest.mark.parametrize("end", ENDS)
def test_a_stream_that_its_end_cuts_is_never_taken_for_complete(
    start: Any, owned: Identity, end: str
) -> None:
    with start("protected") as server, sdks_of(server.url, owned) as sdks:
        streams = [
            stream_of(sdk, path, ENDLESS)
            for sdk in sdks
            for path in (CHAT, COMPLETIONS, RESPONSES)
        ]
        for stream in streams:
            assert next(stream)

        for number in ENDS[end]:
            server.process.send_signal(number)
            wait_until(lambda: not server.is_listening())

        for stream in streams:
            with pytest.raises(TruncatedError):
                list(stream)


async def test_its_own_start_and_stop_are_kept(identity: Identity) -> None:
    server = StandIn()
    async with started(protect(server.app, identity_key_file=identity.path)):
        assert server.status == "ready"
    assert server.status == "shutting_down"
