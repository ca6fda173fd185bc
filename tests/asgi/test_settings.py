"""Settings come from arguments and from the environment, and a wrong one is refused."""

from __future__ import annotations

from typing import Any

import pytest

from stainedglass_output_protection.asgi import protect
from stainedglass_output_protection.errors import ConfigurationError
from stainedglass_output_protection.hosting.settings import load_settings
from tests.asgi.applications import Bare, Identity, starlette_app
from tests.asgi_driver import call, header_of


async def test_an_argument_counts_before_the_environment(
    monkeypatch: pytest.MonkeyPatch, identity: Identity
) -> None:
    monkeypatch.setenv("SG_IDENTITY_KEY_FILE", str(identity.path))
    monkeypatch.setenv("SG_KEYLESS_REQUESTS", "allow")
    allowing = protect(Bare())
    requiring = protect(Bare(), keyless_requests="required")

    assert (await call(allowing))[0]["status"] == 200
    assert (await call(requiring))[0]["status"] == 400


async def test_names_of_headers_are_the_settings(identity: Identity) -> None:
    app = protect(
        starlette_app(),
        identity_key_file=str(identity.path),
        client_public_key_header_name="x-mine",
        server_public_key_header_name="x-yours",
        keyless_requests="discard",
    )
    sent = await call(app)

    assert header_of(sent, b"x-yours")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"keyless_request": "allow"}, "nearest is keyless_requests"),
        ({"keyless_requests": "maybe"}, "SG_KEYLESS_REQUESTS must be one of"),
        ({"clear_routes": "/v1/responses"}, "must not name /v1/responses"),
        ({"clear_routes": "/v1/{x}"}, "must not name /v1/{x}"),
        ({"identity_key_file": "/nowhere"}, "/nowhere cannot be read"),
        ({"evidence_provider": "no.module:f"}, "cannot be imported"),
    ],
)
@pytest.mark.parametrize("make", [Bare, starlette_app])
def test_a_wrong_setting_is_refused_at_once(
    make: Any, settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigurationError, match=words):
        protect(make(), **settings)


def test_where_a_value_came_from_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SG_KEYLESS_REQUESTS", "discard")
    monkeypatch.setenv("SG_PROTECTED_ROUTES", "/generate")
    told = load_settings(keyless_requests="allow").described()
    sources = {name: (value, source) for name, value, source in told}

    assert sources["SG_KEYLESS_REQUESTS"] == ("allow", "code")
    assert sources["SG_PROTECTED_ROUTES"] == ("/generate", "environment")
    assert sources["SG_CLEAR_ROUTES"] == ("none", "default")


@pytest.mark.parametrize("make", [Bare, starlette_app])
def test_an_application_is_protected_once(make: Any) -> None:
    app = protect(make())
    with pytest.raises(ConfigurationError, match="already"):
        protect(app)
