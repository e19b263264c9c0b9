"""What people read: the fields of `status`. Whole numbers, unit in the name; a field is absent while unknown.

These models make the schema of the CRD. The status itself is built as a plain dict, see status.py: a thousand
resources report every few seconds.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StrictInt
from pydantic.alias_generators import to_camel

from consumer_autoscaler.decision.reasons import ConditionStatus

MAX_CONDITIONS = 16
MAX_ALERTS = 4
MAX_STEPS = 16
MAX_MESSAGE = 1024
MAX_WORD = 64
MAX_NUMBER = 2**53  # beyond it JSON numbers lose their last digit in many readers


class Part(BaseModel):
    """The ground of every object in `status`."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid")


_Number = Annotated[StrictInt, Field(ge=0, le=MAX_NUMBER)]
_Word = Annotated[str, Field(min_length=1, max_length=MAX_WORD)]
_Message = Annotated[str, Field(max_length=MAX_MESSAGE)]
_Time = Annotated[str, Field(max_length=64, json_schema_extra={"format": "date-time"})]


class ConditionPart(Part):
    type: _Word = Field(description="What the condition speaks about.")
    status: ConditionStatus = Field(description="True, False or Unknown.")
    observed_generation: _Number = Field(description="The generation of the spec this was found out for.")
    last_transition_time: _Time = Field(description="When `status` last changed.")
    reason: _Word = Field(description="Why, in one word.")
    message: _Message = Field(description="Why, in a sentence.")


class ReplicasPart(Part):
    current: _Number | None = Field(default=None, description="Replicas the target asks for now.")
    ready: _Number | None = Field(default=None, description="Replicas that are ready.")
    desired: _Number | None = Field(default=None, description="Replicas the last decision wants, all limits applied.")
    recommended: _Number | None = Field(default=None, description="Replicas the load asks for, before any limit.")


class LagPart(Part):
    messages: _Number | None = Field(
        default=None, description="Records not yet committed by the group, over all partitions."
    )
    delay_seconds: _Number | None = Field(
        default=None, description="How long the oldest of them has waited, in seconds."
    )
    partitions: _Number | None = Field(default=None, description="Partitions of the topics that count.")
    partitions_with_lag: _Number | None = Field(default=None, description="Partitions that have any lag.")


class RatesPart(Part):
    arrival_per_minute: _Number | None = Field(default=None, description="Records that arrive in a minute.")
    consumed_per_minute: _Number | None = Field(default=None, description="Records the group commits in a minute.")
    capacity_per_replica_per_minute: _Number | None = Field(
        default=None, description="Records one replica is reckoned to process in a minute."
    )


class ProcessingTimePart(Part):
    mean_microseconds: _Number | None = Field(default=None, description="Mean time for one record, in microseconds.")
    p50_microseconds: _Number | None = Field(default=None, description="Median time for one record, in microseconds.")
    p95_microseconds: _Number | None = Field(
        default=None, description="95 of 100 records take no longer than this, in microseconds."
    )
    p99_microseconds: _Number | None = Field(
        default=None, description="99 of 100 records take no longer than this, in microseconds."
    )
    source: str | None = Field(default=None, max_length=256, description="Where this was read.")


class StepPart(Part):
    name: _Word = Field(description="Who acted: the demand, then each limit.")
    replicas: _Number = Field(description="The count after this step.")
    message: _Message | None = Field(default=None, description="Why, with the numbers.")


class DecisionPart(Part):
    reason: _Word = Field(description="What the decision did, in one word.")
    message: _Message = Field(description="What the decision did and why, in a sentence.")
    steps: list[StepPart] | None = Field(
        default=None,
        max_length=MAX_STEPS,
        description="The way from the demand to the decision.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )


class LearnedPart(Part):
    capacity_per_replica_per_minute: _Number | None = Field(
        default=None, description="Records one replica was seen to process in a minute with enough to do."
    )
    start_seconds: _Number | None = Field(
        default=None, description="From a new pod to its first share of the work, in seconds."
    )
    rebalance_seconds: _Number | None = Field(
        default=None, description="How long a rebalance stops the group, in seconds."
    )


class IneffectivePart(Part):
    until_time: _Time = Field(description="No up above `keepReplicas` is tried before this time.")
    times: _Number = Field(description="How often in a row this was seen; the time doubles with each.")
    keep_replicas: _Number = Field(description="The most replicas that were seen to be of use.")
    from_replicas: _Number = Field(description="Replicas before the up.")
    to_replicas: _Number = Field(description="Replicas after it.")
    per_minute_before: _Number = Field(description="Records the group committed in a minute before the up.")
    per_minute: _Number = Field(description="Records the group committed in a minute after it.")
    confirmed: bool = Field(description="Whether the group was seen to do as much with fewer replicas.")


class AlertPart(Part):
    name: _Word = Field(description="The alert's name in the spec.")
    since_time: _Time = Field(description="Since when its threshold is crossed.")


class Status(Part):
    """The last decision in numbers, and what was learned so that a restart does not forget it."""

    observed_generation: _Number | None = Field(
        default=None, description="The generation of the spec this status speaks about."
    )
    conditions: list[ConditionPart] | None = Field(
        default=None,
        max_length=MAX_CONDITIONS,
        description="Whether it works, and if not, why. `Ready` is the summary.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    )
    replicas: ReplicasPart | None = Field(default=None, description="Replica counts of the target.")
    lag: LagPart | None = Field(default=None, description="How far the group is behind.")
    rates: RatesPart | None = Field(default=None, description="How fast records come and go.")
    processing_time: ProcessingTimePart | None = Field(default=None, description="How long one record takes.")
    decision: DecisionPart | None = Field(default=None, description="What was decided, and the whole way to it.")
    last_scale_time: _Time | None = Field(default=None, description="When the operator last changed the replicas.")
    learned: LearnedPart | None = Field(default=None, description="What was measured and is kept over a restart.")
    ineffective: IneffectivePart | None = Field(
        default=None, description="The last up that brought nothing, while that is why the group is behind."
    )
    alerts: list[AlertPart] | None = Field(
        default=None,
        max_length=MAX_ALERTS,
        description="The alerts of the spec that fire. The condition `AlertFiring` says by how much.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    )
