"""Processing time through a real Prometheus: that it takes our queries, and that what it gives means what we think."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Summary, generate_latest
from tests.addresses import ON_THIS_MACHINE
from tests.integration.prometheus_server import configuration, pages, prometheus

from consumer_autoscaler.decision.values import ProcessingTime, Unavailable
from consumer_autoscaler.sources.presets import CustomMetric
from consumer_autoscaler.sources.prometheus import Ask, PrometheusMetrics
from consumer_autoscaler.sources.prometheus_http import PrometheusHttp, Server
from consumer_autoscaler.sources.promql import Scope, pods_of

pytestmark = pytest.mark.integration

ODD_GROUP = 'team"a\\b|c.*'  # every character that means something in PromQL or in its regular expressions
TICK_SECONDS = 0.25


class Consumer:
    """What one process tells: its numbers grow while the test runs."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()

    def page(self) -> str:
        return str(generate_latest(self.registry).decode())

    def tick(self) -> None:
        """A quarter of a second of work."""


class Timed(Consumer):
    """Ten records a tick, of which one takes `slow` seconds and nine take `fast`, as a histogram or a summary."""

    def __init__(self, name: str, labels: dict[str, str], *, fast: float, slow: float, summary: bool = False) -> None:
        super().__init__()
        self._fast, self._slow = fast, slow
        kind = Summary if summary else Histogram
        self._metric = kind(name, "help", list(labels), registry=self.registry)
        if labels:
            self._metric = self._metric.labels(**labels)

    def tick(self) -> None:
        for _ in range(9):
            self._metric.observe(self._fast)
        self._metric.observe(self._slow)


class JavaClient(Consumer):
    """Two consumers, one busy for 80 % of the time with 20 records a tick, one idle; topics as Kafka 4.1 tells them."""

    def __init__(self) -> None:
        super().__init__()
        idle = Gauge("kafka_consumer_poll_idle_ratio_avg", "help", ["client_id"], registry=self.registry)
        idle.labels("c-0").set(0.2)
        idle.labels("c-1").set(math.nan)
        name = "kafka_consumer_fetch_manager_records_consumed"
        self._records = Counter(name, "help", ["client_id", "topic"], registry=self.registry)

    def tick(self) -> None:
        for topic in ("orders.v1", "orders_v1"):
            self._records.labels("c-0", topic).inc(20)
        self._records.labels("c-1", "orders.v1").inc(0)


class Streams(Consumer):
    """Two threads: 100 records/s of 2 ms and 300 records/s of 6 ms."""

    def __init__(self) -> None:
        super().__init__()
        latency = Gauge("kafka_stream_thread_process_latency_avg", "help", ["thread_id"], registry=self.registry)
        rate = Gauge("kafka_stream_thread_process_rate", "help", ["thread_id"], registry=self.registry)
        for thread, milliseconds, per_second in (("t-1", 2, 100), ("t-2", 6, 300)):
            latency.labels(thread).set(milliseconds)
            rate.labels(thread).set(per_second)


def consumers() -> dict[str, Consumer]:
    """By the names of their pods; all of namespace `shop`, except for one that must never be counted."""
    own = {"group": ODD_GROUP, "topic": "orders.v1"}
    convention = "kafka_consumer_processing_seconds"
    return {
        "payments-6b7f9c5d4-abcde": Timed(convention, own, fast=0.02, slow=0.4),
        "payments-6b7f9c5d4-fghij": Timed(convention, own, fast=0.02, slow=0.4),
        "payments-api-6b7f9c5d4-abcde": Timed(convention, own, fast=9.0, slow=9.0),
        "payments-6b7f9c5d4-other": Timed(convention, {"group": "team", "topic": "orders.v1"}, fast=9.0, slow=9.0),
        "elsewhere-6b7f9c5d4-abcde": Timed(convention, own, fast=9.0, slow=9.0),
        "spring-6b7f9c5d4-abcde": Timed(
            "spring_kafka_listener_seconds", {"name": "c#0-0", "result": "success"}, fast=0.1, slow=1.1, summary=True
        ),
        "faust-0": Timed("shop_events_runtime_ms", {}, fast=5, slow=25),
        "java-6b7f9c5d4-abcde": JavaClient(),
        "streams-0": Streams(),
        "custom-0": Timed("work_ms", {"kind": "mail"}, fast=10, slow=110),
    }


