"""What a server of EasyDeL's make is asked, and those who ask it."""

from __future__ import annotations

from typing import Any

import openai

from stainedglass_output_protection.client import protected_client
from stainedglass_output_protection.protocol.keys import ClientKeyPair
from tests.asgi.applications import ASK, CHAT, Identity
from tests.asgi.scripted_engine import CALLING, FAILING, PLAYING, THINKING
from tests.asgi.serving import TIMEOUT_S, fetched

COMPLETIONS = "/v1/completions"
RESPONSES = "/v1/responses"
EXECUTE = "/v1/tools/execute"
# Every protected route, and whatever the engine may do.
ASKED = [
    *((path, it) for path in (CHAT, RESPONSES) for it in (PLAYING, THINKING, CALLING)),
    (COMPLETIONS, PLAYING),
    *((path, FAILING) for path in (CHAT, COMPLETIONS, RESPONSES)),
    (EXECUTE, PLAYING),
]


def body_of(path: str, prompt: str, **members: Any) -> dict[str, Any]:
    """Return what asks for ``prompt``."""
    if path == CHAT:
        said: Any = {"messages": [{"role": "user", "content": prompt}]}
    elif path == RESPONSES:
        said = {"input": prompt, "store": False}
    else:
        said = {"prompt": prompt}
    return {"model": "m", **said, **members}


def client_of(identity: Identity, profile: Any) -> Any:
    """Return a client that pins ``identity``."""
    return protected_client(
        identity=identity.fingerprint, profile=profile, timeout=TIMEOUT_S
    )


def sdk_of(url: str, client: Any = None) -> openai.OpenAI:
    """Return an SDK that never asks again."""
    return openai.OpenAI(
        base_url=f"{url}/v1",
        api_key="k",
        http_client=client,
        max_retries=0,
        timeout=TIMEOUT_S,
    )


def raw(url: str, path: str, body: Any = ASK) -> Any:
    """Ask with a key, and return what the network sees."""
    key = ClientKeyPair.generate().header_value
    return fetched(
        url + path, json=body, headers={"x-client-public-key": key}, method="POST"
    )


def stream_of(sdk: openai.OpenAI, path: str, prompt: str) -> Any:
    """Ask for a stream by the method of the SDK that there is for ``path``."""
    ask: Any = {
        CHAT: sdk.chat.completions,
        COMPLETIONS: sdk.completions,
        RESPONSES: sdk.responses,
    }[path]
    return ask.create(**body_of(path, prompt), stream=True)
