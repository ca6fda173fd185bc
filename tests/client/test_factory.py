"""Which client the factory makes, and what of it stays as the SDK wants it."""

from __future__ import annotations

import sys
import types
from typing import Any

import httpx
import httpx2
import openai
import pytest

from stainedglass_output_protection import errors
from stainedglass_output_protection.client import (
    factory,
    httpx2_binding,
    httpx_binding,
    protected_async_client,
    protected_client,
)
from stainedglass_output_protection.client.settings import ClientSettings
from tests.client.drivers import CHAT, Driver
from tests.client.fake_server import FakeServer, Sealing, chat_body


def hide(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    for name in names:
        monkeypatch.setitem(sys.modules, name, None)


def test_the_clients_are_the_installed_sdks() -> None:
    with protected_client() as client:
        assert isinstance(client, openai.DefaultHttpxClient)
        assert isinstance(client._transport, httpx2_binding.ProtectedTransport)
    client = protected_async_client()
    assert isinstance(client, openai.DefaultAsyncHttpxClient)
    assert isinstance(client._transport, httpx2_binding.AsyncProtectedTransport)


def test_without_an_sdk_it_is_whichever_library_is_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hide(monkeypatch, "openai")
    with protected_client() as client:
        assert type(client) is httpx2.Client
    hide(monkeypatch, "httpx2")
    with protected_client() as client:
        assert type(client) is httpx.Client
        assert isinstance(client._transport, httpx_binding.ProtectedTransport)
    assert type(protected_async_client()) is httpx.AsyncClient


def test_without_a_library_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hide(monkeypatch, "openai", "httpx2", "httpx")
    with pytest.raises(ImportError, match=r"stainedglass-output-protection\[client\]"):
        protected_client()


def test_the_sdks_timeouts_and_limits_stay() -> None:
    with protected_client() as made, openai.DefaultHttpxClient() as default:
        assert made.timeout == default.timeout
        ours, theirs = made._transport._inner._pool, default._transport._pool  # type: ignore[attr-defined]
        assert ours._max_connections == theirs._max_connections
        assert not made.follow_redirects


def test_arguments_reach_the_client() -> None:
    with protected_client(timeout=3, headers={"a": "b"}) as client:
        assert client.timeout.read == 3
        assert client.headers["a"] == "b"


def test_a_given_transport_is_wrapped(fake: FakeServer) -> None:
    inner = Driver("httpx2", is_async=False).transport(fake)._inner
    with protected_client(transport=inner) as client:
        answer = client.post(f"http://server.test{CHAT}", json={})
    assert answer.content == chat_body()


def test_proxies_of_the_environment_are_kept_and_wrapped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.test:3128")
    monkeypatch.setenv("NO_PROXY", "direct.test")
    with protected_client() as client:
        mounts = dict(client._mounts)
        proxied = [transport for transport in mounts.values() if transport is not None]
        assert len(proxied) == 1
        assert len(mounts) > len(proxied)
        assert isinstance(proxied[0], httpx2_binding.ProtectedTransport)
        assert proxied[0]._protection is client._transport._protection


def test_a_proxy_that_is_given_is_used(server: FakeServer) -> None:
    proxy = server.base_url.removesuffix("/v1")
    with protected_client(proxy=proxy) as client:
        answer = client.post("http://far.test/v1/chat/completions", json={})
    assert answer.content == chat_body()
    assert ("host", "far.test") in server.received[0].headers


def test_following_redirects_cannot_be_switched_on() -> None:
    with pytest.raises(errors.UsageError, match="follow_redirects"):
        protected_client(follow_redirects=True)


def test_the_pin_comes_from_the_argument_or_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one, two = Sealing().fingerprint, Sealing().fingerprint
    assert ClientSettings.load().pins is None
    monkeypatch.setenv("SG_SERVER_IDENTITY", f"{one}, {two}")
    assert ClientSettings.load().pins == frozenset({one, two})
    assert ClientSettings.load([two]).pins == frozenset({two})
    assert ClientSettings.load(one).pins == frozenset({one})


def test_a_wrong_pin_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for wrong in ("SHA256:short", [], "", ["nonsense"]):
        with pytest.raises(errors.ConfigurationError):
            protected_client(identity=wrong)
    monkeypatch.setenv("SG_SERVER_IDENTITY", "nonsense")
    with pytest.raises(errors.ConfigurationError):
        protected_async_client()


def test_the_key_headers_name_comes_from_the_environment() -> None:
    environment = {"SG_CLIENT_PUBLIC_KEY_HEADER_NAME": " X-Key "}
    settings = ClientSettings.load(environment=environment)
    assert settings.client_key_header == "x-key"


@pytest.mark.parametrize(("major", "deferred"), [(1, True), (2, True), (3, False)])
def test_errors_are_deferred_for_old_sdks_only(
    major: int, deferred: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def client_class(**_: Any) -> tuple[type[Any], int]:
        return httpx.Client, major

    monkeypatch.setattr(factory, "_client_class", client_class)
    with protected_client() as client:
        assert client._transport._defer_errors is deferred


def test_a_library_without_the_wrapped_attributes_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Renamed(httpx2.Client):
        _transport = property()

    monkeypatch.setattr(factory, "_client_class", lambda **_: (Renamed, 3))
    with pytest.raises(AttributeError):
        protected_client()


def test_too_old_an_sdk_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    old = types.ModuleType("openai")
    old.__version__ = "1.2.0"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "openai", old)
    with pytest.raises(ImportError, match=r"openai 1\.2\.0 is too old"):
        protected_client()
