"""`consumer-autoscaler simulate`: one load, several policies, a table or JSON."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from consumer_autoscaler.decision.values import Policy
from consumer_autoscaler.resource.spec import KIND, InvalidSpec, Resource, parse
from consumer_autoscaler.simulation.arguments import POLICIES
from consumer_autoscaler.simulation.fault_words import parse_fault
from consumer_autoscaler.simulation.flink import QUICK, Flink, FlinkSettings
from consumer_autoscaler.simulation.keda import HPA_SYNC_SECONDS, Keda, KedaSettings
from consumer_autoscaler.simulation.planner import plan
from consumer_autoscaler.simulation.policy import Ours, Plan, Scaler
from consumer_autoscaler.simulation.prometheus import parse_range
from consumer_autoscaler.simulation.report import Report, Row, as_json, as_table
from consumer_autoscaler.simulation.run import Outcome, Window, simulate
from consumer_autoscaler.simulation.scaled_object import KIND as SCALED_OBJECT
from consumer_autoscaler.simulation.scaled_object import BadScaledObject, keda_settings
from consumer_autoscaler.simulation.trace import BadTrace, Noise, Trace, read_text, read_trace
from consumer_autoscaler.simulation.world import Assignor, Duration, Fault, Order, Rebalance, World, skewed_weights

ORACLE = "oracle"
KEDA_LAG_THRESHOLD = 1000.0


class WrongUse(ValueError):
    """An option cannot be used; the message says which and what to do."""


@dataclass(frozen=True, slots=True)
class Question:
    """All that the options say, checked."""

    trace: Trace
    world: World
    policy: Policy
    promise_seconds: float
    window: Window
    noise: Noise
    seed: int
    replicas: int
    policies: tuple[str, ...]


def main(options: argparse.Namespace, fetched: str | None = None) -> int:
    """Prints the report. `fetched` is what the trace's URL gave. Raises WrongUse, BadTrace and InvalidSpec."""
    question = _question(options, fetched)
    bar = _bar()
    report = answer(question, bound=options.bound, progress=bar)
    if bar is not None:
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)
    print(json.dumps(as_json(report), indent=2) if options.output == "json" else as_table(report))
    if options.plot is not None:
        from consumer_autoscaler.simulation.plot import draw  # matplotlib only where a picture is asked for

        draw(report, question.trace, question.window, options.plot)
    return 0


def answer(question: Question, *, bound: bool = False, progress: Callable[[str, float], None] | None = None) -> Report:
    """All policies against the load, and always the oracle, since the replica-hours are told against its."""
    q = question

    def told(name: str) -> Callable[[float], None] | None:
        return None if progress is None else lambda share: progress(name, share)

    solution = plan(
        q.trace, q.world, window=q.window, noise=q.noise, seed=q.seed, promise_seconds=q.promise_seconds,
        low=max(1, q.policy.min_replicas), high=q.policy.max_replicas, bound=bound, progress=told(ORACLE),
    )  # fmt: skip

    def outcome(scaler: Scaler, name: str, replicas: int) -> Outcome:
        return simulate(
            q.trace, q.world, scaler, window=q.window, promise_seconds=q.promise_seconds, noise=q.noise, seed=q.seed,
            replicas=replicas, progress=told(name),
        )  # fmt: skip

    best = outcome(Plan(solution.steps[1:]), ORACLE, solution.steps[0][1])
    rows = []
    for name in q.policies:
        if name == ORACLE:
            rows.append(Row(name, best))
            continue
        scaler, replicas = scaler_for(name, q)
        rows.append(Row(name, outcome(scaler, name, replicas)))
    return Report(
        trace=q.trace.name, seed=q.seed, promise_seconds=q.promise_seconds, oracle=best, rows=tuple(rows),
        oracle_cost=solution.cost, oracle_bound=solution.lower_bound,
    )  # fmt: skip


def scaler_for(name: str, q: Question) -> tuple[Scaler, int]:
    """The scaler of this name, and with how many replicas it begins. Raises WrongUse."""
    kind, _, rest = name.partition(":")
    begin = q.window.first - q.window.warm_up
    phases = np.random.default_rng([q.seed, 11]).random(3)  # of a poll; the same for all policies
    if kind == "ours" and not rest:
        return Ours(q.policy, first_look=begin + phases[0] * q.policy.poll_interval_seconds), q.replicas
    if kind == "keda":
        settings = _scaled_object(Path(rest)) if rest.endswith((".yaml", ".yml")) else _keda_settings(rest, q.policy)
        keda = Keda(
            settings,
            poll_phase=begin + phases[0] * settings.polling_interval,
            sync_phase=begin + phases[1] * HPA_SYNC_SECONDS,
        )
        return keda, q.replicas
    if kind == "flink" and rest in ("", "quick"):
        flink = replace(
            QUICK if rest else FlinkSettings(),
            interval=q.policy.poll_interval_seconds,
            min_parallelism=max(1, q.policy.min_replicas),
            max_parallelism=q.policy.max_replicas,
        )
        return Flink(flink, first_look=begin + phases[0] * flink.interval), q.replicas
    if kind == "static" and rest.isdigit() and int(rest) > 0:
        return Plan([]), int(rest)
    raise WrongUse(f"--policy {name}: must be one of {POLICIES}")


def _scaled_object(path: Path) -> KedaSettings:
    try:
        return keda_settings(_document(path, SCALED_OBJECT))
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


