"""Presets whose metrics are no timers: what the Kafka client and Kafka Streams tell of each consumer or thread.

Both say, of one worker, how much of its time it works and how many records it finishes. Over an interval that is the
same as what a timer counts: seconds of work, and records. So a fast worker weighs more than a slow one, and one that
has nothing to do weighs nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from consumer_autoscaler.sources.exposition import Labels
from consumer_autoscaler.sources.increase import Increase

# The client's ratio is a mean over its polls, however long each took, so empty polls count as much as full ones:
# of a consumer that is mostly idle it tells too little work per record. What is busy is told rightly.
LEAST_BUSY_SHARE = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class GaugePreset:
    """Two metrics that together tell the time per record. Each has several names, as exporters differ."""

    name: str
    work_metrics: tuple[str, ...]  # the first one that is there counts
    records_metrics: tuple[str, ...]
    records_are_total: bool  # a counter, else a rate per second
    worker_labels: tuple[str, ...]  # what tells two workers of one pod apart
    topic_label: str | None = None  # of the records
    work_is_idle_ratio: bool = False  # else milliseconds per record
    unit_seconds: float = 1.0
    always_per_record: bool = True

    @property
    def metric(self) -> str:
        return self.work_metrics[0]


JAVA_CLIENT = GaugePreset(
    # KIP-517's share of time that the application lets the consumer poll. By Micrometer's KafkaClientMetrics (Spring
    # Boot, Quarkus, Micronaut), its older JMX binder and OpenTelemetry's bridge. No label names the group.
    name="JavaClient",
    work_metrics=("kafka_consumer_poll_idle_ratio_avg",),
    records_metrics=(
        "kafka_consumer_fetch_manager_records_consumed_total",
        "kafka_consumer_records_consumed_total",
        "kafka_consumer_records_consumed_total_records_total",
    ),
    records_are_total=True,
    worker_labels=("client_id",),
    topic_label="topic",
    work_is_idle_ratio=True,
)
STREAMS = GaugePreset(
    # Of each stream thread: milliseconds that a record took in the last iterations, and records per second.
    name="Streams",
    work_metrics=("kafka_stream_thread_process_latency_avg",),
    records_metrics=("kafka_stream_thread_process_rate",),
    records_are_total=False,
    worker_labels=("thread_id", "client_id"),
)


@dataclass(frozen=True, slots=True)
class Worker:
    """One consumer or stream thread: the gauge of its work, and its records (a total, or a rate per second).

    The gauge is None while it is NaN or missing. Its records are kept all the same: the next total is compared to them.
    """

    work: float | None
    records: float


Workers = dict[str, Worker]  # by the worker's labels; of several pods also by the pod
Samples = Iterable[tuple[dict[str, str], float]]


def workers_of(preset: GaugePreset, work: Samples, records: Samples, topics: Collection[str]) -> Workers:
    """Joins the two metrics by worker, for those that have records of the wanted topics. No topics means all."""
    by_worker: dict[str, dict[str, float]] = {}
    for labels, value in records:
        own = by_worker.setdefault(_worker(preset, labels), {})
        topic = labels.get(preset.topic_label, "") if preset.topic_label else ""
        own[topic] = own.get(topic, 0.0) + value
    gauge = {_worker(preset, labels): value for labels, value in work}
    return {
        worker: Worker(gauge.get(worker), done)
        for worker, own in by_worker.items()
        if (done := _over_topics(own, topics)) is not None
    }


def work_between(preset: GaugePreset, before: Workers, now: Workers, seconds: float) -> Increase:
    """Seconds of work and finished records of all workers in an interval of that length."""
    count = total = 0.0
    for name, worker in now.items():
        records = worker.records * seconds
        if preset.records_are_total:
            was = before.get(name)
            # A worker that was not there, or whose total fell, has begun anew since then.
            records = worker.records - was.records if was and was.records <= worker.records else worker.records
        work = _seconds_of_work(preset, worker, records, seconds)
        if records > 0 and work is not None:
            count += records
            total += work
    return Increase(count, total, None)


def _seconds_of_work(preset: GaugePreset, worker: Worker, records: float, seconds: float) -> float | None:
    """None when the gauge says nothing that can be relied on."""
    if worker.work is None:
        return None
    if preset.work_is_idle_ratio:
        share = min(1.0, 1.0 - worker.work)
        return share * seconds if share >= LEAST_BUSY_SHARE else None
    return worker.work * records / 1000


def _worker(preset: GaugePreset, labels: dict[str, str]) -> str:
    own = next((labels[name] for name in preset.worker_labels if labels.get(name)), "")
    return f"{labels.get('pod', '')}/{own}"


def _over_topics(records: dict[str, float], topics: Collection[str]) -> float | None:
    """The records of the wanted topics, each once; None when there are none of them.

    Kafka's clients write a topic with points as one with underscores, since 4.1 (KIP-1109) in both ways.
    """
    twice = {_underscored(topic) for topic in records if "." in topic}
    wanted = {*topics, *map(_underscored, topics)}
    counted = [
        value for topic, value in records.items() if topic not in twice and (not topics or topic in wanted or not topic)
    ]
    return sum(counted) if counted else None


def _underscored(topic: str) -> str:
    return topic.replace(".", "_")


def samples_of(family: dict[Labels, float]) -> list[tuple[dict[str, str], float]]:
    """The samples of one metric on a page, their labels as dictionaries."""
    return [(dict(labels), value) for labels, value in family.items()]
