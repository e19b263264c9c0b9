"""Small worlds for the tests of the simulator."""

from __future__ import annotations

from consumer_autoscaler.decision.values import Policy
from consumer_autoscaler.simulation.group import Group
from consumer_autoscaler.simulation.ledger import Ledger
from consumer_autoscaler.simulation.policy import Ours, Plan
from consumer_autoscaler.simulation.run import Outcome, Window, simulate
from consumer_autoscaler.simulation.trace import QUIET, Arrivals, Noise, Trace
from consumer_autoscaler.simulation.world import World


def planned(
    trace: Trace,
    *steps: tuple[float, int],
    replicas: int,
    world: World | None = None,
    promise: float = 60.0,
    noise: Noise = QUIET,
    seed: int = 1,
    first: float = 0.0,
) -> Outcome:
    """The outcome of a plan on the whole trace from `first` on, without a warm-up."""
    return simulate(
        trace, world or World(), Plan(steps), window=Window(first=first, last=trace.end), promise_seconds=promise,
        noise=noise, seed=seed, replicas=replicas,
    )  # fmt: skip


def ours(
    trace: Trace,
    *,
    replicas: int = 1,
    world: World | None = None,
    noise: Noise = QUIET,
    seed: int = 1,
    known: bool = True,
    warm_up: float = 0.0,
    **policy: object,
) -> tuple[Outcome, Ours]:
    """The operator's decision on the whole trace; the capacity is known to it or not."""
    world = world or World()
    values: dict[str, object] = {
        "min_replicas": 1,
        "max_replicas": sum(world.topics),
        "max_delay_seconds": 60,
        "expected_records_per_second": world.records_per_second if known else None,
        **policy,
    }
    chosen = Policy(**values)  # type: ignore[arg-type]
    scaler = Ours(chosen, first_look=5.0 - warm_up, keep_decisions=True)
    outcome = simulate(
        trace, world, scaler, window=Window(first=0.0, last=trace.end, warm_up=warm_up),
        promise_seconds=float(chosen.max_delay_seconds or 60), noise=noise, seed=seed, replicas=replicas,
    )  # fmt: skip
    return outcome, scaler


def group_under(trace: Trace, world: World, *, replicas: int, noise: Noise = QUIET, seed: int = 1) -> Group:
    """A group that has just begun."""
    arrivals = Arrivals(
        trace, world.partition_weights(), begin=0.0, end=trace.end, tick=world.tick_seconds, noise=noise, seed=seed
    )
    ledger = Ledger(arrivals, promise_seconds=60.0, first=0, last=arrivals.ticks)
    return Group(world, arrivals, ledger, replicas=replicas, seed=seed)
