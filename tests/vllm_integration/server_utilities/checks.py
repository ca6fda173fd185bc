"""Checks of the installed vLLM's server utilities, run as a script in its own process.

vLLM is not imported into the test process: it takes seconds and changes much there.
Each function whose name begins with ``check_`` is one test in ``test_in_process.py``.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gc
import json
import logging
import os
import signal
import socket
import sys
import warnings
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import prometheus_client
import uvloop
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from vllm.entrypoints.launchers.api_server import entry
from vllm.entrypoints.launchers.cli_args import make_arg_parser
from vllm.entrypoints.launchers.utils import server_utils
from vllm.entrypoints.openai.chat_completion import protocol
from vllm.entrypoints.serve.middleware.log_response import SSEDecoder
from vllm.utils.argparse_utils import FlexibleArgumentParser

from stainedglass_output_protection.client.bodies import StreamBody
from stainedglass_output_protection.protocol.keys import ClientKeyPair
from stainedglass_output_protection.protocol.opener import Opener
from stainedglass_output_protection.server import own_epochs
from stainedglass_output_protection.vllm import _seams
from stainedglass_output_protection.vllm.server_keys import ring_of
from tests.vllm_integration.server_utilities.stub_engine import (
    ACCENT,
    MODEL_NAME,
    SECRET,
    TASKS,
    engine,
    fill_state,
)
from tests.vllm_layer.app import CHAT, post, started

READY = "/.well-known/output-protection/ready"
KEY_HEADER = "x-client-public-key"
STARTS = 50
LIMIT_S = 120.0
BODY = {
    "model": MODEL_NAME,
    "messages": [{"role": "user", "content": "cut"}],
    "stream": True,
}

_seams.patch_all()


def arguments(*options: str) -> Any:
    """Return vLLM's parsed options."""
    parser = make_arg_parser(FlexibleArgumentParser())
    return parser.parse_args(["--model", MODEL_NAME, *options])


async def build(*options: str, build_app: Any = None) -> Any:
    """Return vLLM's app, protected by the seam, with a stand-in for its engine."""
    given = arguments(*options)
    app = (build_app or entry.build_app)(given, TASKS)
    await fill_state(engine(), app.state, given)
    return app


async def wire_of(key_pair: ClientKeyPair) -> bytes:
    """Return a protected stream's bytes."""
    app = await build()
    async with started(app):
        status, _, wire = await post(app, BODY, {KEY_HEADER: key_pair.header_value})
    assert status == 200
    return wire


def decoded(*chunks: bytes) -> tuple[list[Any], str]:
    """Return the events and the content that vLLM's decoder finds."""
    decoder = SSEDecoder()
    events = [event for chunk in chunks for event in decoder.decode_chunk(chunk)]
    for event in events:
        if event["type"] == "data":
            decoder.add_content(decoder.extract_content(event["data"]))
    return events, decoder.get_complete_content()


async def check_row_5_vllm_s_decoder_reads_our_stream_cut_anywhere() -> None:
    """No event is lost and no plaintext found, wherever the bytes are cut."""
    wire = await wire_of(ClientKeyPair.generate())
    whole, content = decoded(wire)
    assert [event["type"] for event in whole].count("done") == 1
    assert whole[-1]["type"] == "done"
    assert len(whole) == wire.count(b"data: ") > 4
    assert content.startswith("sgop1.")
    for word in (SECRET, *ACCENT.split("\u2014")):
        assert word not in content
        assert word.encode() not in wire
    for at in range(len(wire) + 1):
        assert decoded(wire[:at], wire[at:]) == (whole, content), at
    assert decoded(*(bytes([byte]) for byte in wire)) == (whole, content)


