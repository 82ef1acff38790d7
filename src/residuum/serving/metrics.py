"""What is counted, in Prometheus' text form at /metrics."""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from residuum.serving.desk import Desk
from residuum.serving.served import Served

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
PICTURES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """The counters of one server."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests = Counter(
            "residuum_requests", "Requests, by route and status.", ("route", "status"), registry=self.registry
        )
        self.seconds = Histogram(
            "residuum_request_seconds", "From a request's head to its answer.", ("route",),
            buckets=SECONDS, registry=self.registry,
        )  # fmt: skip
        self.net_seconds = Histogram(
            "residuum_batch_seconds", "What the net took for a batch.", buckets=SECONDS, registry=self.registry
        )
        self.pictures = Histogram(
            "residuum_batch_pictures", "Pictures in a batch.", buckets=PICTURES, registry=self.registry
        )
        self.models = Gauge(
            "residuum_model_info", "1 for each model that is served.",
            ("model", "digest", "engine", "precision"), registry=self.registry,
        )  # fmt: skip
        self.waiting = Gauge("residuum_waiting", "Requests that hold a place.", registry=self.registry)
        self.expected = Gauge(
            "residuum_expected_seconds", "What those that hold a place are expected to take.", registry=self.registry
        )

    def batch(self, seconds: float, pictures: int) -> None:
        """Count a batch."""
        self.net_seconds.observe(seconds)
        self.pictures.observe(pictures)

    def text(self, desk: Desk, models: Iterable[Served]) -> bytes:
        """Return all of it as it stands."""
        self.waiting.set(len(desk.taken))
        self.expected.set(desk.expected)
        self.models.clear()
        for one in models:
            engine = one.predictor.engine
            self.models.labels(one.name, one.digest, engine.name, engine.precision).set(1)
        return generate_latest(self.registry)
