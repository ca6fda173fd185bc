"""Finds a secret word in bytes, in every form in which a server could have let it out."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.tiny_dialogues import CANARIES, DIALOGUES, Dialogue

# Words of prompts that nothing else says, one at least of each dialogue.
PROMPT_WORDS = (
    "secret sentence",
    "keeper of the gate",
    "password for today",
    "nobody has seen",
    "hidden city",
    "the twin cities",
    "an umbrella in Lisbon",
    "who hid the lantern",
    "where the captain lives",
    "a long story",
    "every kind of character",
    "Describe the ship",
    "Log of the lighthouse",
)
_CHUNK_BORDER = re.compile(rb"\r\n[0-9a-fA-F]{1,8}\r\n")
_WINDOW = 3
# What may stand between two token ids of a list.
_SEPARATOR = rb"[\s,;|]+"


@dataclass(frozen=True)
class Leak:
    """A word that was found, in which form, and the bytes around it."""

    word: str
    form: str
    around: bytes


class Detector:
    """Searches for words, and for the token ids of the answers that hold them."""

    def __init__(self, model_path: Path, words: Iterable[str] = CANARIES) -> None:
        self._searches = [
            (word, form, re.compile(pattern))
            for word in words
            for form, pattern in _patterns(word)
        ]
        self._searches += _token_searches(model_path, set(words))

    def find(self, data: bytes) -> list[Leak]:
        """Return the leaks in ``data``, the first of each word and form."""
        joined = _CHUNK_BORDER.sub(b"", data)
        found = []
        for text in (data, joined) if joined != data else (data,):
            for word, form, pattern in self._searches:
                if match := pattern.search(text):
                    around = text[max(0, match.start() - 120) : match.end() + 80]
                    found.append(Leak(word, form, around))
        return found


def _patterns(word: str) -> Iterator[tuple[str, bytes]]:
    raw = word.encode("utf-8")
    yield "raw", re.escape(raw)
    escaped = "".join(f"\\u{ord(letter):04x}" for letter in word)
    yield "JSON-escaped", b"(?i:" + re.escape(escaped.encode("ascii")) + b")"
    usual = json.dumps(word)[1:-1].encode("ascii")
    if usual != raw:
        yield "JSON-escaped as usual", re.escape(usual)
    yield "hexadecimal", b"(?i:" + raw.hex().encode("ascii") + b")"
    yield "hexadecimal with blanks", b"(?i:" + raw.hex(" ").encode("ascii") + b")"
    yield "numbers", rb"(?<!\d)" + _SEPARATOR.join(str(b).encode() for b in raw)
    for offset in range(3):
        # The characters that hold bits of the neighbours are cut off.
        text = base64.b64encode(bytes(offset) + raw)
        whole = text[-(-offset * 8 // 6) : (offset + len(raw)) * 8 // 6]
        for alphabet in {whole, whole.translate(bytes.maketrans(b"+/", b"-_"))}:
            yield f"base64 at {offset}", re.escape(alphabet)


def _token_searches(
    model_path: Path, words: set[str]
) -> Iterator[tuple[str, str, re.Pattern[bytes]]]:
    """Yield searches for runs of token ids around the canary's own."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(model_path / "tokenizer.json"))
    for text in _texts(DIALOGUES):
        encoding: Any = tokenizer.encode(text, add_special_tokens=False)
        numbers = encoding.ids
        for at, number in enumerate(numbers):
            held = {word for word in words if word in tokenizer.decode([number])}
            for word in held:
                start = max(0, min(at - 1, len(numbers) - _WINDOW))
                run = numbers[start : start + _WINDOW]
                listed = _SEPARATOR.join(str(item).encode() for item in run)
                pattern = rb"(?<!\d)" + listed + rb"(?!\d)"
                yield word, f"token ids {run}", re.compile(pattern)
                alone = rb"(?:token_ids?\W{1,4}|token_id:|\[)%d(?!\d)" % number
                yield word, f"token id {number}", re.compile(alone)


def _texts(dialogues: Iterable[Dialogue]) -> Iterator[str]:
    for dialogue in dialogues:
        yield from filter(None, (dialogue.reasoning, dialogue.content))
        for name, arguments in dialogue.tool_calls:
            yield f'{{"name": "{name}", "arguments": {arguments}}}'
