"""One Kafka trigger of a ScaledObject: which group is read, and by which number it scales."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from consumer_autoscaler.convert.authentication import SecretKey, Target, access_of, variable
from consumer_autoscaler.convert.documents import Documents
from consumer_autoscaler.convert.notes import Json, Notes, Refused, mapping, switch, whole

KAFKA_TYPES = ("kafka", "apache-kafka")

_KNOWN = frozenset(
    {
        *("bootstrapServers", "consumerGroup", "topic", "lagThreshold", "activationLagThreshold", "offsetResetPolicy"),
        *("scaleToZeroOnInvalidOffset", "allowIdleConsumers", "limitToPartitionsWithLag", "excludePersistentLag"),
        *("ensureEvenDistributionOfPartitions", "partitionLimitation", "version", "fullMetadata", "tls", "unsafeSsl"),
        *("sasl", "saslTokenProvider", "awsRegion", "bootstrapServersFromEnv", "consumerGroupFromEnv", "topicFromEnv"),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """What was read of it. `even` and `idle_allowed` are KEDA's switches of the same sense."""

    where: str
    kafka: Json
    threshold: int
    activation: int
    even: bool
    cached: bool


def trigger_of(body: Mapping[str, Any], where: str, target: Target, documents: Documents, notes: Notes) -> Trigger:
    """Raises Refused."""
    metadata = mapping(body.get("metadata"), f"{where}.metadata")
    at = f"{where}.metadata"

    def text(name: str) -> str:
        if metadata.get(name):
            return str(metadata[name]).strip()
        if not metadata.get(f"{name}FromEnv"):
            return ""
        value = variable(str(metadata[f"{name}FromEnv"]), f"{at}.{name}FromEnv", target, documents)
        if isinstance(value, SecretKey):
            raise Refused(f"{at}.{name}FromEnv", f"comes from the Secret {value.name}: write the value instead")
        notes.changed(f"{at}.{name}FromEnv", f"the variable's present value, {value!r}, is written into the resource")
        return value.strip()

    def on(name: str) -> bool:
        return switch(metadata[name], f"{at}.{name}") if name in metadata else False

    servers, group, topic = text("bootstrapServers"), text("consumerGroup"), text("topic")
    for name, value in (("bootstrapServers", servers), ("consumerGroup", group)):
        if not value:
            raise Refused(f"{at}.{name}", "is needed")
    policy = str(metadata.get("offsetResetPolicy") or "latest")
    if policy not in ("latest", "earliest"):
        raise Refused(f"{at}.offsetResetPolicy", f"{policy[:40]!r} is neither latest nor earliest")
    if str(body.get("metricType") or "AverageValue") != "AverageValue":
        notes.changed(
            f"{where}.metricType",
            "Value divides by the ready pods and multiplies again; the threshold is taken as lag per replica",
        )
    kafka: Json = {
        "bootstrapServers": ",".join(part.strip() for part in servers.split(",") if part.strip()),
        "consumerGroup": group,
    }
    topics = [part.strip() for part in topic.split(",") if part.strip()] if body["type"] == "apache-kafka" else [topic]
    if topic:
        kafka["topics"] = list(dict.fromkeys(topics))
    else:
        notes.changed(
            f"{at}.topic",
            "none: KEDA counts every topic of the cluster while the group has members"
            if body["type"] == "apache-kafka"
            else "none: KEDA counts every topic with a commit of the group. Here those count that its members are"
            " subscribed to",
        )
    kafka["offsetReset"] = policy.title()
    _switches(on, metadata, at, policy, bool(topic), notes)
    kafka |= access_of(body, where, target, documents, notes)
    for name in sorted(set(metadata) - _KNOWN):
        notes.changed(f"{at}.{name}", "is not known, and not taken over")
    return Trigger(
        where=where,
        kafka=kafka,
        threshold=whole(metadata.get("lagThreshold", 10), f"{at}.lagThreshold", least=1),
        activation=whole(metadata.get("activationLagThreshold", 0), f"{at}.activationLagThreshold"),
        even=on("ensureEvenDistributionOfPartitions"),
        cached=switch(body["useCachedMetrics"], f"{where}.useCachedMetrics") if "useCachedMetrics" in body else False,
    )


def _switches(on: Any, metadata: Mapping[str, Any], at: str, policy: str, has_topic: bool, notes: Notes) -> None:
    if metadata.get("partitionLimitation"):
        if has_topic:
            raise Refused(
                f"{at}.partitionLimitation",
                "the lag of some partitions only cannot be read: the group's consumers share all of them",
            )
        notes.left_out(f"{at}.partitionLimitation", "KEDA ignores it without a topic")
    if on("allowIdleConsumers"):
        notes.changed(f"{at}.allowIdleConsumers", "more replicas than partitions are never asked for: they would idle")
    if not on("limitToPartitionsWithLag"):
        notes.changed(
            f"{at}.limitToPartitionsWithLag", "ups go to the number of partitions that have lag at most, always"
        )
    if on("excludePersistentLag"):
        notes.changed(
            f"{at}.excludePersistentLag",
            "KEDA leaves a partition out when two calls, up to 15 s apart, see the same commit, so that slow consumers"
            " may read as without lag. Here a partition that is stuck for five minutes is told by `Backpressured`",
        )
    if on("scaleToZeroOnInvalidOffset"):
        notes.changed(
            f"{at}.scaleToZeroOnInvalidOffset", "a group that never committed gets one replica, so that it can commit"
        )
    elif policy == "earliest":
        notes.changed(
            f"{at}.offsetResetPolicy", "a partition without a commit counts what is still there, not its end offset"
        )
    for name in ("version", "fullMetadata"):
        if name in metadata:
            notes.left_out(f"{at}.{name}", "the brokers are asked for what they speak, and for the group's topics only")
