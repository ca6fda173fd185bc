"""``sg-vllm chat`` with a question that is piped in: the answer, or one sentence."""

from __future__ import annotations

import io
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from stainedglass_output_protection.apps import cli
from tests.apps.chat.answers import answering, asked_messages, delta_event
from tests.apps.tls import self_signed, serve_tls
from tests.client.fake_server import (
    ANSWER,
    EVENTS,
    TOKENS,
    FakeServer,
    Wire,
    chat_body,
    error_body,
    serve,
)
from tests.client.sealed_server import SealedServer

QUESTION = "quixotic vermilion?"
OTHER = "SHA256:" + "A" * 43
JSON = "application/json"
USAGE = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}


class Done:
    """What a command printed, and its status."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status = status
        self.out = out
        self.err = err


Run = Callable[..., Done]


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith("SG_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("SG_KNOWN_SERVERS_FILE", str(tmp_path / "known"))


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> Run:
    """Run ``sg-vllm chat`` in this process."""

    def run(*arguments: object, stdin: bytes = QUESTION.encode()) -> Done:
        words = [str(item) for item in arguments]
        monkeypatch.setattr(sys, "argv", ["sg-vllm", "chat", *words])
        given = SimpleNamespace(buffer=io.BytesIO(stdin), isatty=lambda: False)
        monkeypatch.setattr(sys, "stdin", given)
        with pytest.raises(SystemExit) as ended:
            cli.main()
        status = ended.value.code or 0
        assert isinstance(status, int)
        return Done(status, *(text.decode() for text in capfdbinary.readouterr()))

    return run


def pin(server: FakeServer) -> tuple[str, ...]:
    return (server.base_url, "--identity", server.fingerprint)


def test_the_answer_is_printed_and_nothing_else(run: Run) -> None:
    with serve(SealedServer()) as server:
        done = run(*pin(server))
    assert (done.status, done.out, done.err) == (0, ANSWER + "\n", "")
    assert asked_messages(server)[-1] == [{"role": "user", "content": QUESTION}]
    assert not any(QUESTION.encode() in it.raw for it in server.received)
    assert not any(b"Ferne" in it.raw for it in server.sent)


def test_an_output_that_has_no_code_for_a_character_is_no_failure() -> None:
    with serve(SealedServer()) as server:
        program = "from stainedglass_output_protection.apps.cli import main; main()"
        done = subprocess.run(
            [sys.executable, "-c", program, "chat", *pin(server), "--show-wire"],
            input=QUESTION.encode(),
            env={**os.environ, "PYTHONIOENCODING": "latin-1"},
            capture_output=True,
            check=False,
            timeout=60,
        )
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.endswith(ANSWER.encode("latin-1") + b"\n")


@pytest.mark.parametrize("end", ["", "/", "/v1", "/v1/"])
def test_the_url_may_be_written_as_people_do(run: Run, end: str) -> None:
    with serve(SealedServer()) as server:
        url = server.base_url.removesuffix("/v1") + end
        done = run(url, "--identity", server.fingerprint)
    assert (done.status, done.out) == (0, ANSWER + "\n")


def test_model_system_and_key_are_sent(run: Run, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("sk-of-somebody\n")
    key.chmod(0o600)
    with serve(SealedServer()) as server:
        more = ("--model", "big", "--system", "Be brief.", "--api-key-file", key)
        assert run(*pin(server), *more).status == 0
    (call,) = server.app.calls
    assert call.asked["model"] == "big"
    assert call.asked["messages"][0] == {"role": "system", "content": "Be brief."}
    assert call.values("authorization") == ["Bearer sk-of-somebody"]


def test_arguments_and_a_question_of_any_bytes_are_sent(run: Run) -> None:
    with serve(SealedServer()) as server:
        more = ("--model", "\udcff", "--system", "\udcfe")
        assert run(*pin(server), *more, stdin=b"\xff").status == 0
    asked = server.app.calls[-1].asked
    assert asked["model"] == "?"
    assert [message["content"] for message in asked["messages"]] == ["?", "\ufffd"]


def test_the_first_model_of_the_server_is_asked(run: Run) -> None:
    with serve(SealedServer()) as server:
        run(*pin(server))
    assert server.app.calls[-1].asked["model"] == "tiny"


def test_profile_output_and_trust_on_first_use(run: Run) -> None:
    with serve(SealedServer()) as server:
        assert run(server.base_url, "--profile", "output").out == ANSWER + "\n"
        trusting = run(server.base_url, "--trust-on-first-use")
    assert (trusting.status, trusting.out) == (0, ANSWER + "\n")


def test_an_answer_that_is_not_streamed_is_printed(run: Run) -> None:
    server = SealedServer()
    server.app.answer = lambda call: Wire(200, {"content-type": JSON}, [chat_body()])
    with serve(server):
        done = run(*pin(server), "--model", "m")
    assert (done.status, done.out) == (0, ANSWER + "\n")


def test_reasoning_is_left_out_of_what_another_program_reads(run: Run) -> None:
    with serve(
        answering(delta_event(reasoning="hm"), delta_event(content="Yes"))
    ) as server:
        assert run(*pin(server)).out == "Yes\n"


def test_no_control_character_of_the_model_is_printed(run: Run) -> None:
    hostile = "a\x1b[2Jb\x1b]0;title\x07c\x9b31md\re\x08\u202ef\x00"
    events = [*(delta_event(content=c) for c in hostile), delta_event(content=hostile)]
    with serve(answering(*events)) as server:
        for more in ((), ("--show-wire",)):
            out = run(*pin(server), *more).out
            assert "abcdef" in out
            controls = {c for c in out if ord(c) < 32 or 127 <= ord(c) < 160}
            assert controls == {"\n"}
            assert "\u202e" not in out


def test_the_wire_is_shown_below_what_is_read(run: Run) -> None:
    with serve(SealedServer()) as server:
        done = run(*pin(server), "--show-wire")
    assert done.status == 0
    lines = done.out.splitlines()
    sent = next(it for it in server.attempts if it.body)
    assert lines[0].startswith(
        f"network POST /v1/chat/completions {len(sent.body):,} B "
    )
    assert '"sgop1-request.' in lines[0]
    assert lines[1] == f"written {QUESTION}"
    seen = [line for line in lines[2:] if line.startswith("network ")]
    sizes = [int(line.split()[1].replace(",", "")) for line in seen]
    assert sizes == [len(part) for part in server.sent[-1].parts]
    assert all("sgop1." in line or "[DONE]" in line for line in seen)
    assert all(len(line) <= 100 for line in lines)
    read = [line[8:] for line in lines if line.startswith("read    ")]
    assert read == [token for token in TOKENS if token]
    assert done.out.endswith(f"\n\n{ANSWER}\n")


def test_the_wire_has_the_events_that_carry_nothing(run: Run) -> None:
    usage = {"object": "chat.completion.chunk", "choices": [], "usage": USAGE}
    events = [
        delta_event(content="Yes"),
        b": ping\n\n",
        b"data: " + json.dumps(usage).encode() + b"\n\n",
    ]
    with serve(answering(*events)) as server:
        out = run(*pin(server), "--show-wire").out
    sizes = re.findall(r"^network ([\d,]+) B ", out, re.MULTILINE)
    parts = server.sent[-1].parts
    assert [int(size.replace(",", "")) for size in sizes] == list(map(len, parts))
    assert len([part for part in parts if b"sgop1." not in part]) > 1


def test_the_wire_of_profile_output_has_the_question(run: Run) -> None:
    with serve(SealedServer()) as server:
        out = run(server.base_url, "--profile", "output", "--show-wire").out
    assert "sgop1-request." not in out.splitlines()[0]


# What goes wrong: one sentence and a status


def check_refused(done: Done, status: int, *words: str, out: str = "") -> None:
    assert (done.status, done.out) == (status, out)
    assert done.err.startswith("sg-vllm: ")
    assert done.err.count("\n") == 1
    for word in words:
        assert word in done.err


@pytest.mark.parametrize(
    "url",
    [
        *("", "host", "ftp://host/v1", "http://", "http://h:99999/v1", "http://h/v1?a"),
        *("http://a..b/", "http://.invalid/", "http://a:b@h/v1", "http://@h/v1"),
    ],
)
def test_a_wrong_url(run: Run, url: str) -> None:
    check_refused(run(url, "--identity", OTHER), 2, "must be like https://")


def test_a_server_that_is_not_known(run: Run) -> None:
    with serve(SealedServer()) as server:
        done = run(server.base_url)
    check_refused(done, 2, "--identity", "--trust-on-first-use")
    assert server.received == []


def test_a_fingerprint_that_is_none(run: Run) -> None:
    check_refused(run("http://h/v1", "--identity", "SHA256:no"), 2, "SHA256:")


def test_nothing_asked(run: Run) -> None:
    done = run("http://h/v1", "--identity", OTHER, stdin=b" \n")
    check_refused(done, 2, "Nothing was asked")


@pytest.mark.parametrize("content", [b"", b"two words", b"\xff", b"a\nb"])
def test_a_key_file_without_a_key(run: Run, tmp_path: Path, content: bytes) -> None:
    key = tmp_path / "key"
    key.write_bytes(content)
    key.chmod(0o600)
    done = run("http://h/v1", "--identity", OTHER, "--api-key-file", key)
    check_refused(done, 2, "does not hold an API key")


def test_a_key_file_that_others_may_read(run: Run, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("sk-of-somebody")
    key.chmod(0o644)
    done = run("http://h/v1", "--identity", OTHER, "--api-key-file", key)
    check_refused(done, 2, f"Run: chmod 600 {key}")


def test_a_key_in_the_place_of_its_file_is_not_shown(run: Run) -> None:
    done = run("http://h/v1", "--identity", OTHER, "--api-key-file", "sk-of-somebody")
    check_refused(done, 2, "--api-key-file: a file's name is needed")
    assert "sk-of-somebody" not in done.err


def test_nobody_there(run: Run) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/v1"
        check_refused(run(url, "--identity", OTHER), 1, "Nobody listens at that host")


def test_a_proxy_of_the_environment_is_gone_through(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve(SealedServer()) as server, socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        proxy = f"http://127.0.0.1:{unused.getsockname()[1]}"
        monkeypatch.setenv("http_proxy", proxy)
        done = run(*pin(server), "--show-wire")
    check_refused(done, 1, "The proxy that HTTP_PROXY names is not there")
    assert server.received == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SSL_CERT_FILE", "/no/such/file"),
        ("SSL_CERT_FILE", __file__),
        ("http_proxy", "socks5://127.0.0.1:1"),
        ("http_proxy", "http://127.0.0.1:99999"),
        ("http_proxy", "gopher://127.0.0.1:1"),
        ("HTTPS_PROXY", "http://["),
    ],
)
def test_variables_of_the_connection_that_cannot_be_used(
    run: Run, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    done = run("https://127.0.0.1:1/v1", "--identity", OTHER)
    check_refused(done, 2, name.upper())


def test_a_misspelt_variable_is_told(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SG_CLIENT_PROFIL", "output")
    with serve(SealedServer()) as server:
        done = run(*pin(server))
    assert (done.status, done.out) == (0, ANSWER + "\n")
    assert done.err == (
        "sg-vllm: SG_CLIENT_PROFIL is not a setting and has no effect; the nearest is "
        "SG_CLIENT_PROFILE.\n"
    )


def test_a_first_use_that_cannot_be_remembered_is_one_line(tmp_path: Path) -> None:
    known = tmp_path / "file" / "known"
    known.parent.write_bytes(b"")
    with serve(SealedServer()) as server:
        program = "from stainedglass_output_protection.apps.cli import main; main()"
        words = [server.base_url, "--trust-on-first-use"]
        done = subprocess.run(
            [sys.executable, "-c", program, "chat", *words],
            input=QUESTION,
            env={**os.environ, "SG_KNOWN_SERVERS_FILE": str(known)},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    assert (done.returncode, done.stdout) == (0, ANSWER + "\n")
    assert done.stderr.startswith("sg-vllm: The file of known servers")
    assert done.stderr.count("\n") == 1


def test_no_tls_there(run: Run) -> None:
    with serve(SealedServer()) as server:
        url = server.base_url.replace("http:", "https:")
        check_refused(run(url, "--identity", OTHER), 1, "http:// or https://")


def test_a_certificate_that_nobody_vouches_for(run: Run, tmp_path: Path) -> None:
    with serve_tls(self_signed(tmp_path)) as url:
        done = run(f"{url}/v1", "--identity", OTHER)
    check_refused(done, 1, "certificate is not trusted (self-signed certificate)")


def test_another_server_than_the_pinned_one(run: Run) -> None:
    with serve(SealedServer()) as server:
        done = run(server.base_url, "--identity", OTHER)
    check_refused(done, 1, "IdentityMismatchError", server.fingerprint)
    assert not any(call.body for call in server.app.calls)


def test_a_server_without_protection(run: Run) -> None:
    server = SealedServer()
    plain = Wire(200, {"content-type": JSON}, [chat_body()])
    server.tamper = lambda wire: plain
    server.tamper_document = lambda wire: Wire(404, {}, [b""])
    with serve(server):
        done = run(*pin(server), "--model", "m")
    check_refused(done, 1, "UnprotectedResponseError")


def test_an_answer_that_is_cut(run: Run) -> None:
    server = SealedServer()
    server.tamper = lambda wire: Wire(wire.status, wire.headers, wire.parts[:3])
    with serve(server):
        done = run(*pin(server), "--model", "m")
    check_refused(done, 1, "TruncatedError", out="".join(TOKENS[:3]))


def test_a_sealed_error_has_the_server_s_words(run: Run) -> None:
    with serve(SealedServer()) as server:
        done = run(*pin(server), "--model", "unknown")
    check_refused(done, 1, "The server refused (400)", "The model `unknown` is secret.")


def test_an_error_of_the_way_is_called_not_sealed(run: Run) -> None:
    page = error_body("\x1b[31mgo\naway", 401)
    server = SealedServer()
    server.tamper = lambda wire: Wire(401, {"content-type": JSON}, [page])
    with serve(server):
        done = run(*pin(server), "--model", "m")
    check_refused(done, 1, "401, not sealed: go away", "--api-key-file")


def test_an_error_in_the_middle_of_an_answer(run: Run) -> None:
    error = b"data: " + error_body("out of memory", 500) + b"\n\n"
    with serve(answering(delta_event(content="Hi"), error)) as server:
        check_refused(run(*pin(server)), 1, "out of memory", out="Hi")


@pytest.mark.parametrize("body", [b"{}", b"[]", b'{"data":[]}', b"no", b"\xff"])
def test_a_server_that_names_no_model(run: Run, body: bytes) -> None:
    server = SealedServer()
    server.app.answer = lambda call: Wire(200, {"content-type": JSON}, [body])
    with serve(server):
        check_refused(run(*pin(server)), 1, "give --model")


def test_events_of_a_shape_that_nobody_knows_are_no_words(run: Run) -> None:
    odd = [None, 1, "x", [], {"choices": 1}, {"choices": [1, {"delta": 2}]}, {"a": {}}]
    events = [b"data: " + json.dumps(value).encode() + b"\n\n" for value in odd]
    server = SealedServer()
    server.app.answer = lambda call: Wire(200, {"content-type": EVENTS}, events)
    with serve(server):
        done = run(*pin(server), "--model", "m")
    assert (done.status, done.out.strip(), done.err) == (0, "", "")
