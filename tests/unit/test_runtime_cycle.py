"""A cycle of a real autoscaler: when it wants to look again, and how it counts late time."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from tests.fakes.fleet import START, Lone, Reading, body, reading

from consumer_autoscaler.cluster.errors import KubeUnreachable
from consumer_autoscaler.cluster.objects import FreshScale, TargetKey
from consumer_autoscaler.cluster.targets import TargetView
from consumer_autoscaler.decision.looks import SOON_SECONDS
from consumer_autoscaler.decision.reasons import SourceReason
from consumer_autoscaler.decision.values import Unavailable


async def test_after_a_jump_the_group_is_read_again_soon_unless_it_does_not_answer() -> None:
    jump_at, silent_at = START + 601, START + 616

    def said(group: str, at: float) -> Reading:
        if group == "silent-group" and at >= silent_at:
            return Unavailable(SourceReason.BROKER_UNREACHABLE, "no broker answers")
        jumps = group != "even-group" and at >= jump_at
        return reading(at, done=int(10 * (at - START)) + (5_000 if jumps else 0), lag=5)

    operator = Lone(said, lambda _: None)
    for name in ("even", "jumps", "silent"):
        operator.fleet.observe(body(name))
    for _ in range(44):
        await operator.tick()
    await operator.fleet.aclose()
    assert sorted(operator.source.again) == [("jumps-group", SOON_SECONDS), ("silent-group", SOON_SECONDS)]


async def test_late_time_is_counted_by_the_clock() -> None:
    """A second look four seconds after a poll adds four seconds, not a poll."""
    operator = Lone(lambda _, at: reading(at, done=0, lag=1 + int((at - START) / 15)), lambda _: None)
    operator.fleet.observe(body("late"))
    for _ in range(12):
        await operator.tick()
    (late,) = operator.fleet
    before = late.counts.late_seconds
    assert before > 0
    await operator.source.tick(1, seconds=4.0)
    assert late.counts.late_seconds == before + 4
    await operator.tick()
    assert late.counts.late_seconds == before + 4 + 15
    await operator.fleet.aclose()


class _Target:
    """A target of which the operator is told that it was scaled only when the test says so."""

    def __init__(self, operator: Lone) -> None:
        self.replicas, self.scaled_at = 2, None
        self.watch_is_behind = False
        self.asked, self.told = asyncio.Event(), asyncio.Event()
        self.events: list[str] = []
        self.bodies: dict[str, Any] = {}
        for name in ("get", "get_resource", "get_scale", "set_replicas", "record"):
            setattr(operator.cluster, name, getattr(self, name))

    def get(self, key: TargetKey) -> TargetView:
        n = 2 if self.watch_is_behind else self.replicas
        return TargetView(uid="t", replicas=n, ready=n, rolling=False, selector="", scaled_at=self.scaled_at)

    async def get_resource(self, _: str, name: str) -> Any:
        return self.bodies[name]

    async def get_scale(self, _: TargetKey) -> FreshScale:
        return FreshScale(self.replicas, "1", "t")

    async def set_replicas(self, _: TargetKey, replicas: int, __: str) -> None:
        self.replicas, self.scaled_at = replicas, START
        self.asked.set()
        await self.told.wait()

    def record(self, _: object, __: str, reason: str, *___: object, **____: object) -> None:
        self.events.append(reason)


@pytest.mark.parametrize("watch_is_behind", [False, True])
async def test_a_scaling_is_ours_although_the_spec_was_edited_before_its_answer_came(watch_is_behind: bool) -> None:
    """The autoscaler of the new generation knows what the one before was about to write: nobody else did it.

    Where the watch tells of it late, the new one is about to write the same, and finds it done.
    """
    operator = Lone(lambda _, at: reading(at, done=100, lag=30), lambda _: None)
    target = _Target(operator)
    first = body("a", mode="Active", objective={"lagPerReplica": 40}, minReplicas=1)
    edited = {**first, "metadata": {**first["metadata"], "generation": 2}, "spec": {**first["spec"], "alerts": []}}
    target.bodies["a"] = first
    operator.fleet.observe(first)
    ticking = asyncio.create_task(operator.tick())
    await asyncio.wait_for(target.asked.wait(), 10)
    target.bodies["a"] = edited
    target.watch_is_behind = watch_is_behind
    operator.fleet.observe(edited)  # while the answer is under way
    await ticking
    await operator.tick()
    target.watch_is_behind = False
    await operator.tick()
    (now,) = operator.fleet
    assert now.history.replicas == target.replicas > 2
    assert "TargetScaledUp" in target.events
    assert "ExternalScaleDetected" not in target.events
    await operator.fleet.aclose()


class _Unheard(_Target):
    """Its scaling is done and not answered, and the watch tells of it only when `seen` is set to it."""

    def __init__(self, operator: Lone) -> None:
        super().__init__(operator)
        self.seen = self.replicas

    def get(self, key: TargetKey) -> TargetView:
        return replace(super().get(key), replicas=self.seen, ready=self.seen)

    async def set_replicas(self, _: TargetKey, replicas: int, __: str) -> None:
        self.replicas = replicas
        raise KubeUnreachable("Timeout", "no answer")


async def test_a_scaling_that_nobody_answered_is_ours_also_when_the_watch_is_late() -> None:
    """The cycle between, which still sees the old count and drops what it decides, does not forget it."""
    operator = Lone(lambda _, at: reading(at, done=100, lag=30), lambda _: None)
    target = _Unheard(operator)
    target.bodies["a"] = body("a", mode="Active", objective={"lagPerReplica": 40}, minReplicas=1)
    operator.fleet.observe(target.bodies["a"])
    await operator.tick()
    (autoscaler,) = operator.fleet
    assert target.replicas > autoscaler.history.replicas == 2
    await operator.tick()
    assert autoscaler.history.replicas == 2
    assert autoscaler.counts.ups == 0
    target.seen = target.replicas
    await operator.tick()
    assert autoscaler.history.replicas == target.replicas
    assert autoscaler.counts.ups == 1
    assert target.events.count("TargetScaledUp") == 1
    assert "ExternalScaleDetected" not in target.events
    await operator.fleet.aclose()
