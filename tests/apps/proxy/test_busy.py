"""How many requests may run at one time, and what the next one is told."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from stainedglass_output_protection.apps.forwarding import Limits
from tests.apps.proxy.apis import ASKED, CHAT, PATHS
from tests.apps.proxy.commands import started
from tests.apps.proxy.raw import asked_raw, code_of, status_of
from tests.apps.proxy.running import Running, proxied, served_app
from tests.apps.proxy.test_failures import error_in
from tests.apps.proxy.test_streaming import LIMIT_S, Stepping, asking, pinned
from tests.client.drivers import protection_for


@pytest.fixture
def stepping() -> Iterator[Stepping]:
    made = Stepping()
    yield made
    made.step(1000)


@pytest.fixture
def proxy(stepping: Stepping) -> Iterator[Running]:
    """A proxy for one request at a time."""
    limits = Limits(at_once=1)
    with served_app(stepping.app) as port:
        url = f"http://127.0.0.1:{port}"
        with proxied(url, protection_for(pinned(stepping)), limits=limits) as running:
            yield running


@pytest.mark.parametrize("path", PATHS)
def test_one_too_many_is_told_what_to_do(
    stepping: Stepping, proxy: Running, path: str
) -> None:
    stepping.step()
    with asking(proxy) as answer:
        chunks = answer.iter_raw()
        next(chunks)
        refused = httpx.post(f"{proxy.url}{path}", json=ASKED)
        stepping.step(3)
        rest = b"".join(chunks)
    stepping.step(4)
    again = httpx.post(f"{proxy.url}{CHAT}", json=ASKED, timeout=LIMIT_S)

    error = error_in(refused.content, path)
    assert (refused.status_code, error["code"]) == (503, "proxy_busy")
    assert "--max-running" in error["message"]
    # SDKs ask again.
    assert "x-should-retry" not in refused.headers
    assert rest.endswith(b"[DONE]\n\n")
    assert again.status_code == 200


def test_its_body_is_not_read(stepping: Stepping, proxy: Running) -> None:
    stepping.step()
    with asking(proxy) as answer:
        chunks = answer.iter_raw()
        next(chunks)
        received = asked_raw(proxy, CHAT, "Content-Length: 1000000")

    assert (status_of(received), code_of(received)) == (503, "proxy_busy")


def test_one_whose_program_has_left_makes_room(
    stepping: Stepping, proxy: Running
) -> None:
    stepping.step()
    with asking(proxy) as answer:
        next(answer.iter_raw())
    assert stepping.left.wait(LIMIT_S)
    stepping.step(4)
    status = 503
    while status == 503:
        answer = httpx.post(f"{proxy.url}{CHAT}", json=ASKED, timeout=LIMIT_S)
        status = answer.status_code

    assert status == 200


def test_the_command_has_the_limit(stepping: Stepping) -> None:
    options = ("--identity", stepping.ring.identity.fingerprint, "--max-running", "1")
    with served_app(stepping.app) as port:
        with started(f"http://127.0.0.1:{port}", *options) as proxy:
            stepping.step()
            with asking(proxy) as answer:
                chunks = answer.iter_raw()
                next(chunks)
                refused = httpx.post(f"{proxy.url}{CHAT}", json=ASKED)

    assert refused.json()["error"]["code"] == "proxy_busy"
