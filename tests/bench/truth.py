"""What really stands in the way of a modelled group at each moment, from the model's own state.

The operator sees polls; this looks at the partitions' backlogs, the consumers' pace and the faults themselves. What
counts as a right answer of `Backpressured`:

- The oldest message that is not committed has waited for no more than half the promise (two minutes where there is
  none): `KeepingUp`. From a quarter of it on, what else is true is right as well, because the operator leaves
  `KeepingUp` at the half and returns to it at the quarter.
- While the group rebalances: `Rebalancing` as well.
- A partition is not processed any more, for 300 s: `StuckPartition`.
- What all consumers share does less than they could: `SlowDownstream`, once an up has been made that could bring
  nothing. Before that nobody can know it from outside, and `UnderProvisioned` (or the limit that stands above) is as
  right: each consumer slower by itself looks the same. So it is where an up brought something, only too little.
- A partition gets more than one consumer can do, though one for each could carry the load if the shares were equal:
  `PartitionSkew`. While other partitions are late, too, more replicas
  do help those, and `UnderProvisioned` (or the limit) is as right. The same holds where some consumer has more than it
  can do although as many with equal shares could carry the load.
- The consumers that are there cannot carry the load: `UnderProvisioned`; at the last count that partitions or maximum
  allow, `PartitionLimit` or `MaxReplicas`, whichever is less.
- A consumer is missing, or what is left is a backlog that is being worked off: `UnderProvisioned`; at the last count
  its limit as well, as more would make it go faster.
- Several of these at a time: each of them is right, as each stands in the way.
- An up while a crashed pod is missing is never counted as a probe: it makes up for what is missing.
- A consumer with a load within three percent of what it can do, and the first 300 s of a stuck partition that alone is
  late: not scored, nobody can tell.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from consumer_autoscaler.decision.levels import levels_for
from consumer_autoscaler.decision.reasons import BackpressureReason as Reason
from consumer_autoscaler.decision.values import Policy
from consumer_autoscaler.simulation.group import Group
from consumer_autoscaler.simulation.trace import Floats
from consumer_autoscaler.simulation.world import Assignor, SlowDownstream, StuckPartition

STUCK_SECONDS = 300.0
RATE_SECONDS = 60.0
MARGIN = 0.03
TELLING_LOADS = ("PartitionSkew, soft", "consumer missing", "catching up")  # from loads near what a consumer can do
MORE_OR_LESS = 0.95  # consumers that could do so much of a shared limit: one more of them brings nothing


@dataclass(frozen=True, slots=True)
class Truth:
    """`name` is the gravest thing; `answers` are the right reasons, empty where nobody can tell."""

    name: str
    answers: frozenset[Reason]
    delay_seconds: float
    rebalancing: bool
    up_useless: bool  # more replicas would help nobody


def delay_of(group: Group) -> Floats:
    """By partition, how long the oldest message that is not committed has waited, within a tick."""
    low, high = np.zeros(len(group.committed)), np.full(len(group.committed), float(group.now))
    done = np.floor(group.committed)
    places = np.arange(len(done))
    if not (np.floor(group.ended) > done).any():
        return low
    for _ in range(14):
        middle = (low + high) / 2
        grid = np.unique(middle)
        rows = {age: group.arrivals.before(group.now - age) for age in grid}
        older = np.array([np.floor(rows[age][p]) > done[p] for age, p in zip(middle, places, strict=True)])
        low, high = np.where(older, middle, low), np.where(older, high, middle)
    waits: Floats = np.where(np.floor(group.ended) > done, low * group.world.tick_seconds, 0.0)
    return waits


def truth_of(group: Group, policy: Policy, *, proven: bool) -> Truth:
    """The truth now. `proven`: an up that could bring nothing has been made since all have waited for one thing."""
    world, now = group.world, group.seconds
    waits = delay_of(group)
    promise = float(policy.max_delay_seconds or 120)
    oldest = float(waits.max(initial=0.0))
    rebalancing = bool(group.unstable) and group.now < group.unstable[-1][1]

    span = min(group.now, world.ticks(RATE_SECONDS))
    rates = (group.ended - group.arrivals.before(group.now - span)) / max(1, span) / world.tick_seconds
    slow = [f for f in world.faults if isinstance(f, SlowDownstream) and f.at <= now < f.at + f.seconds]
    factor = float(np.prod([f.factor for f in slow]))
    limit = min((f.limit_per_second for f in slow), default=np.inf)
    stuck = {
        f.partition: now - f.at
        for f in world.faults
        if isinstance(f, StuckPartition) and f.at <= now < f.at + f.seconds
    }
    working = {pod.number for pod in group.pods if pod.joined and not pod.crashed}
    pace = world.records_per_second * factor
    owners = group.owners

    loads: dict[int, float] = dict.fromkeys(working, 0.0)
    waiting: dict[int, float] = dict.fromkeys(working, 0.0)
    for partition, owner in enumerate(owners):
        if owner in loads and partition not in stuck:
            loads[owner] += rates[partition]
            waiting[owner] += float(group.backlog[partition])
    could = sum(pace if waiting[n] > pace else min(pace, loads[n]) for n in working)
    late = {int(p) for p in np.flatnonzero(waits > promise / 2)}
    even = float(rates.sum()) < pace * len(rates)
    hot = {p for p, rate in enumerate(rates) if even and rate > pace * (1 + MARGIN) and p not in stuck}
    over = [n for n, load in loads.items() if load > pace * (1 + MARGIN)]
    marginal = not over and any(load > pace * (1 - MARGIN) for load in loads.values())

    ceiling = max(world.topics) if world.assignor is Assignor.RANGE else sum(world.topics)
    levels = levels_for(policy, ceiling)
    at_top = group.replicas >= levels.counts[-1]
    bound = Reason.PARTITION_LIMIT if ceiling <= policy.max_replicas else Reason.MAX_REPLICAS
    missing = len(working) < group.replicas
    short = {bound} if at_top else {Reason.UNDER_PROVISIONED}
    if at_top and missing:
        short = {bound, Reason.UNDER_PROVISIONED}

    found: list[tuple[str, set[Reason]]] = []
    early = 2 * policy.poll_interval_seconds + world.commit_seconds  # it may have moved last so long before
    if any(since >= STUCK_SECONDS - early for since in stuck.values()):
        found.append(("StuckPartition", {Reason.STUCK_PARTITION}))
    if could > limit:
        found.append(("SlowDownstream", {Reason.SLOW_DOWNSTREAM} | (set() if proven else short)))
    elif over:
        carried = pace * levels.worth(len(working))
        if hot:
            others = late - hot - set(stuck)
            found.append(("PartitionSkew", {Reason.PARTITION_SKEW} | (short if others else set())))
        elif float(rates.sum()) < carried * (1 - MARGIN):
            found.append(("PartitionSkew, soft", {Reason.PARTITION_SKEW} | short))
        else:
            found.append((str(bound) if at_top else "UnderProvisioned", short))
    if missing:
        found.append(("consumer missing", {Reason.UNDER_PROVISIONED} | short))
    if not found:
        found.append(("catching up", {Reason.UNDER_PROVISIONED, *short}))
    name = found[0][0]
    answers = set().union(*(reasons for _, reasons in found))
    only_stuck = bool(late) and late <= set(stuck)
    if oldest <= promise / 4:
        name, answers = "KeepingUp", {Reason.KEEPING_UP}
    elif (marginal and name in TELLING_LOADS) or (only_stuck and name != "StuckPartition"):
        answers = set()
    elif oldest <= promise / 2:
        name, answers = "on the way", {Reason.KEEPING_UP, *answers}
    if rebalancing and answers:
        answers |= {Reason.REBALANCING}
    crashed = any(pod.crashed for pod in group.pods)
    alone = {p for p in hot if owners.count(owners[p]) == 1}
    useless = not crashed and _up_useless(
        enough=could > limit and pace * levels.worth(len(working)) >= MORE_OR_LESS * limit,
        late=late, beyond_help=set(stuck) | alone, falling_behind=bool(set(over) - {owners[p] for p in alone}),
    )  # fmt: skip
    return Truth(name, frozenset(answers), oldest, rebalancing, useless)


def _up_useless(*, enough: bool, late: set[int], beyond_help: set[int], falling_behind: bool) -> bool:
    """Nor is it useless while none of the others is late but some of them soon will be."""
    return enough or (bool(late) and late <= beyond_help and not falling_behind)
