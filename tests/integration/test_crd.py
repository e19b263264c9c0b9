"""The CustomResourceDefinition on a real API server: what it accepts, what it refuses and in which words."""

from __future__ import annotations

import copy
import http.client
import json
import subprocess
import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
import yaml

from bed import parts
from bed.controlplane import ControlPlane
from bed.paths import REPOSITORY
from consumer_autoscaler.decision.history import AlertMemory
from consumer_autoscaler.decision.reasons import (
    AlertReason,
    ConditionStatus,
    ConditionType,
    DecisionReason,
    ReadyReason,
)
from consumer_autoscaler.decision.values import Condition, Decision, Figures, ProcessingTime, Scale, Step
from consumer_autoscaler.resource.crd import custom_resource_definition
from consumer_autoscaler.resource.memory import Learned
from consumer_autoscaler.resource.spec import GROUP, KIND, PLURAL, VERSION, InvalidSpec, parse
from consumer_autoscaler.resource.status import build, merge_patch

pytestmark = pytest.mark.integration

CRD = f"{PLURAL}.{GROUP}"
SCHEMA: dict[str, Any] = custom_resource_definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]

SMALLEST: dict[str, Any] = {
    "targetRef": {"name": "payments"},
    "maxReplicas": 20,
    "sources": [{"kafka": {"bootstrapServers": "kafka:9092", "consumerGroup": "payments"}}],
    "objective": {"maxDelaySeconds": 60},
}
METRIC: dict[str, Any] = {"name": "work_ms", "unit": "Milliseconds", "labels": [{"name": "kind", "value": "mail"}]}
BASIC: dict[str, Any] = {"name": "me", "usernameKey": "user", "passwordKey": "password"}
PROMETHEUS: dict[str, Any] = {
    "address": "https://prometheus.example/prometheus",
    "preset": "Custom",
    "per": "Batch",
    "metric": METRIC,
    "bearerTokenSecretRef": {"name": "me", "key": "token"},
    "tls": {
        "caSecretRef": {"name": "ca", "key": "ca.crt"},
        "certificateSecretRef": {"name": "me", "certificateKey": "a.crt", "privateKeyKey": "a.key"},
    },
    "timeoutSeconds": 5,
}
FULL: dict[str, Any] = {
    "targetRef": {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "payments"},
    "minReplicas": 0,
    "maxReplicas": 20,
    "mode": "Observe",
    "sources": [
        {
            "name": "orders",
            "kafka": {
                "bootstrapServers": "a.example:9092, [2001:db8::1]:65535",
                "consumerGroup": "payments",
                "topics": ["orders.validated", "..."],
                "offsetReset": "None",
                "isolationLevel": "ReadCommitted",
                "consumersPerPod": 4,
                "tls": {
                    "caSecretRef": {"name": "cluster-ca", "key": "ca.crt"},
                    "certificateSecretRef": {"name": "me", "certificateKey": "a.crt", "privateKeyKey": "a.key"},
                },
                "sasl": {
                    "mechanism": "OAUTHBEARER",
                    "credentialsSecretRef": {"name": "me", "usernameKey": "id", "passwordKey": "secret"},
                    "oauth": {
                        "tokenEndpoint": "https://id.example/realms/x/token",
                        "scope": "kafka",
                        "caSecretRef": {"name": "id-ca", "key": "root.pem"},
                    },
                },
            },
        }
    ],
    "objective": {"maxDelaySeconds": 60},
    "capacity": {"expectedRecordsPerMinute": 6000},
    "processingTime": {
        "sources": [
            {"podMetrics": {"port": 9100, "path": "/q", "preset": "Custom", "per": "Batch", "metric": METRIC}},
            {"prometheus": PROMETHEUS},
            {
                "prometheus": {
                    "address": "http://[2001:db8::1]:9090",
                    "query": 'sum(rate(x_sum{a="b"}[1m]))\n/ 2',
                    "unit": "Milliseconds",
                    "basicAuthSecretRef": BASIC,
                }
            },
        ]
    },
    "scaling": {
        "pollIntervalSeconds": 5,
        "replicaSteps": "Any",
        "scaleUp": {"cooldownSeconds": 0, "maxStep": 4},
        "scaleDown": {"cooldownSeconds": 600, "maxStepPercent": 50},
        "activationLagMessages": 10,
        "idleSeconds": 300,
        "unavailable": {"afterSeconds": 600, "atLeastReplicas": 2},
    },
    "alerts": [
        {"name": "far-behind", "lagMessages": 10_000, "forSeconds": 60},
        {"name": "late", "delaySeconds": 120},
    ],
}


