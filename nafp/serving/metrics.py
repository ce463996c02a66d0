"""What a server counts, as Prometheus reads it. Only this file imports prometheus_client.

With several processes each writes its numbers into files of one folder, and whichever is asked adds them up.
"""

from __future__ import annotations

import os

import prometheus_client
from prometheus_client import multiprocess

SHARED = "PROMETHEUS_MULTIPROC_DIR"  # The folder of several processes. It must be set before this file is imported.
CONTENT_TYPE = prometheus_client.CONTENT_TYPE_LATEST
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """The numbers of a server, or of one of its processes."""

    def __init__(self) -> None:
        self._registry = registry = prometheus_client.CollectorRegistry()
        labels = ("endpoint", "method")
        self._requests = prometheus_client.Counter(
            "nafp_requests", "Requests answered.", (*labels, "status"), registry=registry
        )
        self._seconds = prometheus_client.Histogram(
            "nafp_request_seconds", "Time to answer a request.", labels, buckets=_SECONDS, registry=registry
        )
        self._clips = prometheus_client.Counter(
            "nafp_clips", "Clips: found, unknown to the collection, or unreadable.", ("outcome",), registry=registry
        )
        self._gauges = {
            name: prometheus_client.Gauge(f"nafp_{name}", text, registry=registry, multiprocess_mode="livesum")
            for name, text in (
                ("requests_inside", "Requests that are being received, that wait, or that are worked on."),
                ("listeners", "Streams that are listened to."),
                ("decoders_killed", "Decoders that took too long, or died."),
                ("refreshes", "How often the database was read anew after a change."),
            )
        }
        self._gauges["tracks"] = prometheus_client.Gauge(
            "nafp_tracks", "Tracks that clips are compared with.", registry=registry, multiprocess_mode="livemax"
        )
        if SHARED not in os.environ:
            prometheus_client.ProcessCollector(registry=registry)

    def answered(self, endpoint: str, method: str, status: int, seconds: float) -> None:
        """Counts a request."""
        self._requests.labels(endpoint, method, str(status)).inc()
        self._seconds.labels(endpoint, method).observe(seconds)

    def heard(self, outcome: str) -> None:
        """Counts a clip. outcome: found, unknown or unreadable."""
        self._clips.labels(outcome).inc()

    def set(self, **values: float) -> None:
        """Sets gauges by name."""
        for name, value in values.items():
            self._gauges[name].set(value)

    def text(self) -> bytes:
        """Returns all numbers, of all processes, in the text format of Prometheus."""
        if SHARED not in os.environ:
            return prometheus_client.generate_latest(self._registry)
        everybody = prometheus_client.CollectorRegistry()
        multiprocess.MultiProcessCollector(everybody)
        return prometheus_client.generate_latest(everybody)

    def close(self) -> None:
        """Takes this process out of the gauges of all processes."""
        if SHARED in os.environ:
            multiprocess.mark_process_dead(os.getpid())
