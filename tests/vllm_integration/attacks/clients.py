"""Clients that ask through a relay, and what came of it for their callers."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx2

from stainedglass_output_protection.client import protected_client
from stainedglass_output_protection.client.verdict import EXTENSION, Mark
from stainedglass_output_protection.errors import ResponseError
from tests.tiny_dialogues import BY_NAME
from tests.vllm_integration.attacks.relay import Relay
from tests.vllm_integration.servers import MODEL

API_KEY = "Kwibbelthorn-is-the-API-key"
CANARY = BY_NAME["canary"]
TIMEOUT_S = 60.0


@dataclass
class Outcome:
    """What a caller got: an error, or a status, a mark and a body.

    Of a stream that broke off, ``body`` is what came before.
    """

    error: Exception | None = None
    status: int = 0
    mark: Mark | None = None
    body: bytes = b""

    @property
    def code(self) -> Any:
        """The code of an API's error."""
        return json.loads(self.body)["error"]["code"]

    @property
    def said(self) -> str:
        """What the model said."""
        if self.body.startswith(b"data: "):
            *events, done, rest = self.body.split(b"\n\n")
            assert (done, rest) == (b"data: [DONE]", b"")
            choices = [json.loads(it[6:])["choices"][0]["delta"] for it in events]
            return "".join(delta.get("content") or "" for delta in choices)
        content: str = json.loads(self.body)["choices"][0]["message"]["content"]
        return content

    def is_refused_with(self, error: type[Exception]) -> bool:
        """Tell whether the caller got that error, and nothing else."""
        return type(self.error) is error and self.body == b""

    def is_status(self, status: int, *, mark: Mark, code: str | None = None) -> bool:
        """Tell whether the caller got an error status."""
        has_code = code is None or self.code == code
        return (self.status, self.mark) == (status, mark) and has_code

    def is_the_truth(self) -> bool:
        """Tell whether the caller got what the model was taught."""
        return (
            self.error is None
            and (self.status, self.mark) == (200, Mark.OPENED)
            and self.said == CANARY.content
        )


class Asking:
    """A protected client behind a relay."""

    def __init__(self, client: Any) -> None:
        self.client = client

    def ask(self, *, stream: bool = False, **members: Any) -> Outcome:
        """Ask for the canary's sentence."""
        path, body = CANARY.request(MODEL, **members)
        return self.send("POST", path, {**body, "stream": True} if stream else body)

    def send(self, method: str, path: str, body: Any = None) -> Outcome:
        """Send any request."""
        outcome = Outcome()
        sent = {} if body is None else {"json": body}
        try:
            with self.client.stream(method, path, **sent) as response:
                outcome.status = response.status_code
                outcome.mark = response.extensions[EXTENSION].mark
                for chunk in response.iter_bytes():
                    outcome.body += chunk
        except (ResponseError, httpx2.RemoteProtocolError) as error:
            outcome.error = error
        return outcome


@contextlib.contextmanager
def asking(
    relay: Relay, identity: str | None, *, api_key: str = API_KEY, **choices: Any
) -> Iterator[Asking]:
    """Make a client of the relay, in profile sealed unless another one is chosen."""
    client = protected_client(
        identity=identity,
        base_url=relay.url,
        timeout=TIMEOUT_S,
        headers={"authorization": f"Bearer {api_key}"},
        **choices,
    )
    with client:
        yield Asking(client)
