"""`consumer-autoscaler simulate`: one load, several policies, a table or JSON."""

from __future__ import annotations

import argparse
import json
import math
import sys
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from consumer_autoscaler.decision.values import Policy
from consumer_autoscaler.resource.spec import InvalidSpec, Resource
from consumer_autoscaler.simulation import history_report
from consumer_autoscaler.simulation.history import Recorded
from consumer_autoscaler.simulation.history_command import Past, past_of
from consumer_autoscaler.simulation.option_values import (
    WrongUse,
    duration,
    fault,
    noise,
    positive,
    resource_of,
)
from consumer_autoscaler.simulation.planner import plan, useful_counts
from consumer_autoscaler.simulation.policy import Plan, Scaler
from consumer_autoscaler.simulation.prometheus import parse_range
from consumer_autoscaler.simulation.report import Report, Row, as_json, as_table
from consumer_autoscaler.simulation.run import Outcome, Window, simulate
from consumer_autoscaler.simulation.scalers import KEDA_LAG_THRESHOLD, Start, scaler_for
from consumer_autoscaler.simulation.trace import BadTrace, Noise, Trace, read_text, read_trace
from consumer_autoscaler.simulation.world import Assignor, Order, Rebalance, World, skewed_weights

ORACLE = "oracle"
PARTITIONS = 24
RECORDS_PER_SECOND = 100.0


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
    past: Past | None = None


def main(options: argparse.Namespace, fetched: str | None = None, recorded: Recorded | None = None) -> int:
    """Prints the report. `fetched` is what the trace's URL gave, `recorded` what --prometheus gave. Raises WrongUse,
    BadTrace and InvalidSpec.
    """
    question = _question(options, fetched, recorded)
    bar = _bar()
    report = answer(question, bound=options.bound, progress=bar)
    if bar is not None:
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)
    own = None if question.past is None else _story(question, question.past, report)
    if options.output == "json":
        more = {} if own is None else {"history": history_report.as_json(own)}
        print(json.dumps(as_json(report) | more, indent=2))
    else:
        print(as_table(report))
        if own is not None:
            print("\n" + textwrap.fill(history_report.paragraph(own), 100))
    if options.plot is not None:
        from consumer_autoscaler.simulation.plot import draw  # matplotlib only where a picture is asked for

        draw(report, question.trace, question.window, options.plot)
    return 0


def _story(q: Question, past: Past, report: Report) -> history_report.Story:
    _, sustained = useful_counts(q.world, 1, q.policy.max_replicas)
    return history_report.Story(
        group=past.group,
        history=past.history,
        partitions=sum(q.world.topics),
        capacity=past.capacity,
        not_fitted=past.not_fitted,
        records_per_second=past.records_per_second,
        most_per_second=sustained[-1],
        report=report,
    )


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

    start = Start(
        policy=q.policy, first_second=q.window.first - q.window.warm_up, seed=q.seed, replicas=q.replicas,
        today=() if q.past is None else q.past.steps,
    )  # fmt: skip
    best = outcome(Plan(solution.steps[1:]), ORACLE, solution.steps[0][1])
    rows = []
    for name in q.policies:
        if name == ORACLE:
            rows.append(Row(name, best))
            continue
        scaler, replicas = scaler_for(name, start)
        rows.append(Row(name, outcome(scaler, name, replicas)))
    return Report(
        trace=q.trace.name, seed=q.seed, promise_seconds=q.promise_seconds, oracle=best, rows=tuple(rows),
        oracle_cost=solution.cost, oracle_bound=solution.lower_bound,
    )  # fmt: skip


def _trace(where: str, fetched: str | None) -> Trace:
    if fetched is not None:
        return parse_range(fetched, "prometheus", where)
    path = Path(where)
    return parse_range(read_text(path), path.stem, where) if path.suffix == ".json" else read_trace(path)


