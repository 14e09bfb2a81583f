"""Figures for Prometheus: an `Observer` that counts, and a page with all of it. The names are a contract.

Everything lives in a registry of its own, so two servers in one process don't mix. Turns carry their id as an exemplar
(OpenMetrics) on the histograms of requests and stages: from a slow bucket to the lines of that turn in the log.
"""

from __future__ import annotations

from collections import Counter as Counted
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric, UnknownMetricFamily

from wyoming_superwhisper.observer import JobRecord, Observer, Usage

PREFIX = "wyoming_superwhisper"

SECONDS = (
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.15,
    0.2,
    0.3,
    0.4,
    0.5,
    0.75,
    1.0,
    1.5,
    2.0,
    3.0,
    5.0,
    7.5,
    10.0,
    20.0,
    60.0,
)
"""Bounds of the latencies: close together where a house notices the difference."""
BATCH = (1, 2, 3, 4, 6, 8, 12, 16, 32, 64)
TIMES_REAL_TIME = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 5.0)
TOKENS_PER_S = (1, 2, 5, 10, 20, 30, 50, 75, 100, 150, 200, 400, 800)

KNOWN_EVENTS = frozenset((
    "describe", "ping", "select-program", "transcribe", "audio-start", "audio-chunk", "audio-stop", "detect",
    "transcript", "recognize", "intent", "synthesize", "synthesize-start", "synthesize-chunk", "synthesize-stop",
    "run-pipeline", "played", "invalid",
))  # fmt: skip
"""Types that get a series of their own; what a client makes up is counted as "other"."""

STATES = ("starting", "ready", "degraded", "stopping")


class Queues(Protocol):
    """What is read of an engine when the figures are asked for (`engines.front.process.WorkerProcess`)."""

    name: str

    @property
    def restarts(self) -> int: ...

    @property
    def recycled(self) -> int: ...

    @property
    def running(self) -> int:
        """Calls in the worker."""

    def waiting_by_kind(self) -> Mapping[str, int]:
        """Calls in the queue: "final" and "guess"."""


