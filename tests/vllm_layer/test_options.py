"""Ways out of the process: refused before vLLM is imported, or allowed with a warning."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from stainedglass_output_protection.errors import ConfigurationError
from stainedglass_output_protection.hosting.leaks import LEAKS
from stainedglass_output_protection.vllm.options import refuse_early

ROOT = Path(__file__).resolve().parents[2]
ALLOW = "SG_ALLOW_LEAKS"
EVENTS = '{"enable_kv_cache_events": true}'
PROFILER = '{"profiler": "torch", "torch_profiler_dir": "/tmp"}'
TRANSFER = '{"kv_connector": "ExampleConnector", "kv_role": "kv_both"}'

# The name that allows it, and the options.
OPTIONS = [
    ("log-outputs", ["--enable-log-requests", "--enable-log-outputs"]),
    ("log-outputs", ["--enable_log_outputs"]),
    ("log-outputs", ["--enable-log-o"]),
    ("log-requests", ["--enable-log-requests"]),
    ("log-requests", ["--no-enable-log-requests", "--enable-log-requests"]),
    ("kv-events", ["--kv-events-config", EVENTS]),
    ("kv-events", [f"--kv-events-config={EVENTS}"]),
    ("kv-events", [f"--kv-e={EVENTS}"]),
    ("kv-events", ["--kv-events-config.enable_kv_cache_events", "true"]),
    ("kv-events", ["--kv_events_config.enable_kv_cache_events=True"]),
    (
        "kv-events",
        [
            "--kv-events-config.topic=t",
            "--kv-events-config.enable_kv_cache_events=true",
        ],
    ),
    ("kv-transfer", ["--kv-transfer-config", TRANSFER]),
    # vLLM chooses the connector itself; the rest says where the cache goes.
    ("kv-transfer", ["--kv-transfer-config.kv_connector_extra_config.host", "there"]),
    ("kv-transfer", ["--kv-offloading-backend", "lmcache"]),
    ("profiler", ["--profiler-config", PROFILER]),
    ("profiler", ["--profiler-config.profiler", "cuda"]),
    ("tool-server", ["--tool-server", "demo"]),
    ("tool-server", ["--tool-server=localhost:1"]),
]
VARIABLES = [
    ("dev-mode", "VLLM_SERVER_DEV_MODE", "1"),
    ("dev-mode", "VLLM_SERVER_DEV_MODE", "true"),
    ("profiler", "VLLM_TORCH_PROFILER_DIR", "/tmp"),
]
NEVER = ["--grpc", "--grpc-port=0"]
HARMLESS = [
    ["--kv-offloading-size", "1", "--kv-offloading-backend", "native"],
    ["--kv-transfer-config", "{}"],
    ["--enable-log-outputs", "--no-enable-log-outputs"],
    ["--kv-events-config", "{}"],
    ["--kv-events-config.enable_kv_cache_events", "false"],
    ["--kv-events-config.publisher", "zmq"],
    ["--profiler-config", '{"torch_profiler_dir": "/tmp"}'],
    ["--profiler-config", "no json"],
    ["--enable-log", "--kv", "--no"],
    ["--enable-log-deltas", "--enable-lora", "--max-log-len", "5"],
    ["--otlp-traces-endpoint", "http://localhost"],
    ["--chat-template", "grpc", "--", "--grpc"],
]


# Says at the end whether vLLM was imported on the way.
COMMAND = """
import atexit, sys
atexit.register(lambda: print("IMPORTED", "vllm" in sys.modules))
from stainedglass_output_protection.apps.cli import main; main()
"""


def run(
    script: str, *arguments: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script, *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=ROOT,
        env={**os.environ, **variables},
    )


def refusal(arguments: list[str], *allowed: str) -> str:
    with pytest.raises(ConfigurationError) as refused:
        refuse_early(["serve", "m", *arguments], frozenset(allowed))
    return str(refused.value)


@pytest.mark.parametrize(
    ("options", "variables", "sentence"),
    [
        (["--enable-log-requests"], {}, "With --enable-log-requests, prompts"),
        (["--kv-events-config", EVENTS], {}, "With --kv-events-config, token ids"),
        (["--tool-server", "demo"], {}, "With --tool-server, arguments"),
        (["--grpc"], {}, "--grpc answers outside the protected HTTP API"),
        ([], {"VLLM_SERVER_DEV_MODE": "1"}, "With VLLM_SERVER_DEV_MODE, routes"),
        ([], {"VLLM_USE_RUST_FRONTEND": "1"}, "VLLM_USE_RUST_FRONTEND answers outside"),
    ],
)
def test_refusal_is_one_sentence_and_comes_before_vllm(
    options: list[str], variables: dict[str, str], sentence: str
) -> None:
    done = run(COMMAND, "serve", "m", *options, **variables)
    assert done.returncode == 2
    assert done.stderr.startswith(f"sg-vllm: {sentence}")
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == "IMPORTED False\n"


@pytest.mark.parametrize(("leak", "options"), OPTIONS)
def test_option_is_refused_unless_its_leak_is_allowed(
    leak: str, options: list[str]
) -> None:
    assert LEAKS[leak] in refusal(options)
    assert f"add {leak} to {ALLOW}" in refusal(options, *(set(LEAKS) - {leak}))
    refuse_early(["serve", "m", *options], frozenset(LEAKS))


@pytest.mark.parametrize(("leak", "variable", "value"), VARIABLES)
def test_variable_is_refused_unless_its_leak_is_allowed(
    monkeypatch: pytest.MonkeyPatch, leak: str, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, "0")
    refuse_early(["serve", "m"], frozenset())
    monkeypatch.setenv(variable, value)
    assert variable in refusal([])
    assert f"add {leak} to {ALLOW}" in refusal([], *(set(LEAKS) - {leak}))
    refuse_early(["serve", "m"], frozenset({leak}))


@pytest.mark.parametrize("option", NEVER)
def test_what_is_no_http_api_cannot_be_allowed(option: str) -> None:
    assert option.partition("=")[0] in refusal([option], *LEAKS)


def test_rust_front_end_cannot_be_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_USE_RUST_FRONTEND", "1")
    assert "VLLM_USE_RUST_FRONTEND" in refusal([], *LEAKS)


@pytest.mark.parametrize("options", HARMLESS)
def test_other_options_are_left_to_vllm(options: list[str]) -> None:
    refuse_early(["serve", "m", *options], frozenset())


COMMANDS = {
    "run-batch": "in the clear",
    "launch": "not sealed",
    "snapshot": "not sealed",
    "complete": "protected_client",
    "bench": "protected_client",
    "collect-env": "use vllm collect-env",
    "download-kernels": "use vllm download-kernels",
    "preload": "use vllm preload",
    "anything": "See sg-vllm --help",
}


@pytest.mark.parametrize(("command", "reason"), COMMANDS.items())
def test_other_commands_say_why_they_are_not_there(command: str, reason: str) -> None:
    done = run(COMMAND, command, "--help")
    assert done.returncode == 2
    assert reason in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == "IMPORTED False\n"


# Runs the real parser of vLLM on what ``refuse_early`` cannot see, and starts nothing.
PARSED = """
import sys
from stainedglass_output_protection.errors import ConfigurationError
from stainedglass_output_protection.vllm import _seams
import vllm.entrypoints.cli.serve as command
command.ServeSubcommand.cmd = staticmethod(lambda options: print("started"))
for arguments, leak in eval(sys.argv[1]):
    for allowed in (frozenset(), frozenset({leak})):
        try:
            _seams.serve(["serve", "m", *arguments], allowed=allowed)
        except ConfigurationError as error:
            print("refused", error)
