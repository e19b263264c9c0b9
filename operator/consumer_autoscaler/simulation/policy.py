"""Who scales: the protocol, the operator's own decision, fixed counts and fixed plans."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from consumer_autoscaler.decision.advance import advance, after_scaling, age_in_doubt, resumed
from consumer_autoscaler.decision.decide import decide
from consumer_autoscaler.decision.history import History
from consumer_autoscaler.decision.looks import look_again_seconds
from consumer_autoscaler.decision.values import Decision, Observation, Policy
from consumer_autoscaler.simulation.group import Group


class Scaler(Protocol):
    """Looks at the group now and then, through `observe` only, and says how many replicas there shall be."""

    @property
    def next_look(self) -> float:
        """When it wants to look next, in seconds on the clock of the trace; infinity for never."""

    def look(self, group: Group) -> int | None:
        """The count that is wanted now; None to leave it. Whatever it says is accepted."""


class Ours:
    """`advance` and `decide` as the operator calls them: poll after poll, and a second look where one is asked for."""

    def __init__(
        self,
        policy: Policy,
        *,
        first_look: float,
        capacity_per_replica: float | None = None,
        start_seconds: float | None = None,
        rebalance_seconds: float | None = None,
        keep_decisions: bool = False,
    ) -> None:
        """The last four are what it believes to have measured before."""
        self.policy = policy
        self.next_look = self._next_poll = first_look
        self.history: History = resumed(
            capacity_per_replica=capacity_per_replica,
            start_seconds=start_seconds,
            rebalance_seconds=rebalance_seconds,
            changed_at=None,
        )
        self.decisions: list[Decision] | None = [] if keep_decisions else None

    def look(self, group: Group) -> int | None:
        now = group.seconds
        if now >= self._next_poll:
            self._next_poll += self.policy.poll_interval_seconds
        observation = Observation(
            at=now,
            group=group.observe(age_in_doubt(self.policy, self.history, now)),
            scale=group.observe_scale(),
            processing=group.observe_processing(),
        )
        self.history = advance(self.policy, self.history, observation, now)
        decision = decide(self.policy, observation, self.history, now)
        soon = look_again_seconds(self.policy, self.history)
        self.next_look = self._next_poll if soon is None else min(self._next_poll, now + soon)
        if self.decisions is not None:
            self.decisions.append(decision)
        if decision.desired is None or decision.desired == group.replicas:
            return None
        self.history = after_scaling(self.history, decision.desired, now)
        return decision.desired


class Plan:
    """Counts that were chosen beforehand: (second, replicas) in order. A static count is a plan of one."""

    def __init__(self, steps: Sequence[tuple[float, int]]) -> None:
        self._steps = list(steps)

    @property
    def next_look(self) -> float:
        return self._steps[0][0] if self._steps else float("inf")

    def look(self, group: Group) -> int | None:
        return self._steps.pop(0)[1]