class Metrics(Observer):
    """Counts what it is told, and asks the rest when the page is read."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._live = _Live()
        self.registry.register(self._live)
        self.evicted_total = self._counter("connections_evicted", "Idle connections closed to make room.")
        self.events_total = self._counter("events", "Events of clients, by type and result.", ["type", "result"])
        self.errors_total = self._counter("errors", "Error events sent to clients, by code.", ["code"])
        self.requests_total = self._counter("requests", "Requests that ended, by result.", ["service", "result"])
        self.request_seconds = self._histogram(
            "request_seconds", "From the end of a request to its answer, as its client saw it.", ["service"], SECONDS
        )
        self.turn_seconds = self._histogram(
            "turn_seconds", "From the end of speech to the stages of a whole turn.", ["stage"], SECONDS
        )
        self.guesses_total = self._counter("guesses", "Work done ahead, kept or dropped.", ["stage", "result"])
        self.jobs_cancelled_total = self._counter("jobs_cancelled", "Calls of engines nobody wanted.", ["engine"])
        self.job_errors_total = self._counter("job_errors", "Calls of engines that failed.", ["engine", "code"])
        self.engine_seconds = self._histogram("engine_seconds", "Time of a call in its engine.", ["engine"], SECONDS)
        self.queue_seconds = self._histogram("queue_seconds", "Time of a call in its queue.", ["engine"], SECONDS)
        self.batch_size = self._histogram("batch_size", "Calls worked on together.", ["engine"], BATCH)
        self.real_time_factor = self._histogram(
            "real_time_factor", "Time of work for a second of audio.", ["engine"], TIMES_REAL_TIME
        )
        self.llm_tokens_total = self._counter("llm_tokens", "Tokens that the language model has written.")
        self.llm_tokens_per_second = self._histogram("llm_tokens_per_second", "Tokens a second.", [], TOKENS_PER_S)
        ProcessCollector(namespace=PREFIX, registry=self.registry)

    # --- what is told

    def connection(self, result: str) -> None:
        self._live.connections_by_result[result] += 1

    def connection_opened(self) -> None:
        self._live.connections += 1

    def connection_closed(self) -> None:
        self._live.connections -= 1

    def connection_evicted(self) -> None:
        self.evicted_total.inc()

    def event(self, kind: str, result: str) -> None:
        self.events_total.labels(kind if kind in KNOWN_EVENTS else "other", result).inc()

    def error(self, code: str) -> None:
        self.errors_total.labels(code).inc()

    def request(self, service: str, result: str, seconds: float | None, turn: str) -> None:
        self.requests_total.labels(service, result).inc()
        if seconds is not None:
            self.request_seconds.labels(service).observe(seconds, _exemplar(turn))

    def stage(self, stage: str, seconds: float, turn: str) -> None:
        self.turn_seconds.labels(stage).observe(seconds, _exemplar(turn))

    def guess(self, stage: str, kept: bool) -> None:
        self.guesses_total.labels(stage, "kept" if kept else "dropped").inc()

    def job(self, record: JobRecord) -> None:
        engine = record.engine
        if record.code == "cancelled":
            self.jobs_cancelled_total.labels(engine).inc()
            return
        if record.code:
            self.job_errors_total.labels(engine, record.code).inc()
            return
        self.engine_seconds.labels(engine).observe(record.ran_s, _exemplar(record.turn))
        self.queue_seconds.labels(engine).observe(record.waited_s)
        if record.batch:
            self.batch_size.labels(engine).observe(record.batch)
        if record.audio_s > 0:
            self.real_time_factor.labels(engine).observe(record.ran_s / record.audio_s)
        if record.tokens:
            self.llm_tokens_total.inc(record.tokens)
            if record.ran_s > 0:
                self.llm_tokens_per_second.observe(record.tokens / record.ran_s)

    # --- what is asked

    def watch(self, engines: Sequence[Queues], state: Callable[[], str], usage: Callable[[], Usage]) -> None:
        """Read these when the page is read."""
        self._live.engines, self._live.state, self._live.usage = tuple(engines), state, usage

    def page(self, accept: str = "") -> tuple[bytes, str]:
        """All figures and their content type, in the format that the reader accepts."""
        encode, content_type = choose_encoder(accept)
        self._live.open_metrics = content_type.startswith("application/openmetrics-text")
        return encode(self.registry), content_type

    # --- making them

    def _counter(self, name: str, text: str, labels: Sequence[str] = ()) -> Any:
        return Counter(f"{PREFIX}_{name}", text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, labels: Sequence[str], bounds: Sequence[float]) -> Any:
        return Histogram(f"{PREFIX}_{name}", text, labels, registry=self.registry, buckets=bounds)


class _Live:
    """Figures that others keep: they are read when the page is."""

    def __init__(self) -> None:
        self.engines: Sequence[Queues] = ()
        self.state: Callable[[], str] = lambda: "starting"
        self.usage: Callable[[], Usage] = lambda: Usage({}, {})
        self.connections = 0
        self.connections_by_result: Counted[str] = Counted()
        self.open_metrics = False
        """Whether the page is in that format."""

    def collect(self) -> Iterator[Metric]:
        """One family after the other, as prometheus-client wants it."""
        yield self._state()
        yield _family("connections", "Open connections of clients.", [], {(): self.connections})
        yield self._connections_total()
        yield _family(
            "queue_length", "Calls that wait.", ["engine", "kind"],
            {(one.name, kind): n for one in self.engines for kind, n in one.waiting_by_kind().items()},
        )  # fmt: skip
        yield _family(
            "jobs_running", "Calls in a worker.", ["engine"], {(one.name,): one.running for one in self.engines}
        )
        restarts = CounterMetricFamily(f"{PREFIX}_worker_restarts", "Workers started again.", labels=["engine"])
        recycled = CounterMetricFamily(f"{PREFIX}_worker_recycled", "Workers replaced in time.", labels=["engine"])
        for one in self.engines:
            restarts.add_metric([one.name], one.restarts)
            recycled.add_metric([one.name], one.recycled)
        yield restarts
        yield recycled
        yield from self._memory()

    def _connections_total(self) -> Metric:
        """In OpenMetrics a counter and a gauge can't share the name up to `_total`: there it has no type."""
        text, name = "Connections by what became of them.", f"{PREFIX}_connections"
        family: Metric
        if self.open_metrics:
            family = UnknownMetricFamily(f"{name}_total", text, labels=["result"])
        else:
            family = CounterMetricFamily(name, text, labels=["result"])
        for result, count in self.connections_by_result.items():
            family.add_metric([result], count)
        return family

    def _state(self) -> Metric:
        state = self.state()
        return _family(
            "state", "1 for the state the server is in.", ["state"], {(one,): one == state for one in STATES}
        )

    def _memory(self) -> Iterator[Metric]:
        usage = self.usage()
        by_engine = {(name,): n for name, n in usage.memory_bytes.items()}
        on_card = {(name,): n for name, n in usage.gpu_memory_bytes.items()}
        yield _family("worker_memory_bytes", "Resident memory of a worker.", ["engine"], by_engine)
        yield _family("gpu_memory_bytes", "Video memory of a worker.", ["engine"], on_card)
        if usage.card is not None:
            yield _family("gpu_utilization", "How busy the card is, 0 to 1.", [], {(): usage.card.utilization})
            yield _family("gpu_temperature_celsius", "Of the card.", [], {(): usage.card.temperature_c})
            yield _family("gpu_memory_used_bytes", "Of the card, by all.", [], {(): usage.card.memory_used_bytes})
            yield _family("gpu_memory_total_bytes", "Of the card.", [], {(): usage.card.memory_total_bytes})


def _family(name: str, text: str, labels: list[str], values: Mapping[Any, float]) -> Metric:
    family = GaugeMetricFamily(f"{PREFIX}_{name}", text, labels=labels)
    for key, value in values.items():
        family.add_metric(list(key), float(value))
    return family


def _exemplar(turn: str) -> dict[str, str] | None:
    return {"turn": turn} if turn else None
