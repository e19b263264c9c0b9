"""What people write: the fields of `spec`, each with its type, its bounds and the words of `kubectl explain`.

Schema defaults are written into the stored object for good, so only values that will never change have one
here, and, but for the key of `sources`, none inside a list: tools that compare what was applied with what is
stored take a list as a whole. The other defaults are those of `Policy`; the descriptions quote them.

Unknown fields are ignored on reading, so that a newer CRD does not break an older operator; the API server
refuses them on writing.
"""

from __future__ import annotations

from dataclasses import fields
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, StrictInt, model_validator

from consumer_autoscaler.decision.values import Calmness, IsolationLevel, Mode, OffsetReset, Policy, ReplicaSteps
from consumer_autoscaler.resource.access_schema import SaslMechanism, SaslSpec, TlsSpec
from consumer_autoscaler.resource.processing_schema import ProcessingTimeSpec
from consumer_autoscaler.resource.schema_rules import (
    BOOTSTRAP_SERVERS,
    DNS_LABEL,
    DNS_SUBDOMAIN,
    TOPIC,
    AtMostParts,
    Differ,
    Matches,
    OneOf,
    Part,
    cel,
    refuse,
)
from consumer_autoscaler.resource.status_schema import MAX_ALERTS

MAX_REPLICAS = 10_000
MAX_MESSAGES = 1_000_000_000_000
MAX_COOLDOWN_SECONDS = 86_400
MAX_DELAY_SECONDS = 604_800
MAX_BOOTSTRAP_SERVERS = 16
POLL_INTERVALS_SECONDS = (1, 2, 5, 10, 15, 30, 60, 120, 300)

_ONE_OBJECTIVE = "exactly one of `maxDelaySeconds` and `lagPerReplica` must be set"
_ONE_THRESHOLD = "exactly one of `lagMessages` and `delaySeconds` must be set"
_MIN_MAX = "`minReplicas` must not be greater than `maxReplicas`"
_SOURCE_KIND = "exactly one kind of source must be set: `kafka`"
_MSK_TLS = "`tls` must be set with `sasl.mechanism: AWS_MSK_IAM`; `tls: {}` is enough"

_TUNING = {field.name: field.default for field in fields(Policy)}


def _unset(name: str) -> str:
    """The last sentence of a tuning field's description, from the default of Policy."""
    return f"When not set: {_TUNING[name]}."


class TargetKind(StrEnum):
    """What can be scaled."""

    DEPLOYMENT = "Deployment"
    STATEFUL_SET = "StatefulSet"


class DeletionCost(StrEnum):
    """Which pods a down ends first. LeastWork: those whose consumers have least to do. None: the cluster's choice."""

    NONE = "None"
    LEAST_WORK = "LeastWork"


class TargetRefSpec(Part):
    api_version: Literal["apps/v1"] = Field(default="apps/v1", description="The API version of the target: apps/v1.")
    kind: TargetKind = Field(
        default=TargetKind.DEPLOYMENT, description="What runs the consumers: Deployment or StatefulSet."
    )
    name: Annotated[
        str,
        Field(min_length=1, max_length=253),
        Matches(DNS_SUBDOMAIN, "must be the name of an object: lower-case letters, digits, '-' and '.'"),
    ] = Field(description="Name of the target, in the namespace of this resource.")


_Topic = Annotated[
    str,
    Field(min_length=1, max_length=249),
    Matches(TOPIC, "must be the name of a topic: letters, digits, '.', '_' and '-'"),
]


class KafkaSourceSpec(Part):
    model_config = ConfigDict(
        json_schema_extra=cel("!has(self.sasl) || self.sasl.mechanism != 'AWS_MSK_IAM' || has(self.tls)", _MSK_TLS)
    )

    bootstrap_servers: Annotated[
        str,
        Field(min_length=1, max_length=2048),
        Matches(
            BOOTSTRAP_SERVERS,
            "must be `host:port`, or several separated by commas, without a protocol; ports from 1 to 65535",
        ),
        AtMostParts(MAX_BOOTSTRAP_SERVERS, f"must name at most {MAX_BOOTSTRAP_SERVERS} addresses"),
    ] = Field(
        description="Where to reach the Kafka cluster: `host:port`, several separated by commas. A few "
        "brokers are enough, the others are learned from them. An IPv6 address stands in brackets.",
    )
    consumer_group: Annotated[
        str,
        Field(min_length=1, max_length=255),
        Matches(r"[^\x00-\x1f\x7f]*", "must not contain control characters"),
    ] = Field(description="The consumer group whose lag is read: the consumers' own `group.id`.")
    topics: Annotated[list[_Topic], Differ("must not name a topic twice")] = Field(
        default_factory=list,
        max_length=100,
        description="The topics that count. When not set: those the group's members are subscribed to, or, "
        "while it has no members, those it has committed offsets for.",
    )
    offset_reset: OffsetReset | None = Field(
        default=None,
        description="What a partition without a committed offset means; set it as the consumers' "
        "`auto.offset.reset`. Latest: only records from now on count, so there is no lag. Earliest: every "
        "record still there is lag. None: its lag is unknown. " + _unset("offset_reset"),
    )
    isolation_level: IsolationLevel | None = Field(
        default=None,
        description="Which records count; set it as the consumers' `isolation.level`. ReadUncommitted: all. "
        "ReadCommitted: only those before the first open transaction. When not set: ReadUncommitted.",
    )
    consumers_per_pod: StrictInt | None = Field(
        default=None,
        ge=1,
        le=1000,
        description="How many consumers of the group run in one pod, such as the threads of one process. "
        + _unset("consumers_per_pod"),
    )
    tls: TlsSpec | None = Field(
        default=None,
        description="Speak TLS, and check the brokers' certificates and names. `{}` is enough for brokers with "
        "certificates of a public CA. When not set: no TLS.",
    )
    sasl: SaslSpec | None = Field(default=None, description="Log in. When not set: without a login.")

    @model_validator(mode="after")
    def _msk_over_tls(self) -> Self:
        if self.sasl is not None and self.sasl.mechanism is SaslMechanism.AWS_MSK_IAM and self.tls is None:
            refuse(_MSK_TLS)
        return self


