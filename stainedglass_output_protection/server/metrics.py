"""What the protection does, as Prometheus metrics of this process or all of its server.

Import it only where the metrics are wanted: it imports ``prometheus_client``, which
decides at that moment whether processes share their numbers. ``PROMETHEUS_MULTIPROC_DIR``
has to be set by then.
"""

from __future__ import annotations

import functools
from typing import Final

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

from stainedglass_output_protection.errors import ConfigurationError
from stainedglass_output_protection.server.observer import Finished, KeyState
from stainedglass_output_protection.server.refusal_list import REFUSALS

_PREFIX: Final = "output_protection"
_SEAL_BUCKETS: Final = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005),
    *(0.01, 0.025, 0.05, 0.1, 0.25, 1.0),
)


class PrometheusObserver:
    """Keeps the metrics in ``registry``, once. An ``Observer``.

    Ages are for the reader to compute, as ``time() - timestamp``: an age would stand
    still in a process that does. Of several processes counts are added, and of keys the
    worst value is shown.

    Raises:
        ConfigurationError: the folder in which processes share metrics cannot be used.
    """

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        try:
            self._make(registry)
        except OSError as error:
            raise ConfigurationError(
                "PROMETHEUS_MULTIPROC_DIR: metrics cannot be kept in that folder "
                f"({error.strerror}). Set it to a folder that this server can write "
                "to, or unset it."
            ) from None

    def _make(self, registry: CollectorRegistry) -> None:
        def counter(name: str, words: str, *labels: str) -> Counter:
            return Counter(f"{_PREFIX}_{name}", words, labels, registry=registry)

        def gauge(name: str, words: str, mode: str) -> Gauge:
            return Gauge(
                f"{_PREFIX}_{name}",
                words,
                registry=registry,
                multiprocess_mode=mode,  # type: ignore[arg-type]
            )

        self._requests = counter(
            "requests",
            "Requests for protected or unknown routes that have ended.",
            *("route", "outcome", "stream"),
        )
        self._refusals = counter("refusals", "Requests refused, by code.", "code")
        self._bytes_in = counter(
            "request_bytes", "Bytes of those requests' bodies.", "route"
        )
        self._bytes_out = counter(
            "response_bytes", "Bytes of their answers' bodies.", "route"
        )
        self._seal_seconds = Histogram(
            f"{_PREFIX}_seal_seconds",
            "Time to the keys and first sealed bytes of an answer.",
            registry=registry,
            buckets=_SEAL_BUCKETS,
        )
        self._rotations = counter(
            "rotations", "New epoch keys in each process, the first included.", "result"
        )
        self._in_progress = gauge(
            "requests_in_progress", "Such requests that have not ended.", "livesum"
        )
        self._live = gauge("live_keys", "Epoch keys that open requests.", "livemin")
        self._period = gauge(
            "key_period_seconds", "Time between new epoch keys.", "livemax"
        )
        self._start = gauge(
            "key_start_timestamp_seconds",
            "When the epoch began whose key answers now.",
            "livemin",
        )
        self._expiry = gauge(
            "key_expiry_timestamp_seconds",
            "When the last key retires if no other is made.",
            "livemin",
        )
        # From zero on, or the first one of a kind would be no increase.
        for code in REFUSALS:
            self._refusals.labels(code)
        for result in ("ok", "failed"):
            self._rotations.labels(result)

    def request_began(self) -> None:
        """Take note that a request came."""
        self._in_progress.inc()

    def request_ended(self, request: Finished) -> None:
        """Take note of its end."""
        self._in_progress.dec()
        stream = "true" if request.is_stream else "false"
        self._requests.labels(request.route, request.outcome, stream).inc()
        self._bytes_in.labels(request.route).inc(request.bytes_in)
        self._bytes_out.labels(request.route).inc(request.bytes_out)
        if request.code:
            self._refusals.labels(request.code).inc()
        if request.seal_s is not None:
            self._seal_seconds.observe(request.seal_s)

    def rotated(self, *, made: int, has_failed: bool) -> None:
        """Take note of new epoch keys, or that one could not be made."""
        self._rotations.labels("ok").inc(made)
        if has_failed:
            self._rotations.labels("failed").inc()

    def keys_are(self, state: KeyState) -> None:
        """Take note of the keys that are there now.

        Without any, the times stay what they were: they tell how long that is so.
        """
        self._live.set(state.live)
        self._period.set(state.period_ms / 1000)
        if state.answers_since is not None:
            self._start.set(state.answers_since / 1000)
        if state.retires_at is not None:
            self._expiry.set(state.retires_at / 1000)


@functools.cache
def prometheus_observer() -> PrometheusObserver:
    """Return the one observer on ``prometheus_client``'s own registry.

    Raises:
        ConfigurationError: as ``PrometheusObserver`` does.
    """
    return PrometheusObserver()
