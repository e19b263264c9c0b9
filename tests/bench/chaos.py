"""Scenarios of groups in trouble, and of groups that are well, made from seeds for the simulator."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np

from consumer_autoscaler.decision.values import Policy
from consumer_autoscaler.simulation.trace import Noise, Trace, steps
from consumer_autoscaler.simulation.world import (
    Assignor,
    Crash,
    Duration,
    Order,
    Rebalance,
    SlowDownstream,
    StuckPartition,
    World,
    skewed_weights,
)

WARM_UP_SECONDS = 600.0  # the load before anything happens; not scored
TROUBLE_SECONDS = 900.0  # when the trouble begins
LOAD_STEP_SECONDS = 30.0  # of loads that are drawn as curves


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One run. `family` is what it was made for; what is true at each moment is told from the model's own state."""

    family: str
    seed: int
    load: Trace
    world: World
    policy: Policy
    replicas: int
    noise: Noise = field(default_factory=Noise)

    @property
    def healthy(self) -> bool:
        return self.family.startswith("healthy")


@dataclass(slots=True)
class Draft:
    """A healthy group with a steady load, which a family then changes."""

    rng: np.random.Generator
    partitions: int
    pace: float  # records per second of a replica
    replicas: int  # that carry the load before the trouble
    rate: float
    world: World
    policy: Policy

    def between(self, low: float, high: float) -> float:
        return float(self.rng.uniform(low, high))

    def lasting(self) -> float:
        return self.between(500, 780)


def scenarios(count: int, seed: int = 1) -> Iterator[Scenario]:
    """So many scenarios, the families in turn; the same for the same seed."""
    families = itertools.cycle(FAMILIES)
    for number in range(count):
        name, make = next(families)
        yield make(name, seed * 10_000 + number)


T = TypeVar("T")


def _one_of(rng: np.random.Generator, *values: T) -> T:
    """Numpy's own choice would turn enums into strings."""
    return values[int(rng.integers(len(values)))]