class SourceSpec(Part):
    model_config = ConfigDict(json_schema_extra=cel("has(self.kafka)", _SOURCE_KIND))

    name: Annotated[
        str,
        Field(min_length=1, max_length=63),
        Matches(DNS_LABEL, "must be a short name: lower-case letters, digits and '-'"),
    ] = Field(default="main", description="A name for this source, for messages and metrics.")
    kafka: KafkaSourceSpec | None = Field(default=None, description="A consumer group of a Kafka cluster.")

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if self.kafka is None:
            refuse(_SOURCE_KIND)
        return self


class ObjectiveSpec(Part):
    model_config = ConfigDict(
        json_schema_extra=cel("has(self.maxDelaySeconds) != has(self.lagPerReplica)", _ONE_OBJECTIVE)
    )

    max_delay_seconds: StrictInt | None = Field(
        default=None,
        ge=1,
        le=MAX_DELAY_SECONDS,
        description="The promise: no message waits longer than this many seconds from its timestamp to its "
        "commit. It should be longer than a pod takes to start and the group to rebalance.",
    )
    lag_per_replica: StrictInt | None = Field(
        default=None,
        ge=1,
        le=MAX_MESSAGES,
        description="A plain rule instead of a promise: as many replicas as the lag in messages divided by "
        "this, rounded up.",
    )

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.max_delay_seconds is None) == (self.lag_per_replica is None):
            refuse(_ONE_OBJECTIVE)
        return self


class CapacitySpec(Part):
    expected_records_per_minute: StrictInt = Field(
        ge=1,
        le=MAX_MESSAGES,
        description="How many records one replica can process in a minute, as far as you know. Used until "
        "it is measured.",
    )


class ScaleUpSpec(Part):
    cooldown_seconds: StrictInt | None = Field(
        default=None,
        ge=0,
        le=MAX_COOLDOWN_SECONDS,
        description="Least time in seconds since the last change, in any direction, before replicas are "
        "added. " + _unset("scale_up_cooldown_seconds"),
    )
    max_step: StrictInt | None = Field(
        default=None,
        ge=1,
        le=MAX_REPLICAS,
        description="Most replicas added at once. When not set: no such limit.",
    )


class ScaleDownSpec(Part):
    cooldown_seconds: StrictInt | None = Field(
        default=None,
        ge=0,
        le=MAX_COOLDOWN_SECONDS,
        description="Least time in seconds since the last change, in any direction, before replicas are "
        "removed. With `objective.lagPerReplica` also the time whose highest demand a down must not go below, as "
        "with an HPA. When not set: 300 with `objective.lagPerReplica`; 0 with a promise, whose downs wait until "
        "they have paid for themselves.",
    )
    max_step_percent: StrictInt | None = Field(
        default=None,
        ge=1,
        le=100,
        description="Most replicas removed at once, in percent of those there are, but always at least one. "
        + _unset("scale_down_max_step_percent"),
    )


class UnavailableSpec(Part):
    after_seconds: StrictInt = Field(
        ge=1,
        le=MAX_COOLDOWN_SECONDS,
        description="How many seconds nothing could be read before this counts.",
    )
    at_least_replicas: StrictInt = Field(
        ge=1,
        le=MAX_REPLICAS,
        description="Raise to this many replicas then, but not above `maxReplicas`. It never lowers.",
    )


