"""ScaledObjects and HPAs as they are found: KEDA's samples for Kafka in their facts, and variants of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True)
class Sample:
    """`wanted` stands in the flow form of the spec; `said` in a note (of a refused one, in a refusal)."""

    name: str
    objects: tuple[Json, ...]
    wanted: tuple[str, ...] = ()
    said: tuple[str, ...] = ()
    part_refused: bool = False


def trigger(type_: str = "kafka", **metadata: Any) -> Json:
    base = {"bootstrapServers": "kafka:9092", "consumerGroup": "group", "topic": "orders", **metadata}
    return {"type": type_, "metadata": {k: v for k, v in base.items() if v is not None}}


def scaled(*triggers: Json, annotations: Json | None = None, **spec: Any) -> Json:
    return {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": {"name": "scaler", "namespace": "shop", "annotations": annotations or {}},
        "spec": {"scaleTargetRef": {"name": "consumers"}, **spec, "triggers": list(triggers)},
    }


def authentication(kind: str = "TriggerAuthentication", secret: str = "kafka", **spec: Any) -> Json:
    metadata = {"name": "auth", **({} if kind.startswith("Cluster") else {"namespace": "shop"})}
    parameters = spec.pop("parameters", ())
    targets = [{"parameter": p, "name": secret, "key": p} for p in parameters]
    return {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": kind,
        "metadata": metadata,
        "spec": {**({"secretTargetRef": targets} if targets else {}), **spec},
    }


def secured(kind: str = "TriggerAuthentication", **metadata: Any) -> Json:
    return {**trigger(**metadata), "authenticationRef": {"name": "auth", "kind": kind}}


def secret(**values: str) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "kafka", "namespace": "shop"},
        "stringData": values,
    }


def deployment(*env: Json, name: str = "consumers") -> Json:
    containers = [{"name": "main", "image": "none", "env": list(env)}]
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"template": {"spec": {"containers": containers}}},
    }


def behavior(**sides: Any) -> Json:
    return {"horizontalPodAutoscalerConfig": {"behavior": sides}}


FAST = {"stabilizationWindowSeconds": 0, "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}]}
LOGIN = ("sasl", "username", "password", "tls", "ca", "cert", "key")
KEDA_TEST: Json = {"pollingInterval": 5, "cooldownPeriod": 0, "advanced": behavior(scaleUp=FAST, scaleDown=FAST)}

CONVERTED = (
    # The samples of KEDA's page on Kafka
    Sample(
        "docs, without login",
        (scaled(trigger(lagThreshold="50", offsetResetPolicy="latest"), pollingInterval=30),),
        ("lagPerReplica: 50", "pollIntervalSeconds: 15"),
    ),
    Sample(
        "docs, login and TLS in the authentication",
        (secret(sasl="plaintext", tls="enable"), authentication(parameters=LOGIN), scaled(secured(lagThreshold="50"))),
        (
            "mechanism: PLAIN",
            "caSecretRef: {key: ca, name: kafka}",
            "certificateSecretRef: {certificateKey: cert, name: kafka, privateKeyKey: key}",
            "credentialsSecretRef: {name: kafka, passwordKey: password, usernameKey: username}",
        ),
    ),
    Sample(
        "docs, login and TLS in the trigger",
        (authentication(parameters=LOGIN[1:3] + LOGIN[4:]), scaled(secured(tls="enable", sasl="scram_sha512"))),
        ("mechanism: SCRAM-SHA-512", "caSecretRef"),
    ),
    Sample(
        "docs, OAuth",
        (
            secret(sasl="oauthbearer", oauthTokenEndpointUri="https://id.example/token", scopes="a, b", tls="enable"),
            authentication(parameters=("sasl", "username", "password", "oauthTokenEndpointUri", "scopes", "tls", "ca")),
            scaled(secured()),
        ),
        ("mechanism: OAUTHBEARER", "tokenEndpoint: 'https://id.example/token'", "scope: a b"),
    ),
    Sample(
        "docs, MSK with keys",
        (
            authentication(parameters=("awsAccessKeyID", "awsSecretAccessKey")),
            scaled(secured(sasl="oauthbearer", saslTokenProvider="aws_msk_iam", awsRegion="eu-west-1", tls="enable")),
        ),
        ("mechanism: AWS_MSK_IAM", "awsRegion: eu-west-1", "usernameKey: awsAccessKeyID"),
    ),
    Sample(
        "docs, all switches",
        (
            scaled(
                trigger(
                    lagThreshold="5",
                    activationLagThreshold="3",
                    allowIdleConsumers=False,
                    version="1.0.0",
                    scaleToZeroOnInvalidOffset=False,
                    excludePersistentLag=False,
                    tls="disable",
                    sasl="none",
                    limitToPartitionsWithLag=False,
                    ensureEvenDistributionOfPartitions=False,
                )
            ),
        ),
        ("activationLagMessages: 3",),
        ("metadata.version: ",),
    ),
    # Its end-to-end cases
    Sample(
        "test, earliest",
        (scaled(trigger(lagThreshold="1", activationLagThreshold="1", offsetResetPolicy="earliest"), **KEDA_TEST),),
        ("offsetReset: Earliest", "pollIntervalSeconds: 5", "idleSeconds: 0", "cooldownSeconds: 0"),
        ("not its end offset",),
    ),
    Sample(
        "test, several topics",
        (scaled(trigger(topic=None, lagThreshold="1"), **KEDA_TEST),),
        ("consumerGroup: group",),
        ("metadata.topic: none",),
    ),
    Sample(
        "test, zero on invalid offset",
        (scaled(trigger(scaleToZeroOnInvalidOffset="true"), **KEDA_TEST),),
        (),
        ("scaleToZeroOnInvalidOffset: a group that never committed gets one replica",),
    ),
    Sample(
        "test, persistent lag", (scaled(trigger(excludePersistentLag="true"), **KEDA_TEST),), (), ("slow consumers",)
    ),
    Sample(
        "test, partitions with lag",
        (scaled(trigger(limitToPartitionsWithLag="true"), **KEDA_TEST),),
        ("replicaSteps: Any",),
    ),
    Sample(
        "test, even distribution",
        (scaled(trigger(ensureEvenDistributionOfPartitions="true"), **KEDA_TEST),),
        ("replicaSteps: Useful",),
    ),
    # Variants
    Sample("apache-kafka with topics", (scaled(trigger("apache-kafka", topic="a, b")),), ("topics: [a, b]",)),
    Sample(
        "apache-kafka without a topic",
        (scaled(trigger("apache-kafka", topic=None)),),
        (),
        ("every topic of the cluster",),
    ),
    Sample(
        "two topics of one group",
        (scaled(trigger(topic="a"), trigger(topic="b")),),
        ("topics: [a, b]",),
        ("here their lag is summed",),
    ),
    Sample(
        "a StatefulSet",
        (scaled(trigger(), scaleTargetRef={"kind": "StatefulSet", "name": "db"}),),
        ("kind: StatefulSet",),
    ),
    Sample(
        "bounds",
        (scaled(trigger(), minReplicaCount=2, maxReplicaCount=12, cooldownPeriod=60),),
        ("minReplicas: 2", "maxReplicas: 12"),
        ("spec.cooldownPeriod: it concerns the step to zero only",),
    ),
    Sample(
        "idle zero",
        (scaled(trigger(), minReplicaCount=3, idleReplicaCount=0),),
        ("minReplicas: 0",),
        ("idleReplicaCount",),
    ),
    Sample(
        "fallback",
        (scaled(trigger(), fallback={"failureThreshold": 3, "replicas": 6}),),
        ("unavailable: {afterSeconds: 90, atLeastReplicas: 6}",),
        ("it never lowers",),
    ),
    Sample(
        "fallback to the present",
        (scaled(trigger(), fallback={"failureThreshold": 3, "replicas": 6, "behavior": "currentReplicas"}),),
        (),
        ("replicas stay as they are",),
    ),
    Sample(
        "fallback that lowers",
        (scaled(trigger(), fallback={"failureThreshold": 3, "replicas": 6, "behavior": "currentReplicasIfLower"}),),
        (),
        ("would lower replicas",),
        part_refused=True,
    ),
    Sample(
        "steps",
        (
            scaled(
                trigger(),
                advanced=behavior(
                    scaleUp={"policies": [{"type": "Pods", "value": 4, "periodSeconds": 60}]},
                    scaleDown={
                        "stabilizationWindowSeconds": 600,
                        "policies": [{"type": "Percent", "value": 10, "periodSeconds": 60}],
                    },
                ),
            ),
        ),
        ("maxStep: 4", "cooldownSeconds: 600", "maxStepPercent: 10"),
        ("periodSeconds has no part",),
    ),
    Sample(
        "downs disabled",
        (scaled(trigger(), advanced=behavior(scaleDown={"selectPolicy": "Disabled"})),),
        (),
        ("paused-scale-in",),
    ),
    Sample(
        "restored on deletion",
        (scaled(trigger(), advanced={"restoreToOriginalReplicaCount": True}),),
        (),
        ("leaves the replicas as they are",),
    ),
    Sample(
        "cached", (scaled({**trigger(), "useCachedMetrics": True}, pollingInterval=60),), ("pollIntervalSeconds: 60",)
    ),
    Sample("metricType Value", (scaled({**trigger(), "metricType": "Value"}),), (), ("ready pods",)),
    Sample("idle consumers", (scaled(trigger(allowIdleConsumers="true")),), (), ("they would idle",)),
    Sample(
        "variables of the target",
        (
            deployment({"name": "SERVERS", "value": "k1:9092,k2:9092"}, {"name": "GROUP", "value": "theirs"}),
            scaled(
                trigger(
                    bootstrapServers=None,
                    bootstrapServersFromEnv="SERVERS",
                    consumerGroup=None,
                    consumerGroupFromEnv="GROUP",
                )
            ),
        ),
        ("bootstrapServers: 'k1:9092,k2:9092'", "consumerGroup: theirs"),
        ("present value",),
    ),
    Sample(
        "a password in a variable from a Secret",
        (
            deployment(*({"name": n, "valueFrom": {"secretKeyRef": {"name": "s", "key": n}}} for n in ("U", "P"))),
            authentication(
                env=[
                    {"parameter": "username", "name": "U"},
                    {"parameter": "password", "name": "P", "containerName": "main"},
                ]
            ),
            scaled(secured(sasl="plaintext")),
        ),
        ("credentialsSecretRef: {name: s, passwordKey: P, usernameKey: U}",),
        ("--allow-passwords-without-tls",),
    ),
    Sample(
        "a ClusterTriggerAuthentication",
        (
            authentication("ClusterTriggerAuthentication", parameters=("username", "password")),
            scaled(secured("ClusterTriggerAuthentication", sasl="scram_sha256", tls="enable")),
        ),
        ("mechanism: SCRAM-SHA-256",),
        ("copy kafka to shop",),
    ),
    Sample(
        "certificates that are not verified",
        (scaled(trigger(tls="enable", unsafeSsl="true")),),
        ("tls: {}",),
        ("always verified",),
    ),
    Sample(
        "CPU beside it",
        (scaled(trigger(), {"type": "cpu", "metadata": {"value": "60"}}),),
        ("lagPerReplica: 10",),
        ("spec.triggers[1]: a trigger of type cpu has no counterpart",),
        part_refused=True,
    ),
    Sample("paused at a count", (scaled(trigger(), annotations={"autoscaling.keda.sh/paused-replicas": "3"}),), ()),
    Sample(
        "paused as KEDA reads it",
        (scaled(trigger(), annotations={"autoscaling.keda.sh/paused": "yes"}),),
        (),
        ("is true to KEDA",),
    ),
    Sample(
        "limited without a topic", (scaled(trigger(topic=None, partitionLimitation="1,2")),), (), ("KEDA ignores it",)
    ),
)

REFUSED = (
    Sample("no brokers", (scaled(trigger(bootstrapServers=None)),), said=("bootstrapServers: is needed",)),
    Sample(
        "Prometheus only",
        (scaled({"type": "prometheus", "metadata": {}}),),
        said=("type prometheus", "none is of type kafka"),
    ),
    Sample("no trigger", (scaled(),), said=("spec.triggers: there is none",)),
    Sample(
        "a formula",
        (scaled(trigger(), advanced={"scalingModifiers": {"formula": "a + b"}}),),
        said=("scalingModifiers",),
    ),
    Sample("idle one", (scaled(trigger(), minReplicaCount=3, idleReplicaCount=1),), said=("idleReplicaCount",)),
    Sample(
        "a Rollout",
        (scaled(trigger(), scaleTargetRef={"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "name": "r"}),),
        said=("a Rollout of argoproj.io/v1alpha1 cannot be scaled",),
    ),
    Sample("two groups", (scaled(trigger(), trigger(consumerGroup="other")),), said=("another consumerGroup",)),
    Sample(
        "two thresholds", (scaled(trigger(), trigger(topic="b", lagThreshold="7")),), said=("another lagThreshold",)
    ),
    Sample("some partitions only", (scaled(trigger(partitionLimitation="1-3")),), said=("partitionLimitation",)),
    Sample(
        "Kerberos",
        (authentication(parameters=("username", "password", "realm")), scaled(secured(sasl="gssapi"))),
        said=("Kerberos",),
    ),
    Sample(
        "a vault",
        (authentication(hashiCorpVault={"address": "https://vault"}), scaled(secured(sasl="plaintext"))),
        said=("HashiCorp Vault", "External Secrets"),
    ),
    Sample(
        "the identity of a pod",
        (authentication(podIdentity={"provider": "aws"}), scaled(secured(sasl="aws_msk_iam", tls="enable"))),
        said=("podIdentity",),
    ),
    Sample(
        "an authentication that is not there",
        (scaled(secured(sasl="plaintext")),),
        said=("TriggerAuthentication auth is not among",),
    ),
    Sample(
        "a mechanism in a Secret that is not there",
        (authentication(parameters=LOGIN), scaled(secured())),
        said=("--read-secrets",),
    ),
    Sample(
        "two Secrets",
        (
            authentication(
                secretTargetRef=[
                    {"parameter": "username", "name": "a", "key": "u"},
                    {"parameter": "password", "name": "b", "key": "p"},
                ]
            ),
            scaled(secured(sasl="plaintext")),
        ),
        said=("stand in two Secrets",),
    ),
    Sample(
        "a key with a password",
        (authentication(parameters=("ca", "cert", "key", "keyPassword")), scaled(secured(tls="enable"))),
        said=("keyPassword",),
    ),
    Sample(
        "a variable without the target",
        (scaled(trigger(consumerGroup=None, consumerGroupFromEnv="GROUP")),),
        said=("stands in Deployment consumers: add that to the input",),
    ),
    Sample(
        "min above max",
        (scaled(trigger(), minReplicaCount=9, maxReplicaCount=3),),
        said=("greater than maxReplicaCount",),
    ),
    Sample("a threshold of zero", (scaled(trigger(lagThreshold="0")),), said=("lagThreshold: must be at least 1",)),
    Sample(
        "brokers with a protocol", (scaled(trigger(bootstrapServers="SASL_SSL://kafka:9092")),), said=("the result: ",)
    ),
    Sample("a ScaledJob", ({**scaled(trigger()), "kind": "ScaledJob"},), said=("starts a Job",)),
)


def hpa(*metrics: Json, **spec: Any) -> Json:
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "scaler", "namespace": "shop"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "consumers"},
            "maxReplicas": 10,
            "metrics": list(metrics) or [external()],
            **spec,
        },
    }


def external(name: str = "kafka_consumergroup_lag", labels: Json | None = None, **target: Any) -> Json:
    labels = {"consumergroup": "group", "topic": "orders"} if labels is None else labels
    metric: Json = {"name": name, **({"selector": {"matchLabels": labels}} if labels else {})}
    wanted = target or {"type": "AverageValue", "averageValue": "1k"}
    return {"type": "External", "external": {"metric": metric, "target": wanted}}


CPU = {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 60}}}

HPAS = (
    Sample(
        "HPA",
        (hpa(),),
        ("lagPerReplica: 1000", "consumerGroup: group", "topics: [orders]", "minReplicas: 1"),
        ("read from the brokers",),
    ),
    Sample("HPA with a Value", (hpa(external(type="Value", value="500")),), ("lagPerReplica: 500",), ("ready pods",)),
    Sample("HPA in thousandths", (hpa(external(type="AverageValue", averageValue="1500m")),), ("lagPerReplica: 2",)),
    Sample(
        "HPA with CPU beside it",
        (hpa(external(), CPU),),
        (),
        ("a metric of type Resource has no counterpart",),
        part_refused=True,
    ),
    Sample(
        "HPA with behavior",
        (hpa(behavior={"scaleDown": {"stabilizationWindowSeconds": 60}}),),
        ("cooldownSeconds: 60",),
    ),
)
HPA_REFUSED = (
    Sample("HPA on CPU", (hpa(CPU),), said=("none is an external metric",)),
    Sample("HPA without a group", (hpa(external(labels={})),), said=("--group",)),
    Sample("HPA without brokers", (hpa(),), said=("--bootstrap-servers",)),
    Sample("HPA on a queue's depth", (hpa(external("sqs_depth")),), said=("does not look like the lag",)),
)
