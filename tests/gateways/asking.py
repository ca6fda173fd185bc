"""Asks a server through a gateway as a program does, and tells what came of it."""

from __future__ import annotations

import asyncio
import json
import ssl
from dataclasses import dataclass, field
from typing import Any

from stainedglass_output_protection.client import (
    protected_async_client,
    protected_client,
)
from tests.gateways.fault import OPENS
from tests.gateways.simulator import Gateway

CHAT = "/v1/chat/completions"
PROMPT: dict[str, Any] = {
    "model": "tiny",
    "messages": [{"role": "user", "content": "Hello?"}],
}
# Reading the certificates takes longer than all the rest.
_NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@dataclass
class Seen:
    """What a program saw: ``body`` is what it had before ``error``, if there was one."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    error: Exception | None = None

    @property
    def mark(self) -> str:
        return self.headers.get("x-output-protection", "")

    @property
    def outcome(self) -> str:
        """It as the table of faults has it; ``opens`` is any opened success."""
        if self.error is not None:
            return type(self.error).__name__
        if (self.status, self.mark) == (200, "opened"):
            return OPENS
        return " ".join(filter(None, [str(self.status), self.mark, self._code()]))

    def _code(self) -> str:
        try:
            return str(json.loads(self.body)["error"]["code"])
        except ValueError:
            return ""


@dataclass
class Asking:
    """Makes a client for each question: another program, another machine."""

    gateway: Gateway
    fingerprint: str
    is_async: bool = False

    def __call__(
        self,
        profile: str,
        shape: str = "unary",
        *,
        path: str = CHAT,
        asked: dict[str, Any] | None = None,
        **choices: Any,
    ) -> Seen:
        """Ask once and read to the end, or to the error."""
        body = {**(PROMPT if asked is None else asked)}
        if shape == "stream":
            body["stream"] = True
        choices = {"identity": self.fingerprint, "profile": profile, **choices}
        url = f"http://127.0.0.1:{self.gateway.port}{path}"
        seen = Seen()
        try:
            if self.is_async:
                asyncio.run(_ask_async(url, body, choices, seen))
            else:
                _ask_sync(url, body, choices, seen)
        except Exception as error:
            seen.error = error
        return seen


def _ask_sync(url: str, body: Any, choices: dict[str, Any], seen: Seen) -> None:
    with (
        protected_client(verify=_NO_TLS, **choices) as client,
        client.stream("POST", url, json=body) as answer,
    ):
        seen.status, seen.headers = answer.status_code, dict(answer.headers)
        for piece in answer.iter_bytes():
            seen.body += piece


async def _ask_async(url: str, body: Any, choices: dict[str, Any], seen: Seen) -> None:
    async with (
        protected_async_client(verify=_NO_TLS, **choices) as client,
        client.stream("POST", url, json=body) as answer,
    ):
        seen.status, seen.headers = answer.status_code, dict(answer.headers)
        async for piece in answer.aiter_bytes():
            seen.body += piece
