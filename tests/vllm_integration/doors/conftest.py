"""The servers whose doors are tried, one after the other, each started once."""

from __future__ import annotations

import contextlib
import getpass
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.tiny_dialogues import CANARIES
from tests.vllm_integration.asking import Asker
from tests.vllm_integration.conftest import EVERYTHING_LOGGED, WITH_TAP, Identity, Say
from tests.vllm_integration.doors.adapter import make_adapter
from tests.vllm_integration.doors.bodies import GENERATE
from tests.vllm_integration.doors.clear_bodies import CLEAR
from tests.vllm_integration.doors.collector import Collector
from tests.vllm_integration.doors.developer_bodies import DEVELOPER
from tests.vllm_integration.doors.door import ECHOED, Door, Facts
from tests.vllm_integration.doors.pooling_bodies import CLASSIFY, EMBED
from tests.vllm_integration.doors.walk import (
    Key,
    Walk,
    routes_of,
    table,
    walk_through,
    written_by,
)
from tests.vllm_integration.leaks import Detector
from tests.vllm_integration.servers import MODEL_PATH, QUICK, start
from tests.vllm_integration.tcp_tap import TcpTap

# weights.py, which only a server can import.
_BACKEND = json.dumps({"backend": "doors"})
_PROFILER = {
    "profiler": "torch",
    "torch_profiler_with_stack": False,
    "torch_profiler_use_gzip": False,
    "torch_profiler_dump_cuda_time_total": False,
}
# Code that torch compiles once for all servers: nothing of a request is in it.
_COMPILED = Path(tempfile.gettempdir()) / f"torchinductor_{getpass.getuser()}"
_EXTENSION = "tests.vllm_integration.doors.weights.Extension"


@dataclass(frozen=True)
class Kind:
    """One server: its options and variables, and the doors it may have."""

    name: str
    options: tuple[str, ...]
    doors: dict[Key, Door]
    variables: dict[str, str] = field(default_factory=dict)


# Every switch that mounts routes or has the routes do more. The engine is an ordinary
# one: what needs another (sleep mode, several engines) does not start on the CPU.
TEXT = Kind(
    "all doors",
    (
        *("--enable-scale-out", "--enable-tokenizer-info-endpoint"),
        *("--enable-offline-docs", "--enable-server-load-tracking", "--enable-lora"),
        *("--enable-request-id-headers", "--enable-prompt-tokens-details"),
        *("--weight-transfer-config", _BACKEND),
        *("--worker-extension-cls", _EXTENSION),
    ),
    GENERATE | DEVELOPER | CLEAR,
    {
        "VLLM_SERVER_DEV_MODE": "1",
        "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1",
        "VLLM_ENABLE_RESPONSES_API_STORE": "1",
        "VLLM_ENABLE_COHERE_API": "1",
        "SG_ALLOW_LEAKS": "dev-mode,profiler,stored-responses",
        "TAP_DOORS": "fault-tolerance,questions",
    },
)
_POOLING = ("--runner", "pooling", "--enable-scale-out", "--convert")
# The tiny model has no head for scores: without this its weights are whatever was in
# memory, and a score of zeros is nothing that was computed.
_SCORE = {
    "num_labels": 1,
    "classifier_from_token": ["a", "e"],
    "method": "from_2_way_softmax",
}
KINDS = (
    TEXT,
    Kind("embedder", (*_POOLING, "embed"), EMBED | CLEAR),
    Kind(
        "classifier",
        (*_POOLING, "classify", "--hf-overrides", json.dumps(_SCORE)),
        CLASSIFY | CLEAR,
    ),
)


@pytest.fixture(scope="session")
def strict_detector(folder: Path) -> Detector:
    """Finds canaries of answers, and the word in requests that are refused."""
    return Detector(MODEL_PATH, (*CANARIES, ECHOED))


@pytest.fixture(scope="session")
def facts(folder: Path) -> Facts:
    """What the bodies are made from."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(MODEL_PATH / "tokenizer.json"))
    adapter = make_adapter(folder / "adapter")
    return Facts(
        lambda text: tokenizer.encode(text, add_special_tokens=False).ids, str(adapter)
    )


@pytest.fixture(scope="session", params=KINDS, ids=lambda kind: kind.name)
def walked(
    request: pytest.FixtureRequest,
    folder: Path,
    identity: Identity,
    facts: Facts,
    say: Say,
) -> Iterator[Walk]:
    """A server whose every door has been tried, through a recorder on the wire."""
    kind: Kind = request.param
    written = folder / "w"
    if not written.exists():
        written.mkdir()
        _COMPILED.mkdir(exist_ok=True)
        (written / _COMPILED.name).symlink_to(_COMPILED)
    collector = Collector()
    profiler = {**_PROFILER, "torch_profiler_dir": str(written / "profiler")}
    traced = ("--otlp-traces-endpoint", collector.url)
    profiled = ("--profiler-config", json.dumps(profiler)) if kind is TEXT else ()
    server = start(
        kind.name,
        (*WITH_TAP, *QUICK, *kind.options, *profiled, *traced),
        folder,
        variables={
            **EVERYTHING_LOGGED,
            "SG_IDENTITY_KEY_FILE": str(identity.path),
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf",
            "OTEL_BSP_SCHEDULE_DELAY": "200",
            "TMPDIR": str(written),
            "VLLM_CACHE_ROOT": str(written / "cache"),
            "XDG_CACHE_HOME": str(written / "cache"),
            **kind.variables,
        },
        say=say,
        has_tap=True,
    )
    try:
        walk = Walk(server, kind.doors, routes_of(server))
        with TcpTap(server.port) as tap:
            with contextlib.closing(Asker(tap.url, identity.fingerprint)) as asker:
                walk_through(walk, asker, facts)
            walk.wire = b"\n".join(tap.from_server)
        walk.written = written_by(server, written)
        say("\n".join((kind.name, *table(walk))))
        server.end()  # Sends what is left of the traces, and of the log.
        walk.traces = b"\n".join(collector.received)
        yield walk
    finally:
        server.end()
        collector.close()
