"""Our log lines in vLLM's format, and no words of an answer in vLLM's own.

More of vLLM's loggers write what a model said: see ``docs/limitations.md``.
"""

from __future__ import annotations

import logging

_PACKAGE = "stainedglass_output_protection"
# It writes every error's words at debug level, and those may be the model's.
_TELLING = ("vllm.entrypoints.serve.exception_handling.error_response",)


def join_vllm_logging() -> None:
    """Hang the whole package's loggers below vLLM's, and redact one of vLLM's.

    vLLM configures the logger ``vllm`` and no other; lines of any other would be lost.
    """
    logging.getLogger(_PACKAGE).parent = logging.getLogger("vllm")
    for name in _TELLING:
        logging.getLogger(name).addFilter(_redact)


def _redact(record: logging.LogRecord) -> bool:
    if isinstance(record.args, tuple):
        record.args = tuple("<redacted>" for _ in record.args)
    return True