def _draft(seed: int) -> Draft:
    rng = np.random.default_rng(seed)

    partitions = _one_of(rng, 8, 12, 16, 24, 24, 36)
    pace = float(rng.uniform(20, 150))
    replicas = int(rng.integers(2, max(3, partitions // 4) + 1))
    worth = partitions / -(-partitions // replicas)
    rate = pace * worth * float(rng.uniform(0.6, 0.8))
    rebalance = _one_of(rng, Rebalance.EAGER, Rebalance.EAGER, Rebalance.COOPERATIVE, Rebalance.CONSUMER)
    start, pause = float(rng.uniform(10, 35)), float(rng.uniform(3, 12))
    poll = _one_of(rng, 5, 15, 15, 30)
    world = World(
        topics=(partitions,),
        records_per_second=pace,
        processing_cv=_one_of(rng, 0.0, 0.5, 1.0),
        start=Duration(start, 0.2),
        pause=Duration(pause, 0.2),
        rebalance=rebalance,
        assignor=_one_of(rng, Assignor.ROUNDROBIN, Assignor.RANGE, Assignor.STICKY),
        order=_one_of(rng, Order.FAIR, Order.FAIR, Order.TURNS),
        commit_seconds=_one_of(rng, 1.0, 5.0, 5.0),
        pod_metrics=_one_of(rng, False, False, True),
    )
    promise = _one_of(rng, 60, 60, 120, 180)
    policy = Policy(
        min_replicas=1,
        max_replicas=partitions,
        max_delay_seconds=max(promise, 60 * -(-int(2 * (start + pause) + 2 * poll) // 60)),
        expected_records_per_second=pace if _one_of(rng, True, False) else None,
        poll_interval_seconds=poll,
    )
    return Draft(rng, partitions, pace, replicas, rate, world, policy)


def _scenario(family: str, seed: int, draft: Draft, load: Trace, noise: Noise | None = None) -> Scenario:
    return Scenario(
        family=family, seed=seed, load=load, world=draft.world, policy=draft.policy, replicas=draft.replicas,
        noise=noise or Noise(),
    )  # fmt: skip


def _constant(rate: float, seconds: float = WARM_UP_SECONDS + 1200.0) -> Trace:
    return steps((rate, seconds / 2), (rate, seconds / 2))


def _slow_downstream(family: str, seed: int) -> Scenario:
    """All consumers wait for one thing; often the load has risen as well."""
    draft = _draft(seed)
    begins, lasts = TROUBLE_SECONDS, draft.lasting()
    rises = draft.between(1.0, 2.5) if draft.rng.random() < 0.5 else 1.0
    limit = draft.rate * rises * draft.between(0.3, 0.8)
    fault = SlowDownstream(at=begins, seconds=lasts, limit_per_second=limit)
    draft.world = replace(draft.world, faults=(fault,))
    load = steps((draft.rate, begins), (draft.rate * rises, lasts), (draft.rate, 400.0))
    return _scenario(family, seed, draft, load)


def _each_slower(family: str, seed: int) -> Scenario:
    """Each consumer becomes slower by itself; more of them help."""
    draft = _draft(seed)
    fault = SlowDownstream(at=TROUBLE_SECONDS, seconds=draft.lasting(), factor=draft.between(0.3, 0.6))
    draft.world = replace(draft.world, faults=(fault,))
    return _scenario(family, seed, draft, _constant(draft.rate))


def _load_rises(family: str, seed: int) -> Scenario:
    """More arrives, and within what partitions and maximum allow."""
    draft = _draft(seed)
    most = 0.8 * draft.pace * draft.partitions
    rate = min(most, draft.rate * draft.between(1.5, 4.0))
    return _scenario(family, seed, draft, steps((draft.rate, TROUBLE_SECONDS), (rate, 900.0)))


def _skew(family: str, seed: int) -> Scenario:
    """One partition gets more than one consumer can do, from when the load has risen."""
    draft = _draft(seed)
    hot = draft.pace * draft.between(1.3, 2.5)
    if draft.rng.random() < 0.3:
        shares = skewed_weights(draft.partitions, draft.between(0.8, 1.2))
        rate = hot / max(shares)
    else:
        rest = draft.pace * draft.between(0.4, 0.7) * max(1.0, draft.replicas - 1)
        rate = hot + rest
        each = rest / (draft.partitions - 1) / rate
        place = int(draft.rng.integers(draft.partitions))
        shares = tuple(hot / rate if p == place else each for p in range(draft.partitions))
    draft.world = replace(draft.world, weights=shares)
    return _scenario(family, seed, draft, steps((0.4 * rate, TROUBLE_SECONDS), (rate, 900.0)))


def _stuck(family: str, seed: int) -> Scenario:
    draft = _draft(seed)
    partition = int(draft.rng.integers(draft.partitions))
    fault = StuckPartition(at=TROUBLE_SECONDS, seconds=draft.between(600, 850), partition=partition)
    draft.world = replace(draft.world, faults=(fault,))
    return _scenario(family, seed, draft, _constant(draft.rate, WARM_UP_SECONDS + 1400.0))


def _partition_bound(family: str, seed: int) -> Scenario:
    """More arrives than a consumer for each partition carries."""
    draft = _draft(seed)
    rate = draft.pace * draft.partitions * draft.between(1.15, 2.0)
    return _scenario(family, seed, draft, steps((draft.rate, TROUBLE_SECONDS), (rate, 700.0), (draft.rate, 300.0)))


def _max_bound(family: str, seed: int) -> Scenario:
    """More arrives than maxReplicas carry, though there are partitions."""
    draft = _draft(seed)
    most = min(draft.partitions // 2, draft.replicas + int(draft.rng.integers(0, 3)))
    worth = draft.partitions / -(-draft.partitions // most)
    draft.policy = replace(draft.policy, max_replicas=most)
    rate = draft.pace * worth * draft.between(1.15, 1.6)
    return _scenario(family, seed, draft, steps((draft.rate, TROUBLE_SECONDS), (rate, 700.0), (draft.rate, 300.0)))


def _crash(family: str, seed: int) -> Scenario:
    draft = _draft(seed)
    times = [TROUBLE_SECONDS + draft.between(0, 300) for _ in range(int(draft.rng.integers(1, 4)))]
    sessions = draft.between(10, 45)
    draft.world = replace(draft.world, faults=tuple(Crash(at=at, session_seconds=sessions) for at in sorted(times)))
    return _scenario(family, seed, draft, _constant(draft.rate))


def _by_lag(family: str, seed: int) -> Scenario:
    """The rule by lag, without a promise: a limit downstream, or more than the maximum or the partitions carry."""
    kind = (_slow_downstream, _max_bound, _partition_bound)[seed % 3]
    made = kind(family, seed)
    value = max(1, round(20 * made.world.records_per_second))
    policy = replace(made.policy, max_delay_seconds=None, lag_per_replica=value, scale_down_cooldown_seconds=300)
    return replace(made, policy=policy)


def _mixed(family: str, seed: int) -> Scenario:
    """Two things at a time."""
    draft = _draft(seed)
    begins, lasts = TROUBLE_SECONDS, draft.lasting()
    limit = SlowDownstream(at=begins + 60, seconds=lasts, limit_per_second=draft.rate * draft.between(0.3, 0.7))
    slower = SlowDownstream(at=begins, seconds=lasts, factor=draft.between(0.4, 0.7))
    stuck = StuckPartition(at=begins - 200, seconds=lasts + 300, partition=int(draft.rng.integers(draft.partitions)))
    crash = Crash(at=begins + draft.between(0, 300), session_seconds=draft.between(10, 45))
    pairs = ((limit, stuck), (limit, crash), (slower, stuck), (slower, crash), (stuck, crash), (limit, slower))
    draft.world = replace(draft.world, faults=pairs[int(draft.rng.integers(len(pairs)))])
    return _scenario(family, seed, draft, _constant(draft.rate, WARM_UP_SECONDS + 1300.0))


def _healthy_constant(family: str, seed: int) -> Scenario:
    draft = _draft(seed)
    return _scenario(family, seed, draft, _constant(draft.rate))


def _healthy_wave(family: str, seed: int) -> Scenario:
    """A day's wave in half an hour, within capacity."""
    draft = _draft(seed)
    top = min(draft.rate * draft.between(1.5, 3.0), 0.7 * draft.pace * draft.partitions)
    at = np.arange(0.0, WARM_UP_SECONDS + 1800.0, LOAD_STEP_SECONDS)
    height = 0.5 - 0.5 * np.cos(2 * np.pi * np.maximum(0.0, at - WARM_UP_SECONDS) / 1800.0)
    rates = draft.rate + (top - draft.rate) * height
    return _scenario(family, seed, draft, Trace("wave", at, rates, float(at[-1] + LOAD_STEP_SECONDS)))


def _healthy_bursts(family: str, seed: int) -> Scenario:
    """Bursts of a few seconds that the replicas that are there work off by themselves."""
    draft = _draft(seed)
    parts: list[tuple[float, float]] = [(draft.rate, WARM_UP_SECONDS)]
    for _ in range(6):
        parts += [(draft.rate * draft.between(1.5, 3.0), draft.between(3, 8)), (draft.rate, draft.between(120, 240))]
    return _scenario(family, seed, draft, steps(*parts))


def _healthy_noise(family: str, seed: int) -> Scenario:
    draft = _draft(seed)
    return _scenario(family, seed, draft, _constant(draft.rate), Noise(burst_cv=draft.between(0.1, 0.4)))


FAMILIES: tuple[tuple[str, Callable[[str, int], Scenario]], ...] = (
    ("slow downstream", _slow_downstream),
    ("each slower", _each_slower),
    ("skew", _skew),
    ("healthy, constant", _healthy_constant),
    ("stuck", _stuck),
    ("load rises", _load_rises),
    ("slow downstream", _slow_downstream),
    ("healthy, wave", _healthy_wave),
    ("partition-bound", _partition_bound),
    ("max-bound", _max_bound),
    ("healthy, bursts", _healthy_bursts),
    ("crash", _crash),
    ("mixed", _mixed),
    ("by lag", _by_lag),
    ("healthy, noise", _healthy_noise),
)
