"""The diagnosis in trouble of all kinds: generated scenarios in the simulator, and what is said at each poll.

A reason is *knowable* when its cause has been active for two polls, a commit interval and 60 s of a group that is not
rebalancing (a stuck partition: 300 s); three polls later it has to be said, and no other as long as that is so. What
is right is told by the model's own state, see truth.py. At any time, knowable or not, it is wrong to blame downstream,
the keys or a partition without cause. A scenario is right when no poll of it was wrong.

Healthy scenarios count as false alarms when anything but `UnderProvisioned` is said, or that while no message has
waited for a fifth of the promise.

A *probing up* is one that could help nobody when it was made. The most of them in one episode counts: from when its
cause begins until it ends. An up that is raised while its pods have not joined yet is one: nothing could be seen of it.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.bench.chaos import WARM_UP_SECONDS, Scenario, scenarios
from tests.bench.common import Bar, Samples, finish, say
from tests.bench.truth import Truth, truth_of

from consumer_autoscaler.decision.reasons import BackpressureReason as Reason
from consumer_autoscaler.decision.reasons import ConditionType
from consumer_autoscaler.simulation.group import Group
from consumer_autoscaler.simulation.policy import Ours
from consumer_autoscaler.simulation.run import Window, simulate

BARS = (Bar("wrong_share", 0.05), Bar("false_alarms_share", 0.01), Bar("probing_ups_max", 1))
STABLE_SECONDS, POLLS_BEFORE, POLLS_AFTER = 60.0, 2, 3
ACCUSING = {Reason.SLOW_DOWNSTREAM, Reason.PARTITION_SKEW, Reason.STUCK_PARTITION}


@dataclass(frozen=True, slots=True)
class Said:
    """One poll: what was true, what was said, and how it counts (None: not)."""

    at: float
    truth: Truth
    reason: Reason
    right: bool | None
    replicas: int
    message: str


@dataclass(slots=True)
class Clock:
    """Since when something has been true, and for how long of that the group was stable."""

    began: float
    stable_seconds: float = 0.0


@dataclass(slots=True)
class Result:
    scenario: Scenario
    polls: list[Said] = field(default_factory=list)
    probing_ups: int = 0

    @property
    def wrong(self) -> list[Said]:
        return [said for said in self.polls if said.right is False]

    @property
    def false_alarm(self) -> bool:
        if not self.scenario.healthy:
            return False
        promise = float(self.scenario.policy.max_delay_seconds or 120)
        quiet = {Reason.KEEPING_UP, Reason.REBALANCING, Reason.LAG_UNKNOWN}
        return any(
            said.reason not in quiet
            and (said.reason is not Reason.UNDER_PROVISIONED or said.truth.delay_seconds < promise / 5)
            for said in self.polls
        )


class Watched(Ours):
    """The operator's decision, and beside it the truth at each of its polls."""

    def __init__(self, scenario: Scenario) -> None:
        super().__init__(scenario.policy, first_look=5.0, keep_decisions=True)
        self.result = Result(scenario)
        self._clocks: dict[str, Clock] = {}
        self._accused: dict[Reason, float] = {}  # when there was last a cause for it
        self._up_at: float | None = None  # an up that could bring nothing, in this episode
        self._proven = False
        self._episode_ups = 0
        self._last = 0.0

    def look(self, group: Group) -> int | None:
        truth = truth_of(group, self.policy, proven=self._proven)
        before, joined_before = group.replicas, sum(1 for pod in group.pods if pod.joined)
        desired = super().look(group)
        assert self.decisions is not None
        condition = next(c for c in self.decisions[-1].conditions if c.type is ConditionType.BACKPRESSURED)
        reason = Reason(condition.reason)
        self._follow_episode(truth, group)
        right = self._score(truth, reason, group.seconds)
        if group.seconds >= WARM_UP_SECONDS:
            self.result.polls.append(Said(group.seconds, truth, reason, right, before, condition.message))
        if desired is not None and desired > before and truth.up_useless:
            raised = self._up_at is not None and joined_before < before
            self._episode_ups += not raised
            self._up_at = self._up_at or group.seconds
            self.result.probing_ups = max(self.result.probing_ups, self._episode_ups)
        self._last = group.seconds
        return desired

    def _follow_episode(self, truth: Truth, group: Group) -> None:
        if not truth.up_useless:
            self._episode_ups, self._up_at, self._proven = 0, None, False
        settled = not truth.rebalancing and all(pod.joined for pod in group.pods)
        self._proven = self._proven or (self._up_at is not None and settled)

    def _score(self, truth: Truth, reason: Reason, now: float) -> bool | None:
        """Keeps the clock of what is true, and says whether the answer is right once it must be."""
        poll = self.policy.poll_interval_seconds
        name = f"{truth.name} {sorted(truth.answers - {Reason.REBALANCING, Reason.KEEPING_UP})}"
        if not truth.rebalancing:
            clock = self._clocks.get(name)
            if clock is None:
                self._clocks = {name: Clock(now)}
            else:
                clock.stable_seconds += now - self._last
        for answer in truth.answers:
            self._accused[answer] = now
        stable = 0.0 if truth.name in ("KeepingUp", "StuckPartition") else STABLE_SECONDS
        grace = (POLLS_BEFORE + POLLS_AFTER) * poll + self.result.scenario.world.commit_seconds
        if reason in ACCUSING and now - self._accused.get(reason, -1e9) > grace + STABLE_SECONDS:
            return False
        known = self._clocks.get(name)
        if known is None or not truth.answers:
            return None
        if now - known.began < grace + stable or known.stable_seconds < stable:
            return None
        return reason in truth.answers


