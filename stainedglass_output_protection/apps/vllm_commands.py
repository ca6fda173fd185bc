"""Why the other commands of ``vllm`` are not commands of ``sg-vllm``."""

from __future__ import annotations

from typing import Final

_NOT_SEALED = "it starts a server whose answers are not sealed: use sg-vllm serve"
_OWN_CLIENT = (
    "it cannot open sealed answers: use the OpenAI SDK with protected_client, or "
    "vllm {} with a server that is not protected"
)
_NOT_OURS = "it serves no answers: use vllm {}"

_REASONS: Final = {
    "run-batch": (
        "it writes answers to a file in the clear: send the requests to sg-vllm serve, "
        "by the OpenAI SDK with protected_client"
    ),
    "launch": _NOT_SEALED,
    "snapshot": _NOT_SEALED,
    "complete": _OWN_CLIENT,
    "bench": _OWN_CLIENT,
    "collect-env": _NOT_OURS,
    "download-kernels": _NOT_OURS,
    "preload": _NOT_OURS,
}


def refusal_of(name: str) -> str:
    """Return one sentence on why ``name`` is not there and what to do instead."""
    reason = _REASONS.get(name.replace("_", "-"))
    if reason is None:
        return "There is no such command. See sg-vllm --help."
    return f"There is no sg-vllm {name}, for {reason.format(name)}."
