"""The promise, kept by real consumers: the demo's load, then half an hour of constant load.

The constant load is given a few minutes to settle; then there must be no scaling at all, and at most one useful step
more than the load needs (by the consumers' real rate, which the operator has to find out).
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Sequence
from dataclasses import asdict

from tests.bench.common import Bar, Samples, finish, say

from bed.scenario import PARTITIONS, RATE_PER_REPLICA, Scenario
from bed.stories import PROFILE
from consumer_autoscaler.decision.levels import levels_for
from consumer_autoscaler.decision.values import Policy

CONSTANT_RATE = 420.0
BARS = (
    Bar("late_share", 0),
    Bar("steady_scalings", 0),
    Bar("steady_replicas_over_need", 1),
)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench promise", description=__doc__)
    parser.add_argument("--settle", type=float, default=300.0, help="seconds of constant load before it counts")
    parser.add_argument("--constant", type=float, default=1800.0, help="seconds of constant load that count")
    options = parser.parse_args(arguments)
    begin = PROFILE[-1][0]
    counted_from = begin + 30 + options.settle
    end = counted_from + options.constant
    profile = [*PROFILE, (begin + 30, CONSTANT_RATE), (end, CONSTANT_RATE)]
    say(f"{end / 60:.0f} minutes: the demo's load, then {CONSTANT_RATE:.0f} records/s")
    with Samples("promise") as raw, Scenario() as scene:
        scene.begin(profile)
        said = 0.0
        while not scene.samples or scene.samples[-1].seconds < end:
            sample = scene.look()
            raw.add("sample", **asdict(sample))
            if sample.seconds - said >= 60:
                said = sample.seconds
                say(
                    f"{sample.seconds:5.0f} s  {sample.planned_per_second:.0f}/s  replicas {sample.replicas}"
                    f"  lag {sample.lag_messages}  oldest {sample.delay_seconds} s"
                )
            time.sleep(2.0)
        summary = scene.summary()
        steady = [sample.replicas for sample in scene.samples if sample.seconds >= counted_from]
    figures = {
        "late_share": summary.late_share,
        "delay_max_s": summary.delay_max_seconds,
        "steady_scalings": sum(1 for a, b in itertools.pairwise(steady) if a != b),
        "steady_replicas_over_need": steps_over_need(max(steady), CONSTANT_RATE),
    }
    return finish(figures, BARS)


def steps_over_need(replicas: int, rate: float) -> int:
    """How many useful counts lie between the smallest that carries the rate and `replicas`."""
    levels = levels_for(Policy(min_replicas=1, max_replicas=PARTITIONS), PARTITIONS)
    need = levels.at_least(rate / RATE_PER_REPLICA)
    return sum(1 for count in levels.counts if need < count <= replicas)
