"""Which client the factory makes, and what of it stays as the SDK wants it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import httpx
import httpx2
import openai
import pytest

from stainedglass_output_protection import errors
from stainedglass_output_protection.client import (
    httpx2_binding,
    httpx_binding,
    protected_async_client,
    protected_client,
)
from stainedglass_output_protection.client.settings import ClientSettings
from stainedglass_output_protection.protocol.constants import (
    PROFILE_OUTPUT,
    PROFILE_SEALED,
    SUITE_MLKEM768_X25519,
    SUITE_X25519,
)
from tests.client.drivers import CHAT, Driver
from tests.client.fake_server import FakeServer, Sealing, chat_body

SDKS = ("openai", "anthropic")
PINNED = {"identity": Sealing().fingerprint}
CHOICES: list[dict[str, Any]] = [PINNED, {"profile": "output"}]


@pytest.fixture(params=CHOICES, ids=["sealed", "output"])
def choices(request: pytest.FixtureRequest) -> dict[str, Any]:
    """What a client of each profile has to be told."""
    made: dict[str, Any] = request.param
    return made


def hide(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    for name in names:
        monkeypatch.setitem(sys.modules, name, None)


def test_the_clients_are_the_installed_sdks(choices: dict[str, Any]) -> None:
    with protected_client(**choices) as client:
        assert isinstance(client, openai.DefaultHttpxClient)
        assert isinstance(client._transport, httpx2_binding.ProtectedTransport)
    client = protected_async_client(**choices)
    assert isinstance(client, openai.DefaultAsyncHttpxClient)
    assert isinstance(client._transport, httpx2_binding.AsyncProtectedTransport)


def test_without_an_sdk_it_is_whichever_library_is_there(
    choices: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    hide(monkeypatch, *SDKS)
    with protected_client(**choices) as client:
        assert isinstance(client, httpx2.Client)
        assert isinstance(client._transport, httpx2_binding.ProtectedTransport)
    hide(monkeypatch, "httpx2")
    with protected_client(**choices) as client:
        assert isinstance(client, httpx.Client)
        assert isinstance(client._transport, httpx_binding.ProtectedTransport)
    assert isinstance(protected_async_client(**choices), httpx.AsyncClient)


def test_without_a_library_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hide(monkeypatch, *SDKS, "httpx2", "httpx")
    with pytest.raises(ImportError, match=r"'\.\[client\]' in the checkout"):
        protected_client(**PINNED)


def test_the_sdks_timeouts_and_limits_stay(choices: dict[str, Any]) -> None:
    with protected_client(**choices) as made, openai.DefaultHttpxClient() as default:
        assert made.timeout == default.timeout
        ours, theirs = made._transport._inner._pool, default._transport._pool  # type: ignore[attr-defined]
        assert ours._max_connections == theirs._max_connections
        assert not made.follow_redirects


def test_arguments_reach_the_client(choices: dict[str, Any]) -> None:
    with protected_client(timeout=3, headers={"a": "b"}, **choices) as client:
        assert client.timeout.read == 3
        assert client.headers["a"] == "b"


def test_a_given_transport_is_wrapped(fake: FakeServer) -> None:
    inner = Driver("httpx2", is_async=False).transport(fake)._inner
    identity = fake.fingerprint
    with protected_client(
        transport=inner, profile=fake.profile, identity=identity
    ) as client:
        answer = client.post(f"http://server.test{CHAT}", json={})
    assert answer.content == chat_body()


def test_proxies_of_the_environment_are_kept_and_wrapped(
    choices: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.test:3128")
    monkeypatch.setenv("NO_PROXY", "direct.test")
    with protected_client(**choices) as client:
        mounts = dict(client._mounts)
        proxied = [transport for transport in mounts.values() if transport is not None]
        assert len(proxied) == 1
        assert len(mounts) > len(proxied)
        assert isinstance(proxied[0], httpx2_binding.ProtectedTransport)
        assert proxied[0]._protection is client._transport._protection


def test_a_proxy_that_is_given_is_used(server: FakeServer) -> None:
    proxy = server.base_url.removesuffix("/v1")
    identity = server.fingerprint
    with protected_client(
        proxy=proxy, profile=server.profile, identity=identity
    ) as client:
        answer = client.post("http://far.test/v1/chat/completions", json={})
    assert answer.content == chat_body()
    assert all(("host", "far.test") in it.headers for it in server.received)
    assert len(server.attempts) == 1


def test_following_redirects_cannot_be_switched_on() -> None:
    with pytest.raises(errors.UsageError, match="follow_redirects"):
        protected_client(follow_redirects=True, **PINNED)


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
        for profile in ("output", "sealed"):
            with pytest.raises(errors.ConfigurationError):
                protected_client(
                    identity=wrong, profile=profile, trust_on_first_use=True
                )
    for wrong in ("nonsense", " "):
        monkeypatch.setenv("SG_SERVER_IDENTITY", wrong)
        for profile in ("output", "sealed"):
            with pytest.raises(errors.ConfigurationError):
                protected_async_client(profile=profile, trust_on_first_use=True)


def test_sealed_is_the_default_and_knows_the_server_or_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for make in (protected_client, protected_async_client):
        with pytest.raises(errors.ConfigurationError) as caught:
            make()
        for way_out in ("identity=", "trust_on_first_use=True", "profile='output'"):
            assert way_out in str(caught.value)
        with pytest.raises(errors.ConfigurationError):
            make(trust_on_first_use=False)
        with pytest.raises(errors.ConfigurationError):
            make(profile="sealed")
        assert make(trust_on_first_use=True)._transport._protection.reads_bodies
        assert make(**PINNED)._transport._protection.reads_bodies
        assert not make(profile="output")._transport._protection.reads_bodies
    monkeypatch.setenv("SG_SERVER_IDENTITY", PINNED["identity"])
    assert protected_async_client()._transport._protection.reads_bodies


def test_the_choices_come_from_the_argument_or_the_environment(
    tmp_path: Path,
) -> None:
    def load(environment: dict[str, str], **given: Any) -> ClientSettings:
        return ClientSettings.load(environment=environment, **given)

    plain = load({"HOME": "/home/me"})
    assert (plain.profile, plain.suite) == (PROFILE_SEALED, SUITE_MLKEM768_X25519)
    assert (plain.trusts_first_use, plain.seals_authorization) == (False, False)
    assert (plain.owner_file, plain.exposed) == (None, frozenset())
    variables = {
        "SG_CLIENT_PROFILE": "output",
        "SG_REQUEST_SUITE": " x25519 ",
        "SG_TRUST_ON_FIRST_USE": "true",
        "SG_SEAL_AUTHORIZATION": "1",
        "SG_KNOWN_SERVERS_FILE": str(tmp_path / "known"),
        "SG_OWNER_SECRET_FILE": str(tmp_path / "owner"),
    }
    told = load(variables)
    assert (told.profile, told.suite) == (PROFILE_OUTPUT, SUITE_X25519)
    assert (told.trusts_first_use, told.seals_authorization) == (True, True)
    assert told.known_servers == tmp_path / "known"
    assert told.owner_file == tmp_path / "owner"
    given = load(
        variables,
        profile="sealed",
        suite="mlkem768-x25519",
        trust_on_first_use=False,
        seal_authorization=False,
        owner_file=tmp_path / "mine",
        expose=["session_params"],
    )
    assert (given.profile, given.suite) == (PROFILE_SEALED, SUITE_MLKEM768_X25519)
    assert (given.trusts_first_use, given.seals_authorization) == (False, False)
    assert given.owner_file == tmp_path / "mine"
    assert given.exposed == {"session_params"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"profile": "sealed "},
        {"profile": "clear"},
        {"suite": "p256"},
        {"expose": "session_params"},
        {"environment": {"SG_CLIENT_PROFILE": "off"}},
        {"environment": {"SG_REQUEST_SUITE": "2"}},
        {"environment": {"SG_TRUST_ON_FIRST_USE": "maybe"}},
        {"environment": {"SG_SEAL_AUTHORIZATION": "2"}},
    ],
    ids=str,
)
def test_a_wrong_choice_is_refused_at_once(wrong: dict[str, Any]) -> None:
    with pytest.raises(errors.ConfigurationError):
        ClientSettings.load(**{"environment": {}, **wrong})


def test_the_key_headers_name_comes_from_the_environment() -> None:
    environment = {"SG_CLIENT_PUBLIC_KEY_HEADER_NAME": " X-Key "}
    settings = ClientSettings.load(environment=environment)
    assert settings.client_key_header == "x-key"


def test_a_library_without_the_wrapped_attributes_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Renamed(httpx2.Client):
        _transport = property()

    monkeypatch.setattr(openai, "DefaultHttpxClient", Renamed)
    with pytest.raises(AttributeError):
        protected_client(**PINNED)
