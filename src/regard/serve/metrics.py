"""Numbers for Prometheus, in a registry of the app's own."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from regard.serve.dispatch import Dispatcher


class Metrics:
    """What is counted. Labels are routes and ids, never text, keys or addresses."""

    def __init__(self, dispatcher: Dispatcher):
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "regard_requests", "Requests answered.", ("method", "route", "status"), registry=self.registry
        )
        self.seconds = Histogram(
            "regard_request_seconds",
            "Time to the end of an answer.",
            ("route",),
            buckets=(0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
            registry=self.registry,
        )
        self.characters = Counter("regard_characters", "Characters sent to be translated.", registry=self.registry)
        self.registry.register(_EngineCollector(dispatcher))

    def page(self) -> bytes:
        """All of it, as Prometheus reads it."""
        return generate_latest(self.registry)


class _EngineCollector(Collector):
    """The engine's state at the moment it is asked."""

    def __init__(self, dispatcher: Dispatcher):
        self._dispatcher = dispatcher

    def collect(self) -> Iterator[Metric]:
        """The present numbers."""
        engine = self._dispatcher
        yield GaugeMetricFamily("regard_engine_ready", "1 when the model is loaded.", int(engine.ready))
        yield GaugeMetricFamily("regard_queue_jobs", "Requests that wait for the engine.", engine.waiting)
        yield GaugeMetricFamily("regard_running_jobs", "Requests that the engine works on.", engine.running)
        yield GaugeMetricFamily("regard_queue_characters", "Characters not yet translated.", engine.characters_waiting)
        yield CounterMetricFamily("regard_sentences", "Sentences translated.", engine.sentences_done)
        yield CounterMetricFamily("regard_engine_steps", "Steps of the engine.", engine.steps)
        yield CounterMetricFamily(
            "regard_engine_restarts", "Times the engine failed and was set up anew.", engine.restarts
        )
