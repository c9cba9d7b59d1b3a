"""Metrics of the service for Prometheus.

With several workers each process keeps its values in files of one directory (the multiprocess mode of
prometheus_client), and whichever worker is asked adds up those of all.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from tfrecall.serving.hosting import Hosted
from tfrecall.serving.observer import Observer

# prometheus_client reads it when it is imported: set in the parent before workers start.
DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"

# From a lookup to a client's patience.
_SECONDS = (
    *(0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05),
    *(0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0),
)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_RECALLS = (0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.999)


class Metrics(Observer):
    """What the service counts.

    Attributes:
        hosted: the releases, whose queues and versions are read when somebody asks.
    """

    def __init__(self) -> None:
        self.hosted: Mapping[str, Hosted] = {}
        self._registry = own = CollectorRegistry()
        self._requests = Counter(
            "tfrecall_requests", "Requests by route and status.", ["endpoint", "code"], registry=own
        )
        self._request_seconds = Histogram(
            "tfrecall_request_duration_seconds",
            "Time of a request in the service.",
            ["endpoint"],
            buckets=_SECONDS,
            registry=own,
        )
        self._stage_seconds = Histogram(
            "tfrecall_stage_duration_seconds",
            "Time of a stage of a batch.",
            ["stage"],
            buckets=_SECONDS,
            registry=own,
        )
        self._batch_size = Histogram(
            "tfrecall_batch_size", "Requests of one call of a model.", buckets=_SIZES, registry=own
        )
        self._queue_wait = Histogram(
            "tfrecall_queue_wait_seconds",
            "Time of a request in the queue.",
            buckets=_SECONDS,
            registry=own,
        )
        self._queue_depth = Gauge(
            "tfrecall_queue_depth", "Requests that wait.", registry=own, multiprocess_mode="livesum"
        )
        self._fallbacks = Counter(
            "tfrecall_fallbacks", "Answers of popular items.", ["reason"], registry=own
        )
        self._rejected = Counter(
            "tfrecall_releases_rejected",
            "Published versions that cannot be served.",
            ["name"],
            registry=own,
        )
        self._events = Counter("tfrecall_events", "Events of users on disk.", registry=own)
        self._recall = Gauge(
            "tfrecall_index_recall",
            "Share of the exact list in the last sampled list of an approximate index.",
            ["name"],
            registry=own,
            multiprocess_mode="livemostrecent",
        )
        self._add_own(own)
        self._by_request: dict[tuple[str, int], tuple[Counter, Histogram]] = {}
        self._by_stage: dict[str, Histogram] = {}

    def request(self, endpoint: str, status: int, seconds: float) -> None:
        """A request ended."""
        found = self._by_request.get((endpoint, status))
        if found is None:
            # Labels cost more than counting.
            found = (
                self._requests.labels(endpoint, str(status)),
                self._request_seconds.labels(endpoint),
            )
            self._by_request[endpoint, status] = found
        found[0].inc()
        found[1].observe(seconds)

    def refused(self, endpoint: str, status: int, number: int) -> None:
        """Requests were refused at the socket: counted, without times, which would be those of no answer."""
        self._requests.labels(endpoint, str(status)).inc(number)

    def batch(self, release: str, waits: Sequence[float], seconds: float) -> None:
        self._batch_size.observe(len(waits))
        for wait in waits:
            self._queue_wait.observe(wait)
        self._queue_depth.set(self._depth())

    def stages(self, release: str, seconds: Mapping[str, float], requests: Sequence[Any] = ()) -> None:
        for stage, duration in seconds.items():
            found = self._by_stage.get(stage)
            if found is None:
                found = self._by_stage[stage] = self._stage_seconds.labels(stage)
            found.observe(duration)

    def index_recall(self, release: str, recall: float) -> None:
        self._recall.labels(release).set(recall)

    def fallback(self, release: str, reason: str) -> None:
        self._fallbacks.labels(reason).inc()

    def rejected(self, release: str, version: int | None, error: str) -> None:
        self._rejected.labels(release).inc()

    def events(self, accepted: int) -> None:
        self._events.inc(accepted)

    def text(self, accept: str = "") -> tuple[bytes, str]:
        """All metrics, and the media type of their form.

        Args:
            accept: header of the request, by which the form is chosen.
        """
        self._queue_depth.set(self._depth())
        registry = self._registry
        if DIRECTORY in os.environ:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
            self._add_own(registry)
        encode, kind = choose_encoder(accept)
        return encode(registry), kind

    def _add_own(self, registry: CollectorRegistry) -> None:
        """Add what a process knows only of itself: its versions, its memory, CPU time and open files."""
        registry.register(_Releases(self))
        ProcessCollector(registry=registry)

    def _depth(self) -> int:
        return sum(len(hosted.batcher) for hosted in self.hosted.values())


class _Releases(Collector):
    """The served versions, as the process that is asked has them."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        info = GaugeMetricFamily(
            "tfrecall_release_info", "Served versions.", labels=["name", "version", "checksum"]
        )
        for name, hosted in self._metrics.hosted.items():
            release = hosted.answerer.release
            checksum = release.manifest.get("sha256") or ""
            info.add_metric([name, str(release.version), checksum], 1)
        yield info
