"""The modelled consumer group: records as a fluid per partition, pods that start, rebalances, commits, faults.

Between events the group is stepped tick by tick with numpy over partitions. A consumer serves what it has at its own
pace; a record is finished when its partition's next commit covers it. The group is seen by policies only through
`observe` (what a poll of the broker and of the API server would show) and moved only through `scale`.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from consumer_autoscaler.decision.values import GroupReading, ProcessingTime, Scale
from consumer_autoscaler.simulation.ledger import Ledger
from consumer_autoscaler.simulation.reading import reading_of
from consumer_autoscaler.simulation.trace import Arrivals, Floats
from consumer_autoscaler.simulation.turns import Turns
from consumer_autoscaler.simulation.world import (
    Crash,
    Fault,
    Order,
    PartitionsAdded,
    Rebalance,
    SlowDownstream,
    StuckPartition,
    World,
    assign,
)

Ints = NDArray[np.intp]


@dataclass(slots=True)
class Pod:
    """`joined`: its consumers are in the group. `rank` orders members as random member ids would."""

    number: int
    rank: float
    joined: bool = False
    crashed: bool = False


class Group:
    """One group over the time of its arrivals. `now` is in ticks since they began."""

    def __init__(self, world: World, arrivals: Arrivals, ledger: Ledger, *, replicas: int, seed: int) -> None:
        self.world, self.arrivals, self.ledger = world, arrivals, ledger
        self.now = 0
        self.replicas = replicas
        self.scalings: list[tuple[int, int, int]] = []  # (tick, from, to)
        self.unstable: list[tuple[int, int]] = []  # [begin, end) of rebalances, in ticks
        self._rng = np.random.default_rng([seed, 7])
        self._topics = list(world.topics)
        count = sum(self._topics)
        self.backlog = np.zeros(count)  # arrived and not processed
        self.ended = np.zeros(count)  # arrived
        self.committed = np.zeros(count)
        self._commit_ticks = np.zeros(count)
        self._resumes = np.zeros(count, dtype=np.int64)
        self._owners = [-1] * count
        self._stuck: set[int] = set()
        self._orphans: set[int] = set()  # partitions of a crashed consumer that nobody has noticed yet
        self._slow: list[SlowDownstream] = []
        self._per_replica = world.records_per_second
        self._commit_every = max(1, world.ticks(world.commit_seconds))
        self._rebalancing_until = 0
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._numbers = 0
        self.pods: list[Pod] = []
        self._turns = Turns() if world.order is Order.TURNS else None
        self.busy_ticks: Floats = np.zeros(0)  # by consumer slot, since the last look
        self._busy_since = 0
        for _ in range(replicas):
            self._new_pod().joined = True
        self._owners = self._assignment()
        self._wire()
        self._plan_faults()

    # what a policy may do and see

    @property
    def seconds(self) -> float:
        """Now, on the clock of the trace."""
        return self.arrivals.begin + self.now * self.world.tick_seconds

    def scale(self, replicas: int) -> None:
        """`/scale` accepts this count. Pods of an up join one by one after their start; a down ends those first that
        have not joined, then the newest, which leave the group in good order.
        """
        if replicas == self.replicas:
            return
        self.scalings.append((self.now, self.replicas, replicas))
        self.replicas = replicas
        self._start_pods(replicas - len(self.pods))
        left = False
        while len(self.pods) > replicas:
            useless = (pod for pod in reversed(self.pods) if not pod.joined or pod.crashed)
            victim = next(useless, self.pods[-1])
            left = left or (victim.joined and not victim.crashed)  # who is dead does not say goodbye
            self.pods.remove(victim)
        if left:
            self._rebalance()

    def observe_scale(self) -> Scale:
        return Scale(replicas=self.replicas, ready=sum(1 for pod in self.pods if pod.joined and not pod.crashed))

    def observe(self, older_than_seconds: float | None = None) -> GroupReading:
        """What a poll of the broker shows now, with an exact look-up by timestamp if asked for."""
        older = None
        if older_than_seconds is not None:
            limit = self.arrivals.before(self.now - older_than_seconds / self.world.tick_seconds)
            older = int(np.count_nonzero(np.floor(limit) > np.floor(self.committed)))
        return reading_of(
            self.world,
            at=self.seconds,
            topics=self._topics,
            ends=self.ended,
            commits=self.committed,
            members=sum(1 for pod in self.pods if pod.joined) * self.world.consumers_per_pod,
            idle=self._idle,
            rebalancing=self.now < self._rebalancing_until,
            older_than_seconds=older_than_seconds,
            partitions_older=older,
        )

    def observe_processing(self) -> ProcessingTime | None:
        """The mean time of a record as the pods would tell it; None where they tell nothing."""
        if not self.world.pod_metrics:
            return None
        pace = self._pace() / self.world.consumers_per_pod
        return ProcessingTime(at=self.seconds, seconds_per_record=1 / pace, records=pace, source="simulated")

    def busiest_share(self) -> float:
        """The busiest consumer's share of time with work since the last call, as Flink's busy time tells it."""
        ticks = self.now - self._busy_since
        share = float(self.busy_ticks.max(initial=0.0)) / ticks if ticks else 0.0
        self.busy_ticks[:] = 0
        self._busy_since = self.now
        return min(1.0, share)

    @property
    def owners(self) -> tuple[int, ...]:
        """The consumer of each partition by number, `pod.number * consumers_per_pod` and on; -1 is nobody."""
        return tuple(self._owners)

    @property
    def lag(self) -> float:
        return float(np.sum(self.ended - self.committed))

    # time passes

    def advance_to(self, tick: int) -> None:
        """Time passes, events included, up to and with this tick's own."""
        while True:
            due = self._events[0][0] if self._events else tick + 1
            target = min(tick, due)
            if target > self.now:
                self._flow(target)
            if due > tick:
                return
            _, _, happen = heapq.heappop(self._events)
            happen()

    def finish(self) -> None:
        """The run is over: what is processed or not counts as committed now, so a delay is at least what it was."""
        self.committed[:] = self.ended
        self._commit_ticks[:] = self.now
        self.ledger.add(self._commit_ticks, self.committed)

    def _flow(self, target: int) -> None:
        while self.now < target:
            a = self.arrivals.take(self.now, target - self.now)
            ends = self.ended + np.cumsum(a, axis=0)
            count = len(a)
            if self._idles(load := a @ self._onehot):
                self.busy_ticks += (load / self._full_caps).sum(axis=0)
                if self._turns is not None:
                    self._turns.caught_up(ends[-1])
                for j in range(count):
                    self._commit(self.now + j + 1, ends[j])
            else:
                self._flow_backlogged(a, ends)
            self.ended = ends[-1]
            self.now += count

    def _idles(self, load: Floats) -> bool:
        """Whether every consumer finishes in each tick what arrives in it, so nothing has to be stepped."""
        return self._limit is None and not self.backlog.any() and bool((load <= self._caps).all())

    def _flow_backlogged(self, a: Floats, ends: Floats) -> None:
        slots, size, backlog = self._slots, len(self._caps), self.backlog
        for j in range(len(a)):
            backlog += a[j]
            load: Floats = np.bincount(slots, backlog, size).astype(np.float64, copy=False)
            can = self._can(load)
            if self._turns is not None:
                self._turns.serve(backlog, ends[j], load, can)
                done = np.minimum(load, can)
            else:
                done = np.minimum(load, can)
                backlog *= (1 - done / np.maximum(load, 1e-12))[slots]
            self.busy_ticks += done / self._full_caps
            self._commit(self.now + j + 1, ends[j])

    def _can(self, load: Floats) -> Floats:
        """What each consumer can do in this tick: its pace, with chance, and its share of what all may do together."""
        can, cv = self._caps, self.world.processing_cv
        if cv > 0:
            spread = cv / np.sqrt(np.maximum(can, 1.0))
            can = np.maximum(0.0, can * (1 + spread * self._rng.standard_normal(len(can))))
        if self._limit is not None:
            done = np.minimum(load, can)
            total = float(done.sum())
            if total > self._limit:
                can = done * (self._limit / total)
        return can

    def _commit(self, tick: int, ends: Floats) -> None:
        """At the end of `tick`: those consumers commit whose interval is over; a ledger row each interval."""
        phase = tick % self._commit_every
        due = self._due[phase]
        if due is not None:
            self.committed[due] = ends[due] - self.backlog[due]
            self._commit_ticks[due] = tick
        if phase == 0:
            self.ledger.add(self._commit_ticks, self.committed)

    # pods and rebalances

    def _new_pod(self) -> Pod:
        pod = Pod(self._numbers, float(self._rng.random()))
        self._numbers += 1
        self.pods.append(pod)
        return pod

    def _start_pods(self, count: int) -> None:
        """Pods that are ready in the same tick join together: one rebalance."""
        ready: dict[int, list[Pod]] = {}
        for _ in range(count):
            tick = self.now + self.world.ticks(self.world.start.draw(self._rng))
            ready.setdefault(tick, []).append(self._new_pod())
        for tick, pods in ready.items():
            self._at(tick, lambda pods=pods: self._join(pods))  # type: ignore[misc]

    def _join(self, pods: list[Pod]) -> None:
        here = [pod for pod in pods if pod in self.pods]
        for pod in here:
            pod.joined, pod.crashed = True, False
        if here:
            self._rebalance()

    def _members(self) -> list[int]:
        each = self.world.consumers_per_pod
        pods = sorted((pod for pod in self.pods if pod.joined), key=lambda pod: pod.rank)
        return [pod.number * each + thread for pod in pods for thread in range(each)]

    def _assignment(self) -> list[int]:
        return assign(self.world.assignor, self._topics, self._members(), self._owners)

    def _rebalance(self) -> None:
        """Membership has changed: those who must stop commit, and go on after a pause with what they are given."""
        owners = self._assignment()
        old = np.array(self._owners, dtype=np.int64)
        new = np.array(owners, dtype=np.int64)
        moved = np.ones(len(new), dtype=bool) if self.world.rebalance is Rebalance.EAGER else old != new
        pause = self.world.ticks(self.world.pause.draw(self._rng))
        processing = moved & (self._slots < len(self._caps) - 1)
        self.committed[processing] = (self.ended - self.backlog)[processing]
        self._commit_ticks[processing] = self.now
        self.ledger.add(self._commit_ticks, self.committed)
        self._owners = owners
        self._orphans.clear()
        self._resumes[moved] = self.now + pause
        self._note_unstable(self.now + pause)
        self._at(self.now + pause, self._wire)
        self._wire()

    def _note_unstable(self, until: int) -> None:
        if self.unstable and self.unstable[-1][1] >= self.now:
            self.unstable[-1] = (self.unstable[-1][0], max(until, self.unstable[-1][1]))
        else:
            self.unstable.append((self.now, until))
        self._rebalancing_until = max(self._rebalancing_until, until)

    def _pace(self) -> float:
        factor = 1.0
        for slow in self._slow:
            factor *= slow.factor
        return self._per_replica * factor

    def _wire(self) -> None:
        """Who serves which partition from now on: slots 0 … n-1 are consumers, the last one is nobody."""
        self.ledger.add(self._commit_ticks, self.committed)
        members = sorted(set(self._owners) - {-1})
        nobody = len(members)
        place = {member: slot for slot, member in enumerate(members)}
        place[-1] = nobody
        slots = np.array([place[owner] for owner in self._owners], dtype=np.intp)
        slots[self._resumes > self.now] = nobody
        for partition in self._stuck | self._orphans:
            slots[partition] = nobody
        self._slots: Ints = slots
        per_tick = self._pace() * self.world.tick_seconds / self.world.consumers_per_pod
        self._caps = np.full(nobody + 1, per_tick)
        self._full_caps = np.full(nobody + 1, max(per_tick, 1e-12))
        self._caps[nobody] = 0.0
        limit = min((slow.limit_per_second for slow in self._slow), default=np.inf)
        self._limit = float(limit) * self.world.tick_seconds if np.isfinite(limit) else None
        self._onehot = np.zeros((len(slots), nobody + 1))
        self._onehot[np.arange(len(slots)), slots] = 1.0
        if len(self.busy_ticks) != nobody + 1:
            self.busy_ticks = np.zeros(nobody + 1)
            self._busy_since = self.now
        self._idle = max(0, len(self._members()) - len(members))
        # Consumers commit each at its own moment of the interval, spread evenly.
        every = self._commit_every
        moments = (np.arange(nobody + 1) * every // max(1, nobody)) % every
        self._due: list[Ints | None] = []
        for phase in range(every):
            due = np.flatnonzero((moments[slots] == phase) & (slots != nobody))
            self._due.append(due if len(due) else None)
        if self._turns is not None:
            self._turns.wire(slots, nobody, self.ended - self.backlog)

    # what goes wrong

    def _at(self, tick: int, happen: Callable[[], None]) -> None:
        self._numbers += 1
        heapq.heappush(self._events, (max(tick, self.now), self._numbers, happen))

    def _plan_faults(self) -> None:
        for at, per_second in self.world.capacity_changes:
            self._at(self._tick_of(at), lambda pace=per_second: self._change_pace(pace))  # type: ignore[misc]
        for fault in self.world.faults:
            self._at(self._tick_of(fault.at), lambda fault=fault: self._begin(fault))  # type: ignore[misc]

    def _tick_of(self, seconds: float) -> int:
        return self.world.ticks(seconds - self.arrivals.begin)

    def _change_pace(self, per_second: float) -> None:
        self._per_replica = per_second
        self._wire()

    def _begin(self, fault: Fault) -> None:
        match fault:
            case SlowDownstream():
                self._slow.append(fault)
                self._at(self.now + self.world.ticks(fault.seconds), lambda: self._end_slow(fault))
            case StuckPartition():
                self._stuck.add(fault.partition)
                self.committed[fault.partition] = self.ended[fault.partition] - self.backlog[fault.partition]
                self._commit_ticks[fault.partition] = self.now
                self._at(self.now + self.world.ticks(fault.seconds), lambda: self._end_stuck(fault.partition))
            case Crash():
                self._crash(fault)
            case PartitionsAdded():
                self._add_partitions(fault.partitions)
        self._wire()

    def _end_slow(self, fault: SlowDownstream) -> None:
        self._slow.remove(fault)
        self._wire()

    def _end_stuck(self, partition: int) -> None:
        self._stuck.discard(partition)
        self._wire()

    def _crash(self, fault: Crash) -> None:
        """Processed and not committed is processed again; the broker goes on counting the member for a while."""
        pod = next((pod for pod in self.pods if pod.joined and not pod.crashed), None)
        if pod is None:
            return
        pod.crashed = True
        each = self.world.consumers_per_pod
        lost = {pod.number * each + thread for thread in range(each)}
        for partition, owner in enumerate(self._owners):
            if owner in lost:
                self._orphans.add(partition)
                self.backlog[partition] = self.ended[partition] - self.committed[partition]
        self._at(self.now + self.world.ticks(fault.session_seconds), lambda: self._notice(pod))

    def _notice(self, pod: Pod) -> None:
        if pod in self.pods:
            pod.joined = False
            self._at(self.now + self.world.ticks(self.world.start.draw(self._rng)), lambda: self._join([pod]))
        self._rebalance()

    def _add_partitions(self, partitions: int) -> None:
        more = partitions - self._topics[-1]
        if more <= 0:
            return
        self._topics[-1] = partitions
        count = sum(self._topics)
        self.arrivals.reweigh(np.full(count, 1 / count), self.now)
        self.backlog, self.ended, self.committed = (
            np.append(values, np.zeros(more)) for values in (self.backlog, self.ended, self.committed)
        )
        self._commit_ticks = np.append(self._commit_ticks, np.full(more, float(self.now)))
        self._resumes = np.append(self._resumes, np.zeros(more, dtype=np.int64))
        self._owners += [-1] * more
        self._wire()
        self._rebalance()
