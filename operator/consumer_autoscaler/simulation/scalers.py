"""Who scales, by the names that people give: the operator's decision, KEDA's and Flink's rules, counts."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from consumer_autoscaler.decision.values import Policy
from consumer_autoscaler.simulation.arguments import POLICIES
from consumer_autoscaler.simulation.flink import QUICK, Flink, FlinkSettings
from consumer_autoscaler.simulation.history_report import TODAY
from consumer_autoscaler.simulation.keda import HPA_SYNC_SECONDS, Keda, KedaSettings
from consumer_autoscaler.simulation.option_values import WrongUse, document
from consumer_autoscaler.simulation.policy import Ours, Plan, Scaler
from consumer_autoscaler.simulation.scaled_object import KIND as SCALED_OBJECT
from consumer_autoscaler.simulation.scaled_object import BadScaledObject, keda_settings

KEDA_LAG_THRESHOLD = 1000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """With what all of them begin: the first second of the run, and in `today` the replicas that were really there."""

    policy: Policy
    first_second: float
    seed: int
    replicas: int
    today: tuple[tuple[float, int], ...] = ()


def scaler_for(name: str, start: Start) -> tuple[Scaler, int]:
    """The scaler of this name, and with how many replicas it begins. Raises WrongUse."""
    kind, _, rest = name.partition(":")
    begin, policy = start.first_second, start.policy
    phases = np.random.default_rng([start.seed, 11]).random(3)  # of a poll; the same for all policies
    if kind == "ours" and not rest:
        return Ours(policy, first_look=begin + phases[0] * policy.poll_interval_seconds), start.replicas
    if kind == "keda":
        settings = _scaled_object(Path(rest)) if rest.endswith((".yaml", ".yml")) else _keda_settings(rest, policy)
        keda = Keda(
            settings,
            poll_phase=begin + phases[0] * settings.polling_interval,
            sync_phase=begin + phases[1] * HPA_SYNC_SECONDS,
        )
        return keda, start.replicas
    if kind == "flink" and rest in ("", "quick"):
        flink = replace(
            QUICK if rest else FlinkSettings(),
            interval=policy.poll_interval_seconds,
            min_parallelism=max(1, policy.min_replicas),
            max_parallelism=policy.max_replicas,
        )
        return Flink(flink, first_look=begin + phases[0] * flink.interval), start.replicas
    if kind == TODAY and not rest:
        if not start.today:
            raise WrongUse("--policy today: how many replicas there were is not known; it comes with --prometheus")
        return Plan(start.today[1:]), start.today[0][1]
    if kind == "static" and rest.isdigit() and int(rest) > 0:
        return Plan([]), int(rest)
    raise WrongUse(f"--policy {name}: must be one of {POLICIES}")


def _scaled_object(path: Path) -> KedaSettings:
    try:
        return keda_settings(document(path, SCALED_OBJECT))
    except BadScaledObject as error:
        raise WrongUse(f"{path}: {error}") from None


def _keda_settings(text: str, policy: Policy) -> KedaSettings:
    """`1000`, or knobs by KEDA's names: `1000,ensureEvenDistributionOfPartitions=true,pollingInterval=15`."""
    values: dict[str, Any] = {
        "lag_threshold": policy.lag_per_replica or KEDA_LAG_THRESHOLD,
        "min_replica_count": policy.min_replicas,
        "max_replica_count": policy.max_replicas,
    }
    types = {field.name: str(field.type) for field in fields(KedaSettings)}
    names = {"".join(part.title() if i else part for i, part in enumerate(n.split("_"))): n for n in types}
    for part in filter(None, text.split(",")):
        key, equals, value = part.partition("=")
        if not equals:
            key, value = "lagThreshold", key
        name = names.get(key)
        if name is None or name in ("behavior", "partition_limitation"):
            known = ", ".join(n for n, f in names.items() if f not in ("behavior", "partition_limitation"))
            raise WrongUse(f"--policy keda: {key!r} is not one of {known}")
        try:
            values[name] = _typed(value, types[name])
        except ValueError:
            raise WrongUse(f"--policy keda: {key} cannot be {value!r}") from None
    if values["lag_threshold"] <= 0:
        raise WrongUse("--policy keda: lagThreshold must be greater than 0")
    return KedaSettings(**values)


def _typed(value: str, kind: str) -> bool | float | int | str:
    if kind == "bool":
        if value not in ("true", "false"):
            raise ValueError(value)
        return value == "true"
    if kind.startswith("int"):
        return int(value)
    return float(value) if kind == "float" else value