"""
REPORTED = """
import vllm.entrypoints.cli.serve as command
command.ServeSubcommand.cmd = staticmethod(lambda options: print("started"))
from stainedglass_output_protection.apps.cli import main; main()
"""
needs_vllm = pytest.mark.skipif(
    importlib.util.find_spec("vllm") is None, reason="vLLM is not installed"
)


@needs_vllm
def test_parsed_options_are_refused_for_certain(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("kv-events-config:\n  enable_kv_cache_events: true\n")
    cases = [
        (["--config", str(config)], "kv-events"),
        *((options, leak) for leak, options in OPTIONS if leak != "log-outputs"),
    ]
    done = run(PARSED, repr(cases))
    assert done.returncode == 0, done.stderr
    text = done.stdout
    lines = [
        line for line in text.splitlines() if line.startswith(("refused", "started"))
    ]
    expected: list[str] = []
    for line, (_, leak) in zip(lines[::2], cases, strict=True):
        assert line.startswith("refused")
        assert f"add {leak} to {ALLOW}" in line
        expected += [line, "started"]
    assert lines == expected


@needs_vllm
def test_every_allowed_leak_starts_and_is_warned_of_once() -> None:
    options = ["--enable-log-requests", "--tool-server", "demo"]
    variables = {ALLOW: ",".join(LEAKS), "VLLM_SERVER_DEV_MODE": "1"}
    done = run(REPORTED, "serve", "m", *options, **variables)
    text = done.stdout + done.stderr
    assert "started" in text
    for leak, sentence in LEAKS.items():
        (line,) = (line for line in text.splitlines() if sentence in line)
        assert "WARNING" in line
        assert f"{ALLOW} allows {leak}:" in line


@needs_vllm
def test_nothing_is_warned_of_that_is_not_allowed() -> None:
    done = run(REPORTED, "serve", "m")
    assert "started" in done.stdout
    assert " allows " not in done.stdout + done.stderr
