"""``sg-vllm proxy`` as it is started: what it says, and what it refuses to start with."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import httpx
import pytest
import uvicorn

from stainedglass_output_protection.apps.cli import main
from tests.apps.proxy.apis import ASKED, CHAT
from tests.apps.proxy.commands import started
from tests.client.sealed_cases import is_seen
from tests.client.sealed_server import SealedServer

PIN = SealedServer().fingerprint
URL = "http://127.0.0.1:1/v1"
TOKEN = "the-token-of-the-proxy"


def refusal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str
) -> str:
    """Return the one sentence with which the command ends, with status 2."""
    monkeypatch.setattr(sys, "argv", ["sg-vllm", "proxy", *words])
    monkeypatch.setattr(uvicorn.Server, "run", _started)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "Traceback" not in said.err
    return said.err


def _started(*args: object, **kwargs: object) -> None:
    raise AssertionError("the proxy started")


@pytest.mark.parametrize(
    "url",
    [
        "127.0.0.1:8000",
        "ftp://127.0.0.1:8000",
        "http://",
        "http://name:word@127.0.0.1:8000",
        "http://127.0.0.1:8000/v1?a=b",
        "http://127.0.0.1:99999",
        "http://127.0.0.1:8000/a/../b",
        "http://127.0.0.1:8000/\n",
        "http://[::1",
        "",
    ],
)
def test_a_wrong_url(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], url: str
) -> None:
    said = refusal(monkeypatch, capsys, url, "--identity", PIN)

    assert said.startswith("sg-vllm: The URL must be like https://host:8000/v1")
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "give --identity with the fingerprint"),
        (["--profile", "output", "--seal-authorization"], "choose --profile sealed"),
        (["--identity", "SHA256:wrong"], "SHA256:"),
        (["--identity", PIN, "--suite", "rot13"], "SG_REQUEST_SUITE"),
        (["--identity", PIN, "--profile", "rot13"], "rot13"),
        (["--identity", PIN, "--host", "0.0.0.0"], "give --token-file"),
        (["--identity", PIN, "--host", "::"], "give --token-file"),
        (["--identity", PIN, "--host", "203.0.113.9"], "give --token-file"),
        (["--identity", PIN, "--host", "no-such-host.invalid"], "cannot listen"),
        (["--identity", PIN, "--port", "70000"], "70000"),
        (["--identity", PIN, "--max-running", "0"], "--max-running"),
        (["--identity", PIN, "--token", TOKEN], "not given on the command line"),
        (["--identity", PIN, "--api-key", TOKEN], "not given on the command line"),
        # Given in place of a file's name, a secret is not shown.
        (["--identity", PIN, "--token-file", TOKEN], "there is no such file"),
        (["--identity", PIN, "--api-key-file", TOKEN], "there is no such file"),
        (["--identity", PIN, "--timeout", "nan"], "a finite number"),
        (["--identity", PIN, "--timeout", "inf"], "a finite number"),
        (["--identity", PIN, "--ca-file", "/no/such"], "/no/such cannot be used"),
        (["--identity", PIN, "--ca-file", __file__], "holds no certificate"),
        (["--identity", PIN, "--allow-origin", "*"], "is no origin"),
        (["--identity", PIN, "--allow-origin", "https://a.example/x"], "is no origin"),
        (["--identity", PIN, "--owner-file", "/no/such/owner"], "/no/such/owner"),
    ],
    ids=lambda value: " ".join(value[-2:]) if isinstance(value, list) else "",
)
def test_a_wrong_option(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    expected: str,
) -> None:
    said = refusal(monkeypatch, capsys, URL, *words)

    assert expected in said
    assert TOKEN not in said
    # What a Python program would write.
    assert "='" not in said
    assert "=True" not in said


@pytest.mark.parametrize("text", ["short", "two words are not one token", "", "ü" * 20])
def test_a_token_that_is_none(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    text: str,
) -> None:
    path = tmp_path / "token"
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)

    said = refusal(
        monkeypatch, capsys, URL, "--identity", PIN, "--token-file", str(path)
    )

    assert said.count("\n") == 1
    assert not text or text not in said


@pytest.mark.parametrize("option", ["--token-file", "--api-key-file"])
@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o602])
def test_a_secret_that_others_may_read_or_change(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    option: str,
    mode: int,
) -> None:
    path = tmp_path / "secret"
    path.write_text(TOKEN)
    path.chmod(mode)

    said = refusal(monkeypatch, capsys, URL, "--identity", PIN, option, str(path))

    assert f"chmod 600 {path}" in said
    assert said.count("\n") == 1
    assert TOKEN not in said


def test_a_port_that_is_taken(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=128) as taken:
        port = str(taken.getsockname()[1])
        said = refusal(monkeypatch, capsys, URL, "--identity", PIN, "--port", port)

    assert f"Port {port} on 127.0.0.1 is taken" in said


def test_an_address_of_another_machine(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SG_PROXY_TOKEN", TOKEN)
    words = ("--identity", PIN, "--host", "203.0.113.9")

    assert "The proxy cannot listen on 203.0.113.9" in refusal(
        monkeypatch, capsys, URL, *words
    )


def test_a_broken_file_of_known_servers(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    path = tmp_path / "known"
    path.write_text("http://127.0.0.1:1 what is this\n", encoding="utf-8")
    monkeypatch.setenv("SG_KNOWN_SERVERS_FILE", str(path))
    malformed = refusal(monkeypatch, capsys, URL, "--trust-on-first-use")
    path.unlink()
    path.mkdir()
    unreadable = refusal(monkeypatch, capsys, URL, "--trust-on-first-use")

    for said in (malformed, unreadable):
        assert str(path) in said


def test_a_proxy_variable_that_names_none(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("http_proxy", "gopher://proxy:1")

    assert "HTTP_PROXY" in refusal(monkeypatch, capsys, URL, "--identity", PIN)


@pytest.mark.parametrize("file", ["/no/such/authorities", __file__])
def test_a_certificate_variable_that_names_none(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], file: str
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", file)

    said = refusal(monkeypatch, capsys, URL, "--identity", PIN)

    assert "SSL_CERT_FILE" in said
    assert said.count("\n") == 1


def test_a_misspelt_variable_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SG_SEAL_AUTHORIZATON", "true")

    said = refusal(monkeypatch, capsys, "no-url", "--identity", PIN)

    assert "the nearest is SG_SEAL_AUTHORIZATION" in said


def test_it_says_where_it_listens_and_ends_when_told(server: SealedServer) -> None:
    variables = {"SG_SERVER_IDENTITY": server.fingerprint, "SG_PROXY_TOKEN": TOKEN}
    with started(server.base_url, "--log-requests", **variables) as proxy:
        headers = {"authorization": f"Bearer {TOKEN}"}
        answer = httpx.post(f"{proxy.url}{CHAT}", json=ASKED, headers=headers)
        httpx.post(f"{proxy.url}{CHAT}", json=ASKED)
        proxy.stop()
        status, log = proxy.ended()

    assert answer.status_code == 200
    assert f"OPENAI_BASE_URL={proxy.url}/v1\n" in proxy.banner
    assert f"ANTHROPIC_BASE_URL={proxy.url}\n" in proxy.banner
    assert server.fingerprint in proxy.banner
    assert status == 0
    assert f"POST {CHAT} 200 opened" in log
    assert "invalid_api_key" in log
    assert TOKEN not in proxy.banner + log
    assert "Where to?" not in log
    assert "Traceback" not in log


def test_a_key_is_sealed_from_whichever_header(server: SealedServer) -> None:
    options = ("--identity", server.fingerprint, "--seal-authorization")
    with started(server.base_url, *options) as proxy:
        key = {"x-api-key": "sk-incarnadine"}
        answer = httpx.post(f"{proxy.url}{CHAT}", json=ASKED, headers=key)

    assert answer.status_code == 200
    assert not is_seen(server, "incarnadine")


def test_where_all_can_reach_it_the_name_is_left_to_fill_in(
    server: SealedServer,
) -> None:
    options = ("--identity", server.fingerprint, "--host", "0.0.0.0")
    with started(server.base_url, *options, SG_PROXY_TOKEN=TOKEN) as proxy:
        base = f"=http://<this machine's name>:{proxy.port}"

    assert f"OPENAI_BASE_URL{base}/v1\n" in proxy.banner
    assert f"ANTHROPIC_BASE_URL{base}\n" in proxy.banner


def test_the_first_server_is_remembered(server: SealedServer, tmp_path: Path) -> None:
    known = tmp_path / "known"
    variables = {"SG_KNOWN_SERVERS_FILE": str(known)}
    with started(server.base_url, "--trust-on-first-use", **variables) as proxy:
        first = httpx.post(f"{proxy.url}{CHAT}", json=ASKED)
        server.ring = SealedServer().ring
    with started(server.base_url, "--trust-on-first-use", **variables) as proxy:
        second = httpx.post(f"{proxy.url}{CHAT}", json=ASKED)

    assert first.status_code == 200
    assert known.exists()
    assert second.status_code == 502
    assert second.json()["error"]["code"] == "identity_changed"


def test_a_file_of_known_servers_that_breaks_later(
    server: SealedServer, tmp_path: Path
) -> None:
    known = tmp_path / "known"
    variables = {"SG_KNOWN_SERVERS_FILE": str(known)}
    with started(server.base_url, "--trust-on-first-use", **variables) as proxy:
        known.write_text("what is this\n", encoding="utf-8")
        answer = httpx.post(f"{proxy.url}{CHAT}", json=ASKED)
        proxy.stop()
        _, log = proxy.ended()

    assert answer.status_code == 502
    assert answer.json()["error"]["code"] == "configuration"
    assert str(known) in answer.json()["error"]["message"]
    assert "Traceback" not in log
    assert not server.attempts