class ScalingSpec(Part):
    poll_interval_seconds: Annotated[StrictInt, OneOf(POLL_INTERVALS_SECONDS)] | None = Field(
        default=None,
        description="Seconds from one reading to the next: 1, 2, 5, 10, 15, 30, 60, 120 or 300, so that "
        "resources of one cluster can share a reading. " + _unset("poll_interval_seconds"),
    )
    replica_steps: ReplicaSteps | None = Field(
        default=None,
        description="Useful: only replica counts that leave fewer partitions to the busiest consumer. Any: "
        "every count. " + _unset("replica_steps"),
    )
    calmness: Calmness | None = Field(
        default=None,
        description="With a promise, what a scaling is worth besides its pause. Responsive: nothing, the fewest "
        "replica-hours. Quiet: as much as a replica for 20 minutes, the fewest scalings. The promise is kept alike. "
        + _unset("calmness"),
    )
    scale_up: ScaleUpSpec | None = Field(default=None, description="How fast replicas may be added.")
    scale_down: ScaleDownSpec | None = Field(default=None, description="How fast replicas may be removed.")
    deletion_cost: DeletionCost | None = Field(
        default=None,
        description="LeastWork: before replicas are removed, mark the pods whose consumers have the least to do, by "
        "`controller.kubernetes.io/pod-deletion-cost`, so that they go first. For Deployments; needs the right to "
        "patch pods (deploy/deletion-cost). When not set: None, the cluster chooses.",
    )
    activation_lag_messages: StrictInt | None = Field(
        default=None,
        ge=0,
        le=MAX_MESSAGES,
        description="From zero replicas, start when the lag is greater than this many messages. "
        + _unset("activation_lag_messages"),
    )
    idle_seconds: StrictInt | None = Field(
        default=None,
        ge=0,
        le=MAX_DELAY_SECONDS,
        description="With `minReplicas: 0`, how many seconds there must be nothing to do before the last "
        "replica is removed. " + _unset("idle_seconds"),
    )
    unavailable: UnavailableSpec | None = Field(
        default=None,
        description="What to do when the lag cannot be read for long. When not set: hold, however long it takes.",
    )


class AlertSpec(Part):
    model_config = ConfigDict(json_schema_extra=cel("has(self.lagMessages) != has(self.delaySeconds)", _ONE_THRESHOLD))

    name: Annotated[
        str,
        Field(min_length=1, max_length=63),
        Matches(DNS_LABEL, "must be a short name: lower-case letters, digits and '-'"),
    ] = Field(description="A name for this alert, for conditions, Events and metrics.")
    lag_messages: StrictInt | None = Field(
        default=None,
        ge=1,
        le=MAX_MESSAGES,
        description="Fires when the group is more than this many messages behind.",
    )
    delay_seconds: StrictInt | None = Field(
        default=None,
        ge=1,
        le=MAX_DELAY_SECONDS,
        description="Fires when the oldest message waits longer than this many seconds.",
    )
    for_seconds: StrictInt | None = Field(
        default=None,
        ge=0,
        le=MAX_COOLDOWN_SECONDS,
        description="How many seconds that must last first. When not set: 0.",
    )

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.lag_messages is None) == (self.delay_seconds is None):
            refuse(_ONE_THRESHOLD)
        return self


class Spec(Part):
    """What to scale, within which limits, by which source, for which objective."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            "self.minReplicas <= self.maxReplicas",
            _MIN_MAX,
            fieldPath=".minReplicas",
            reason="FieldValueInvalid",
        )
    )

    target_ref: TargetRefSpec = Field(description="The consumers to scale.")
    min_replicas: StrictInt = Field(
        default=1,
        ge=0,
        le=MAX_REPLICAS,
        description="Least number of replicas. 0 lets the consumers stop while there is nothing to do.",
    )
    max_replicas: StrictInt = Field(
        ge=1,
        le=MAX_REPLICAS,
        description="Greatest number of replicas. More than the partitions can use are never asked for.",
    )
    mode: Mode = Field(
        default=Mode.ACTIVE,
        description="Active: scale. Observe: compute and report everything, change nothing. Paused: report "
        "what is seen, decide nothing.",
    )
    sources: Annotated[list[SourceSpec], Differ("must have different names", by="name")] = Field(
        min_length=1,
        max_length=1,
        description="What the consumers read from. Exactly one for now.",
    )
    objective: ObjectiveSpec = Field(description="What the scaling is for. Exactly one of its members.")
    capacity: CapacitySpec | None = Field(default=None, description="What is known beforehand about one replica.")
    processing_time: ProcessingTimeSpec | None = Field(
        default=None,
        description="Where to read how long one record takes, so that it need not be learned from lag alone.",
    )
    scaling: ScalingSpec | None = Field(
        default=None, description="How readings become changes; every part is optional."
    )
    alerts: Annotated[list[AlertSpec], Differ("must have different names", by="name")] = Field(
        default_factory=list,
        max_length=MAX_ALERTS,
        description="What to be told of: each fires as the condition `AlertFiring`, an Event and a metric, and is "
        "resolved at 80 % of its threshold. They do not change how it scales.",
    )

    @model_validator(mode="after")
    def _min_below_max(self) -> Self:
        if self.min_replicas > self.max_replicas:
            refuse(_MIN_MAX)
        return self
