"""From the body of a ConsumerAutoscaler to one frozen value to work with, or to a message for a person."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from consumer_autoscaler.decision.values import Alert, IsolationLevel, Mode, OffsetReset, Policy
from consumer_autoscaler.resource.access import SaslAccess, TlsAccess, sasl_access, tls_access
from consumer_autoscaler.resource.pauses import Pauses, annotated, pauses
from consumer_autoscaler.resource.processing import ProcessingSource, processing_sources
from consumer_autoscaler.resource.spec_schema import (
    AlertSpec,
    DeletionCost,
    KafkaSourceSpec,
    ScaleDownSpec,
    ScaleUpSpec,
    ScalingSpec,
    Spec,
    TargetKind,
)

GROUP = "consumerautoscaler.dev"
VERSION = "v1alpha1"
KIND = "ConsumerAutoscaler"
PLURAL = "consumerautoscalers"

LAG_PER_REPLICA_DOWN_COOLDOWN_SECONDS = 300  # the HPA's own window for downs

_MAX_PROBLEMS = 8


class InvalidSpec(ValueError):
    """The spec cannot be worked with. `problems` names each field by its path, with what it must be."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        self.problems = problems
        shown = "; ".join(problems[:_MAX_PROBLEMS])
        more = len(problems) - _MAX_PROBLEMS
        super().__init__(f"{shown}; and {more} more" if more > 0 else shown)


@dataclass(frozen=True, slots=True)
class Target:
    """What is scaled, in the namespace of the resource, through its scale subresource."""

    kind: TargetKind
    name: str
    api_group: str = "apps"


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaSpec:
    """Which consumer group is read, and where. No topics: the group's own."""

    bootstrap_servers: tuple[str, ...]  # "host:port" in the user's order, without repeats
    consumer_group: str
    topics: tuple[str, ...]
    offset_reset: OffsetReset
    isolation_level: IsolationLevel = IsolationLevel.READ_UNCOMMITTED
    tls: TlsAccess | None = None
    sasl: SaslAccess | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """One ConsumerAutoscaler, checked. `processing` is in order of trust."""

    namespace: str
    name: str
    uid: str
    generation: int
    target: Target
    policy: Policy
    kafka: KafkaSpec
    processing: tuple[ProcessingSource, ...] = ()
    deletion_cost: DeletionCost = DeletionCost.NONE
    annotated: tuple[tuple[str, str], ...] = ()  # the annotations that pause, as they stand

    @property
    def mode(self) -> Mode:
        return self.policy.mode


def parse(body: Mapping[str, Any]) -> Resource:
    """Reads a body as the API server gives it. Raises InvalidSpec with every problem, and nothing else.

    Fields that are not known are ignored: the CRD may be newer than the operator.
    """
    metadata = body.get("metadata")
    if not isinstance(metadata, Mapping):
        raise InvalidSpec(("metadata: is required",))
    namespace, name, uid = (_text(metadata, key) for key in ("namespace", "name", "uid"))
    generation = metadata.get("generation", 0)
    if not isinstance(generation, int) or isinstance(generation, bool):
        raise InvalidSpec(("metadata.generation: must be an integer",))
    pausing = pauses(metadata)
    if pausing.problems:
        raise InvalidSpec(pausing.problems)
    if "spec" not in body:
        raise InvalidSpec(("spec: is required",))
    try:
        spec = Spec.model_validate(body["spec"])
    except ValidationError as error:
        raise InvalidSpec(tuple(_problem(item) for item in error.errors(include_url=False))) from None
    kafka = spec.sources[0].kafka
    assert kafka is not None  # the model refuses a source of no kind
    policy = _policy(spec, kafka, pausing)
    return Resource(
        namespace=namespace,
        name=name,
        uid=uid,
        generation=generation,
        target=Target(kind=spec.target_ref.kind, name=spec.target_ref.name),
        policy=policy,
        kafka=KafkaSpec(
            bootstrap_servers=_addresses(kafka.bootstrap_servers),
            consumer_group=kafka.consumer_group,
            topics=tuple(dict.fromkeys(kafka.topics)),
            offset_reset=policy.offset_reset,
            tls=tls_access(kafka.tls) if kafka.tls else None,
            sasl=sasl_access(kafka.sasl) if kafka.sasl else None,
            **_chosen(isolation_level=kafka.isolation_level),
        ),
        processing=processing_sources(spec.processing_time),
        annotated=tuple(annotated(metadata).items()),
        **_chosen(deletion_cost=spec.scaling.deletion_cost if spec.scaling else None),
    )