class Api:
    """The resources of one namespace over plain HTTP, strictly validated, through `kubectl proxy`."""

    def __init__(self, port: int, namespace: str) -> None:
        self._port = port
        self.namespace = namespace
        self._path = f"/apis/{GROUP}/{VERSION}/namespaces/{namespace}/{PLURAL}"

    def create(self, spec: object, *, name: str = "tried", dry_run: bool = True) -> tuple[int, dict[str, Any]]:
        body = {"apiVersion": f"{GROUP}/{VERSION}", "kind": KIND, "metadata": {"name": name}, "spec": spec}
        query = "?fieldValidation=Strict" + ("&dryRun=All" if dry_run else "")
        return self._send("POST", self._path + query, body, "application/json")

    def patch_status(self, name: str, patch: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        path = f"{self._path}/{name}/status?fieldValidation=Strict"
        return self._send("PATCH", path, patch, "application/merge-patch+json")

    def _send(self, method: str, path: str, body: object, kind: str) -> tuple[int, dict[str, Any]]:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
        try:
            connection.request(method, path, json.dumps(body), {"Content-Type": kind})
            answer = connection.getresponse()
            read: dict[str, Any] = json.loads(answer.read())
            return answer.status, read
        finally:
            connection.close()


@pytest.fixture(scope="module")
def plane(controlplane: ControlPlane) -> ControlPlane:
    controlplane.kubectl("apply", "-f", str(REPOSITORY / "crds/consumerautoscalers.yaml"))
    controlplane.kubectl("wait", "--for=condition=Established", f"crd/{CRD}", "--timeout=20s")
    # Established is said a moment before discovery knows; this also renews what kubectl remembers of it.
    end = time.monotonic() + 20
    while not controlplane.kubectl("api-resources", f"--api-group={GROUP}", "--output=name"):
        assert time.monotonic() < end, "the API server does not serve the resource"
        time.sleep(0.1)
    return controlplane


@pytest.fixture(scope="module")
def api(plane: ControlPlane) -> Iterator[Api]:
    namespace = f"crd-{uuid4().hex[:8]}"
    plane.kubectl("create", "namespace", namespace)
    command = [str(parts.program("kubectl")), f"--kubeconfig={plane.kubeconfig}", "proxy", "--port=0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as proxy:
        try:
            assert proxy.stdout is not None
            yield Api(int(proxy.stdout.readline().rpartition(":")[2]), namespace)
        finally:
            proxy.terminate()
    plane.kubectl("delete", "namespace", namespace, "--wait=false")


def changed(path: str, value: object, *, spec: dict[str, Any] = FULL) -> dict[str, Any]:
    """A good spec with the value at a path such as `sources.0.kafka.topics` replaced."""
    spec = copy.deepcopy(spec)
    here: Any = spec
    *way, last = path.split(".")
    if path == "objective.lagPerReplica":
        spec["objective"] = {}
    if path.startswith("processingTime.sources.0.prometheus"):
        spec["processingTime"]["sources"][0] = {"prometheus": copy.deepcopy(PROMETHEUS | {"basicAuthSecretRef": BASIC})}
    for step in way:
        here = here[int(step)] if step.isdigit() else here[step]
    here[int(last) if last.isdigit() else last] = value
    return spec


def shown(path: str) -> str:
    """The path as the API server and the operator write it."""
    written = "spec"
    for step in path.split("."):
        written += f"[{step}]" if step.isdigit() else f".{step}"
    return written


def bad_values(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, object]]:
    """For every field of a schema: a value of another type, and values just out of its bounds or choices."""
    kind = schema["type"]
    if path:
        yield path, {"string": 5, "integer": "5", "object": "text", "array": "text"}[kind]
    if kind == "integer":
        yield path, 2.5
        yield path, True
        if "minimum" in schema:
            yield path, schema["minimum"] - 1
            yield path, schema["maximum"] + 1
    if "enum" in schema:
        yield path, "Other" if kind == "string" else 7
    if "maxLength" in schema:
        yield path, "a" * (schema["maxLength"] + 1)
        yield path, ""
    if kind == "array":
        item = {"string": "a", "object": {}}[schema["items"]["type"]]
        yield path, [item] * (schema["maxItems"] + 1)
        if schema.get("minItems"):
            yield path, []
        yield from bad_values(schema["items"], f"{path}.0")
    for name, inner in schema.get("properties", {}).items():
        yield from bad_values(inner, f"{path}.{name}" if path else name)


def objects(schema: dict[str, Any], path: str = "") -> Iterator[str]:
    if schema["type"] == "object":
        yield path
    for name, inner in schema.get("properties", {}).items():
        yield from objects(inner, f"{path}.{name}" if path else name)
    if "items" in schema:
        yield from objects(schema["items"], f"{path}.0")


def in_operator(spec: object, api: Api) -> str:
    """What the operator says about the same spec."""
    metadata = {"namespace": api.namespace, "name": "tried", "uid": "u", "generation": 1}
    with pytest.raises(InvalidSpec) as caught:
        parse({"metadata": metadata, "spec": spec})
    return str(caught.value)


@pytest.mark.parametrize("spec", [SMALLEST, FULL], ids=["smallest", "full"])
def test_a_good_resource_is_accepted_and_read_back(api: Api, spec: dict[str, Any]) -> None:
    """The smallest resource and one with every field set are accepted, and the operator reads what is stored."""
    status, stored = api.create(spec)
    assert status == 201, stored
    assert parse(stored) == parse(stored | {"spec": spec})


def test_only_settled_defaults_are_written_into_the_object(api: Api) -> None:
    """Tuning defaults stay with the operator, so that a better one reaches resources that exist."""
    stored = api.create(SMALLEST)[1]["spec"]
    assert stored["targetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "payments"}
    assert (stored["minReplicas"], stored["mode"]) == (1, "Active")
    assert stored["sources"] == [SMALLEST["sources"][0] | {"name": "main"}]
    assert stored.keys() == {*SMALLEST, "minReplicas", "mode"}


def test_every_field_refuses_a_wrong_type_and_a_value_out_of_bounds(api: Api) -> None:
    """The API server names the field of every bad value, and the operator refuses it by the same path."""
    tried = list(bad_values(SCHEMA["properties"]["spec"]))
    assert len(tried) > 100
    for path, value in tried:
        spec = changed(path, value)
        status, answer = api.create(spec)
        case = f"{path} = {value!r:.60}: {answer.get('message')}"
        assert status == 422, case
        assert shown(path) in answer["message"], case
        said = in_operator(spec, api)
        assert shown(path) in said, f"{path} = {value!r:.60}: {said}"


def test_every_object_refuses_an_unknown_field(api: Api) -> None:
    """A misspelt field is named, with its path, instead of being dropped in silence."""
    paths = list(objects(SCHEMA["properties"]["spec"]))
    assert len(paths) > 10
    for path in paths:
        field = f"{path}.maxReplicaz" if path else "maxReplicaz"
        status, answer = api.create(changed(field, 1))
        assert status == 400, answer
        assert f'unknown field "{shown(field)}"' in answer["message"]


def test_what_must_be_there_is_asked_for_by_name(api: Api) -> None:
    """Each of the five things nobody can guess is required."""
    for path in ("targetRef", "maxReplicas", "sources", "objective"):
        spec = {name: value for name, value in SMALLEST.items() if name != path}
        assert f"spec.{path}: Required value" in api.create(spec)[1]["message"]
    for path in ("bootstrapServers", "consumerGroup"):
        spec = copy.deepcopy(SMALLEST)
        del spec["sources"][0]["kafka"][path]
        assert f"spec.sources[0].kafka.{path}: Required value" in api.create(spec)[1]["message"]


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("minReplicas", 21, "spec.minReplicas: Invalid value: `minReplicas` must not be greater than `maxReplicas`"),
        ("objective", {}, "spec.objective: Invalid value: exactly one of `maxDelaySeconds` and `lagPerReplica`"),
        (
            "objective",
            {"maxDelaySeconds": 1, "lagPerReplica": 1},
            "spec.objective: Invalid value: exactly one of `maxDelaySeconds` and `lagPerReplica` must be set",
        ),
        ("sources.0", {"name": "a"}, "spec.sources[0]: Invalid value: exactly one kind of source must be set: `kafka`"),
        ("processingTime.sources.0", {}, "exactly one kind of source must be set: `podMetrics`"),
        ("processingTime.sources.0.podMetrics.preset", "Spring", "`metric` must be set with preset Custom, and only"),
        ("processingTime.sources.1.prometheus.query", "x", "`query` is in place of `preset` and `metric`"),
        ("processingTime.sources.2.prometheus.query", "a\x00", "must not contain control characters"),
        ("processingTime.sources.1.prometheus.unit", "Seconds", "`unit` is for `query`"),
        ("processingTime.sources.1.prometheus.basicAuthSecretRef", {"name": "me"}, "at most one of `bearerToken"),
        ("processingTime.sources.2.prometheus.tls", {}, "`tls` is for an address that begins with https://"),
        ("processingTime.sources.2.prometheus.address", "http://me:pw@prometheus", "without a user or a query"),
        ("processingTime.sources.2.prometheus.address", "prometheus:9090", "must be http:// or https://, a host"),
        ("processingTime.sources.1.prometheus.metric.name", "a-b", "must be the name of a metric"),
        ("processingTime.sources.1.prometheus.metric.labels.0.name", "a-b", "must be the name of a label"),
        ("sources.0.kafka.bootstrapServers", "http://kafka:9092", "must be `host:port`, or several"),
        ("sources.0.kafka.bootstrapServers", "kafka", "must be `host:port`, or several"),
        ("sources.0.kafka.bootstrapServers", "a:1,b:65536", "must be `host:port`, or several"),
        ("sources.0.kafka.bootstrapServers", ",".join(["a:1"] * 17), "must name at most 16 addresses"),
        ("sources.0.kafka.consumerGroup", "a\nb", "must not contain control characters"),
        ("sources.0.kafka.topics.0", "a b", "must be the name of a topic"),
        ("sources.0.kafka.topics.0", "..", "must be the name of a topic"),
        ("sources.0.name", "Main", "must be a short name: lower-case letters, digits and '-'"),
        ("targetRef.name", "../payments", "must be the name of an object: lower-case letters"),
        ("sources.0.kafka.sasl", {"mechanism": "GSSAPI"}, "GSSAPI (Kerberos) is not supported: use a SCRAM user"),
        ("sources.0.kafka.sasl", {"mechanism": "PLAIN"}, "`credentialsSecretRef` must be set"),
        ("sources.0.kafka.sasl.mechanism", "PLAIN", "`oauth` must be set with mechanism OAUTHBEARER, and only with it"),
        ("sources.0.kafka.sasl.awsRegion", "eu-west-1", "`awsRegion` must be set with mechanism AWS_MSK_IAM"),
        ("sources.0.kafka.sasl.credentialsSecretRef.sessionTokenKey", "t", "`sessionTokenKey` is for mechanism AWS"),
        ("sources.0.kafka.sasl.oauth.tokenEndpoint", "id.example/token", "must be an https:// address"),
        ("sources.0.kafka.tls.caSecretRef.name", "other/ca", "must be the name of a Secret"),
        ("sources.0.kafka.tls.caSecretRef.key", "a/b", "must be a key of a Secret"),
        ("processingTime.sources.0.podMetrics.path", "metrics", "must be a path that begins with '/', without a query"),
        ("alerts.0", {"name": "a"}, "exactly one of `lagMessages` and `delaySeconds` must be set"),
        ("alerts.0.delaySeconds", 60, "exactly one of `lagMessages` and `delaySeconds` must be set"),
        ("alerts.0.name", "Far", "must be a short name: lower-case letters, digits and '-'"),
    ],
)
def test_what_a_single_type_cannot_say_is_refused_with_its_remedy(
    api: Api, path: str, value: object, message: str
) -> None:
    """Rules across fields and formats answer with what must be done, and the operator agrees."""
    spec = changed(path, value)
    status, answer = api.create(spec)
    assert status == 422
    assert message in answer["message"]
    assert message.rpartition("Invalid value: ")[2] in in_operator(spec, api)


