"""All autoscalers of the process: one supervised task for each resource, by its uid.

A task is replaced when the generation of its resource moves; what was remembered goes with it, unless the resource
points to another target or another consumer group. A broken resource disturbs no other: its spec becomes a condition.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from consumer_autoscaler.cluster.errors import KubeError
from consumer_autoscaler.cluster.events import ObjectRef
from consumer_autoscaler.cluster.objects import TargetKey
from consumer_autoscaler.decision.reasons import ConditionStatus, ConditionType, ReadyReason
from consumer_autoscaler.decision.values import Condition
from consumer_autoscaler.resource import memory, status
from consumer_autoscaler.resource.pauses import annotated
from consumer_autoscaler.resource.spec import GROUP, KIND, VERSION, InvalidSpec, Resource, parse
from consumer_autoscaler.runtime import tell
from consumer_autoscaler.runtime.autoscaler import Autoscaler, Parts

log = logging.getLogger(__name__)

STOP_SECONDS = 2.0


@dataclass(slots=True)
class _Entry:
    namespace: str
    name: str
    generation: int
    annotated: dict[str, str]  # what pauses it: a change of annotations moves no generation
    created: str
    seen_at: float  # monotonic
    task: asyncio.Task[None]
    autoscaler: Autoscaler | None  # None while the spec is invalid


class Fleet:
    """What lives. `observe`, `forget` and `resync` are the watcher's; none of them waits or raises."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._entries: dict[str, _Entry] = {}
        self._holders: dict[TargetKey, list[tuple[str, str, str]]] = {}  # (created, uid, name), oldest first
        self._ending: set[asyncio.Task[None]] = set()
        self._closed = False

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Autoscaler]:
        return (entry.autoscaler for entry in list(self._entries.values()) if entry.autoscaler is not None)

    def names(self) -> Iterator[tuple[str, str]]:
        """Namespace and name of every resource, those with an invalid spec included."""
        return ((entry.namespace, entry.name) for entry in list(self._entries.values()))

    def invalid(self) -> Iterator[tuple[str, str]]:
        """Of those whose spec cannot be worked with."""
        return ((e.namespace, e.name) for e in list(self._entries.values()) if e.autoscaler is None)

    def find(self, namespace: str, name: str) -> Autoscaler | None:
        """The autoscaler of a resource, None when there is none or its spec is invalid."""
        return next((a for a in self if (a.resource.namespace, a.resource.name) == (namespace, name)), None)

    @property
    def dead_tasks(self) -> int:
        """Tasks that ended although their resource lives: a defect."""
        return sum(1 for e in self._entries.values() if e.autoscaler is not None and e.task.done())

    def observe(self, body: Mapping[str, Any]) -> None:
        if self._closed:
            return
        metadata = body.get("metadata") or {}
        uid, generation = str(metadata.get("uid") or ""), int(metadata.get("generation") or 0)
        if metadata.get("deletionTimestamp"):
            self.forget(uid)
            return
        entry = self._entries.get(uid)
        if entry is not None:
            entry.seen_at = time.monotonic()
            if generation < entry.generation or (
                generation == entry.generation and annotated(metadata) == entry.annotated
            ):
                return
        read = _read(body)
        predecessor = _predecessor(entry, read)
        self._end(uid)
        self._start(uid, generation, str(metadata.get("creationTimestamp") or ""), body, read, predecessor)

    def forget(self, uid: str) -> None:
        self._end(uid)

    def resync(self, bodies: Sequence[Mapping[str, Any]], *, started_before: float) -> None:
        for body in bodies:
            self.observe(body)
        listed = {str((body.get("metadata") or {}).get("uid")) for body in bodies}
        for uid, entry in list(self._entries.items()):
            if uid not in listed and entry.seen_at < started_before:
                log.info("resource=gone uid=%s found=resync", uid)
                self._end(uid)

    async def aclose(self) -> None:
        """Ends all tasks, within two seconds at most."""
        self._closed = True
        for uid in list(self._entries):
            self._end(uid)
        if self._ending:
            await asyncio.wait(self._ending, timeout=STOP_SECONDS)

    def _start(
        self,
        uid: str,
        generation: int,
        created: str,
        body: Mapping[str, Any],
        read: Resource | InvalidSpec,
        predecessor: Autoscaler | None,
    ) -> None:
        metadata = body["metadata"]
        pausing, who = annotated(metadata), (metadata["namespace"], metadata["name"])
        if isinstance(read, InvalidSpec):
            task = asyncio.create_task(self._report_invalid(body, generation, str(read)))
            self._entries[uid] = _Entry(*who, generation, pausing, created, time.monotonic(), task, None)
            return
        autoscaler = Autoscaler(read, body, self._parts, predecessor)
        holders = self._holders.setdefault(autoscaler.key, [])
        holders.append((created, uid, read.name))
        holders.sort()
        task = asyncio.create_task(self._supervise(uid, autoscaler), name=f"autoscaler-{uid}")
        self._entries[uid] = _Entry(*who, generation, pausing, created, time.monotonic(), task, autoscaler)
        self._settle_conflicts(autoscaler.key)

    async def _supervise(self, uid: str, autoscaler: Autoscaler) -> None:
        await autoscaler.run()
        # The resource is gone. Its entry goes, if it is still this one's.
        entry = self._entries.get(uid)
        if entry is not None and entry.autoscaler is autoscaler:
            self._leave(uid)

    def _end(self, uid: str) -> None:
        entry = self._leave(uid)
        if entry is not None and not entry.task.done():
            entry.task.cancel()
            self._ending.add(entry.task)
            entry.task.add_done_callback(self._ending.discard)

    def _leave(self, uid: str) -> _Entry | None:
        entry = self._entries.pop(uid, None)
        if entry is not None and entry.autoscaler is not None:
            key = entry.autoscaler.key
            left = [holder for holder in self._holders.get(key, ()) if holder[1] != uid]
            if left:
                self._holders[key] = left
                self._settle_conflicts(key)
            else:
                self._holders.pop(key, None)
        return entry

    def _settle_conflicts(self, key: TargetKey) -> None:
        """The oldest resource keeps the target; the others say so and do not scale."""
        oldest = self._holders[key][0]
        for _, uid, _ in self._holders[key]:
            entry = self._entries.get(uid)
            if entry is not None and entry.autoscaler is not None:
                entry.autoscaler.conflict = None if uid == oldest[1] else oldest[2]

    async def _report_invalid(self, body: Mapping[str, Any], generation: int, problem: str) -> None:
        """`Ready=False/InvalidSpec`, tried until it is written; what was learned stays in the status."""
        metadata = body["metadata"]
        written = body.get("status") or {}
        now = self._parts.clock()
        condition = Condition(ConditionType.READY, ConditionStatus.FALSE, ReadyReason.INVALID_SPEC, problem)
        new = status.build(
            generation=generation,
            now=now,
            conditions=[condition],
            previous=written,
            learned=memory.learned_from(written, now),
        )
        if not status.material_change(written, new, now, None):
            return
        for pause in (1.0, 5.0, 30.0, 60.0):
            try:
                if self._parts.may_write():
                    await self._parts.kube.patch_status(
                        metadata["namespace"], metadata["name"], status.merge_patch(new)["status"]
                    )
                    ref = ObjectRef(
                        f"{GROUP}/{VERSION}", KIND, metadata["namespace"], metadata["name"], metadata["uid"]
                    )
                    tell.transitions(self._parts.events, ref, written, new)
                    return
            except KubeError as error:
                log.warning("status=failed resource=%s error=%s", metadata.get("name"), error)
            await asyncio.sleep(pause)


def _read(body: Mapping[str, Any]) -> Resource | InvalidSpec:
    """What is wrong with a spec, and even a defect of ours in reading it, is a matter of that resource alone."""
    try:
        return parse(body)
    except InvalidSpec as problem:
        return problem
    except Exception as error:
        metadata = body["metadata"]
        log.exception("parse=failed resource=%s/%s", metadata.get("namespace"), metadata.get("name"))
        words = f"spec: cannot be read, which is a defect of the operator ({type(error).__name__}): see its log"
        return InvalidSpec((words,))


def _predecessor(entry: _Entry | None, new: Resource | InvalidSpec) -> Autoscaler | None:
    """The autoscaler before, if the new generation is about the same target and group."""
    if entry is None or entry.autoscaler is None or isinstance(new, InvalidSpec):
        return None
    old = entry.autoscaler.resource
    return entry.autoscaler if (old.target, old.kafka) == (new.target, new.kafka) else None
