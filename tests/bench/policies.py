"""The decision against its peers in the simulator: recorded loads, constant loads, shapes, wrong beliefs.

    python -m tests.bench policies [--seeds 5] [--workers N] [--only traces,uncapped,constant,noise,shapes,beliefs]

Recorded loads: the second half of each file in tests/traces, with Poisson noise, against KEDA, Flink's rules, static
counts and the oracle. With SENSITIVITY=1 also other worlds, which no bar is for. Nothing but processor time is needed.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

from tests.bench.common import Bar, Samples, finish, say
from tests.traces import TRACES

from consumer_autoscaler.decision.values import Calmness, Policy
from consumer_autoscaler.simulation.command import Question, answer
from consumer_autoscaler.simulation.policy import Ours
from consumer_autoscaler.simulation.report import as_json
from consumer_autoscaler.simulation.run import Outcome, Window, simulate
from consumer_autoscaler.simulation.trace import QUIET, Noise, Trace, constant, read_trace, steps
from consumer_autoscaler.simulation.world import (
    Assignor,
    Duration,
    Order,
    Rebalance,
    World,
    skewed_weights,
)

PER_REPLICA, PARTITIONS, PROMISE_SECONDS, WARM_UP_SECONDS = 100.0, 24, 60.0, 1800.0
LONG_SECONDS = 12 * 3600.0  # below this, scalings a day mean little
PEERS = ("keda:1000", "keda:3000", "flink", "static:12", "static:24", "oracle")
PARTS = ("traces", "uncapped", "constant", "noise", "shapes", "beliefs")

BARS = {
    "traces": [
        Bar("late_share_mean", 0.0005),
        Bar("late_share_worst", 0.0025),
        Bar("replica_hours_vs_oracle", 1.30),
        Bar("scalings_per_day_median", 60),
    ],
    "uncapped": [Bar("late_share_uncapped_worst", 0.0002)],
    "constant": [Bar("constant_load_scalings_per_hour", 0)],
    "noise": [Bar("noise_scalings_per_hour", 1)],
    "shapes": [Bar("steps_late_worst", 0.005)],
    "beliefs": [Bar("beliefs_late_mean", 0.001), Bar("beliefs_replica_hours_vs_oracle", 1.45)],
}


@dataclass(frozen=True, slots=True)
class Job:
    """One run, or one load with all its policies. `labels` go into the sample."""

    part: str
    labels: dict[str, Any]
    run: Callable[[], dict[str, Any]] = field(repr=False)

    def __call__(self) -> dict[str, Any]:
        return {**self.labels, **self.run()}


@dataclass(frozen=True, slots=True)
class OnTrace:
    """A stretch of a recorded load with these policies, against the oracle."""

    name: str
    seed: int
    policies: tuple[str, ...]
    world: World
    window: Window
    policy: Policy
    bound: bool = False

    def __call__(self) -> dict[str, Any]:
        question = Question(
            trace=read_trace(TRACES / f"{self.name}.csv"), world=self.world, policy=self.policy,
            promise_seconds=float(self.policy.max_delay_seconds or 0), window=self.window, noise=Noise(),
            seed=self.seed, replicas=1, policies=self.policies,
        )  # fmt: skip
        return as_json(answer(question, bound=self.bound))


@dataclass(frozen=True, slots=True)
class OnLoad:
    """`ours` alone, on a made load or with beliefs of its own."""

    trace: Trace
    world: World
    policy: Policy
    window: Window
    noise: Noise
    seed: int
    beliefs: dict[str, float] = field(default_factory=dict)

    def __call__(self) -> dict[str, Any]:
        first_look = self.window.first - self.window.warm_up + 1 + self.seed % self.policy.poll_interval_seconds
        outcome = simulate(
            self.trace, self.world, Ours(self.policy, first_look=first_look, **self.beliefs), window=self.window,
            promise_seconds=float(self.policy.max_delay_seconds or 0), noise=self.noise, seed=self.seed,
        )  # fmt: skip
        return _figures(outcome, self.window)


def _figures(outcome: Outcome, window: Window) -> dict[str, Any]:
    return {
        "late_share": outcome.lateness.late_share,
        "delay_max_s": round(outcome.lateness.longest, 1),
        "replica_hours": round(outcome.replica_hours, 3),
        "scalings_per_hour": outcome.scalings / (window.last - window.first) * 3600,
    }


def promised(partitions: int = PARTITIONS, seconds: int = int(PROMISE_SECONDS), **more: Any) -> Policy:
    return Policy(
        min_replicas=1, max_replicas=partitions, max_delay_seconds=seconds,
        expected_records_per_second=PER_REPLICA, **more,
    )  # fmt: skip


def second_half(trace: Trace) -> Window:
    return Window(first=trace.end / 2, last=trace.end, warm_up=WARM_UP_SECONDS)


def recorded() -> dict[str, Trace]:
    return {path.stem: read_trace(path) for path in sorted(TRACES.glob("*.csv"))}


def trace_jobs(seeds: Sequence[int]) -> list[Job]:
    return [
        Job("traces", {"seed": seed}, OnTrace(name, seed, ("ours", *PEERS), World(), second_half(trace), promised(),
                                              bound=seed == seeds[0]))
        for name, trace in recorded().items()
        for seed in seeds
    ]  # fmt: skip


def uncapped_jobs(seeds: Sequence[int]) -> list[Job]:
    """96 partitions and replicas, for the loads that 24 of them do not carry everywhere."""
    world, policy = World(topics=(96,)), promised(96)
    return [
        Job("uncapped", {"trace": name, "seed": seed},
            OnLoad(trace, world, policy, second_half(trace), Noise(), seed))
        for name, trace in recorded().items()
        if trace.rates.max() > 0.9 * PARTITIONS * PER_REPLICA
        for seed in seeds
    ]  # fmt: skip


def constant_jobs(seeds: Sequence[int]) -> list[Job]:
    """Well within a level and just above one; commits, pauses, skew."""
    jobs = []
    for rate in (305.0, 450.0, 505.0, 605.0, 700.0, 880.0):
        for commit in (1.0, 5.0):
            for pause in (3.0, 10.0):
                for skew in (0.0, 0.3):
                    world = World(commit_seconds=commit, pause=Duration(pause),
                                  weights=skewed_weights(PARTITIONS, skew) if skew else None)  # fmt: skip
                    labels = {"rate": rate, "commit": commit, "pause": pause, "skew": skew}
                    jobs.append(Job("constant", labels, _held(rate, world, Noise(), seeds[0])))
    return jobs


def noise_jobs(seeds: Sequence[int]) -> list[Job]:
    return [
        Job("noise", {"rate": rate, "seed": seed}, _held(rate, World(), Noise(burst_cv=0.5), seed))
        for rate in (305.0, 450.0, 700.0)
        for seed in seeds
    ]


def _held(rate: float, world: World, noise: Noise, seed: int) -> OnLoad:
    """Three hours of it, after one that does not count."""
    window = Window(first=0.0, last=3 * 3600.0, warm_up=3600.0)
    return OnLoad(constant(rate, window.last), world, promised(), window, noise, seed)


def shapes() -> dict[str, Trace]:
    def ramp(low: float, high: float, seconds: int) -> list[tuple[float, float]]:
        return [(low + (high - low) * (second + 0.5) / seconds, 1.0) for second in range(seconds)]

    def sine(period: float, hours: int) -> Trace:
        rates = (600 + 500 * math.sin(at / period * 2 * math.pi) for at in range(0, hours * 3600, 10))
        return steps(*((rate, 10.0) for rate in rates))

    return {
        "step x10": steps((80.0, 1800.0), (800.0, 1800.0), (80.0, 3600.0)),
        "step x20": steps((80.0, 1800.0), (1600.0, 1800.0), (80.0, 3600.0)),
        "ramp x10": steps((80.0, 1800.0), *ramp(80, 800, 300), (800.0, 1800.0), *ramp(800, 80, 300), (80.0, 3600.0)),
        "sine 1 h": sine(3600.0, 6),
        "sine 10 min": sine(600.0, 2),
        "on/off": steps(*[(1000.0, 120.0), (20.0, 120.0)] * 20),
        "bursts": steps(*[(1000.0, 30.0), (20.0, 90.0)] * 40),
        "spike": steps(*[(100.0, 900.0), (2000.0, 20.0)] * 6),
    }


def shape_jobs(seeds: Sequence[int]) -> list[Job]:
    return [
        Job("shapes", {"shape": name, "seed": seed, "noise": noise.poisson},
            OnLoad(trace, World(), promised(), Window(first=0.0, last=trace.end, warm_up=WARM_UP_SECONDS), noise, seed))
        for name, trace in shapes().items()
        for noise in (QUIET, Noise())
        for seed in seeds
    ]  # fmt: skip


def belief_jobs(seeds: Sequence[int]) -> list[Job]:
    """A day of each long load, beginning with wrong memories; the first hour does not count."""
    wrong = [{"capacity_per_replica": PER_REPLICA * by} for by in (0.5, 0.75, 1.25, 1.5)]
    wrong += [{"start_seconds": 30.0 * by} for by in (0.5, 2.0)] + [
        {"rebalance_seconds": 10.0 * by} for by in (0.5, 2.0)
    ]
    jobs = []
    for name, trace in recorded().items():
        if trace.end < LONG_SECONDS:
            continue
        window = Window(first=trace.end / 2, last=min(trace.end, trace.end / 2 + 86_400), warm_up=3600.0)
        jobs.append(Job("beliefs", {"believed": "oracle", "seed": seeds[0]},
                        OnTrace(name, seeds[0], ("oracle",), World(), window, promised())))  # fmt: skip
        jobs += [
            Job("beliefs", {"trace": name, "believed": str(beliefs), "seed": seeds[0]},
                OnLoad(trace, World(), promised(), window, Noise(), seeds[0], beliefs))
            for beliefs in wrong
        ]  # fmt: skip
    return jobs


def sensitivity_jobs() -> list[Job]:
    base, found = World(), promised()
    quick = replace(base, pause=Duration(3.0))
    nimble = replace(base, start=Duration(3.0), pause=Duration(1.0), commit_seconds=1.0)
    cases: dict[str, tuple[World, Policy]] = {
        "base": (base, found),
        "turns": (replace(base, order=Order.TURNS), found),
        "start 60": (replace(base, start=Duration(60.0)), found),
        "pause 3": (quick, found),
        "pause 20": (replace(base, pause=Duration(20.0)), found),
        "varying": (replace(base, start=Duration(30.0, 0.5), pause=Duration(10.0, 0.5)), found),
        "commit 1": (replace(base, commit_seconds=1.0), found),
        "12 partitions": (replace(base, topics=(12,)), promised(12)),
        "poll 5": (base, promised(poll_interval_seconds=5)),
        "poll 30": (base, promised(poll_interval_seconds=30)),
        "skew 0.3": (replace(base, weights=skewed_weights(PARTITIONS, 0.3)), found),
        "skew 0.7": (replace(base, weights=skewed_weights(PARTITIONS, 0.7)), found),
        "promise 300": (base, promised(seconds=300)),
        "promise 600, poll 30": (base, promised(seconds=600, poll_interval_seconds=30)),
        "promise 10, poll 2": (nimble, promised(seconds=10, poll_interval_seconds=2)),
        "promise 20": (base, promised(seconds=20, poll_interval_seconds=5)),
        "responsive": (base, promised(calmness=Calmness.RESPONSIVE)),
        "quiet": (base, promised(calmness=Calmness.QUIET)),
        "cooperative": (replace(quick, rebalance=Rebalance.COOPERATIVE, assignor=Assignor.STICKY), found),
        "KIP-848": (replace(quick, rebalance=Rebalance.CONSUMER, assignor=Assignor.UNIFORM), found),
    }  # fmt: skip
    return [
        Job("sensitivity", {"case": case}, OnTrace(name, 1, ("ours", "oracle"), world, second_half(trace), policy))
        for case, (world, policy) in cases.items()
        for name, trace in recorded().items()
    ]


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench policies")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", default=",".join(PARTS))
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    options = parser.parse_args(arguments)
    wanted = [part for part in PARTS if part in options.only.split(",")]
    seeds = list(range(1, options.seeds + 1))
    makers = {
        "traces": trace_jobs, "uncapped": uncapped_jobs, "constant": constant_jobs, "noise": noise_jobs,
        "shapes": shape_jobs, "beliefs": belief_jobs,
    }  # fmt: skip
    jobs = [job for part in wanted for job in makers[part](seeds)]
    if os.environ.get("SENSITIVITY") == "1":
        jobs += sensitivity_jobs()
    results: dict[str, list[dict[str, Any]]] = {}
    with Samples("policies") as samples, ProcessPoolExecutor(max_workers=options.workers) as pool:
        for number, (job, found) in enumerate(zip(jobs, pool.map(_run, jobs), strict=True), start=1):
            samples.add(job.part, **found)
            results.setdefault(job.part, []).append(found)
            if number % 10 == 0 or number == len(jobs):
                say(f"{number} of {len(jobs)}")
    figures: dict[str, float] = {}
    for part in wanted:
        figures |= SUMMARIES[part](results[part])
    for found in results.get("sensitivity", []):
        ours = found["policies"]["ours"]
        say(f"{found['case']:20s} {found['trace']:24s} {_words(ours)}")
    return finish(
        {name: round(value, 6) for name, value in figures.items()}, [b for part in wanted for b in BARS[part]]
    )


def _run(job: Job) -> dict[str, Any]:
    return job()


def _words(row: dict[str, float]) -> str:
    return (
        f"late {100 * row['late_share']:7.4f} %  p99 {row['delay_p99_s']:6.1f} s  max {row['delay_max_s']:6.1f} s"
        f"  x oracle {row['replica_hours_vs_oracle']:6.3f}  scalings a day {row['scalings_per_day']:6.1f}"
    )


def sum_up_traces(found: list[dict[str, Any]]) -> dict[str, float]:
    long = {name for name, trace in recorded().items() if trace.end >= LONG_SECONDS}
    for name in recorded():
        for policy in ("ours", *PEERS):
            rows = [each["policies"][policy] for each in found if each["trace"] == name]
            say(f"{name:24s} {policy:10s} {_words({key: statistics.fmean(r[key] for r in rows) for key in rows[0]})}")
    for each in found:
        if "oracle" in each:
            cost, least = (each["oracle"][key] for key in ("cost_replica_hours", "lower_bound_replica_hours"))
            say(f"{each['trace']:24s} oracle's plan {cost:.1f} replica-hours, no plan below {least:.1f}")
    for policy in ("ours", *PEERS):
        rows = [each["policies"][policy] for each in found]
        a_day = [each["policies"][policy]["scalings_per_day"] for each in found if each["trace"] in long]
        say(
            f"{'all':24s} {policy:10s} late {100 * statistics.fmean(r['late_share'] for r in rows):7.4f} % mean,"
            f" {100 * max(r['late_share'] for r in rows):7.4f} % worst; x oracle"
            f" {statistics.geometric_mean([r['replica_hours_vs_oracle'] for r in rows]):6.3f};"
            f" scalings a day {statistics.median(a_day):6.1f} median"
        )
    ours = [each["policies"]["ours"] for each in found]
    return {
        "late_share_mean": statistics.fmean(row["late_share"] for row in ours),
        "late_share_worst": max(row["late_share"] for row in ours),
        "replica_hours_vs_oracle": statistics.geometric_mean([row["replica_hours_vs_oracle"] for row in ours]),
        "scalings_per_day_median": statistics.median(
            each["policies"]["ours"]["scalings_per_day"] for each in found if each["trace"] in long
        ),
    }


def sum_up_beliefs(found: list[dict[str, Any]]) -> dict[str, float]:
    oracle = {each["trace"]: each["policies"]["oracle"]["replica_hours"] for each in found if "policies" in each}
    ours = [each for each in found if "policies" not in each]
    for each in ours:
        say(f"{each['trace']:24s} {each['believed']:32s} late {100 * each['late_share']:7.4f} %"
            f"  x oracle {each['replica_hours'] / oracle[each['trace']]:6.3f}")  # fmt: skip
    ratios = [each["replica_hours"] / oracle[each["trace"]] for each in ours]
    return {
        "beliefs_late_mean": statistics.fmean(each["late_share"] for each in ours),
        "beliefs_replica_hours_vs_oracle": statistics.geometric_mean(ratios),
    }


def sum_up_shapes(found: list[dict[str, Any]]) -> dict[str, float]:
    for name in shapes():
        rows = [each for each in found if each["shape"] == name]
        late, longest = max(r["late_share"] for r in rows), max(r["delay_max_s"] for r in rows)
        say(f"{name:24s} late {100 * late:7.4f} % worst, longest {longest:6.1f} s")
    return {"steps_late_worst": max(each["late_share"] for each in found)}


def sum_up_constant(found: list[dict[str, Any]]) -> dict[str, float]:
    for each in found:
        if each["scalings_per_hour"] > 0:
            say(f"constant {each}")
    return {"constant_load_scalings_per_hour": max(each["scalings_per_hour"] for each in found)}


SUMMARIES: dict[str, Callable[[list[dict[str, Any]]], dict[str, float]]] = {
    "traces": sum_up_traces,
    "uncapped": lambda found: {"late_share_uncapped_worst": max(each["late_share"] for each in found)},
    "constant": sum_up_constant,
    "noise": lambda found: {"noise_scalings_per_hour": statistics.fmean(e["scalings_per_hour"] for e in found)},
    "shapes": sum_up_shapes,
    "beliefs": sum_up_beliefs,
}
