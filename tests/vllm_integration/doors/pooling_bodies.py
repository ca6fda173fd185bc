"""The doors of servers that make numbers of text. What is sent holds canaries."""

from __future__ import annotations

from typing import Any, Final

from tests.vllm_integration.doors.bodies import TOKENIZE
from tests.vllm_integration.doors.door import ECHOED, Ask, Door, answer_of, refused
from tests.vllm_integration.servers import MODEL

_TEXT = answer_of("canary")
_INPUT: Final = {"model": MODEL, "input": [_TEXT, "another text"]}
_TEXTS: Final = {"model": MODEL, "texts": [_TEXT, "another text"]}
_PAIR: Final = {"model": MODEL, "text_1": _TEXT, "text_2": [_TEXT, "another text"]}
_RANKED: Final = {"model": MODEL, "query": "who owes?", "documents": [_TEXT, "nobody"]}
_BAD: Final = {"model": f"model-{ECHOED}"}
_FORMATS: Final = ("float", "base64", "bytes", "bytes_only")
_SCORE_PATHS: Final = ("/score", "/v1/score")
_RERANK_PATHS: Final = ("/rerank", "/v1/rerank", "/v2/rerank")


def _in_formats(body: dict[str, Any]) -> tuple[Ask, ...]:
    return tuple(Ask({**body, "encoding_format": name}) for name in _FORMATS)


_SCORING: dict[tuple[str, str], Door] = {
    **{
        ("POST", path): Door((Ask(_PAIR),), refused({**_PAIR, **_BAD}, {"a": ECHOED}))
        for path in _SCORE_PATHS
    },
    **{
        ("POST", path): Door(
            (Ask(_RANKED), Ask({**_RANKED, "top_n": 1})),
            refused({**_RANKED, **_BAD}, {"query": ECHOED}),
        )
        for path in _RERANK_PATHS
    },
}

_NO_QUESTIONS: dict[tuple[str, str], Door] = {
    ("POST", "/v1/systemone"): Door(reason="needs a model that generates text"),
}

EMBED: dict[tuple[str, str], Door] = {
    ("POST", "/v1/embeddings"): Door(
        _in_formats(_INPUT),
        refused({**_INPUT, **_BAD}, {"model": MODEL, "input": {"of": ECHOED}}),
    ),
    ("POST", "/v2/embed"): Door(
        (
            Ask({**_TEXTS, "embedding_types": ["float"]}),
            Ask({**_TEXTS, "embedding_types": ["base64", "binary", "ubinary"]}),
        ),
        refused({**_TEXTS, **_BAD}, {"model": MODEL, "texts": ECHOED}),
    ),
    ("POST", "/pooling"): Door(
        (*_in_formats(_INPUT), Ask({**_INPUT, "task": "embed"})),
        refused({**_INPUT, **_BAD}, {"model": MODEL, "input": {"of": ECHOED}}),
    ),
    **_SCORING,
    ("POST", "/invocations"): Door(
        (Ask(_INPUT), Ask(_PAIR), Ask(_RANKED)), refused({ECHOED: ECHOED})
    ),
    **TOKENIZE,
    **_NO_QUESTIONS,
}

CLASSIFY: dict[tuple[str, str], Door] = {
    ("POST", "/classify"): Door(
        (Ask(_INPUT),), refused({**_INPUT, **_BAD}, {"input": {"of": ECHOED}})
    ),
    ("POST", "/pooling"): Door(
        _in_formats(_INPUT), refused({"model": MODEL, "input": {"of": ECHOED}})
    ),
    **_SCORING,
    ("POST", "/invocations"): Door(
        (Ask(_INPUT), Ask(_RANKED)), refused({ECHOED: ECHOED})
    ),
    **TOKENIZE,
    **_NO_QUESTIONS,
}
