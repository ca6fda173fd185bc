"""Runs the Python of one page, block after block, as one program would.

A variable ``client`` that a block leaves is asked a question, and has to bring a
protected answer.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import os
import traceback
import types
from typing import Any

from tests.docs.child import answer_lines

_names: dict[str, Any] = {"__name__": "__main__"}
_loop = asyncio.new_event_loop()


def run(block: dict[str, Any]) -> str:
    """Run one block; return the traceback, or nothing."""
    _names.pop("client", None)
    os.environ.update(block["variables"])
    try:
        # With the page's own line numbers in a traceback.
        tree = ast.parse(block["text"])
        ast.increment_lineno(tree, block["line"] - 1)
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        code = compile(tree, block["page"], "exec", flags=flags)
        if code.co_flags & inspect.CO_COROUTINE:
            _loop.run_until_complete(types.FunctionType(code, _names)())
        else:
            exec(code, _names)
        if (client := _names.get("client")) is not None:
            _ask_through(client, block)
    except (Exception, SystemExit):
        return traceback.format_exc()
    finally:
        for name in block["variables"]:
            del os.environ[name]
    return ""


def _ask_through(client: Any, block: dict[str, Any]) -> None:
    body: dict[str, Any] = {
        "model": block["model"],
        "messages": [{"role": "user", "content": block["question"]}],
    }
    if hasattr(client, "chat"):
        raw = _result(client.chat.completions.with_raw_response.create(**body))
        response = raw.http_response
    elif hasattr(client, "messages"):
        raw = client.messages.with_raw_response.create(max_tokens=9, **body)
        response = _result(raw).http_response
    else:
        url = f"{block['origin']}/v1/chat/completions"
        response = _result(client.post(url, json=body))
    mark = response.headers["x-output-protection"]
    if mark != "opened":
        raise AssertionError(f"the client's answer is {mark}")


def _result(found: Any) -> Any:
    return _loop.run_until_complete(found) if inspect.isawaitable(found) else found


if __name__ == "__main__":
    answer_lines(run)
