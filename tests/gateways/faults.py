"""Every fault of the simulator, by name."""

from __future__ import annotations

from tests.gateways.answering_faults import ANSWERING_FAULTS
from tests.gateways.attacks import ATTACKS
from tests.gateways.body_faults import BODY_FAULTS
from tests.gateways.fault import Fault
from tests.gateways.header_faults import HEADER_FAULTS
from tests.gateways.request_faults import REQUEST_FAULTS
from tests.gateways.stream_faults import STREAM_FAULTS

FAULTS: dict[str, Fault] = {
    fault.name: fault
    for fault in (
        *REQUEST_FAULTS,
        *HEADER_FAULTS,
        *BODY_FAULTS,
        *STREAM_FAULTS,
        *ANSWERING_FAULTS,
        *ATTACKS,
    )
}
