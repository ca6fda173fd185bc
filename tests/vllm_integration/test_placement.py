"""A server whose protection is not innermost refuses to serve, twice over.

Everything is vLLM's own here, up to the point of serving, but for the engine.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.vllm_integration.conftest import WITH_TAP, Identity
from tests.vllm_integration.servers import MODEL_OPTIONS, free_port, run_to_end

pytestmark = pytest.mark.vllm


@pytest.mark.parametrize(
    ("guards_off", "words"),
    [
        ("", "vLLM was about to serve an API that is not protected."),
        ("serve", "Output protection is not the innermost middleware"),
    ],
    ids=["first-guard", "second-guard"],
)
def test_outermost_placement_is_refused(
    folder: Path, identity: Identity, guards_off: str, words: str
) -> None:
    status, log = run_to_end(
        f"refused {guards_off}",
        (*WITH_TAP, *MODEL_OPTIONS, "--host", "127.0.0.1", "--port", str(free_port())),
        folder,
        variables={
            "SG_IDENTITY_KEY_FILE": str(identity.path),
            "TAP_PLACEMENT": "outermost",
            "TAP_GUARDS_OFF": guards_off,
            "TAP_NO_ENGINE": "1",
        },
    )

    assert words in log
    assert "Application startup complete" not in log
    assert status != 0