def _policy(spec: Spec, kafka: KafkaSourceSpec, pausing: Pauses) -> Policy:
    scaling = spec.scaling or ScalingSpec()
    up, down = scaling.scale_up or ScaleUpSpec(), scaling.scale_down or ScaleDownSpec()
    expected = spec.capacity.expected_records_per_minute if spec.capacity else None
    return Policy(
        min_replicas=spec.min_replicas,
        max_replicas=spec.max_replicas,
        mode=spec.mode,
        **_chosen(
            max_delay_seconds=spec.objective.max_delay_seconds,
            lag_per_replica=spec.objective.lag_per_replica,
            expected_records_per_second=None if expected is None else expected / 60,
            offset_reset=kafka.offset_reset,
            consumers_per_pod=kafka.consumers_per_pod,
            poll_interval_seconds=scaling.poll_interval_seconds,
            replica_steps=scaling.replica_steps,
            calmness=scaling.calmness,
            scale_up_cooldown_seconds=up.cooldown_seconds,
            scale_up_max_step=up.max_step,
            scale_down_cooldown_seconds=_down_cooldown(spec, down),
            scale_down_max_step_percent=down.max_step_percent,
            activation_lag_messages=scaling.activation_lag_messages,
            idle_seconds=scaling.idle_seconds,
            unavailable_after_seconds=scaling.unavailable.after_seconds if scaling.unavailable else None,
            unavailable_at_least_replicas=scaling.unavailable.at_least_replicas if scaling.unavailable else None,
            paused=pausing.paused,
            paused_replicas=pausing.replicas,
            paused_scale_in=pausing.scale_in,
            paused_scale_out=pausing.scale_out,
            alerts=tuple(_alert(each) for each in spec.alerts),
        ),
    )


def _alert(spec: AlertSpec) -> Alert:
    return Alert(
        name=spec.name,
        lag_messages=spec.lag_messages,
        delay_seconds=spec.delay_seconds,
        **_chosen(for_seconds=spec.for_seconds),
    )


def _down_cooldown(spec: Spec, down: ScaleDownSpec) -> int | None:
    if down.cooldown_seconds is None and spec.objective.lag_per_replica is not None:
        return LAG_PER_REPLICA_DOWN_COOLDOWN_SECONDS
    return down.cooldown_seconds


def _addresses(bootstrap_servers: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(address.strip() for address in bootstrap_servers.split(",")))


def _chosen(**values: Any) -> dict[str, Any]:
    """What the user set; the rest is left to the defaults of the value it goes into."""
    return {name: value for name, value in values.items() if value is not None}


def _text(metadata: Mapping[str, Any], key: str) -> str:
    value = metadata.get(key)
    if not isinstance(value, str) or not value:
        raise InvalidSpec((f"metadata.{key}: is required",))
    return value


def _problem(error: Mapping[str, Any]) -> str:
    """One problem as "path: must be ..."."""
    path = "spec" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error["loc"])
    context = error.get("ctx", {})
    match error["type"]:
        case "missing":
            says = "is required"
        case "int_type" | "int_parsing" | "int_from_float":
            says = "must be an integer"
        case "greater_than_equal":
            says = f"must be at least {context['ge']}"
        case "less_than_equal":
            says = f"must be at most {context['le']}"
        case "string_type":
            says = "must be a string"
        case "string_too_short":
            says = "must not be empty"
        case "string_too_long":
            says = f"must be at most {context['max_length']} characters long"
        case "model_type" | "model_attributes_type":
            says = "must be an object"
        case "list_type":
            says = "must be a list"
        case "too_short":
            says = f"must have at least {context['min_length']} entries"
        case "too_long":
            says = f"must have at most {context['max_length']} entries"
        case "enum" | "literal_error":
            says = f"must be {'one of ' if ' or ' in context['expected'] else ''}{context['expected']}"
        case _:
            says = str(error["msg"])
    return f"{path}: {says}"
