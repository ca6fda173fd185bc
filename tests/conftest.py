"""For all tests: what a busy machine, or a shell's background, does to a run."""

from __future__ import annotations

import signal

from hypothesis import HealthCheck, settings

# A slow machine is no failure of a property.
settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")

# What a shell starts in the background ignores interrupts, and so would every program
# that a test starts and interrupts, and pytest itself, which ends its servers then.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