def _trace(where: str, fetched: str | None) -> Trace:
    if fetched is not None:
        return parse_range(fetched, "prometheus", where)
    path = Path(where)
    return parse_range(read_text(path), path.stem, where) if path.suffix == ".json" else read_trace(path)


def _question(options: argparse.Namespace, fetched: str | None) -> Question:
    trace = _trace(options.trace, fetched)
    if options.amplitude is not None:
        trace = trace.scaled(_positive("--amplitude", options.amplitude))
    resource = _resource(options)
    policy = _policy(options, resource)
    promise = _positive("--slo", float(options.slo or policy.max_delay_seconds or 60))
    capacity = _positive("--capacity", options.capacity or policy.expected_records_per_second or 100.0)
    first = 0.0 if options.first is None else options.first
    last = trace.end if options.last is None else options.last
    if not 0 <= first < last <= trace.end:
        raise WrongUse(f"--from {first:g} --to {last:g}: must be within the trace, 0 to {trace.end:g}, in this order")
    if options.partitions < 1 or options.replicas < 0 or options.warm_up < 0:
        raise WrongUse("--partitions must be at least 1, --replicas and --warm-up at least 0")
    promise_tick = min(1.0, promise / 60, policy.poll_interval_seconds / 5)
    world = World(
        topics=(options.partitions,),
        weights=skewed_weights(options.partitions, options.skew) if options.skew else None,
        records_per_second=capacity,
        processing_cv=options.processing_cv,
        consumers_per_pod=policy.consumers_per_pod,
        start=_duration("--start", options.start),
        pause=_duration("--pause", options.pause),
        rebalance=Rebalance(options.rebalance),
        assignor=Assignor(options.assignor),
        order=Order(options.order),
        pod_metrics=resource is not None and bool(resource.processing),
        commit_seconds=_positive("--commit", options.commit),
        faults=tuple(_fault(text, options.partitions) for text in options.fault),
        tick_seconds=1.0 if promise_tick >= 1 else 0.25,
    )
    return Question(
        trace=trace,
        world=world,
        policy=policy,
        promise_seconds=promise,
        window=Window(first=first, last=last, warm_up=options.warm_up),
        noise=_noise(options.noise),
        seed=options.seed,
        replicas=options.replicas,
        policies=tuple(dict.fromkeys(options.policy)) or ("ours",),
    )


def _resource(options: argparse.Namespace) -> Resource | None:
    if options.resource is None:
        return None
    body = _document(options.resource, KIND)
    given = body.get("metadata")
    metadata: dict[str, Any] = given if isinstance(given, dict) else {}
    return parse({**body, "metadata": {"namespace": "default", "name": "simulated", "uid": "simulated", **metadata}})


def _policy(options: argparse.Namespace, resource: Resource | None) -> Policy:
    if resource is None:
        return Policy(
            min_replicas=1,
            max_replicas=options.partitions,
            max_delay_seconds=math.ceil(options.slo or 60),
            expected_records_per_second=options.capacity or 100.0,
        )
    if options.slo is not None and resource.policy.max_delay_seconds is not None:
        return replace(resource.policy, max_delay_seconds=math.ceil(options.slo))
    return resource.policy


def _document(path: Path, kind: str) -> Mapping[str, Any]:
    """The first document of this kind."""
    try:
        documents = list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise WrongUse(f"{path}: there is no such file") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        where = getattr(error, "problem_mark", None)
        line = f":{where.line + 1}" if where is not None else ""
        raise WrongUse(f"{path}{line}: is not YAML ({type(error).__name__}): correct it") from error
    found = next((body for body in documents if isinstance(body, dict) and body.get("kind") == kind), None)
    if found is None:
        raise WrongUse(f"{path}: has no document of kind {kind}")
    return found


def _fault(text: str, partitions: int) -> Fault:
    try:
        return parse_fault(text, partitions)
    except ValueError as error:
        raise WrongUse(f"--fault {text}: {error}") from None


def _noise(text: str) -> Noise:
    if text == "poisson":
        return Noise()
    if text == "none":
        return Noise(poisson=False)
    try:
        cv = float(text)
    except ValueError:
        cv = -1.0
    if not 0 <= cv <= 5:
        raise WrongUse(f"--noise {text}: must be poisson, none, or a number from 0 to 5")
    return Noise(burst_cv=cv)


def _duration(option: str, text: str) -> Duration:
    mean, _, cv = text.replace("+-", "±").partition("±")
    try:
        duration = Duration(float(mean), float(cv or 0))
    except ValueError:
        duration = Duration(-1.0)
    if duration.mean_seconds < 0 or duration.cv < 0:
        raise WrongUse(f"{option} {text}: must be seconds, or seconds±variation as in 30±0.4")
    return duration


def _positive(option: str, value: float) -> float:
    if not (value > 0 and math.isfinite(value)):
        raise WrongUse(f"{option} {value:g}: must be greater than 0")
    return value


def _bar() -> Callable[[str, float], None] | None:
    """A line on standard error that shows how far it is; None where nobody would see it."""
    if not sys.stderr.isatty():
        return None

    def show(name: str, share: float) -> None:
        done = round(30 * share)
        print(f"\r\x1b[K{name:<16} [{'#' * done}{'.' * (30 - done)}] {share:4.0%}", end="", file=sys.stderr, flush=True)

    return show


__all__ = ["BadTrace", "InvalidSpec", "Question", "WrongUse", "answer", "main"]
