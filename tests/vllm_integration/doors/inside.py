"""What ``serve_with_tap`` changes inside a server for the tests of its doors.

``TAP_DOORS`` names the changes, with commas between:

``fault-tolerance`` mount its routes, which vLLM does for mixtures of experts only;
``questions``       let ``/v1/systemone`` ask the tiny model, which is not on its list;
``plugin``          mount a route that no table knows, as an endpoint plugin does;
``audio``           mount what speech models have, the websocket too.

The routes are written to ``TAP_FILE.routes``, and the name of every file that is opened
for writing to ``TAP_FILE.written``.
"""

from __future__ import annotations

import functools
import json
import os
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

PLUGIN_PATH = "/plugin/{name}"
_WRITING = os.O_WRONLY | os.O_RDWR


def prepare(tap_path: str, names: str) -> None:
    """Do what is named, and report which files are written."""
    _report_written(f"{tap_path}.written")
    for name in filter(None, names.split(",")):
        _CHANGES[name]()


def mounted(routes: Any, prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """Yield class, method and path of every route, those in mounted routers too."""
    for route in routes:
        path = prefix + getattr(route, "path", f"?{type(route).__name__}")
        for method in sorted(getattr(route, "methods", None) or ("*",)):
            yield type(route).__name__, method, path
        yield from mounted(getattr(route, "routes", None) or (), path)


def write_routes(app: Any, tap_path: str) -> None:
    """Write the routes of the app that is being served."""
    with open(f"{tap_path}.routes.new", "w", encoding="ascii") as file:
        json.dump(list(mounted(app.routes)), file)
    os.replace(f"{tap_path}.routes.new", f"{tap_path}.routes")


def _report_written(path: str) -> None:
    report = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def hear(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and arguments[2] & _WRITING:
            os.write(report, json.dumps(str(arguments[0])).encode() + b"\n")

    sys.addaudithook(hear)


def _mount_fault_tolerance() -> None:
    from vllm.entrypoints.launchers import app as module
    from vllm.v1.engine import async_llm

    build_app = module.build_app

    @functools.wraps(build_app)
    def build(args: Any, *others: Any, **named: Any) -> Any:
        args.enable_fault_tolerance = True
        return build_app(args, *others, **named)

    async def handle_fault(*_: Any) -> Any:
        return SimpleNamespace(success=True)

    module.build_app = build
    # An engine that is not one of several does not come back from being repaired.
    async_llm.AsyncLLM.handle_fault = handle_fault


def _answer_questions() -> None:
    from vllm.entrypoints.generate.structured_decisions import strategies

    strategies.READ_STRATEGIES["LlamaForCausalLM"] = strategies.NextTokenStrategy
    # Its labels are words that the tiny tokenizer does not have.
    strategies.QUESTION_TYPES.pop("noul")


def _mount_plugin() -> None:
    from vllm.entrypoints.launchers import app as module

    attach = module.attach_endpoint_plugins

    def attach_with_ours(app: Any, *others: Any) -> None:
        attach(app, *others)
        app.add_api_route(PLUGIN_PATH, _answer, methods=["GET", "POST"])

    module.attach_endpoint_plugins = attach_with_ours


async def _answer(name: str) -> dict[str, str]:
    return {"says": f"Zarquillon, {name}"}


def _mount_audio() -> None:
    from vllm.entrypoints.launchers import app as module

    build_app = module.build_app

    @functools.wraps(build_app)
    def build(args: Any, tasks: Any, *others: Any, **named: Any) -> Any:
        tasks = (*tasks, "transcription", "realtime")
        return build_app(args, tasks, *others, **named)

    module.build_app = build


_CHANGES = {
    "fault-tolerance": _mount_fault_tolerance,
    "questions": _answer_questions,
    "plugin": _mount_plugin,
    "audio": _mount_audio,
}
