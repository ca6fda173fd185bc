"""Who may use the proxy: programs of this machine, and those that hold the token."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from stainedglass_output_protection.apps.proxy.access import Rules
from stainedglass_output_protection.server.sealed_requests import open_request
from tests.apps.proxy.apis import ASKED, CHAT
from tests.apps.proxy.raw import asked_raw, code_of, status_of
from tests.apps.proxy.running import HOSTS, Running, proxied
from tests.client.drivers import protection_for
from tests.client.fake_server import Wire
from tests.client.sealed_cases import is_seen
from tests.client.sealed_server import SealedServer

PAGE = "https://app.example.com"
TOKEN = "the-token-of-the-proxy"
KEY = "the-key-of-the-server"


def ask(proxy: Running, **headers: str) -> httpx.Response:
    shown = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.post(f"{proxy.url}{CHAT}", json=ASKED, headers=shown)


def code(answer: httpx.Response) -> Any:
    return answer.json()["error"]["code"]


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost:8123", "LOCALHOST", "[::1]:8123"]
)
def test_this_machines_names_are_let_in(proxy: Running, host: str) -> None:
    assert status_of(asked_raw(proxy, "/v1/models", method="GET", host=host)) == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example:8123",
        "localhost@evil.example",
        "evil.example@127.0.0.1",
        "[",
        "",
    ],
)
def test_a_rebound_name_is_refused(
    server: SealedServer, proxy: Running, host: str
) -> None:
    received = asked_raw(proxy, host=host)

    assert (status_of(received), code_of(received)) == (421, "host_refused")
    assert not server.received


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": PAGE},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:8123"},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
        # No page lives at the proxy's own origin but what a gateway has sent.
        {"sec_fetch_site": "same-origin"},
    ],
    ids=str,
)
def test_a_foreign_page_is_refused(
    server: SealedServer, proxy: Running, headers: dict[str, str]
) -> None:
    answer = ask(proxy, **headers)

    assert (answer.status_code, code(answer)) == (403, "origin_refused")
    assert "access-control-allow-origin" not in answer.headers
    assert not server.received


def test_a_foreign_page_learns_nothing_from_a_preflight(proxy: Running) -> None:
    asks = {"origin": PAGE, "access-control-request-method": "POST"}
    answer = httpx.options(f"{proxy.url}{CHAT}", headers=asks)

    assert answer.status_code == 403
    assert "access-control-allow-origin" not in answer.headers


def test_a_page_that_was_named_may_ask(server: SealedServer) -> None:
    rules = Rules(HOSTS, frozenset({PAGE}))
    asks = {
        "origin": PAGE,
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization, content-type",
    }
    with proxied(server.base_url, protection_for(server), rules=rules) as proxy:
        before = httpx.options(f"{proxy.url}{CHAT}", headers=asks)
        answer = ask(proxy, origin=PAGE, sec_fetch_site="cross-site")
        error = httpx.get(f"{proxy.url}/a/v1/models", headers={"origin": PAGE})
        other = ask(proxy, origin="https://other.example.com")

    assert before.status_code == 204
    assert before.headers["access-control-allow-headers"] == (
        "authorization, content-type"
    )
    assert answer.status_code == 200
    for shown in (before, answer, error):
        assert shown.headers["access-control-allow-origin"] == PAGE
    assert other.status_code == 403
    # The server is not told of the page, and cannot speak for the proxy.
    (attempt,) = server.attempts
    assert attempt.values("origin") == []


def test_what_a_browser_adds_stays_here(server: SealedServer, proxy: Running) -> None:
    jar = {"cookie": "of=another-program", "referer": "http://127.0.0.1:8888/?token=t"}

    assert ask(proxy, sec_fetch_site="none", **jar).status_code == 200
    (attempt,) = server.attempts
    assert attempt.values("cookie") == attempt.values("referer") == []


def test_no_answer_can_run_as_a_page(server: SealedServer, proxy: Running) -> None:
    page = {"content-type": "text/html", "content-security-policy": "script-src *"}
    server.tamper = lambda wire: Wire(404, page, [b"<script>"])

    shown = httpx.post(f"{proxy.url}{CHAT}", json=ASKED).headers
    assert shown.get_list("content-security-policy") == ["sandbox"]
    assert shown["x-content-type-options"] == "nosniff"


def test_a_servers_leave_to_every_page_is_not_passed_on(
    server: SealedServer, proxy: Running
) -> None:
    server.tamper = lambda wire: _with_header(wire, "access-control-allow-origin", "*")

    assert "access-control-allow-origin" not in ask(proxy).headers


def _with_header(wire: Any, name: str, value: str) -> Any:
    wire.headers[name] = value
    return wire


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer wrong-token-of-the-proxy"},
        {"authorization": TOKEN[:-1]},
        {"x_api_key": ""},
    ],
    ids=str,
)
def test_without_its_token_nobody_gets_in(
    server: SealedServer, headers: dict[str, str]
) -> None:
    rules = Rules(token=TOKEN, upstream_key=KEY)
    with proxied(server.base_url, protection_for(server), rules=rules) as proxy:
        answer = ask(proxy, **headers)

    assert (answer.status_code, code(answer)) == (401, "invalid_api_key")
    assert TOKEN not in answer.text
    assert not server.received


@pytest.mark.parametrize(
    ("headers", "key", "sent_on"),
    [
        ({"authorization": f"Bearer {TOKEN}"}, KEY, [f"Bearer {KEY}"]),
        ({"authorization": f"bearer {TOKEN}"}, None, []),
        ({"x_api_key": TOKEN}, KEY, [f"Bearer {KEY}"]),
        ({"x_api_key": TOKEN, "authorization": "Bearer x"}, None, []),
    ],
)
def test_the_token_lets_in_and_stays_here(
    server: SealedServer, headers: dict[str, str], key: str | None, sent_on: list[str]
) -> None:
    rules = Rules(token=TOKEN, upstream_key=key)
    with proxied(server.base_url, protection_for(server), rules=rules) as proxy:
        answer = ask(proxy, **headers)

    assert answer.status_code == 200
    (attempt,) = server.attempts
    assert attempt.values("authorization") == sent_on
    assert TOKEN.encode() not in b"".join(it.raw for it in server.received)


def test_the_servers_key_replaces_the_programs(server: SealedServer) -> None:
    rules = Rules(HOSTS, upstream_key=KEY)
    with proxied(server.base_url, protection_for(server), rules=rules) as proxy:
        ask(proxy, authorization="Bearer mine", x_api_key="mine")

    (attempt,) = server.attempts
    assert attempt.values("authorization") == [f"Bearer {KEY}"]
    assert attempt.values("x-api-key") == []


@pytest.mark.parametrize(
    ("headers", "inside_it"),
    [
        ({"x_api_key": "sk-incarnadine"}, "Bearer sk-incarnadine"),
        ({"x_api_key": "Bearer sk-incarnadine"}, "Bearer sk-incarnadine"),
        ({"x_api_key": "sk-incarnadine", "authorization": "Bearer b"}, "Bearer b"),
        ({"authorization": "Bearer sk-incarnadine"}, "Bearer sk-incarnadine"),
        ({"x_api_key": "sk-incarnadine", "authorization": ""}, "Bearer sk-incarnadine"),
        ({"x_api_key": ""}, ""),
    ],
    ids=str,
)
@pytest.mark.parametrize("method", ["POST", "GET"])
def test_a_key_that_is_to_be_sealed_is_so_in_whichever_header_it_comes(
    server: SealedServer, method: str, headers: dict[str, str], inside_it: str
) -> None:
    rules = Rules(HOSTS, seals_key=True)
    protection = protection_for(server, seals_authorization=True)
    shown = {name.replace("_", "-"): value for name, value in headers.items()}
    with proxied(server.base_url, protection, rules=rules) as proxy:
        path = CHAT if method == "POST" else "/v1/models"
        content = json.dumps(ASKED) if method == "POST" else None
        url = f"{proxy.url}{path}"
        answer = httpx.request(method, url, content=content, headers=shown)

    assert answer.status_code == 200
    (attempt,) = server.attempts
    assert attempt.values("x-api-key") == []
    assert not is_seen(server, "incarnadine")
    assert attempt.values("authorization") == []
    if inside_it:
        sealed = open_request(attempt.sealed_text, ring=server.ring)
        assert sealed.request.authorization == inside_it


def test_secrets_are_not_shown() -> None:
    rules = Rules(token=TOKEN, upstream_key=KEY)

    assert TOKEN not in repr(rules)
    assert KEY not in repr(rules)


def test_health_is_the_proxys_own(server: SealedServer) -> None:
    rules = Rules(token=TOKEN)
    with proxied(server.base_url, protection_for(server), rules=rules) as proxy:
        answer = httpx.get(f"{proxy.url}/-/health")

    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
    assert not server.received
