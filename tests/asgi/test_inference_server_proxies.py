"""A server of EasyDeL's make behind its own kind of proxy."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest
from starlette.requests import Request

from stainedglass_output_protection.asgi import protect
from stainedglass_output_protection.errors import OutputProtectionError
from tests.asgi.applications import ASK, CANARY, CHAT, PIECES, Identity
from tests.asgi.asking import client_of
from tests.asgi.inference_server import StandIn
from tests.asgi.serving import fetched, served


class Rebuilding:
    """Asks ``app`` with the fields that it knows, as ``oai_proxies`` does."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        asked = await Request(scope, receive).json()
        known = {it: asked[it] for it in ("model", "messages", "stream") if it in asked}
        body = json.dumps(known).encode()
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
        ]

        async def rebuilt() -> Any:
            return {"type": "http.request", "body": body}

        await self._app({**scope, "headers": headers}, rebuilt, send)


@pytest.mark.parametrize("profile", ["sealed", "output"])
def test_what_rebuilds_requests_loses_a_key_that_is_not_in_a_message(
    owned: Identity, profile: str
) -> None:
    app = protect(StandIn().app, identity_key_file=owned.path, keyless_requests="allow")
    asking = client_of(owned, profile)
    with (
        served(Rebuilding(app)) as where,
        openai.OpenAI(
            base_url=f"{where}/v1", api_key="k", http_client=asking, max_retries=0
        ) as sdk,
    ):
        # It would have been answered, in the clear.
        assert CANARY in fetched(where + CHAT, "POST", json=ASK).text
        if profile == "sealed":
            told = sdk.chat.completions.create(**ASK)
            assert told.choices[0].message.content == "".join(PIECES)
            return
        with pytest.raises((openai.APIError, OutputProtectionError)) as refused:
            sdk.chat.completions.create(**ASK)

    assert CANARY not in str(refused.value)
