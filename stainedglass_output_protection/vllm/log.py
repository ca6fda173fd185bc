"""Our log lines in vLLM's format, and no words of an answer in vLLM's own.

Loggers are made one by one as modules are imported, and operators configure their
handlers. So the words go where every record of every logger is made.
"""

from __future__ import annotations

import logging
from typing import Final

from stainedglass_output_protection.hosting.settings import load_settings
from stainedglass_output_protection.vllm.redaction import (
    RedactingFactory,
    is_installed,
    redact_warnings,
)

_PACKAGE: Final = "stainedglass_output_protection"
_REQUEST_LOGGER: Final = "vllm.entrypoints.serve.utils.request_logger"
# Some of their lines have the words or token ids of a request or an answer.
_WORDY: Final = (
    "vllm.tool_parsers",
    "vllm.reasoning",
    "vllm.parser",
    "vllm.renderers",
    "vllm.tokenizers",
    "vllm.inputs",
    "vllm.entrypoints",
    "vllm.v1.engine",
    "vllm.v1.core.sched",
    "vllm.v1.structured_output",
    # The SageMaker routes are made by it.
    "model_hosting_container_standards",
    # Both tell of exceptions that nobody caught.
    "asyncio",
    "concurrent.futures",
)
# Their messages are their own; the exceptions come from what they were asked to do.
_FAILING: Final = (
    "uvicorn.error",
    "vllm.v1.engine.core",
    "vllm.v1.executor",
    "vllm.v1.worker",
)
# Before there is any request; operators need to know what went wrong.
_START_FAILED: Final = ("EngineCore failed to start.", "WorkerProc failed to start.")
# What operators need when a server starts and stops; none has an answer's words.
_READABLE: Final = (
    "vllm.entrypoints.cli",
    "vllm.entrypoints.launchers",
    "vllm.entrypoints.openai.models",
    # Outside the protection: it logs ciphertext.
    "vllm.entrypoints.serve.middleware",
    "vllm.entrypoints.serve.utils.api_utils",
    "vllm.v1.engine.coordinator",
    "vllm.v1.engine.utils",
)


def join_vllm_logging() -> None:
    """Hang the whole package's loggers below vLLM's, and redact what shows words.

    vLLM configures the logger ``vllm`` and no other; lines of any other would be lost.
    Doing it again changes nothing.

    Raises:
        ConfigurationError: a setting is bad.
    """
    logging.getLogger(_PACKAGE).parent = logging.getLogger("vllm")
    redact_warnings()
    if is_installed():
        return
    wanted = load_settings().allow_leaks & {"log-requests", "log-outputs"}
    logging.setLogRecordFactory(
        RedactingFactory(
            logging.getLogRecordFactory(),
            wordy=_WORDY,
            failing=_FAILING,
            kept=_START_FAILED,
            readable=(*_READABLE, _REQUEST_LOGGER) if wanted else _READABLE,
        )
    )
