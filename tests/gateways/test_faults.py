"""Every fault of the simulator: an answer opens unchanged, or its named error is raised."""

from __future__ import annotations

import json
import re

import pytest

from stainedglass_output_protection.errors import ForeignResponseError, ResponseError
from tests.client.sealed_server import plain_answer
from tests.gateways.asking import PROMPT, Asking, Seen
from tests.gateways.attacks import INVENTED
from tests.gateways.fault import OPENS
from tests.gateways.hints import API_HINTS, says_what_to_do
from tests.gateways.simulator import FAULTS, Gateway
from tests.gateways.upstream import Upstream

# A connection that breaks before an answer begins is the library's own error.
_OF_THE_LIBRARY = "RemoteProtocolError"


def written(upstream: Upstream) -> bytes:
    """Return what the application wrote last."""
    return plain_answer(upstream.app.calls[-1]).body


# Without those in which there is nothing for a fault to change.
CASES = [
    (name, profile, shape)
    for name in FAULTS
    for profile in ("sealed", "output")
    for shape in ("unary", "stream")
    if FAULTS[name].outcome(profile, shape) is not None
]


@pytest.mark.parametrize(("name", "profile", "shape"), CASES)
def test_an_answer_opens_unchanged_or_a_named_error_is_raised(
    name: str,
    profile: str,
    shape: str,
    asking: Asking,
    upstream: Upstream,
    gateway: Gateway,
) -> None:
    expected = FAULTS[name].outcome(profile, shape)
    gateway.use(name)
    if name == "caches_answers":
        assert asking(profile, shape).outcome == OPENS  # Somebody else's.
    seen = asking(profile, shape)
    assert seen.outcome == expected
    if profile == "sealed":
        prompt = PROMPT["messages"][0]["content"].encode()
        passed = (*gateway.received, *gateway.forwarded)
        assert not any(prompt in asked.raw for asked in passed)
    if expected == OPENS:
        assert seen.body == written(upstream)
    else:
        _check_failure(seen, upstream, shape)


def _check_failure(seen: Seen, upstream: Upstream, shape: str) -> None:
    assert INVENTED.encode() not in seen.body
    if seen.error is None:
        assert seen.status >= 400
        code = seen.outcome.split()[2:]
        if code:
            message = json.loads(seen.body)["error"]["message"]
            assert re.search(API_HINTS[code[0]], message), message
        return
    if type(seen.error).__name__ == _OF_THE_LIBRARY:
        assert seen.body == b""
        return
    assert isinstance(seen.error, ResponseError)
    assert says_what_to_do(seen.error), str(seen.error)
    # What was released before it is the beginning of the answer, and not all of it.
    has_own = shape == "stream" and not isinstance(seen.error, ForeignResponseError)
    if has_own and upstream.app.calls:
        assert written(upstream).startswith(seen.body)
        assert seen.body != written(upstream)
    else:
        assert seen.body == b""


def test_every_profile_and_shape_has_benign_and_hostile_faults() -> None:
    for profile in ("sealed", "output"):
        benign = {name for name in FAULTS if FAULTS[name].is_benign(profile)}
        assert len(benign) > 40
        assert len(FAULTS.keys() - benign) > 15
    assert len(FAULTS) == len({fault.says for fault in FAULTS.values()})


def test_a_gateway_passes_a_stream_on_event_by_event(
    asking: Asking, upstream: Upstream, gateway: Gateway
) -> None:
    assert asking("sealed", "stream").body == written(upstream)
    # What was received is what went on: a gateway without a fault changes nothing.
    bodies = [asked.body for asked in gateway.received]
    assert bodies == [asked.body for asked in gateway.forwarded]
