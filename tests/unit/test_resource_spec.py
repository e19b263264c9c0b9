"""Reading a resource: what the smallest one means, what every field becomes, and what a bad one is told."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from bed.paths import REPOSITORY
from consumer_autoscaler.decision.values import Alert, IsolationLevel, Mode, OffsetReset, Policy, ReplicaSteps
from consumer_autoscaler.resource.access import SecretKey, TlsAccess
from consumer_autoscaler.resource.processing import OwnMetric, PodMetrics, Prometheus
from consumer_autoscaler.resource.processing_schema import MetricsPer, MetricsPreset
from consumer_autoscaler.resource.spec import (
    InvalidSpec,
    KafkaSpec,
    Resource,
    Target,
    parse,
)
from consumer_autoscaler.resource.spec_schema import Spec, TargetKind

METADATA = {"namespace": "shop", "name": "payments", "uid": "6f0c", "generation": 3}
SMALLEST: dict[str, Any] = {
    "targetRef": {"name": "payments"},
    "maxReplicas": 20,
    "sources": [{"kafka": {"bootstrapServers": "kafka:9092", "consumerGroup": "payments"}}],
    "objective": {"maxDelaySeconds": 60},
}


def body(spec: object) -> dict[str, Any]:
    return {"metadata": METADATA, "spec": spec}


def changed(path: str, value: object) -> dict[str, Any]:
    """The smallest spec with the value at a path such as `sources.0.kafka.topics` replaced."""
    spec = copy.deepcopy(SMALLEST)
    here: Any = spec
    *way, last = path.split(".")
    for step in way:
        here = here[int(step)] if step.isdigit() else here.setdefault(step, {})
    here[int(last) if last.isdigit() else last] = value
    return spec


def refusal(spec: object) -> str:
    with pytest.raises(InvalidSpec) as caught:
        parse(body(spec))
    return str(caught.value)


def test_the_smallest_resource_needs_a_target_a_maximum_a_group_and_a_promise() -> None:
    """Everything else has a default, and tuning defaults are those of Policy."""
    assert parse(body(SMALLEST)) == Resource(
        namespace="shop",
        name="payments",
        uid="6f0c",
        generation=3,
        target=Target(TargetKind.DEPLOYMENT, "payments", "apps"),
        policy=Policy(min_replicas=1, max_replicas=20, max_delay_seconds=60),
        kafka=KafkaSpec(
            bootstrap_servers=("kafka:9092",),
            consumer_group="payments",
            topics=(),
            offset_reset=OffsetReset.LATEST,
        ),
    )


def test_every_field_reaches_its_place() -> None:
    """A resource that sets everything is read without losing or mixing up a value."""
    spec = yaml.safe_load("""
        targetRef: {apiVersion: apps/v1, kind: StatefulSet, name: writer}
        minReplicas: 0
        maxReplicas: 12
        mode: Observe
        sources:
        - name: orders
          kafka:
            bootstrapServers: "a.example:9092, [2001:db8::1]:9093,a.example:9092"
            consumerGroup: writer
            topics: [b, a]
            offsetReset: Earliest
            isolationLevel: ReadCommitted
            consumersPerPod: 4
        objective: {lagPerReplica: 1000}
        capacity: {expectedRecordsPerMinute: 30}
        processingTime:
          sources:
          - podMetrics: {port: 9100, preset: Spring, per: Batch}
          - podMetrics: {port: 9101, path: /actuator/prometheus}
        scaling:
          pollIntervalSeconds: 5
          replicaSteps: Any
          scaleUp: {cooldownSeconds: 7, maxStep: 3}
          scaleDown: {cooldownSeconds: 0, maxStepPercent: 25}
          activationLagMessages: 9
          idleSeconds: 0
          unavailable: {afterSeconds: 600, atLeastReplicas: 5}
        alerts:
        - {name: far-behind, lagMessages: 10000, forSeconds: 60}
        - {name: late, delaySeconds: 120}
    """)
    resource = parse(body(spec))
    assert resource.target == Target(TargetKind.STATEFUL_SET, "writer", "apps")
    assert resource.mode is Mode.OBSERVE
    assert resource.kafka == KafkaSpec(
        bootstrap_servers=("a.example:9092", "[2001:db8::1]:9093"),
        consumer_group="writer",
        topics=("b", "a"),
        offset_reset=OffsetReset.EARLIEST,
        isolation_level=IsolationLevel.READ_COMMITTED,
    )
    assert resource.processing == (
        PodMetrics(9100, MetricsPreset.SPRING, MetricsPer.BATCH),
        PodMetrics(9101, MetricsPreset.AUTO, MetricsPer.RECORD, "/actuator/prometheus"),
    )
    assert resource.policy == Policy(
        min_replicas=0,
        max_replicas=12,
        mode=Mode.OBSERVE,
        lag_per_replica=1000,
        expected_records_per_second=0.5,
        offset_reset=OffsetReset.EARLIEST,
        consumers_per_pod=4,
        poll_interval_seconds=5,
        replica_steps=ReplicaSteps.ANY,
        scale_up_cooldown_seconds=7,
        scale_up_max_step=3,
        scale_down_cooldown_seconds=0,
        scale_down_max_step_percent=25,
        activation_lag_messages=9,
        idle_seconds=0,
        unavailable_after_seconds=600,
        unavailable_at_least_replicas=5,
        alerts=(
            Alert(name="far-behind", lag_messages=10_000, for_seconds=60),
            Alert(name="late", delay_seconds=120),
        ),
    )


def test_a_prometheus_is_read_with_its_login_and_its_metric() -> None:
    """References only; what is not set is what a Prometheus in the same cluster needs."""
    spec = SMALLEST | yaml.safe_load("""
        processingTime:
          sources:
          - prometheus: {address: "http://prometheus.monitoring.svc:9090"}
          - prometheus:
              address: https://mimir.example/prometheus
              preset: Custom
              metric: {name: work_ms, unit: Milliseconds, labels: [{name: kind, value: mail}]}
              bearerTokenSecretRef: {name: mimir}
              tls: {caSecretRef: {name: ca}}
              timeoutSeconds: 5
          - prometheus:
              address: https://p
              query: avg(x)
              unit: Microseconds
              per: Batch
              basicAuthSecretRef: {name: p, passwordKey: pw}
    """)
    plain, mimir, query = parse(body(spec)).processing
    assert plain == Prometheus(address="http://prometheus.monitoring.svc:9090")
    assert mimir == Prometheus(
        address="https://mimir.example/prometheus",
        preset=MetricsPreset.CUSTOM,
        own=OwnMetric("work_ms", 0.001, (("kind", "mail"),)),
        token=SecretKey("mimir", ("token",)),
        tls=TlsAccess(ca=SecretKey("ca", ("ca.crt",))),
        timeout_seconds=5,
    )
    assert query == Prometheus(
        address="https://p",
        query="avg(x)",
        unit_seconds=1e-6,
        per=MetricsPer.BATCH,
        username=SecretKey("p", ("username",)),
        password=SecretKey("p", ("pw",)),
    )


@pytest.mark.parametrize("path", sorted((REPOSITORY / "deploy/samples").glob("*.yaml")), ids=lambda p: p.stem)
def test_samples_are_read(path: Any) -> None:
    """Each sample is a resource that the operator can work with."""
    sample = yaml.safe_load(path.read_text())
    sample["metadata"] |= METADATA
    assert parse(sample).policy.max_delay_seconds


def test_fields_of_a_newer_version_are_ignored() -> None:
    """A newer CRD beside an older operator does not break the resource."""
    spec = changed("sources.0.kafka.rackAware", True) | {"calmness": "Quiet"}
    assert parse(body(spec)) == parse(body(SMALLEST))


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("targetRef", "payments", "spec.targetRef: must be an object"),
        ("targetRef.name", "../x", "spec.targetRef.name: must be the name of an object"),
        ("targetRef.name", "", "spec.targetRef.name: must not be empty"),
        ("targetRef.name", "a" * 254, "spec.targetRef.name: must be at most 253 characters long"),
        ("targetRef.kind", "Pod", "spec.targetRef.kind: must be one of 'Deployment' or 'StatefulSet'"),
        ("targetRef.apiVersion", "v1", "spec.targetRef.apiVersion: must be 'apps/v1'"),
        ("minReplicas", -1, "spec.minReplicas: must be at least 0"),
        ("minReplicas", 21, "spec: `minReplicas` must not be greater than `maxReplicas`"),
        ("maxReplicas", "20", "spec.maxReplicas: must be an integer"),
        ("maxReplicas", True, "spec.maxReplicas: must be an integer"),
        ("maxReplicas", 2.5, "spec.maxReplicas: must be an integer"),
        ("maxReplicas", 10_001, "spec.maxReplicas: must be at most 10000"),
        ("mode", "active", "spec.mode: must be one of 'Active', 'Observe' or 'Paused'"),
        ("sources", [], "spec.sources: must have at least 1 entries"),
        ("sources", SMALLEST["sources"] * 2, "spec.sources: must have at most 1 entries"),
        ("sources.0", {}, "spec.sources[0]: exactly one kind of source must be set: `kafka`"),
        ("sources.0.name", "Main", "spec.sources[0].name: must be a short name"),
        ("sources.0.kafka.consumerGroup", 5, "spec.sources[0].kafka.consumerGroup: must be a string"),
        ("sources.0.kafka.consumerGroup", "a\nb", "must not contain control characters"),
        ("sources.0.kafka.topics", "a", "spec.sources[0].kafka.topics: must be a list"),
        ("sources.0.kafka.topics", ["a", "b c"], "spec.sources[0].kafka.topics[1]: must be the name of a topic"),
        ("sources.0.kafka.topics", ["a", "a"], "spec.sources[0].kafka.topics: must not name a topic twice"),
        ("sources.0.kafka.topics", [".."], "spec.sources[0].kafka.topics[0]: must be the name of a topic"),
        ("objective", {}, "spec.objective: exactly one of `maxDelaySeconds` and `lagPerReplica` must be set"),
        ("objective.lagPerReplica", 1, "spec.objective: exactly one of"),
        ("sources.0.kafka.isolationLevel", "read_committed", "must be one of 'ReadUncommitted' or 'ReadCommitted'"),
        ("scaling", {"unavailable": {}}, "spec.scaling.unavailable.afterSeconds: is required"),
        (
            "processingTime",
            {"sources": [{"podMetrics": {"port": 1, "path": "metrics?x"}}]},
            "podMetrics.path: must be a path that begins with '/'",
        ),
        (
            "processingTime",
            {"sources": [{"prometheus": {"address": "http://p", "preset": "Custom"}}]},
            "spec.processingTime.sources[0].prometheus: `metric` must be set with preset Custom",
        ),
        (
            "processingTime",
            {"sources": [{"prometheus": {"address": "file:///etc/passwd"}}]},
            "prometheus.address: must be http:// or https://",
        ),
        ("alerts", [{"name": "a"}], "spec.alerts[0]: exactly one of `lagMessages` and `delaySeconds` must be set"),
        ("alerts", [{"name": "a", "lagMessages": 1, "delaySeconds": 1}], "spec.alerts[0]: exactly one of"),
        ("alerts", [{"name": "A", "lagMessages": 1}], "spec.alerts[0].name: must be a short name"),
        ("alerts", [{"name": "a", "lagMessages": 0}], "spec.alerts[0].lagMessages: must be at least 1"),
        ("alerts", [{"name": "a", "lagMessages": 1}] * 2, "spec.alerts: must have different names"),
        ("alerts", [{"name": f"a{n}", "lagMessages": 1} for n in range(5)], "spec.alerts: must have at most 4 entries"),
        ("capacity", {}, "spec.capacity.expectedRecordsPerMinute: is required"),
        ("processingTime", {"sources": [{}]}, "spec.processingTime.sources[0]: exactly one kind of source"),
        ("scaling.pollIntervalSeconds", 7, "spec.scaling.pollIntervalSeconds: must be one of 1, 2, 5, 10"),
        ("scaling.pollIntervalSeconds", True, "spec.scaling.pollIntervalSeconds: must be an integer"),
    ],
)
def test_a_bad_value_is_refused_by_its_path_and_with_what_it_must_be(path: str, value: object, message: str) -> None:
    """The message of a refusal names the field and the remedy."""
    assert message in refusal(changed(path, value))


@pytest.mark.parametrize(
    "servers",
    [
        "kafka",
        "kafka:",
        ":9092",
        "kafka:0",
        "kafka:65536",
        "kafka:09092",
        "http://kafka:9092",
        "SASL_SSL://kafka:9092",
        "a:1,,b:2",
        "a:1,",
        "a:1 b:2",
        "::1:9092",
        "[kafka]:9092",
        "a:1\n",
    ],
)
def test_bootstrap_servers_are_host_and_port_and_nothing_else(servers: str) -> None:
    """Anything but `host:port`, separated by commas, is refused with the form it must have."""
    assert "spec.sources[0].kafka.bootstrapServers: must be `host:port`" in refusal(
        changed("sources.0.kafka.bootstrapServers", servers)
    )


def test_bootstrap_servers_are_bounded() -> None:
    """Sixteen addresses are accepted, one more is not."""
    servers = [f"kafka-{i}:65535" for i in range(17)]
    path = "sources.0.kafka.bootstrapServers"
    assert len(parse(body(changed(path, ",".join(servers[:16])))).kafka.bootstrap_servers) == 16
    assert "must name at most 16 addresses" in refusal(changed(path, ",".join(servers)))


def test_all_problems_are_told_at_once_and_the_message_stays_bounded() -> None:
    """A person sees every problem of a resource together, and a very bad resource does not flood the status."""
    assert refusal({}) == (
        "spec.targetRef: is required; spec.maxReplicas: is required; spec.sources: is required; "
        "spec.objective: is required"
    )
    many = refusal(changed("sources.0.kafka.topics", [5] * 100))
    assert many.endswith("; and 92 more")
    assert len(many) < 1000


@pytest.mark.parametrize("key", ["namespace", "name", "uid"])
def test_an_object_without_identity_is_refused(key: str) -> None:
    """Name, namespace and uid must be there: everything is keyed by them."""
    metadata = {name: value for name, value in METADATA.items() if name != key}
    with pytest.raises(InvalidSpec, match=f"metadata.{key}"):
        parse({"metadata": metadata, "spec": SMALLEST})


def _field_names(model: Any) -> set[str]:
    schema = model.model_json_schema()
    return {name for part in (schema, *schema["$defs"].values()) for name in part.get("properties", {})}


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
KEYS = st.sampled_from(sorted(_field_names(Spec))) | st.text(max_size=5)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=6),
    max_leaves=25,
)


def outcome(anything: dict[str, Any]) -> Resource | InvalidSpec:
    try:
        return parse(anything)
    except InvalidSpec as refused:
        return refused


@given(st.dictionaries(st.sampled_from(["metadata", "spec", "status"]), JSON))
def test_any_body_is_read_or_refused(anything: dict[str, Any]) -> None:
    """Whatever JSON arrives, the outcome is a resource or InvalidSpec, never another error."""
    read = outcome(anything)
    assert isinstance(read, Resource) or read.problems


@given(
    st.sampled_from(["targetRef", "sources.0", "sources.0.kafka", "objective", "scaling", "capacity"]),
    KEYS.filter(lambda key: key and "." not in key and not key.isdigit()),
    JSON,
)
def test_any_value_in_a_good_resource_is_read_or_refused(where: str, field: str, value: Any) -> None:
    """One strange value at one place of a good resource is read, or refused with the path of a field."""
    read = outcome(body(changed(f"{where}.{field}", value)))
    assert isinstance(read, Resource) or all(problem.startswith("spec") for problem in read.problems)