def test_msk_needs_tls(api: Api) -> None:
    """Without it a listener could connect with the signed token for a quarter of an hour."""
    spec = copy.deepcopy(SMALLEST)
    sasl = {"mechanism": "AWS_MSK_IAM", "credentialsSecretRef": {"name": "me"}, "awsRegion": "eu-west-1"}
    spec["sources"][0]["kafka"]["sasl"] = sasl
    status, answer = api.create(spec)
    assert status == 422
    assert "`tls` must be set with `sasl.mechanism: AWS_MSK_IAM`" in answer["message"]
    assert "`tls` must be set with `sasl.mechanism: AWS_MSK_IAM`" in in_operator(spec, api)
    spec["sources"][0]["kafka"]["tls"] = {}
    assert api.create(spec)[0] == 201


def test_kubectl_explains_every_level_in_words(plane: ControlPlane) -> None:
    """`kubectl explain cas` is the manual: each field of the spec comes with its description."""
    flat = " ".join(plane.kubectl("explain", "cas.spec").split())
    for part in SCHEMA["properties"]["spec"]["properties"].values():
        assert " ".join(part["description"].split()) in flat
    assert "The promise: no message waits longer" in plane.kubectl("explain", "cas.spec.objective.maxDelaySeconds")


def test_samples_are_accepted_and_stay_as_applied(plane: ControlPlane, api: Api) -> None:
    """The samples apply as they are, and applying them again changes nothing."""
    arguments = ("apply", "-n", api.namespace, "-f", str(REPOSITORY / "deploy/samples"))
    first, second = plane.kubectl(*arguments), plane.kubectl(*arguments)
    assert first.count("created") == len(list((REPOSITORY / "deploy/samples").glob("*.yaml"))) == 2
    assert second.count("unchanged") == 2


