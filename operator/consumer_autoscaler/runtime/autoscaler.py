"""One autoscaler: observe, decide, act, report, once for each reading of its consumer group.

The cycle is driven by the readings: all resources of one cluster and interval wait for the same tick. A cycle that
fails for a reason nobody thought of is logged, counted and shown as `Ready=False/InternalError`; the next one starts
from fresh readings.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from consumer_autoscaler.cluster.errors import Forbidden, KubeError, NotFound
from consumer_autoscaler.cluster.events import EventRecorder, ObjectRef
from consumer_autoscaler.cluster.kube import Kube
from consumer_autoscaler.cluster.objects import TargetKey
from consumer_autoscaler.cluster.rivals import Rivals
from consumer_autoscaler.cluster.targets import Targets, TargetView
from consumer_autoscaler.decision.advance import advance, after_scaling, age_in_doubt
from consumer_autoscaler.decision.alerts import watched
from consumer_autoscaler.decision.bundle import Bundle
from consumer_autoscaler.decision.decide import decide
from consumer_autoscaler.decision.history import History
from consumer_autoscaler.decision.looks import look_again_seconds
from consumer_autoscaler.decision.reasons import (
    ConditionStatus,
    ConditionType,
    ReadyReason,
    ScaleReason,
    SourceReason,
)
from consumer_autoscaler.decision.values import (
    Condition,
    Decision,
    GroupReading,
    Mode,
    Observation,
    Scale,
    Unavailable,
)
from consumer_autoscaler.resource import memory, status
from consumer_autoscaler.resource.spec import GROUP, KIND, VERSION, Resource
from consumer_autoscaler.resource.spec_schema import DeletionCost
from consumer_autoscaler.runtime import act, least_work, tell
from consumer_autoscaler.runtime.clock import Clock
from consumer_autoscaler.runtime.kafka_access import KafkaAccess
from consumer_autoscaler.runtime.metrics.meters import Counts, Meters
from consumer_autoscaler.runtime.processing_time import ProcessingTimes
from consumer_autoscaler.sources.protocol import GroupRequest, Subscription

log = logging.getLogger(__name__)

AFTER_A_FAILURE_SECONDS = 5.0
UNANSWERED_SECONDS = 120.0  # in which a write that nobody answered is seen to be done, or is not any more


@dataclass(frozen=True, slots=True)
class Parts:
    """What all autoscalers of a process share."""

    kube: Kube
    targets: Targets
    processing: ProcessingTimes
    events: EventRecorder
    clock: Clock
    may_write: Callable[[], bool]  # the Lease, asked immediately before each write
    access: KafkaAccess
    rivals: Rivals
    meters: Meters = field(default_factory=Meters)


@dataclass(frozen=True, slots=True)
class _Unanswered:
    """A write of ours of which nobody said that it is done."""

    replicas: int
    decision: Decision
    at: float


class Autoscaler:
    """Works on one resource of one generation until it is cancelled or the resource is gone."""

    def __init__(
        self, resource: Resource, body: Mapping[str, Any], parts: Parts, predecessor: Autoscaler | None
    ) -> None:
        """`predecessor` worked on the generation before, for the same target and group: what it knows goes on."""
        self.resource = resource
        self.key = TargetKey(resource.namespace, str(resource.target.kind), resource.target.name)
        self.counts = Counts()
        self.last: Bundle | None = None
        self.decision: Decision | None = None
        self.conflict: str | None = None  # the name of the older resource that has the same target
        self.read_at: float | None = None  # the last good reading
        self._parts = parts
        self._written: dict[str, Any] = dict(body.get("status") or {})
        self._written_at: float | None = None
        self._reported_at: float | None = None
        self._resumed = predecessor is not None
        self._unanswered: _Unanswered | None = None
        self.history: History = memory.learned_from(self._written, parts.clock()).history()
        if predecessor is not None:
            self.history, self._unanswered = predecessor.history, predecessor._unanswered
        self._ref = ObjectRef(f"{GROUP}/{VERSION}", KIND, resource.namespace, resource.name, resource.uid)
        self._able: Unavailable | None = None
        self._replicas_not_ready_since: float | None = None
        self._began_at = 0.0  # the present cycle

    @property
    def conditions(self) -> tuple[Mapping[str, Any], ...]:
        """The conditions as last written."""
        return tuple(self._written.get("conditions") or ())

    @property
    def conflicted(self) -> str | None:
        """Who else scales the target, and what to do about it; None when nobody does."""
        if self.conflict:
            return f"{self.conflict} is older and scales the same target: delete one of them"
        rival = self._parts.rivals.of(self.key, self.resource.uid)
        return None if rival is None else f"{rival.text} scales the same target; to end that: {rival.remedy}"

    async def run(self) -> None:
        """Cycles until cancelled. Returns when the resource is gone."""
        kafka, policy = self.resource.kafka, self.resource.policy
        subscription = self._parts.access.subscribe(
            self.resource.namespace,
            kafka,
            GroupRequest(
                bootstrap_servers=kafka.bootstrap_servers,
                consumer_group=kafka.consumer_group,
                topics=kafka.topics,
                offset_reset=kafka.offset_reset,
                isolation_level=kafka.isolation_level,
                interval_seconds=policy.poll_interval_seconds,
            ),
        )
        try:
            while True:
                try:
                    if not await self.cycle(subscription):
                        return
                    self._parts.meters.cycles += 1
                    self._parts.meters.cycle_seconds.observe(self._parts.clock() - self._began_at)
                except Exception as error:  # the cycle boundary: one defect must not end the autoscaler
                    self._parts.meters.failed_cycles += 1
                    self.counts.failed_cycles += 1
                    log.exception("cycle=failed resource=%s/%s", self.resource.namespace, self.resource.name)
                    await self._report_failure(error)
                    await asyncio.sleep(AFTER_A_FAILURE_SECONDS)
        finally:
            subscription.close()
            self._parts.processing.forget(self.resource)

    async def cycle(self, subscription: Subscription) -> bool:
        """One cycle. False: the resource is gone and there is nothing left to do."""
        observation = await self._observe(subscription)
        policy, now = self.resource.policy, observation.at
        self.history = watched(policy, advance(policy, self.history, observation, now), observation)
        self.last = Bundle(policy=policy, observation=observation, history=self.history, now=now)
        subscription.look_up_older_than(age_in_doubt(policy, self.history, now))
        soon = look_again_seconds(policy, self.history)
        if soon is not None:
            subscription.look_again(soon)
        self.decision = decision = decide(policy, observation, self.history, now)
        if not await self._act(decision, observation, subscription):
            return False
        return await self._report(decision, observation)

    async def _observe(self, subscription: Subscription) -> Observation:
        """The reading comes first, since the cycle waits for it; the rest is as fresh as the reading then."""
        group = await subscription.next()
        self._began_at = self._parts.clock()
        scale, pods_at = await self._scale()
        now = self._parts.clock()
        if isinstance(group, GroupReading):
            self.read_at = now
        processing = await self._parts.processing.read(self.resource, self.history, pods_at, now)
        for part in (group, processing):
            if isinstance(part, Unavailable) and part.reason is not SourceReason.NOT_READ_YET:
                self.counts.source_failures[part.reason.value] += 1
        return Observation(at=self._parts.clock(), group=group, scale=scale, processing=processing)

    async def _scale(self) -> tuple[Scale | Unavailable, TargetView | None]:
        """The target from the shared watch; where that contradicts what was last known, from a fresh read.

        A watch may be behind our own write: believing it would look as if somebody had scaled back.
        """
        view = self._parts.targets.get(self.key)
        if view is None:
            return Unavailable(ScaleReason.FAILED_GET_SCALE, f"there is no {self.key.text}"), None
        replicas = view.replicas
        if not self._resumed:
            self._resume(view)
        if self.history.replicas is not None and replicas != self.history.replicas:
            try:
                replicas = (await self._parts.kube.get_scale(self.key)).replicas
            except KubeError as error:
                reason = ScaleReason.FORBIDDEN if isinstance(error, Forbidden) else ScaleReason.FAILED_GET_SCALE
                return Unavailable(reason, str(error)), view
            if replicas != self.history.replicas:
                self._changed(self.history.replicas, replicas)
        ready = min(view.ready, replicas) if not view.rolling else view.ready
        return Scale(replicas=replicas, ready=ready, uid=view.uid, rolling=view.rolling), view

    def _changed(self, before: int, after: int) -> None:
        """The count is not what this process knows: by its own write that nobody answered, or by somebody else."""
        own, self._unanswered = self._unanswered, None
        if own is not None and own.replicas == after and self._parts.clock() - own.at <= UNANSWERED_SECONDS:
            self._scaled(before, after, own.decision)
        else:
            tell.external_change(self._parts.events, self._ref, self._target_ref(), before, after)

    def _scaled(self, before: int, after: int, decision: Decision) -> None:
        self.history = after_scaling(self.history, after, self._parts.clock())
        self.counts.ups += after > before
        self.counts.downs += after < before
        tell.scaled(self._parts.events, self._ref, self._target_ref(), before, after, decision)
        log.info(
            "scaled=%s from=%d to=%d reason=%s resource=%s/%s",
            self.key.text, before, after, decision.reason, self.resource.namespace, self.resource.name,
        )  # fmt: skip

    def _resume(self, view: TargetView) -> None:
        """After a restart: a scaling of ours that the status does not know, for a crash between the two writes."""
        self._resumed = True
        scaled_at = view.scaled_at
        if scaled_at is not None and scaled_at > (self.history.scaled_at or 0.0):
            scaled_at = min(scaled_at, self._parts.clock())
            self.history = replace(self.history, scaled_at=scaled_at, changed_at=scaled_at)

    async def _act(self, decision: Decision, observation: Observation, subscription: Subscription) -> bool:
        """Writes the decision where it is one to write. False: the resource is gone."""
        scale = observation.scale
        if isinstance(scale, Unavailable):
            self._able = scale
            return True
        self._able = self._pods_missing(scale, observation.at)
        desired = decision.desired
        if desired is None or desired == scale.replicas or self.resource.mode is not Mode.ACTIVE or self.conflicted:
            return True
        # Said before: an edit of the spec may end this task while the write is under way.
        earlier, self._unanswered = self._unanswered, _Unanswered(desired, decision, self._parts.clock())
        written = await act.scale(
            self._parts.kube,
            self.resource,
            self.key,
            decided_upon=scale.replicas,
            desired=desired,
            may_write=self._parts.may_write,
            prepare=self._marking(observation, subscription, leaving=scale.replicas - desired),
        )
        if written.outcome is not act.Outcome.UNANSWERED:
            # Where nothing was written, one before may still be what the target has.
            self._unanswered = None if written.outcome is act.Outcome.WRITTEN else earlier
        match written.outcome:
            case act.Outcome.GONE:
                return False
            case act.Outcome.WRITTEN:
                self._scaled(scale.replicas, desired, decision)
            case act.Outcome.DROPPED:
                log.info("dropped=%s to=%d why=%r", self.key.text, desired, written.message)
            case act.Outcome.FAILED | act.Outcome.UNANSWERED:
                self.counts.scale_failures[written.reason.value] += 1
                self._able = Unavailable(written.reason, written.message)
                log.warning("scale=failed target=%s to=%d error=%s", self.key.text, desired, written.message)
        return True

    def _marking(
        self, observation: Observation, subscription: Subscription, *, leaving: int
    ) -> Callable[[], Awaitable[None]] | None:
        """What is to be done before a down of `leaving` pods, where the user wants those with the least work to go."""
        group, view = observation.group, self._parts.targets.get(self.key)
        wanted = self.resource.deletion_cost is DeletionCost.LEAST_WORK and self.key.kind == "Deployment"
        if not wanted or leaving <= 0 or view is None or isinstance(group, Unavailable):
            return None

        async def mark() -> None:
            problem = await least_work.mark(
                self._parts.kube,
                subscription,
                namespace=self.key.namespace,
                selector=view.selector,
                group=group,
                leaving=leaving,
            )
            if problem:
                tell.not_marked(self._parts.events, self._ref, self._target_ref(), problem)

        return mark

    def _pods_missing(self, scale: Scale, now: float) -> Unavailable | None:
        """Pods that are asked for and do not come, for longer than any start that was seen."""
        if scale.ready >= scale.replicas:
            self._replicas_not_ready_since = None
            return None
        since = self._replicas_not_ready_since = self._replicas_not_ready_since or now
        patience = max(60.0, 2 * (self.history.start_seconds + self.history.rebalance_seconds))
        if now - since < patience:
            return None
        return Unavailable(
            ScaleReason.REPLICAS_NOT_READY,
            f"{scale.ready} of {scale.replicas} pods are ready since {now - since:.0f} s:"
            f" see the pods of {self.key.text}",
        )

    async def _report(self, decision: Decision, observation: Observation) -> bool:
        """Status when it says something new, Events when a condition turned. False: the resource is gone."""
        now = self._parts.clock()
        promise = self.resource.policy.max_delay_seconds
        delay = decision.figures.delay_seconds
        if promise is not None and delay is not None and delay > promise:
            poll = self.resource.policy.poll_interval_seconds
            self.counts.late_seconds += poll if self._reported_at is None else min(poll, now - self._reported_at)
        self._reported_at = now
        new = status.build(
            generation=self.resource.generation,
            now=now,
            conditions=self._own_conditions(observation),
            previous=self._written,
            learned=memory.learned_of(self.history),
            decision=decision,
            scale=self._scale_after(observation),
            processing=observation.processing,
        )
        return await self._write_status(new, now)

    def _scale_after(self, observation: Observation) -> Scale | Unavailable:
        """The count after our own write, so that status never shows a count that we know to be past."""
        scale = observation.scale
        if isinstance(scale, Scale) and self.history.replicas is not None:
            return replace(scale, replicas=self.history.replicas, ready=min(scale.ready, self.history.replicas))
        return scale

    def _own_conditions(self, observation: Observation) -> list[Condition]:
        ready, able = ConditionType.READY, ConditionType.ABLE_TO_SCALE
        true, false = ConditionStatus.TRUE, ConditionStatus.FALSE
        found: list[Condition] = []
        if self._parts.targets.get(self.key) is None:
            found.append(Condition(ready, false, ReadyReason.TARGET_NOT_FOUND, f"there is no {self.key.text}"))
        elif self.conflicted and self.resource.mode is Mode.ACTIVE and not self.resource.policy.paused:
            words = f"{self.conflicted}; until then this one holds"
            found.append(Condition(ready, false, ReadyReason.CONFLICTED, words))
        else:
            reason, words = tell.at_work(self.resource, self.key.text)
            if self.conflicted:  # side by side is what Observe is for, and who is paused disturbs nobody
                words = f"{words}; {self.conflicted}"
            found.append(Condition(ready, true, reason, words))
        if self._able is None:
            found.append(Condition(able, true, ScaleReason.READY_FOR_NEW_SCALE, "the target can be scaled"))
        else:
            found.append(Condition(able, false, self._able.reason, self._able.message))
        return found

    async def _report_failure(self, error: Exception) -> None:
        """`Ready=False/InternalError`, naming the class of the error only: its text may hold anything."""
        words = f"a cycle failed with {type(error).__name__}: see the operator's log"
        now = self._parts.clock()
        new = status.build(
            generation=self.resource.generation,
            now=now,
            conditions=[Condition(ConditionType.READY, ConditionStatus.FALSE, ReadyReason.INTERNAL_ERROR, words)],
            previous=self._written,
            learned=memory.learned_of(self.history),
        )
        await self._write_status(new, now)

    async def _write_status(self, new: dict[str, Any], now: float) -> bool:
        if not status.material_change(self._written, new, now, self._written_at) or not self._parts.may_write():
            return True
        try:
            await self._parts.kube.patch_status(
                self.resource.namespace, self.resource.name, status.merge_patch(new)["status"]
            )
        except NotFound:
            return False
        except KubeError as error:
            log.warning("status=failed resource=%s/%s error=%s", self.resource.namespace, self.resource.name, error)
            return True  # still differs from what is written: the next cycle tries again
        tell.transitions(self._parts.events, self._ref, self._written, new)
        self._written, self._written_at = new, now
        return True

    def _target_ref(self) -> ObjectRef:
        view = self._parts.targets.get(self.key)
        return ObjectRef("apps/v1", self.key.kind, self.key.namespace, self.key.name, view.uid if view else "")
