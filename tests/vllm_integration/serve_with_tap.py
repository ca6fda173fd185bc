"""``sg-vllm serve`` with a tap between the protection and vLLM's own app.

    python -m tests.vllm_integration.serve_with_tap serve MODEL [OPTIONS]

Everything runs as in ``sg-vllm``; only the app inside the protection is wrapped. The
tap writes what vLLM emitted to the file ``TAP_FILE``, and obeys these request headers:

``x-test-id``     the name under which the request is written;
``x-test-fault``  ``before``: raise instead of beginning the response; a number: raise
                  instead of sending the piece of the body after so many. If nothing of
                  the body was sent, what vLLM's own handler says is written, as it is
                  for an error of vLLM's own;
``x-test-words``  what the raised error says;
``x-test-report`` on a clear route: answer with ``x-test-live-keys``, the number of
                  requests that the key registry knows as being served.

Two variables change the server, for tests of what protects it:

``TAP_PLACEMENT=outermost``      put the protection outside all other middleware;
``TAP_GUARDS_OFF=serve,startup`` switch off the checks that refuse that.
``TAP_NO_ENGINE=1``              go the whole way to serving without loading a model.

``TAP_DOORS`` is for the tests of all routes: see ``doors/inside.py``.
"""

from __future__ import annotations

import base64
import contextlib
import json
import logging
import os
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tests.vllm_integration.doors import inside


class Tap:
    """Writes what ``app`` sends, before it is passed on."""

    def __init__(
        self, app: ASGIApp, write: Callable[[dict[str, Any]], None], path: str
    ) -> None:
        self._app = app
        self._write = write
        self._path = path
        self._has_routes = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not self._has_routes and "app" in scope:
            self._has_routes = True
            inside.write_routes(scope["app"], self._path)
        headers = dict(scope.get("headers", ()))
        if b"x-test-report" in headers:
            await self._app(scope, receive, _reporting(send))
        elif b"x-test-id" in headers:
            await self._tapped(scope, receive, send, headers)
        else:
            await self._app(scope, receive, send)

    async def _tapped(
        self, scope: Scope, receive: Receive, send: Send, headers: dict[bytes, bytes]
    ) -> None:
        name = headers[b"x-test-id"].decode("ascii")
        fault = headers.get(b"x-test-fault", b"").decode("ascii")
        words = headers.get(b"x-test-words", b"").decode("ascii")
        pieces = 0
        has_started = False

        def write(event: str, **facts: Any) -> None:
            self._write({"id": name, "event": event, **facts})

        async def tapped_send(message: Message) -> None:
            nonlocal pieces, has_started
            if message["type"] == "http.response.start":
                if fault == "before":
                    raise RuntimeError(words)
                has_started = True
                write(
                    "start",
                    status=message["status"],
                    headers=[
                        (key.decode("latin-1"), value.decode("latin-1"))
                        for key, value in message["headers"]
                    ],
                )
            elif message["type"] == "http.response.body":
                if fault == str(pieces):
                    raise RuntimeError(words)
                data = message.get("body", b"")
                pieces += bool(data)
                write("body", data=base64.b64encode(data).decode("ascii"))
            await send(message)

        write("request", path=scope["path"])
        try:
            await self._app(scope, receive, tapped_send)
        except BaseException as error:
            if fault == "0" or (isinstance(error, Exception) and not has_started):
                await self._write_own_answer(scope, receive, error, write)
            write("end", how=type(error).__name__)
            raise
        write("end", how="returned")

    async def _write_own_answer(
        self, scope: Scope, receive: Receive, error: BaseException, write: Any
    ) -> None:
        """Write what vLLM's own handler answers to ``error``."""
        handler = scope["app"].exception_handlers[Exception]
        logging.disable(logging.CRITICAL)  # What is logged is not for this call to say.
        try:
            answer = await handler(Request(scope, receive), error)
        finally:
            logging.disable(logging.NOTSET)
        write("start", status=answer.status_code, headers=list(answer.headers.items()))
        write("body", data=base64.b64encode(answer.body).decode("ascii"))


def _reporting(send: Send) -> Send:
    from stainedglass_output_protection.server.registry import SHARED_REGISTRY

    async def reporting_send(message: Message) -> None:
        if message["type"] == "http.response.start":
            live = sum(key is not None for key in SHARED_REGISTRY.values())
            report = (b"x-test-live-keys", str(live).encode("ascii"))
            message = {**message, "headers": [*message["headers"], report]}
        await send(message)

    return reporting_send


def insert_tap(path: str) -> None:
    """Put the tap inside every ``ProtectionMiddleware`` that is made from now on."""
    from stainedglass_output_protection.server.middleware import ProtectionMiddleware

    file = open(path, "a", encoding="ascii", buffering=1)
    made = ProtectionMiddleware.__init__

    def write(record: dict[str, Any]) -> None:
        file.write(json.dumps(record) + "\n")

    def init(self: Any, app: ASGIApp, *args: Any, **kwargs: Any) -> None:
        made(self, Tap(app, write, path), *args, **kwargs)

    ProtectionMiddleware.__init__ = init  # type: ignore[method-assign]


def move_outermost() -> None:
    """Let the package add its middleware as the outermost one."""
    from stainedglass_output_protection.vllm import protection
    from stainedglass_output_protection.vllm.middleware import UserPublicKeyMiddleware

    def add_outermost(app: Any) -> None:
        app.user_middleware.insert(0, Middleware(UserPublicKeyMiddleware))
        app.middleware_stack = None

    protection.add_innermost = add_outermost  # type: ignore[attr-defined]


def switch_off(guards: str) -> None:
    """Switch off the named checks of the placement."""
    from stainedglass_output_protection.vllm import protection

    if "serve" in guards:
        protection.is_protected = lambda app: True
    if "startup" in guards:
        protection._require_innermost_now = lambda: None


def leave_out_engine() -> None:
    """Let vLLM's API server come up to the point of serving without an engine."""
    from types import SimpleNamespace

    from vllm.entrypoints.launchers.api_server import entry

    async def get_supported_tasks() -> tuple[str, ...]:
        return ("generate",)

    async def check_health() -> None:
        return None

    @contextlib.asynccontextmanager
    async def no_engine(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        yield SimpleNamespace(
            get_supported_tasks=get_supported_tasks,
            check_health=check_health,
            model_config=None,
            errored=False,
        )

    async def no_state(engine: Any, state: Any, *args: Any) -> None:
        state.engine_client = engine
        state.log_stats = False

    entry.build_async_engine_client = no_engine
    entry.init_app_state = no_state


def main() -> None:
    """Change what the environment says, then run the real command."""
    if path := os.environ.get("TAP_FILE"):
        insert_tap(path)
        inside.prepare(path, os.environ.get("TAP_DOORS", ""))
    if os.environ.get("TAP_PLACEMENT") == "outermost":
        move_outermost()
    switch_off(os.environ.get("TAP_GUARDS_OFF", ""))
    if os.environ.get("TAP_NO_ENGINE"):
        leave_out_engine()
    from stainedglass_output_protection.apps.cli import main as run_cli

    run_cli()


if __name__ == "__main__":
    sys.argv[0] = "sg-vllm"
    main()
