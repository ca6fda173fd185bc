"""Tokens of a real tokenizer, over text that Python brings along, and made-up logprobs.

The tokenizer is Mistral's tekken, which ``mistral_common`` ships: nothing is fetched.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from functools import cache
from itertools import islice
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

TOKENIZER = "tekken_240911.json"
_FLOAT32 = struct.Struct("<f")


class Vocabulary:
    """The pieces of the tokenizer and the tokens of the text."""

    def __init__(self) -> None:
        import mistral_common
        from mistral_common.tokens.tokenizers.tekken import Tekkenizer

        data = Path(mistral_common.__file__).parent / "data" / TOKENIZER
        tekken = Tekkenizer.from_file(data)
        specials = tekken.num_special_tokens
        text = "\n".join(topics[name] for name in sorted(topics))
        self.tokens = tekken.encode(text, bos=False, eos=False)
        self.ordinary = range(specials, tekken.n_words)
        self._pieces = {
            token: tekken.id_to_byte_piece(token) for token in self.ordinary
        }

    def piece(self, token: int) -> bytes:
        """Return the bytes of a token; it may be a part of a character."""
        return self._pieces[token]

    def text(self, token: int) -> str:
        """Return a token on its own as text."""
        return self._pieces[token].decode("utf-8", "replace")


@cache
def vocabulary() -> Vocabulary:
    """Return the one vocabulary; loading it takes a second."""
    return Vocabulary()


def groups(
    tokens: list[int], per_event: range, source: random.Random
) -> Iterator[list[int]]:
    """Cut tokens into the groups that events carry, of random sizes."""
    rest = iter(tokens)
    while group := list(islice(rest, source.choice(per_event))):
        yield group


def logprob(source: random.Random) -> float:
    """Return a log probability as an engine reports it: a float32, with all its digits.

    Half of the tokens are nearly certain, as in real text, so the digits' number and
    the exponent vary as they do there.
    """
    if source.random() < 0.5:
        value = -(10 ** source.uniform(-7, -1))
    else:
        value = -source.expovariate(0.5)
    return float(_FLOAT32.unpack(_FLOAT32.pack(value))[0])


def chat_logprobs(
    group: list[int], count: int, source: random.Random
) -> dict[str, Any]:
    """Return the ``logprobs`` of a chat choice with ``count`` alternatives per token."""
    content = []
    for token in group:
        chosen = _entry(token, logprob(source))
        others = [
            _entry(source.choice(vocabulary().ordinary), value)
            for value in _falling(count - 1, chosen["logprob"], source)
        ]
        top = [chosen, *others] if count else []
        content.append({**chosen, "top_logprobs": top})
    return {"content": content}


def completion_logprobs(
    group: list[int], count: int, source: random.Random, offset: int
) -> dict[str, Any]:
    """Return the ``logprobs`` of a completion's choice, for text at ``offset``."""
    texts = [vocabulary().text(token) for token in group]
    offsets = [offset + sum(map(len, texts[:index])) for index in range(len(texts))]
    values = [logprob(source) for _ in group]
    top = [
        {
            text: value,
            **{
                vocabulary().text(source.choice(vocabulary().ordinary)): other
                for other in _falling(count, value, source)
            },
        }
        for text, value in zip(texts, values, strict=True)
    ]
    return {
        "text_offset": offsets,
        "token_logprobs": values,
        "tokens": texts,
        "top_logprobs": top,
    }


def _entry(token: int, value: float) -> dict[str, Any]:
    text = vocabulary().text(token)
    return {"token": text, "logprob": value, "bytes": list(text.encode())}


def _falling(count: int, start: float, source: random.Random) -> list[float]:
    steps = sorted(
        (start - source.expovariate(0.3) for _ in range(max(count, 0))), reverse=True
    )
    return [float(_FLOAT32.unpack(_FLOAT32.pack(value))[0]) for value in steps]
