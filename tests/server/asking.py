"""Asks an application by hand with a body, and keeps what it was given and what it sent."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from typing import Any

from stainedglass_output_protection.protocol.keys import ClientKeyPair
from tests.asgi_driver import CHAT, ASGIApp, Message, answering

DISCONNECT: Message = {"type": "http.disconnect"}
JSON = "application/json"
CANARY = "quixotic-vermilion"
ANSWER = b'{"choices":[{"index":0,"message":{"content":"quixotic-vermilion"}}]}'


class Recorder:
    """An application that reads its request and answers with the canary.

    ``waits`` says that it also reads what comes after the request.
    """

    def __init__(self, *, waits: bool = False) -> None:
        self._waits = waits
        self.calls = 0
        self.body = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.after: Message = {}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.calls += 1
        self.headers = list(scope["headers"])
        self.body = b""
        has_more = True
        while has_more:
            message = await receive()
            self.body += message["body"]
            has_more = message.get("more_body", False)
        if self._waits:
            self.after = await receive()
        await answering(ANSWER, content_type=JSON)(scope, receive, send)

    def values(self, name: bytes) -> list[bytes]:
        """Return the values of a request header, as the application saw them."""
        return [value for key, value in self.headers if key == name]


async def ask(
    target: ASGIApp,
    *pieces: bytes,
    path: str = CHAT,
    method: str = "POST",
    content_type: str | None = JSON,
    header_keys: Iterable[str] = (),
    headers: Iterable[tuple[bytes, bytes]] = (),
    is_cut: bool = False,
    leaves: bool = False,
    **scope: Any,
) -> list[Message]:
    """Ask once and return every message that was sent.

    ``is_cut`` says that the client goes away before the end of its body, ``leaves`` that
    it does so after it; else it stays to the end.
    """
    body = [*pieces] or [b""]
    length = str(sum(map(len, body))).encode()
    offered = [(b"content-length", length), *headers]
    if content_type is not None:
        offered.append((b"content-type", content_type.encode()))
    offered += [(b"x-client-public-key", key.encode("latin-1")) for key in header_keys]
    last = len(body) - 1
    incoming: list[Message] = [
        {"type": "http.request", "body": piece, "more_body": is_cut or at < last}
        for at, piece in enumerate(body)
    ]
    sent: list[Message] = []

    async def receive() -> Message:
        if not incoming and not (is_cut or leaves):
            await asyncio.Event().wait()
        return incoming.pop(0) if incoming else DISCONNECT

    async def send(message: Message) -> None:
        sent.append(message)

    await target(
        {
            "type": "http",
            "method": method,
            "path": path,
            "raw_path": path.encode("utf-8"),
            "query_string": b"",
            "root_path": "",
            "headers": offered,
            "server": ("server.test", 80),
            "scheme": "http",
            **scope,
        },
        receive,
        send,
    )
    return sent


def code_of(sent: list[Message]) -> tuple[int, Any]:
    """Return the status and the code of an error that is not sealed."""
    body = b"".join(message.get("body", b"") for message in sent)
    return sent[0]["status"], json.loads(body)["error"]["code"]


def fresh() -> tuple[ClientKeyPair, str]:
    """Return a key pair and its text."""
    key_pair = ClientKeyPair.generate()
    return key_pair, key_pair.header_value