async def check_row_5_our_decoder_reads_it_cut_anywhere_and_reformatted() -> None:
    """The opened bytes are those that vLLM sends without protection."""
    plain_app = await build(build_app=entry.build_app.__wrapped__)
    async with started(plain_app):
        _, _, plain = await post(plain_app, BODY)
    assert SECRET.encode() in plain
    key_pair = ClientKeyPair.generate()
    wire = await wire_of(key_pair)

    def opened(*chunks: bytes) -> bytes:
        opener = Opener(key_pair=key_pair, accept=lambda statement: None)
        body = StreamBody(opener, is_error=False)
        payload = b"".join(piece for chunk in chunks for piece in body.feed(chunk))
        return payload + b"".join(body.finish())

    assert opened(wire) == plain
    for at in range(len(wire) + 1):
        assert opened(wire[:at], wire[at:]) == plain, at
    events = wire.split(b"\n\n")
    for text in (
        wire.replace(b"\n", b"\r\n"),
        wire.replace(b"\n", b"\r"),
        wire.replace(b"data: ", b"data:"),
        b": ping\n\n" + b"\n\n: ping\n\n".join(events[:-1]) + b"\n\n",
        # A line break between members, as a data line for each.
        wire.replace(b'data: {"', b'data: {\ndata: "'),
    ):
        assert text != wire
        assert opened(text) == plain, text[:200]
        assert opened(*(bytes([byte]) for byte in text)) == plain


async def check_row_6_our_events_are_vllm_s_own_objects() -> None:
    """The typed reading works, and not only what it falls back on."""
    events, _ = decoded(await wire_of(ClientKeyPair.generate()))
    contents = []
    for event in events[:-1]:
        parsed = protocol.ChatCompletionStreamResponse.model_validate(event["data"])
        contents += [choice.delta.content or "" for choice in parsed.choices]
    assert "".join(contents).startswith("sgop1.")


async def check_row_2_no_secret_shows_in_what_the_app_holds() -> None:
    """Neither in its state nor in its middlewares, and vLLM keeps digests only."""
    with open(os.environ["SG_IDENTITY_KEY_FILE"], "rb") as file:
        identity: Any = load_pem_private_key(file.read(), None)
    raw = Encoding.Raw, PrivateFormat.Raw, NoEncryption()
    app = await build("--api-key", "sk-Ferngully")
    async with started(app):
        ring = ring_of({"app": app})
        secrets = [epoch.secret for epoch in ring._source._epochs]  # type: ignore[attr-defined]
        assert secrets
        shown = "\n".join(
            repr(item)
            for holder in (app.state._state, vars(ring))
            for item in (holder, *holder.items(), *map(_vars, holder.values()))
        )
        stack = app.middleware_stack
        held = []
        while stack is not None:
            held += [repr(stack), repr(_vars(stack))]
            stack = getattr(stack, "app", None)
    shown += "\n".join(held)
    assert "KeyRing(" in shown
    assert "AuthenticationMiddleware" in shown
    for secret in (*secrets, identity.private_bytes(*raw)):
        forms = (
            secret.hex(),
            base64.b64encode(secret).decode(),
            base64.urlsafe_b64encode(secret).decode().rstrip("="),
            repr(secret)[2:-1],
        )
        assert not [form for form in forms if form in shown]


def _vars(item: Any) -> Any:
    return getattr(item, "__dict__", None)


class Warnings(logging.Handler):
    """Keeps what is logged as a warning or worse by anything but vLLM itself."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line."""
        if not record.name.startswith("vllm"):
            self.lines.append(f"{record.name}: {record.getMessage()}")


@contextlib.contextmanager
def nothing_goes_wrong() -> Iterator[None]:
    """Fail for a warning, a logged one, a lost exception or a lost task."""
    lost: list[str] = []
    logged = Warnings()
    loop = asyncio.get_running_loop()
    loop.set_debug(True)
    # A loaded machine is slow, which is not what this looks for.
    loop.slow_callback_duration = LIMIT_S
    loop.set_exception_handler(lambda _, context: lost.append(str(context)))
    loggers = [
        logging.getLogger(name) for name in ("", "vllm", "uvicorn", "uvicorn.error")
    ]
    for logger in loggers:
        logger.addHandler(logged)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        with patch.object(sys, "unraisablehook", lambda it: lost.append(str(it))):
            yield
            gc.collect()
    for logger in loggers:
        logger.removeHandler(logged)
    ours = [str(it.message) for it in warned if _is_of_concern(it)]
    assert (ours, lost, logged.lines) == ([], [], [])


