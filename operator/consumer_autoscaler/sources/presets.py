"""Where the frameworks put the time their consumers spend on a record: metric names, units, labels and traps.

Labels select the series of one group and its topics: a series that carries such a label must match it, a
series without it is taken. Failed deliveries count like successful ones, in time and in number: they keep the
consumer busy as well. So the mean is per delivery attempt, and records that are retried take longer than it
says.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from consumer_autoscaler.sources.exposition import Family, Labels
from consumer_autoscaler.sources.gauges import JAVA_CLIENT, STREAMS, GaugePreset

AUTO = "Auto"
CUSTOM = "Custom"


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """One framework's histogram or summary. Those that tell it by gauges are in `gauges`."""

    name: str
    metric: str  # without _sum, _count, _bucket
    unit_seconds: float = 1.0
    always_per_record: bool = False  # else the resource's `per` says what one observation stands for
    any_prefix: bool = False  # the framework puts the application's name before `metric`
    group_labels: tuple[str, ...] = ()
    topic_labels: tuple[str, ...] = ()
    fixed_labels: tuple[tuple[str, str], ...] = ()
    required_labels: tuple[tuple[str, str], ...] = ()  # a series without them is not taken
    channel_label: str | None = None  # separates streams of one process, without naming group or topic

    def select(self, family: Family, *, group: str, topics: Collection[str]) -> Family:
        """The series of this group and these topics; no topics means all."""
        chosen = {labels: series for labels, series in family.items() if self._matches(dict(labels), group, topics)}
        if self.channel_label is None or len(self.channels(chosen)) < 2:
            return chosen
        return {labels: s for labels, s in chosen.items() if dict(labels).get(self.channel_label) in topics}

    def channels(self, family: Family) -> set[str]:
        """The distinct values of the channel label."""
        if self.channel_label is None:
            return set()
        return {_value(labels, self.channel_label) for labels in family}

    def _matches(self, labels: dict[str, str], group: str, topics: Collection[str]) -> bool:
        return (
            all(labels.get(name, group) == group for name in self.group_labels)
            and all(name not in labels or labels[name] in topics for name in self.topic_labels if topics)
            and all(labels.get(name, value) == value for name, value in self.fixed_labels)
            and all(labels.get(name) == value for name, value in self.required_labels)
        )


def _value(labels: Labels, name: str) -> str:
    return next((value for key, value in labels if key == name), "")


CONVENTION = Preset(
    # The name to use where an application has the choice: a histogram, observed once per record.
    name="Convention",
    metric="kafka_consumer_processing_seconds",
    group_labels=("group",),
    topic_labels=("topic",),
)
OPEN_TELEMETRY = Preset(
    # Semantic conventions, messaging.process.duration. One span, so one observation, may cover a whole batch.
    name="OpenTelemetry",
    metric="messaging_process_duration_seconds",
    group_labels=("messaging_consumer_group_name", "messaging_kafka_consumer_group"),
    topic_labels=("messaging_destination_name",),
    fixed_labels=(("messaging_system", "kafka"), ("messaging_operation_type", "process")),
)
SPRING = Preset(
    # Micrometer timer spring.kafka.listener of Spring for Apache Kafka >= 2.3. Per record for a record
    # listener, per batch for a batch listener. result="success" and "failure" are series of their own; both
    # are counted. Without observations there is no group label: an application with listeners of several
    # groups mixes them.
    name="Spring",
    metric="spring_kafka_listener_seconds",
    group_labels=("messaging_kafka_consumer_group", "messaging_consumer_group_name"),
    topic_labels=("messaging_source_name", "messaging_destination_name"),
)
QUARKUS = Preset(
    # Timer quarkus.messaging.message.duration (smallrye.messaging.observation.enabled), incoming and outgoing
    # channels alike. With several channels only those are taken that are called like a topic, Quarkus'
    # default.
    name="Quarkus",
    metric="quarkus_messaging_message_duration_seconds",
    always_per_record=True,
    channel_label="channel",
)
FAUST = Preset(
    # faust-streaming's Prometheus sensor: milliseconds per event; the name begins with the application's id.
    name="Faust",
    metric="events_runtime_ms",
    unit_seconds=0.001,
    always_per_record=True,
    any_prefix=True,
)

AnyPreset = Preset | GaugePreset

# In the order Auto prefers them. Not JavaClient: its estimate is worth asking for, not worth a surprise.
AUTOMATIC: tuple[AnyPreset, ...] = (CONVENTION, OPEN_TELEMETRY, SPRING, QUARKUS, FAUST, STREAMS)
PRESETS: tuple[AnyPreset, ...] = (*AUTOMATIC, JAVA_CLIENT)


@dataclass(frozen=True, slots=True)
class CustomMetric:
    """A histogram or summary of the application's own: base name, unit, and labels that its series must have."""

    metric: str
    unit_seconds: float = 1.0
    labels: tuple[tuple[str, str], ...] = ()


def presets_named(name: str, custom: CustomMetric | None = None) -> tuple[AnyPreset, ...]:
    """The presets to look for: one, or several for Auto. ValueError for a name that does not exist."""
    if name == AUTO:
        return AUTOMATIC
    if name == CUSTOM and custom is not None:
        return (
            Preset(name=CUSTOM, metric=custom.metric, unit_seconds=custom.unit_seconds, required_labels=custom.labels),
        )
    found = tuple(preset for preset in PRESETS if preset.name == name)
    if not found:
        raise ValueError(f"no preset is called {name!r}")
    return found
