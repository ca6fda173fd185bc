"""Logs: real lines of vLLM's that show what a model wrote, and what is left of them."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CANARY = "xylophone"

# Real parsers, given what makes them log it: as an argument at DEBUG and at WARNING, as
# an f-string at ERROR, and in the source line that a SyntaxError shows.
PARSERS = """
import contextlib, os, sys
from types import SimpleNamespace as Bag

when, config = sys.argv[1:]
def join():
    from stainedglass_output_protection.vllm.log import join_vllm_logging
    join_vllm_logging()
if when == "before":
    join()
from vllm.config.logging import LoggingConfig
from vllm.logger import configure_logging, init_logger
from vllm.tool_parsers.phi4mini_tool_parser import Phi4MiniJsonToolParser
from vllm.tool_parsers.pythonic_tool_parser import PythonicToolParser
from vllm.tool_parsers.utils import compute_tool_delta
configure_logging(
    LoggingConfig(log_level="DEBUG", pylogging_config_file=config or None)
)
if when != "never":
    join()
    join()

tokenizer = Bag(get_vocab=dict)
Phi4MiniJsonToolParser(tokenizer).extract_tool_calls("CANARY", None)
pythonic = PythonicToolParser(tokenizer)
pythonic.extract_tool_calls('[f(a=b"CANARY")]', Bag())
pythonic.extract_tool_calls('[f(a="CANARY" 1)]', Bag())
with contextlib.suppress(ValueError):
    compute_tool_delta("", Bag(function=Bag(arguments="CANARY")), 0, "}")
init_logger("vllm.entrypoints.serve.utils.request_logger").info("Received %s", "CANARY")
init_logger("vllm.entrypoints.launchers.launcher").info("Route: %s", "/v1/models")
""".replace("CANARY", CANARY)

# The other ways: exceptions nobody caught, and warnings that quote values.
ELSEWHERE = """
import asyncio, ast, gc, logging, sys, warnings
from pydantic import BaseModel
if sys.argv[1] == "after":
    from stainedglass_output_protection.vllm.log import join_vllm_logging
    join_vllm_logging()
warnings.simplefilter("always")

class Message(BaseModel):
    content: str
Message.model_construct(content=["CANARY"]).model_dump_json()
ast.parse('"\\\\C"')
warnings.warn("of no model", UserWarning)

async def fail():
    async def failing():
        raise ValueError("CANARY")
    task = asyncio.create_task(failing())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    del task
    gc.collect()
asyncio.run(fail())

logging.basicConfig()
try:
    try:
        {}["CANARY"]
    except KeyError as error:
        raise TypeError("CANARY") from error
except TypeError as error:
    logging.getLogger("uvicorn.error").error("In the app", exc_info=error)
    logging.getLogger("elsewhere").error("Not %s", "vLLM's", exc_info=error)
""".replace("CANARY", CANARY)


def output_of(script: str, *arguments: str, **variables: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        cwd=ROOT,
        env={**os.environ, **variables},
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def logging_config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Operators' own logging configuration, with a handler of theirs."""
    folder = tmp_path_factory.mktemp("logging")
    handler = {"class": "logging.FileHandler", "filename": str(folder / "log")}
    config = {
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {"theirs": handler},
        "loggers": {"vllm": {"handlers": ["theirs"], "level": "DEBUG"}},
    }
    path = folder / "config.json"
    path.write_text(json.dumps(config))
    return path


needs_vllm = pytest.mark.skipif(
    importlib.util.find_spec("vllm") is None, reason="vLLM is not installed"
)


@needs_vllm
def test_vllm_s_parsers_log_what_the_model_wrote_without_us() -> None:
    text = output_of(PARSERS, "never", "")
    for line in (
        f"Model output: {CANARY}",
        f"Constant(value=b'{CANARY}')",
        f"Tool call arguments '{CANARY}' do not end",
        f'[f(a="{CANARY}" 1)]',
        f"Received {CANARY}",
    ):
        assert line in text


@needs_vllm
def test_no_words_are_left_in_lines_of_vllm_that_stay_useful() -> None:
    text = output_of(PARSERS, "before", "")
    assert CANARY not in text
    for line in (
        "Model output: <redacted>",
        "Non-JSON-representable constant in tool call arguments: <redacted>",
        "Error in extracting tool call from response.",
        "SyntaxError: <redacted>",
        'pythonic_tool_parser.py", line ',
        "<redacted>\n",
        "Route: /v1/models",
    ):
        assert line in text, text


@needs_vllm
def test_handlers_of_the_operator_get_no_words_either(logging_config: Path) -> None:
    output_of(PARSERS, "after", str(logging_config))
    text = (logging_config.parent / "log").read_text()
    assert CANARY not in text
    assert "Model output: <redacted>" in text
    assert "Route: /v1/models" in text


@needs_vllm
def test_requests_are_logged_if_that_leak_is_allowed() -> None:
    text = output_of(PARSERS, "after", "", SG_ALLOW_LEAKS="log-requests")
    assert f"Received {CANARY}" in text
    assert text.count(CANARY) == 1


def test_uncaught_exceptions_and_warnings_have_no_words(tmp_path: Path) -> None:
    # In a file: what warns in a text that is no file is taken for a model's.
    (tmp_path / "elsewhere.py").write_text(ELSEWHERE)
    script = f"import runpy; runpy.run_path({str(tmp_path / 'elsewhere.py')!r})"
    without = output_of(script, "never")
    assert without.count(CANARY) > 6
    assert r"invalid escape sequence '\C'" in without

    text = output_of(script, "after")
    ours, _, others = text.partition("ERROR:elsewhere")
    assert CANARY not in ours
    assert r"\C" not in ours
    for shown in (
        "builtins.KeyError: <redacted>",
        "builtins.TypeError: <redacted>",
        "builtins.ValueError: <redacted>",
        "In the app",
        "of no model",
    ):
        assert shown in ours, ours
    assert "Not vLLM's\n" in others
    assert CANARY in others


ENGINE = """
import logging
from stainedglass_output_protection.vllm.log import join_vllm_logging
join_vllm_logging()
logging.basicConfig()
logger = logging.getLogger("vllm.v1.engine.core")
for message in ("EngineCore failed to start.", "Invocation of %s method failed"):
    try:
        raise ValueError("CANARY of " + message)
    except ValueError:
        logger.exception(message, *(["add_lora"] if "%s" in message else []))
"""


def test_engine_says_why_it_did_not_start_and_not_what_it_was_asked() -> None:
    shown = output_of(ENGINE.replace("CANARY", CANARY))
    assert f"ValueError: {CANARY} of EngineCore failed to start." in shown
    assert "Invocation of add_lora method failed" in shown
    assert shown.count(CANARY) == 1
