"""What the wire carries beside what the reader gets; started by ``scripts/demo``."""

from __future__ import annotations

import argparse
import os
import re
import signal
import socket
import socketserver
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from demo_screen import WIDTH, screen  # noqa: E402
from openai import OpenAI  # noqa: E402
from rich.console import Console  # noqa: E402

from stainedglass_output_protection.client import protected_client  # noqa: E402
from tests.tiny_dialogues import BY_NAME  # noqa: E402

MODEL = ROOT / ".cache" / "tiny-model"
START_LIMIT_S = 600
VERDICT = "demo: no word of question or answer was readable on the wire"


def free_port() -> int:
    """Return a loopback port nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class WireTap:
    """Forwards one loopback port to another and keeps what each side sent."""

    def __init__(self, port: int, upstream: int) -> None:
        self.asked = bytearray()
        self.answered = bytearray()
        tap = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with socket.create_connection(("127.0.0.1", upstream)) as server:
                    back = threading.Thread(
                        target=pump, args=(server, self.request, tap.answered)
                    )
                    back.start()
                    pump(self.request, server, tap.asked)
                    back.join()

        server = socketserver.ThreadingTCPServer(("127.0.0.1", port), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()


def pump(source: socket.socket, sink: socket.socket, seen: bytearray) -> None:
    """Copy bytes until the source ends."""
    try:
        while data := source.recv(65536):
            seen += data
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        return


def start_server(port: int, log: Path) -> subprocess.Popen[bytes]:
    """Start ``sg-vllm serve`` on the tiny model and wait until it answers."""
    command = [
        str(Path(sys.executable).with_name("sg-vllm")),
        *("serve", str(MODEL), "--served-model-name", "tiny"),
        *("--host", "127.0.0.1", "--port", str(port)),
        *("--dtype", "bfloat16", "--max-model-len", "1024"),
        "--enforce-eager",  # What is compiled for one question comes too late.
        *("--reasoning-parser", "qwen3"),
        *("--tool-call-parser", "hermes", "--enable-auto-tool-choice"),
    ]
    settings = {
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_CPU_KVCACHE_SPACE": "1",
    }
    print("demo: sg-vllm serve, on real vLLM, with a tiny model (half a minute)")
    with log.open("wb") as sink:
        process = subprocess.Popen(
            command,
            env={**os.environ, **settings},
            stdout=sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    started = time.monotonic()
    while time.monotonic() - started < START_LIMIT_S:
        if process.poll() is not None:
            break
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2)
        except (urllib.error.URLError, OSError):
            time.sleep(1)
            seconds = int(time.monotonic() - started)
            if seconds % 10 == 0:
                print(f"demo: loading, {seconds} s", flush=True)
            continue
        print(f"demo: ready after {time.monotonic() - started:.0f} s")
        return process
    stop(process)
    sys.exit(f"demo: the server did not start; its log is {log}")


def stop(process: subprocess.Popen[bytes]) -> None:
    """Stop the server and its engine."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)


def fingerprint_in(log: Path) -> str:
    """Return the identity fingerprint that the server printed."""
    match = re.search(r"SHA256:[A-Za-z0-9+/]{43}", log.read_text(errors="replace"))
    if match is None:
        sys.exit(f"demo: no identity fingerprint in {log}")
    return match[0]


def show(tap: WireTap, question: str, answer: str) -> None:
    """Print wire and reader side by side."""
    # As wide in a file or a pipe as on a terminal.
    console = Console(width=WIDTH)
    console.print()
    console.print(screen(bytes(tap.asked), bytes(tap.answered), question, answer))
    console.print()


def ask(port: int, fingerprint: str) -> tuple[str, str]:
    """Ask one question through the OpenAI SDK; return question and answer."""
    dialogue = BY_NAME["canary"]
    client = OpenAI(
        base_url=f"http://127.0.0.1:{port}/v1",
        api_key="none",
        http_client=protected_client(identity=fingerprint),
    )
    messages = dialogue.messages or []
    stream = client.chat.completions.create(
        model="tiny",
        messages=messages,  # type: ignore[arg-type]
        temperature=0,
        stream=True,
    )
    answer = "".join(
        chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices
    )
    return str(messages[-1]["content"]), answer


def keep(process: subprocess.Popen[bytes], port: int, fingerprint: str) -> None:
    """Leave the server running and say how to use it."""
    origin = f"http://127.0.0.1:{port}"
    print(
        f"""\
demo: serving until Ctrl-C, at {origin}
demo: its identity is {fingerprint}
demo: try, in another terminal:
  curl -s {origin}/v1/models
  curl -s {origin}/v1/chat/completions -H 'content-type: application/json' \\
      -d '{{"model": "tiny", "messages": []}}'
  .venv/bin/sg-vllm doctor {origin} --identity {fingerprint}
  .venv/bin/python
  >>> from openai import OpenAI
  >>> from stainedglass_output_protection.client import protected_client
  >>> client = OpenAI(base_url="{origin}/v1", api_key="none",
  ...     http_client=protected_client(identity="{fingerprint}"))
  >>> client.chat.completions.create(model="tiny", temperature=0, messages=[
  ...     {{"role": "user", "content": "Tell me the secret sentence."}}]
  ... ).choices[0].message.content""",
        flush=True,
    )
    try:
        process.wait()
    except KeyboardInterrupt:
        print()


def main() -> None:
    """Serve, ask, show."""
    parser = argparse.ArgumentParser(prog="scripts/demo", description=__doc__)
    parser.add_argument("--keep", action="store_true", help="leave it serving")
    options = parser.parse_args()
    log = Path(tempfile.mkdtemp(prefix="sg-demo-")) / "server.log"
    port, tap_port = free_port(), free_port()
    process = start_server(port, log)
    try:
        tap = WireTap(tap_port, port)
        fingerprint = fingerprint_in(log)
        question, answer = ask(tap_port, fingerprint)
        show(tap, question, answer)
        seen = bytes(tap.asked + tap.answered)
        words = re.findall(r"\w{6,}", question + answer)
        leaked = [word for word in words if word.encode() in seen]
        if leaked:
            sys.exit(f"demo: readable on the wire: {leaked}")
        print(VERDICT)
        if options.keep:
            keep(process, port, fingerprint)
    finally:
        stop(process)


if __name__ == "__main__":
    main()
