"""The commands where an extra is not installed: what works, and what is said."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from stainedglass_output_protection.server.clock import unix_ms
from stainedglass_output_protection.server.epochs import EpochTimes
from stainedglass_output_protection.server.key_ring import KeyRing
from stainedglass_output_protection.server.own_epochs import OwnEpochs
from tests.rings import HOUR, IDENTITY

# What the extra [server] brings and [cli] does not, and what [client] does not.
OF_SERVER = ("pydantic_settings", "pydantic", "fastapi", "pybase64", "vllm")
OF_CLI = ("click", "rich", "starlette", "uvicorn", "httptools", "uvloop")
PROGRAM = (
    "import sys; sys.modules.update(dict.fromkeys({missing!r}))\n"
    "from stainedglass_output_protection.apps.cli import main; main()\n"
)


def run(
    *arguments: str, missing: tuple[str, ...], **variables: str
) -> subprocess.CompletedProcess[str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("SG_") and not name.lower().endswith("_proxy")
    }
    return subprocess.run(
        [sys.executable, "-c", PROGRAM.format(missing=missing), *arguments],
        env={**kept, **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


class Handler(BaseHTTPRequestHandler):
    """Answers with a key document that is good now."""

    def do_GET(self) -> None:
        ring = KeyRing(IDENTITY, OwnEpochs(EpochTimes(HOUR)))
        now = unix_ms()
        ring.tick(now)
        body = json.dumps({"document": ring.current(now).document_text}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 128


@pytest.fixture
def url() -> Iterator[str]:
    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
        server.shutdown()
        thread.join()


def test_a_client_verifies_a_server_without_the_server_s_libraries(url: str) -> None:
    pin = ("--identity", IDENTITY.fingerprint)
    done = run("keys", "verify", url, *pin, missing=OF_SERVER)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"identity: {IDENTITY.fingerprint} (as pinned)" in done.stdout
    other = ("--identity", "SHA256:" + "A" * 43)
    refused = run("keys", "verify", url, *other, missing=OF_SERVER)
    assert refused.returncode == 1
    assert refused.stderr.startswith("sg-vllm: IdentityMismatchError")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("docter", "There is no such command. See sg-vllm --help."),
        ("bench", "There is no sg-vllm bench, for it cannot open sealed answers"),
        ("collect_env", "use vllm collect_env"),
    ],
)
def test_a_command_that_is_not_there_is_called_so(name: str, words: str) -> None:
    done = run(name, missing=OF_SERVER)
    assert done.returncode == 2
    assert words in done.stderr
    assert "extra" not in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "missing", "extra"),
    [
        (["--help"], OF_CLI, "cli"),
        (["chat", "http://127.0.0.1:1/v1"], OF_CLI, "cli"),
        (["open", "file"], OF_CLI, "cli"),
        (["proxy", "http://127.0.0.1:1/v1"], ("uvicorn",), "cli"),
        (["settings"], OF_CLI, "cli"),
        (["keys", "verify", "http://127.0.0.1:1"], OF_CLI, "cli"),
        (["serve", "m"], OF_CLI, "server"),
        (["serve", "m"], OF_SERVER, "server"),
        (["keys", "generate", "--identity", "/none/x"], OF_CLI, "server"),
        (["keys", "generate", "--identity", "/none/x"], OF_SERVER, "server"),
        (["keys", "show", "/none/x"], OF_SERVER, "server"),
        (["keys", "verify", "/none/x"], OF_SERVER, "server"),
        (["keys", "advance", "/none/x"], OF_SERVER, "server"),
    ],
)
def test_a_missing_extra_is_one_sentence_and_status_2(
    arguments: list[str], missing: tuple[str, ...], extra: str
) -> None:
    done = run(*arguments, missing=missing)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("sg-vllm: ")
    assert done.stderr.count("\n") == 1
    install = f"pip install '.[{extra}]' in the checkout of this package"
    assert done.stderr.endswith(f"{install}\n")
    # Whoever takes that name on a package index would be installed.
    assert "stainedglass-output-protection[" not in done.stderr


def test_the_settings_say_what_to_install_for_the_server_s_part() -> None:
    done = run("settings", missing=OF_SERVER)
    assert (done.returncode, done.stderr) == (0, "")
    install = "pip install '.[server]' in the checkout of this package\n"
    assert install in done.stdout


def test_a_typo_in_a_variable_is_told_without_the_server_s_libraries() -> None:
    done = run("settings", missing=OF_SERVER, SG_SERVER_IDENTITYY="x")
    assert done.returncode == 0
    assert "the nearest is SG_SERVER_IDENTITY." in done.stderr