def example_status(generation: int) -> dict[str, Any]:
    return build(
        generation=generation,
        now=1_800_000_000,
        conditions=[
            Condition(ConditionType.READY, ConditionStatus.TRUE, ReadyReason.WORKING, "works"),
            Condition(ConditionType.ALERT_FIRING, ConditionStatus.TRUE, AlertReason.THRESHOLD_CROSSED, "late: words"),
        ],
        previous={},
        learned=Learned(
            capacity_per_replica_per_second=8,
            start_seconds=9,
            last_scale_at=1_800_000_000,
            alerts=(AlertMemory("late", 1_800_000_000, firing=True),),
        ),
        decision=Decision(
            at=1_800_000_000,
            desired=4,
            recommended=6,
            reason=DecisionReason.SCALE_UP,
            message="from 3 to 4",
            steps=(Step("Demand", 6, "6 are needed"), Step("StepLimit", 4, "at most 4")),
            figures=Figures(lag_messages=1234, delay_seconds=56, partitions=8, arrival_per_second=10),
        ),
        scale=Scale(replicas=3, ready=3),
        processing=ProcessingTime(at=0, seconds_per_record=0.1, records=5, p95_seconds=0.2, source="Spring"),
    )


def test_a_status_is_stored_as_built_and_shown(plane: ControlPlane, api: Api) -> None:
    """The API server keeps the whole status, kubectl waits for its conditions and shows its numbers."""
    namespace = f"--namespace={api.namespace}"
    assert api.create(SMALLEST, name="shown", dry_run=False)[0] == 201
    built = example_status(1)
    code, stored = api.patch_status("shown", merge_patch(built))
    assert code == 200, stored
    assert stored["status"] == built
    assert stored["metadata"]["generation"] == 1

    plane.kubectl("wait", "--for=condition=Ready", "cas/shown", namespace, "--timeout=10s")
    head, row = plane.kubectl("get", "cas", "shown", namespace).splitlines()
    assert " ".join(head.split()) == ("NAME TARGET GROUP MIN MAX CURRENT DESIRED LAG READY LIMITED MODE AGE")
    assert " ".join(row.split()[:-1]) == "shown payments payments 1 20 3 4 1234 True Unknown Active"
    head, row = plane.kubectl("get", "cas", "shown", namespace, "-o", "wide").splitlines()
    assert head.split()[11:] == ["PARTITIONS", "DELAY", "LASTSCALE", "REASON", "ALERT", "AGE"]
    assert row.split()[11:13] == ["8", "56"]
    assert row.split()[14:16] == ["ScaleUp", "True"]


