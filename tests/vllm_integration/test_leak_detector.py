"""The detector and the recorder find what they are there to find. Needs no server."""

from __future__ import annotations

import base64
import json
import socket
import threading

import pytest

from tests.tiny_dialogues import BY_NAME, CANARIES, DIALOGUES
from tests.vllm_integration.leaks import PROMPT_WORDS, Detector
from tests.vllm_integration.servers import MODEL_PATH
from tests.vllm_integration.tcp_tap import TcpTap

WORD = "Skarvelune"
ANSWER = BY_NAME["system"].content or ""

pytestmark = pytest.mark.skipif(
    not (MODEL_PATH / "tokenizer.json").exists(), reason="there is no tiny model"
)


@pytest.fixture(scope="module")
def detector() -> Detector:
    pytest.importorskip("tokenizers")
    return Detector(MODEL_PATH)


def _token_ids() -> list[int]:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(MODEL_PATH / "tokenizer.json"))
    numbers: list[int] = tokenizer.encode(ANSWER, add_special_tokens=False).ids
    return numbers


def test_nothing_is_found_where_nothing_is(detector: Detector) -> None:
    prompts = json.dumps([item.request("tiny")[1] for item in BY_NAME.values()])

    assert detector.find(prompts.encode()) == []
    assert detector.find(base64.b64encode(prompts.encode())) == []


@pytest.mark.parametrize("word", CANARIES)
def test_every_canary_is_found_raw(detector: Detector, word: str) -> None:
    assert word in {leak.word for leak in detector.find(f"log: {word}!".encode())}


@pytest.mark.parametrize("before", ["", "a", "ab", "abc"])
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
def test_base64_is_found_at_every_alignment(
    detector: Detector, encode: object, before: str
) -> None:
    text = f"{before}{ANSWER}"

    found = detector.find(encode(text.encode()))  # type: ignore[operator]

    assert {leak.word for leak in found} == {WORD}


@pytest.mark.parametrize(
    "leaked",
    [
        ANSWER.encode().hex().encode(),
        ANSWER.encode().hex().upper().encode(),
        ANSWER.encode().hex(" ").encode(),
        repr(list(ANSWER.encode())).encode(),
        "".join(f"\\u{ord(letter):04x}" for letter in ANSWER).encode(),
        json.dumps({"content": ANSWER}).encode(),
        ANSWER.replace("Skarv", "Skarv\r\n1f\r\n").encode(),
    ],
    ids=["hex", "HEX", "hex-blanks", "bytes", "escaped", "json", "chunked"],
)
def test_other_forms_are_found(detector: Detector, leaked: bytes) -> None:
    assert {leak.word for leak in detector.find(b"x " + leaked + b" y")} == {WORD}


def test_token_ids_are_found(detector: Detector) -> None:
    numbers = _token_ids()
    found = [
        repr(numbers).encode(),
        repr(tuple(numbers)).encode(),
        json.dumps({"token_ids": numbers}, separators=(",", ":")).encode(),
        " ".join(map(str, numbers)).encode(),
        *(b'{"token_ids":[%d]}' % number for number in numbers),
        *(b'"token":"token_id:%d"' % number for number in numbers),
    ]

    words = [{leak.word for leak in detector.find(item)} for item in found]

    assert words[:4] == [{WORD}] * 4
    assert words[4:].count({WORD}) == 2


def test_recorder_keeps_what_a_server_sends(detector: Detector) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer_one() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(100)
                connection.sendall(ANSWER.encode())

        thread = threading.Thread(target=answer_one)
        thread.start()
        with TcpTap(listener.getsockname()[1]) as tap:
            with socket.create_connection(("127.0.0.1", tap.port), 5) as client:
                client.sendall(b"What is the password?")
                received = client.recv(1000)
            thread.join(5)
            recorded = tap.from_server
            asked = tap.from_client

    assert recorded == [received]
    assert asked == [b"What is the password?"]
    assert {leak.word for leak in detector.find(recorded[0])} == {WORD}


def test_every_dialogue_has_words_of_its_prompt() -> None:
    for dialogue in DIALOGUES:
        prompt = json.dumps(dialogue.request("tiny")[1])
        answer = f"{dialogue.content}{dialogue.reasoning}{dialogue.tool_calls}"
        assert [word for word in PROMPT_WORDS if word in prompt], dialogue.name
        assert not [word for word in PROMPT_WORDS if word in answer], dialogue.name
