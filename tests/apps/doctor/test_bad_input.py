"""Bad input: one clear sentence and a status that is not 0, without a traceback."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.apps.doctor.conftest import Examine, known_servers, url_of
from tests.apps.doctor.test_server import API_KEY
from tests.gateways.upstream import Upstream


@pytest.mark.parametrize(
    "url",
    [
        "gateway:8000/v1",
        "ftp://gateway/v1",
        "http://",
        "http://[::1",
        "http://256.1.1.1/v1",
        "http://host:port/v1",
        "http://host:0/v1",
        "http://user:password@host/v1",
        "http://host/v1?key=1",
        "http://host/v1#a",
        "",
    ],
)
def test_a_url_that_is_none(examine: Examine, url: str) -> None:
    report = examine(url)

    assert report.is_one_sentence(2)
    assert "https://host:8000/v1" in report.err
    assert "password" not in report.err


@pytest.mark.parametrize(
    "line", ["nonsense", "http://h SHA256:x 1", "http://h", "\x1b[31m"]
)
def test_a_broken_file_of_known_servers(
    server: Upstream, examine: Examine, tmp_path: Path, line: str
) -> None:
    known_servers(tmp_path, line)

    report = examine(url_of(server))

    assert report.is_one_sentence(2)
    assert "line 1" in report.err


def test_a_file_of_known_servers_that_cannot_be_read(
    server: Upstream, examine: Examine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SG_KNOWN_SERVERS_FILE", str(tmp_path))

    report = examine(url_of(server))

    assert report.is_one_sentence(2)
    assert "known servers" in report.err


@pytest.mark.parametrize("option", ["--identity=SHA256:short", "--identity="])
def test_a_pin_that_is_none(server: Upstream, examine: Examine, option: str) -> None:
    assert examine(url_of(server), option).is_one_sentence(2)


@pytest.mark.parametrize(
    "content", [None, b"", b"two words", b"\xff", b"a\nb", b"\x1b["]
)
def test_a_key_file_that_is_none(
    server: Upstream, examine: Examine, tmp_path: Path, content: bytes | None
) -> None:
    file = tmp_path / "key"
    if content is not None:
        file.write_bytes(content)
        file.chmod(0o600)

    report = examine(url_of(server), "--api-key-file", str(file))

    if content == b"":
        assert "empty" in report.err
    assert report.is_one_sentence(2)


def test_a_key_file_that_others_may_read_is_refused(
    server: Upstream, examine: Examine, tmp_path: Path
) -> None:
    file = tmp_path / "key"
    file.write_text("sk-secret")
    file.chmod(0o644)

    report = examine(url_of(server), "--api-key-file", str(file))

    assert report.is_one_sentence(2)
    assert "chmod 600" in report.err


@pytest.mark.parametrize(
    "given", [API_KEY, f"{API_KEY}/{API_KEY}", API_KEY * 100, f"/dev/null/{API_KEY}"]
)
def test_an_api_key_in_the_place_of_its_file_is_not_shown(
    server: Upstream, examine: Examine, given: str
) -> None:
    report = examine(url_of(server), "--api-key-file", given)

    assert report.is_one_sentence(2)
    assert "--api-key-file" in report.err
    assert API_KEY not in report.err


def test_an_api_key_in_the_environment_that_is_none(
    server: Upstream, examine: Examine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk one\ntwo")

    report = examine(url_of(server))

    assert report.is_one_sentence(2)
    assert "sk one" not in report.err


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SSL_CERT_FILE", "/no/such/file"),
        ("ALL_PROXY", "socks9://127.0.0.1:1"),
        ("ALL_PROXY", "socks5://127.0.0.1:1"),
        ("HTTP_PROXY", "http://[::1"),
        ("HTTP_PROXY", "http://127.0.0.1:99999"),
        ("http_proxy", "127.0.0.1:99999"),
        ("HTTP_PROXY", "http://user:secret@a..b:3128"),
    ],
)
def test_variables_by_which_no_connection_can_be_set_up(
    examine: Examine, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)

    report = examine("http://127.0.0.1:1/v1")

    assert report.is_one_sentence(2)
    assert name.upper() in report.err
    assert "secret" not in report.err


@pytest.mark.parametrize(
    ("name", "value"), [("SG_CLIENT_PROFILE", "none"), ("SG_SERVER_IDENTITY", "")]
)
def test_variables_of_the_client_that_are_wrong(
    examine: Examine, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)

    report = examine("http://127.0.0.1:1/v1")

    assert report.is_one_sentence(2)
    assert name in report.err


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_a_variable_that_nothing_reads_is_named(
    server: Upstream,
    examine: Examine,
    monkeypatch: pytest.MonkeyPatch,
    form: tuple[str, ...],
) -> None:
    monkeypatch.setenv("SG_SEAL_AUTHORIZATON", "secret")

    report = examine(url_of(server), "--identity", server.fingerprint, *form)

    (line,) = report.err.splitlines()
    assert line.startswith("sg-vllm: SG_SEAL_AUTHORIZATON is not a setting")
    assert line.endswith("the nearest is SG_SEAL_AUTHORIZATION.")
    assert "secret" not in report.err + report.out
    assert report.status == 0


@pytest.mark.parametrize("option", ["--probes=3", "--timeout=0", "--profile=x", "-x"])
def test_options_that_are_wrong(examine: Examine, option: str) -> None:
    report = examine("http://127.0.0.1:1/v1", option)

    assert report.status == 2
    assert "Usage:" in report.err


@pytest.mark.parametrize("missing", [("rich",), ("httpx", "httpx2")])
def test_an_extra_that_is_not_installed(
    examine: Examine, monkeypatch: pytest.MonkeyPatch, missing: tuple[str, ...]
) -> None:
    for name in missing:
        monkeypatch.setitem(sys.modules, name, None)

    report = examine("http://127.0.0.1:1/v1")

    assert report.is_one_sentence(2)
    assert "[cli]" in report.err
