"""What Prometheus reads at `/metrics`."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_IMAGES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """The counters of one server."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()

        def labelled(kind, name, text, labels, **settings):
            return kind(f"ppcls_{name}", text, labels, registry=registry, **settings)

        self.requests = labelled(
            Counter, "requests", "Answered requests", ["protocol", "method", "status"]
        )
        self.request_seconds = labelled(
            Histogram,
            "request_seconds",
            "From a request's headers to the end of its answer",
            ["protocol"],
            buckets=_SECONDS,
        )
        self.images = labelled(Counter, "images", "Predicted images", ["model", "version"])
        self.batch_size = labelled(
            Histogram, "batch_size", "Images per run of the engine", ["model"], buckets=_IMAGES
        )
        self.queue_seconds = labelled(
            Histogram, "queue_seconds", "The longest wait in a batch", ["model"], buckets=_SECONDS
        )
        self.run_seconds = labelled(
            Histogram, "run_seconds", "Duration of a run of the engine", ["model"], buckets=_SECONDS
        )
        self.admitted = labelled(
            Gauge, "admitted_images", "Admitted and not answered yet", ["model", "version"]
        )
        self.loads = labelled(
            Counter, "model_loads", "Versions loaded, or failed to load", ["model", "result"]
        )

    def text(self) -> bytes:
        """In Prometheus's text format."""
        return generate_latest(self._registry)
