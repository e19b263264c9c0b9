"""A KEDA ScaledObject as it stands in a file, for playing it against one's own load."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from consumer_autoscaler.simulation.keda import Behavior, KedaSettings, ScalingPolicy

KIND = "ScaledObject"

_SPEC = {
    "pollingInterval": "polling_interval",
    "cooldownPeriod": "cooldown_period",
    "initialCooldownPeriod": "initial_cooldown_period",
    "minReplicaCount": "min_replica_count",
    "maxReplicaCount": "max_replica_count",
    "idleReplicaCount": "idle_replica_count",
}
_NUMBERS = {"lagThreshold": "lag_threshold", "activationLagThreshold": "activation_lag_threshold"}
_SWITCHES = {
    "scaleToZeroOnInvalidOffset": "scale_to_zero_on_invalid_offset",
    "allowIdleConsumers": "allow_idle_consumers",
    "limitToPartitionsWithLag": "limit_to_partitions_with_lag",
    "ensureEvenDistributionOfPartitions": "ensure_even_distribution_of_partitions",
    "excludePersistentLag": "exclude_persistent_lag",
}
_KAFKA = ("kafka", "apache-kafka")


class BadScaledObject(ValueError):
    """It cannot be played; the message says which field and why."""


def keda_settings(body: Mapping[str, Any]) -> KedaSettings:
    """The settings of a ScaledObject with exactly one Kafka trigger. Raises BadScaledObject."""
    spec = _mapping(body.get("spec"), "spec")
    advanced = _mapping(spec.get("advanced"), "spec.advanced")
    if advanced.get("scalingModifiers"):
        raise BadScaledObject("spec.advanced.scalingModifiers is not modelled: remove it")
    triggers = spec.get("triggers")
    if not isinstance(triggers, list) or len(triggers) != 1 or _mapping(triggers[0], "").get("type") not in _KAFKA:
        raise BadScaledObject("spec.triggers must be one trigger of type kafka: remove the others")
    values: dict[str, Any] = {}
    for key, name in _SPEC.items():
        if spec.get(key) is not None:
            values[name] = _whole(spec[key], f"spec.{key}")
    trigger = triggers[0]
    values |= _trigger(_mapping(trigger.get("metadata"), "spec.triggers[0].metadata"))
    if trigger.get("useCachedMetrics") is not None:
        values["use_cached_metrics"] = _switch(trigger["useCachedMetrics"], "spec.triggers[0].useCachedMetrics")
    if trigger.get("metricType") is not None:
        if trigger["metricType"] not in ("AverageValue", "Value"):
            raise BadScaledObject("spec.triggers[0].metricType must be AverageValue or Value")
        values["metric_type"] = trigger["metricType"]
    hpa = _mapping(advanced.get("horizontalPodAutoscalerConfig"), "spec.advanced.horizontalPodAutoscalerConfig")
    behavior = hpa.get("behavior")
    if behavior is not None:
        values |= _behavior(_mapping(behavior, "behavior"))
    return KedaSettings(**values)


def _trigger(metadata: Mapping[str, Any]) -> dict[str, Any]:
    where = "spec.triggers[0].metadata"
    values: dict[str, Any] = {}
    for key, name in _NUMBERS.items():
        if key in metadata:
            values[name] = _whole(metadata[key], f"{where}.{key}")
    for key, name in _SWITCHES.items():
        if key in metadata:
            values[name] = _switch(metadata[key], f"{where}.{key}")
    if values.get("lag_threshold") == 0:
        raise BadScaledObject(f"{where}.lagThreshold must be greater than 0")
    if "offsetResetPolicy" in metadata:
        values["offset_reset_policy"] = str(metadata["offsetResetPolicy"])
    if metadata.get("partitionLimitation") and metadata.get("topic"):  # KEDA ignores it without a topic
        values["partition_limitation"] = _partitions(str(metadata["partitionLimitation"]), where)
    return values


def _partitions(text: str, where: str) -> tuple[int, ...]:
    """`1,2,10-20` as KEDA reads it."""
    chosen: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        low = _whole(first, f"{where}.partitionLimitation")
        chosen += range(low, _whole(last, f"{where}.partitionLimitation") + 1) if dash else [low]
    return tuple(chosen)


def _behavior(given: Mapping[str, Any]) -> dict[str, Any]:
    """With the defaults that the API server fills in as soon as any of it is given."""
    values: dict[str, Any] = {}
    found: dict[str, Any] = {}
    for key, side in (("scaleUp", "up"), ("scaleDown", "down")):
        rules = _mapping(given.get(key), f"behavior.{key}")
        if rules.get("stabilizationWindowSeconds") is not None:
            found[f"{side}_window_seconds"] = _whole(rules["stabilizationWindowSeconds"], f"behavior.{key}")
        if rules.get("selectPolicy") is not None:
            found[f"{side}_select"] = str(rules["selectPolicy"])
        if rules.get("policies"):
            found[side] = tuple(_policy(each, f"behavior.{key}.policies") for each in rules["policies"])
        if rules.get("tolerance") is not None:
            values[f"tolerance_{side}"] = _quantity(rules["tolerance"], f"behavior.{key}.tolerance")
    return {**values, "behavior": Behavior(**found)}


def _policy(each: Any, where: str) -> ScalingPolicy:
    fields = _mapping(each, where)
    if fields.get("type") not in ("Pods", "Percent"):
        raise BadScaledObject(f"{where}: type must be Pods or Percent")
    return ScalingPolicy(fields["type"], _whole(fields.get("value"), where), _whole(fields.get("periodSeconds"), where))


def _mapping(value: Any, where: str) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise BadScaledObject(f"{where}: must be an object")
    return value


def _whole(value: Any, where: str) -> int:
    try:
        number = int(value)
    except (TypeError, ValueError):
        number = -1
    if number < 0 or isinstance(value, bool):
        raise BadScaledObject(f"{where}: must be a whole number from 0 on, not {value!r}")
    return number


def _quantity(value: Any, where: str) -> float:
    """A Kubernetes quantity such as 0.05 or 50m."""
    text = str(value)
    try:
        return float(text[:-1]) / 1000 if text.endswith("m") else float(text)
    except ValueError:
        raise BadScaledObject(f"{where}: must be a quantity such as 0.05 or 50m, not {value!r}") from None


def _switch(value: Any, where: str) -> bool:
    text = str(value).lower()
    if text not in ("true", "false"):
        raise BadScaledObject(f"{where}: must be true or false, not {value!r}")
    return text == "true"