def _is_of_concern(warning: warnings.WarningMessage) -> bool:
    """Tell whether a warning is not one that vLLM alone has too."""
    return issubclass(warning.category, (ResourceWarning, RuntimeWarning)) or (
        "stainedglass" in warning.filename
    )


async def check_row_12_fifty_starts_and_stops_leave_nothing() -> None:
    """By vLLM's own ``build_and_serve``, ended by SIGTERM, with a request at t=0."""
    given = arguments("--port", "1")
    given.uvicorn_log_level = "warning"
    before = asyncio.all_tasks()
    with nothing_goes_wrong(), patch.object(entry, "init_app_state", fill_state):
        for number in range(STARTS):
            with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
                # It waits in the queue when the server has not begun to start.
                asked = asyncio.create_task(
                    asyncio.to_thread(ask, listener.getsockname())
                )
                serving = asyncio.create_task(
                    entry.build_and_serve(engine(), "here", listener, given)
                )
                answer = await asyncio.wait_for(asked, LIMIT_S)
                assert b" 200 OK\r\n" in answer, (number, answer[:500])
                assert b"sgop1." in answer
                assert SECRET.encode() not in answer
                os.kill(os.getpid(), signal.SIGTERM)
                stopping = await asyncio.wait_for(serving, LIMIT_S)
                await asyncio.wait_for(stopping, LIMIT_S)
            for _ in range(3):
                await asyncio.sleep(0)  # Cancelled tasks end.
            assert asyncio.all_tasks() == before, number
            assert server_utils._running_tasks == set()


def ask(address: tuple[str, int]) -> bytes:
    """Ask once and return the whole answer."""
    body = json.dumps({**BODY, "stream": False}).encode()
    head = (
        f"POST {CHAT} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        f"{KEY_HEADER}: {ClientKeyPair.generate().header_value}\r\n"
        f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
    )
    with socket.create_connection(address, LIMIT_S) as connection:
        connection.sendall(head.encode() + body)
        return b"".join(iter(lambda: connection.recv(65536), b""))


async def check_row_13_a_key_that_cannot_be_made_is_counted_and_others_come() -> None:
    """The system's random source fails once, in the task that renews keys."""
    failures = iter([None, OSError(f"{SECRET} of the random source")])

    def token_bytes(size: int) -> bytes:
        failure = next(failures, None)
        if failure is not None:
            raise failure
        return os.urandom(size)

    fake = SimpleNamespace(token_bytes=token_bytes)
    logged = Warnings()
    package = logging.getLogger("stainedglass_output_protection")
    package.addHandler(logged)
    rotated = rotations()
    with patch.object(own_epochs, "secrets", fake):
        app = await build()
        async with started(app):

            async def key_of_an_answer() -> str:
                key = {KEY_HEADER: ClientKeyPair.generate().header_value}
                status, headers, _ = await post(app, BODY, key)
                assert status == 200
                return headers["x-server-public-key"]

            async def until(count: int, result: str) -> None:
                # Nothing is asked meanwhile: a request would make the key itself.
                while rotations()[result] - rotated[result] < count:
                    await asyncio.sleep(0.05)

            await asyncio.wait_for(until(1, "failed"), LIMIT_S)
            first = await key_of_an_answer()
            await asyncio.wait_for(until(4, "ok"), LIMIT_S)
            assert await key_of_an_answer() != first
    assert rotations()["failed"] - rotated["failed"] == 1
    package.removeHandler(logged)
    (line,) = logged.lines
    assert "Key rotation failed (OSError)" in line
    assert SECRET not in line


def rotations() -> dict[str, float]:
    """Return the counter that ``/metrics`` shows, by result."""
    return {
        result: prometheus_client.REGISTRY.get_sample_value(
            "output_protection_rotations_total", {"result": result}
        )
        or 0.0
        for result in ("ok", "failed")
    }


def main(names: list[str]) -> None:
    """Run the named checks, each in a loop of its own; print those that pass."""
    # Nothing here is to be read by whoever reads the names.
    report, sys.stdout = sys.stdout, sys.stderr
    for name in names:
        uvloop.run(globals()[name]())
        print(name, file=report, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
