"""vLLM's own speech routers behind the protection (``speech_server.py``)."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx2
import pytest

from stainedglass_output_protection.client import protected_client
from stainedglass_output_protection.protocol.keys import ClientKeyPair
from tests.asgi_driver import Opened

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("vllm") is None, reason="vLLM is not installed"
)

WORDS = "heliotrope-marmoset"
PATHS = ("/v1/audio/transcriptions", "/v1/audio/translations")


class Ports(NamedTuple):
    """Where the protected server and the plain one are."""

    protected: int
    plain: int


@pytest.fixture(scope="module")
def ports() -> Iterator[Ports]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.vllm_layer.speech_server"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdin is not None
    assert process.stdout is not None
    # A line with two numbers; the import of vLLM may print others before it.
    for line in process.stdout:
        if len(numbers := line.split()) == 2 and all(map(str.isdigit, numbers)):
            break
    yield Ports(*map(int, numbers))
    process.stdin.close()
    process.wait(timeout=120)
    process.stdout.close()


def form(response_format: str, *, stream: bool = False) -> dict[str, Any]:
    """Return an upload, whose words the answer repeats."""
    data = {"model": "m", "response_format": response_format}
    if stream:
        data["stream"] = "true"
    file = ("a.wav", f"{WORDS} \u00fc".encode(), "audio/wav")
    return {"data": data, "files": {"file": file}}


def post(port: int, path: str, asked: dict[str, Any], key: str = "") -> httpx2.Response:
    headers = {"x-client-public-key": key} if key else {}
    with httpx2.Client() as client:
        url = f"http://127.0.0.1:{port}{path}"
        return client.post(url, headers=headers, **asked)


ASKED = [
    *((path, form, False) for path in PATHS for form in ("json", "verbose_json")),
    *((path, form, False) for path in PATHS for form in ("text", "srt", "vtt")),
    (PATHS[0], "diarized_json", False),
    *((path, "json", True) for path in PATHS),
]


@pytest.mark.parametrize(("path", "response_format", "stream"), ASKED)
def test_a_transcript_opens_to_what_the_router_emitted(
    ports: Ports, path: str, response_format: str, stream: bool
) -> None:
    asked = form(response_format, stream=stream)
    plain = post(ports.plain, path, asked)
    assert WORDS.encode() in plain.content
    pair = ClientKeyPair.generate()
    sealed = post(ports.protected, path, asked, pair.header_value)
    assert WORDS.encode() not in sealed.content + repr(sealed.headers).encode()
    assert sealed.status_code == plain.status_code
    start = {"headers": sealed.headers.raw}
    opened = Opened([start, {"body": sealed.content}], pair)
    assert opened.is_complete
    assert opened.body == plain.content
    assert opened.status == plain.status_code
    assert opened.content_type == plain.headers["content-type"]


@pytest.fixture
def known_servers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where clients here remember who answered first."""
    monkeypatch.setenv("SG_KNOWN_SERVERS_FILE", str(tmp_path / "known_servers"))


@pytest.mark.usefixtures("known_servers")
@pytest.mark.parametrize("profile", ["output", "sealed"])
@pytest.mark.parametrize("opaque", [False, True])
@pytest.mark.parametrize(("path", "response_format", "stream"), ASKED)
def test_a_client_sees_no_difference(
    ports: Ports,
    path: str,
    response_format: str,
    stream: bool,
    opaque: bool,
    profile: str,
) -> None:
    asked = form(response_format, stream=stream)
    plain = post(ports.plain, path, asked)
    with protected_client(
        profile=profile, opaque=opaque, trust_on_first_use=True
    ) as client:
        url = f"http://127.0.0.1:{ports.protected}{path}"
        answer = client.post(url, **asked)
    assert answer.content == plain.content
    assert answer.status_code == plain.status_code
    assert answer.headers["content-type"] == plain.headers["content-type"]
    assert answer.headers["x-output-protection"] == "opened"


@pytest.mark.parametrize("path", PATHS)
def test_without_a_key_nothing_is_transcribed(ports: Ports, path: str) -> None:
    for asked in (form("json"), form("json", stream=True)):
        answer = post(ports.protected, path, asked)
        assert answer.status_code == 400
        assert answer.json()["error"]["code"] == "client_key_missing"


def refusal(url: str, **asked: Any) -> tuple[int, bytes]:
    """Return the status and body by which a handshake is refused."""
    # It comes with vLLM.
    from websockets.exceptions import InvalidStatus
    from websockets.sync.client import connect

    with pytest.raises(InvalidStatus) as refused:
        connect(url, **asked)
    response = refused.value.response
    return response.status_code, bytes(response.body or b"")


UPDATE = json.dumps({"type": "session.update", "model": "m"})


def test_the_realtime_door_is_shut_before_the_handshake(ports: Ports) -> None:
    from websockets.sync.client import connect

    with connect(f"ws://127.0.0.1:{ports.plain}/v1/realtime") as plain:
        assert json.loads(plain.recv())["type"] == "session.created"
        plain.send(UPDATE)
        assert WORDS in str(plain.recv())
    key = {"x-client-public-key": ClientKeyPair.generate().header_value}
    for headers in ({}, key):
        url = f"ws://127.0.0.1:{ports.protected}/v1/realtime"
        status, body = refusal(url, additional_headers=headers)
        assert status == 403
        assert WORDS.encode() not in body


@pytest.mark.parametrize(
    "path", ["/", "/v1/chat/completions", "/v1/audio/translations"]
)
def test_no_other_websocket_is_opened(ports: Ports, path: str) -> None:
    status, _ = refusal(f"ws://127.0.0.1:{ports.protected}{path}")
    assert status == 403