@pytest.fixture(scope="module")
async def address(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """A Prometheus that has scraped all pods for some seconds and goes on."""
    served = consumers()

    async def work() -> None:
        while True:
            for consumer in served.values():
                consumer.tick()
            await asyncio.sleep(TICK_SECONDS)

    async with AsyncExitStack() as stack:
        port = await stack.enter_async_context(pages({pod: each.page for pod, each in served.items()}))
        namespaces = {pod: "other" if pod.startswith("elsewhere") else "shop" for pod in served}
        working = asyncio.create_task(work())
        stack.callback(working.cancel)
        config = configuration(port, namespaces)
        address = await stack.enter_async_context(prometheus(tmp_path_factory.mktemp("prometheus"), config))
        await asyncio.sleep(12)  # it begins to scrape after some seconds
        yield address


@pytest.fixture
async def metrics() -> AsyncIterator[PrometheusMetrics]:
    reader = PrometheusMetrics(PrometheusHttp(policy=ON_THIS_MACHINE))
    yield reader
    await reader.aclose()


async def read(
    metrics: PrometheusMetrics, address: str, target: str, *, kind: str = "Deployment", group: str = "g",
    topics: tuple[str, ...] = (), consumed: float | None = None, **ask: object,
) -> ProcessingTime | Unavailable | None:  # fmt: skip
    values: dict[str, object] = {"preset": "Auto", "per": "Record", **ask}
    return await metrics.read(
        key=target,
        server=Server(address=address),
        ask=Ask(**values),  # type: ignore[arg-type]
        scope=Scope("shop", pods_of(kind, target), group, frozenset(topics)),
        consumption_rate=lambda _: consumed,
        ready_pods=2,
        at=0.0,
    )


def good(result: ProcessingTime | Unavailable | None) -> ProcessingTime:
    assert isinstance(result, ProcessingTime), result
    return result


async def test_a_histogram_of_the_target_s_pods_and_group_gives_mean_and_percentiles(
    address: str, metrics: PrometheusMetrics
) -> None:
    """Only of this namespace, this Deployment's pods and this group, however oddly it is called."""
    result = good(await read(metrics, address, "payments", group=ODD_GROUP, topics=("orders.v1",)))
    assert result.seconds_per_record == pytest.approx((9 * 0.02 + 0.4) / 10, rel=0.05)
    assert result.p50_seconds == pytest.approx(0.02, rel=0.3)  # within its bucket, 10 to 25 ms
    assert result.p95_seconds == pytest.approx(0.4, rel=0.3)
    assert "of 2 pods" in result.source
    assert result.source.startswith("Convention (kafka_consumer_processing_seconds)")
    missing = await read(metrics, address, "payments", group="no-such-group")
    assert isinstance(missing, Unavailable)
    assert "check that they are scraped" in missing.message


async def test_a_summary_in_seconds_and_a_prefixed_histogram_in_milliseconds_are_found_by_auto(
    address: str, metrics: PrometheusMetrics
) -> None:
    """Spring's timer without buckets, Faust's with the application's name before it."""
    spring = good(await read(metrics, address, "spring"))
    assert spring.seconds_per_record == pytest.approx(0.2, rel=0.05)
    assert (spring.p50_seconds, spring.source.split()[0]) == (None, "Spring")
    faust = good(await read(metrics, address, "faust", kind="StatefulSet"))
    assert faust.seconds_per_record == pytest.approx(0.007, rel=0.05)
    assert "shop_events_runtime_ms" in faust.source


async def test_streams_and_the_java_client_are_weighed_by_their_records(
    address: str, metrics: PrometheusMetrics
) -> None:
    """Threads by their rate; of the client the busy consumers only, and a topic that is told twice counts once."""
    streams = good(await read(metrics, address, "streams", kind="StatefulSet"))
    assert streams.seconds_per_record == pytest.approx((100 * 2 + 300 * 6) / 400 / 1000, rel=0.001)
    java = good(await read(metrics, address, "java", preset="JavaClient"))
    assert java.seconds_per_record == pytest.approx(0.8 / (20 / TICK_SECONDS), rel=0.25)  # ticks are late at times
    assert isinstance(await read(metrics, address, "java"), Unavailable)  # Auto does not guess


async def test_batches_become_records_by_the_offsets_from_a_pod_s_first_seconds_on(
    address: str, metrics: PrometheusMetrics
) -> None:
    """Ten batches of 0.2 s a tick, 4 committed records a second; the window is longer than the pod is old."""
    result = good(await read(metrics, address, "spring", preset="Spring", per="Batch", consumed=4))
    # One of two ready pods is scraped, so half of the records are its.
    assert result.seconds_per_record == pytest.approx(10 * 0.2 / TICK_SECONDS / (4 / 2), rel=0.25)
    assert result.source.endswith("records from the offsets, shared equally")


async def test_an_own_metric_and_an_own_query_are_taken(address: str, metrics: PrometheusMetrics) -> None:
    """By name, unit and labels; or whatever PromQL says, in its unit, and per batch by the committed records."""
    custom = CustomMetric("work_ms", 0.001, (("kind", "mail"),))
    mean = good(await read(metrics, address, "custom", kind="StatefulSet", preset="Custom", custom=custom))
    assert mean.seconds_per_record == pytest.approx(0.02, rel=0.05)
    other = CustomMetric("work_ms", 0.001, (("kind", "letter"),))
    assert isinstance(
        await read(metrics, address, "custom", kind="StatefulSet", preset="Custom", custom=other), Unavailable
    )
    quotient = "sum(rate(work_ms_sum[1m])) / sum(rate(work_ms_count[1m]))"
    asked = good(await read(metrics, address, "custom", query=quotient, unit_seconds=0.001))
    assert asked.seconds_per_record == pytest.approx(0.02, rel=0.05)
    spent = "sum(rate(work_ms_sum[5s]))"
    busy = good(await read(metrics, address, "custom", query=spent, unit_seconds=0.001, per="Batch", consumed=8))
    assert busy.seconds_per_record == pytest.approx(0.8 / 8, rel=0.25)


async def test_a_query_that_prometheus_does_not_understand_is_told_in_its_own_words(
    address: str, metrics: PrometheusMetrics
) -> None:
    """With Prometheus' message, as a person would read it there."""
    bad = await read(metrics, address, "x", query="sum(rate(")
    assert isinstance(bad, Unavailable)
    assert "bad_data" in bad.message
    assert "parse error" in bad.message
    several = await read(metrics, address, "x", query="work_ms_bucket")
    assert isinstance(several, Unavailable)
    assert "must give one" in several.message
    assert isinstance(await read(metrics, address, "x", query="no_such_metric"), Unavailable)
    assert await read(metrics, address, "x", query="0 / scalar(vector(0))") is None  # NaN: nothing was processed