def played(scenario: Scenario) -> Result:
    """Runs one scenario."""
    scaler = Watched(scenario)
    simulate(
        scenario.load, scenario.world, scaler, window=Window(first=0.0, last=scenario.load.end),
        promise_seconds=float(scenario.policy.max_delay_seconds or 120), noise=scenario.noise,
        seed=scenario.seed, replicas=scenario.replicas,
    )  # fmt: skip
    return scaler.result


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench diagnosis", description=__doc__)
    parser.add_argument("--scenarios", type=int, default=225)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", help="the one with this seed, poll by poll")
    options = parser.parse_args(arguments)
    results: list[Result] = []
    began = said = time.monotonic()
    with Samples("diagnosis") as raw:
        for scenario in scenarios(options.scenarios, options.seed):
            if options.only and scenario.seed != int(options.only):
                continue
            result = played(scenario)
            results.append(result)
            raw.add("scenario", family=scenario.family, seed=scenario.seed, probing_ups=result.probing_ups,
                    wrong=[(s.at, s.truth.name, s.reason) for s in result.wrong])  # fmt: skip
            if time.monotonic() - said > 20:
                said = time.monotonic()
                say(f"{len(results)} of {options.scenarios} scenarios, {said - began:.0f} s")
    if options.only:
        _tell(results[0])
    _print_matrix(results)
    _print_families(results)
    wrong = sum(1 for result in results if result.wrong) / len(results)
    healthy = [result for result in results if result.scenario.healthy]
    figures = {
        "scenarios": len(results),
        "right_share": round(1 - wrong, 4),
        "wrong_share": round(wrong, 4),
        "false_alarms_share": round(sum(r.false_alarm for r in healthy) / max(1, len(healthy)), 4),
        "probing_ups_max": max(result.probing_ups for result in results),
        "seconds": round(time.monotonic() - began, 1),
    }
    return finish(figures, BARS)


def _print_matrix(results: Sequence[Result]) -> None:
    """Polls that count: what was true against what was said."""
    cells = Counter((s.truth.name, s.reason) for r in results for s in r.polls if s.right is not None)
    truths, reasons = sorted({t for t, _ in cells}), sorted({r for _, r in cells})
    print(f"{'polls':22}" + "".join(f"{reason[:16]:>17}" for reason in reasons))
    for name in truths:
        print(f"{name:22}" + "".join(f"{cells[name, reason] or '':>17}" for reason in reasons))


def _print_families(results: Sequence[Result]) -> None:
    print(f"\n{'family':22}{'scenarios':>10}{'right':>8}{'probing ups':>13}   wrong (seed)")
    for family in sorted({result.scenario.family for result in results}):
        of = [result for result in results if result.scenario.family == family]
        bad = [r.scenario.seed for r in of if r.wrong]
        most = max(r.probing_ups for r in of)
        seeds = bad + [f"{r.scenario.seed} probes" for r in of if r.probing_ups > 1]
        seeds += [f"{r.scenario.seed} alarm" for r in of if r.false_alarm]
        print(f"{family:22}{len(of):>10}{len(of) - len(bad):>8}{most:>13}   {', '.join(map(str, seeds))}")


def _tell(result: Result) -> None:
    """Each poll at which something changed."""
    print(result.scenario)
    last = None
    for s in result.polls:
        key = (s.truth.name, s.truth.answers, s.reason, s.right, s.replicas)
        if key != last:
            answers = ",".join(sorted(s.truth.answers))
            mark = {True: "right", False: "WRONG", None: ""}[s.right]
            print(
                f"{s.at:7.0f} {s.replicas:3} {s.truth.delay_seconds:6.0f} s  {s.truth.name:20} {{{answers}}}"
                f" {'useless' if s.truth.up_useless else ''} -> {s.reason} {mark}  {s.message[:160]}"
            )
        last = key