def _question(options: argparse.Namespace, fetched: str | None, recorded: Recorded | None) -> Question:
    resource = resource_of(options)
    past = None if recorded is None else past_of(options, resource, recorded)
    if past is not None:
        trace = past.history.trace(past.group)
    elif options.trace is None:
        raise WrongUse("give a load: TRACE, or --prometheus URL with --group GROUP")
    else:
        trace = _trace(options.trace, fetched)
    if options.amplitude is not None:
        trace = trace.scaled(positive("--amplitude", options.amplitude))
    partitions = _given(options.partitions, past.partitions if past is not None else PARTITIONS)
    known = past.records_per_second if past is not None else options.capacity
    policy = _policy(options.slo, resource, partitions, known)
    promise = positive("--slo", float(options.slo or policy.max_delay_seconds or 60))
    capacity = positive("--capacity", known or policy.expected_records_per_second or RECORDS_PER_SECOND)
    replicas = _given(options.replicas, past.steps[0][1] if past is not None and past.steps else 1)
    first = 0.0 if options.first is None else options.first
    last = trace.end if options.last is None else options.last
    if not 0 <= first < last <= trace.end:
        raise WrongUse(f"--from {first:g} --to {last:g}: must be within the trace, 0 to {trace.end:g}, in this order")
    if partitions < 1 or replicas < 0 or options.warm_up < 0:
        raise WrongUse("--partitions must be at least 1, --replicas and --warm-up at least 0")
    promise_tick = min(1.0, promise / 60, policy.poll_interval_seconds / 5)
    world = World(
        topics=(partitions,),
        weights=skewed_weights(partitions, options.skew) if options.skew else None,
        records_per_second=capacity,
        processing_cv=options.processing_cv,
        consumers_per_pod=policy.consumers_per_pod,
        start=duration("--start", options.start),
        pause=duration("--pause", options.pause),
        rebalance=Rebalance(options.rebalance),
        assignor=Assignor(options.assignor),
        order=Order(options.order),
        pod_metrics=resource is not None and bool(resource.processing),
        commit_seconds=positive("--commit", options.commit),
        faults=tuple(fault(text, partitions) for text in options.fault),
        tick_seconds=1.0 if promise_tick >= 1 else 0.25,
    )
    return Question(
        trace=trace,
        world=world,
        policy=policy,
        promise_seconds=promise,
        window=Window(first=first, last=last, warm_up=options.warm_up),
        noise=noise(options.noise),
        seed=options.seed,
        replicas=replicas,
        policies=tuple(dict.fromkeys(options.policy)) or _usual(past),
        past=past,
    )


def _policy(slo: float | None, resource: Resource | None, partitions: int, capacity: float | None) -> Policy:
    if resource is None:
        return Policy(
            min_replicas=1,
            max_replicas=partitions,
            max_delay_seconds=math.ceil(slo or 60),
            expected_records_per_second=capacity or RECORDS_PER_SECOND,
        )
    if slo is not None and resource.policy.max_delay_seconds is not None:
        return replace(resource.policy, max_delay_seconds=math.ceil(slo))
    return resource.policy


def _usual(past: Past | None) -> tuple[str, ...]:
    if past is None:
        return ("ours",)
    today = (history_report.TODAY,) if past.steps else ()
    return (*today, "ours", f"keda:{KEDA_LAG_THRESHOLD:g}")


def _given(option: int | None, otherwise: int) -> int:
    return otherwise if option is None else option


def _bar() -> Callable[[str, float], None] | None:
    """A line on standard error that shows how far it is; None where nobody would see it."""
    if not sys.stderr.isatty():
        return None

    def show(name: str, share: float) -> None:
        done = round(30 * share)
        print(f"\r\x1b[K{name:<16} [{'#' * done}{'.' * (30 - done)}] {share:4.0%}", end="", file=sys.stderr, flush=True)

    return show


__all__ = ["BadTrace", "InvalidSpec", "Question", "WrongUse", "answer", "main"]