def test_the_category_lists_the_resources(plane: ControlPlane, api: Api) -> None:
    """`kubectl get consumer-autoscaler` shows what belongs to this product."""
    assert api.create(SMALLEST, name="listed", dry_run=False)[0] == 201
    assert "/listed" in plane.kubectl("get", "consumer-autoscaler", "-n", api.namespace, "-o", "name")


def test_an_outdated_condition_does_not_satisfy_a_wait(plane: ControlPlane, api: Api) -> None:
    """After a change of the spec `kubectl wait` waits for the condition of the new generation."""
    namespace = f"--namespace={api.namespace}"
    assert api.create(SMALLEST, name="waited", dry_run=False)[0] == 201
    assert api.patch_status("waited", merge_patch(example_status(1)))[0] == 200
    wait = ("wait", "--for=condition=Ready", "cas/waited", namespace, "--timeout=1s")
    plane.kubectl("patch", "cas", "waited", namespace, "--type=merge", '-p={"spec":{"maxReplicas":9}}')
    assert plane.try_kubectl(*wait).returncode == 1
    assert api.patch_status("waited", merge_patch(example_status(2)))[0] == 200
    assert plane.try_kubectl(*wait).returncode == 0


def test_no_autoscaler_can_drive_the_autoscaler(plane: ControlPlane, api: Api) -> None:
    """There is no scale subresource to point an HPA at."""
    assert api.create(SMALLEST, name="fixed", dry_run=False)[0] == 201
    scaled = plane.try_kubectl("scale", "cas/fixed", "-n", api.namespace, "--replicas=3")
    assert scaled.returncode == 1


def test_the_definition_is_applied_again_without_a_change(plane: ControlPlane) -> None:
    """The committed file is stable under `kubectl apply`."""
    assert "unchanged" in plane.kubectl("apply", "-f", str(REPOSITORY / "crds/consumerautoscalers.yaml"))
    assert yaml.safe_load(plane.kubectl("get", "crd", CRD, "-o", "yaml"))["status"]["storedVersions"] == [VERSION]
