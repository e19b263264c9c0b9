"""Events that tell a person what happened, without ever becoming a flood or failing a cycle.

`record()` only queues; a background task posts. Rules, the same that Kubernetes' own controllers follow
(client-go, `tools/record`): the same Event again is counted in its `series`; more than ten that differ only
in their text within ten minutes are counted as one; an object has a budget of 25 posts, refilled by one every
five minutes; a post that the API server could not take is tried again for about a minute. An Event's text
cannot be changed once it is written (the API server refuses it), so the text that says the news, such as a new
count, makes a new Event.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import random
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import TracebackType
from typing import Literal, Self

from consumer_autoscaler.cluster.errors import Conflict, Invalid, KubeError, KubeUnreachable, NotFound
from consumer_autoscaler.cluster.kube import Kube
from consumer_autoscaler.cluster.transport import Json
from consumer_autoscaler.decision.reasons import EventReason

log = logging.getLogger(__name__)

CONTROLLER = "consumerautoscaler.dev/operator"
QUEUE_LIMIT = 1000
REMEMBERED = 4096
SIMILAR_LIMIT = 10
SIMILAR_WINDOW_SECONDS = 600.0
BURST = 25
REFILL_SECONDS = 300.0
FLUSH_SECONDS = 0.5
RETRY_SECONDS = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
NOTE_LIMIT_BYTES = 1024
NAME_LIMIT_CHARACTERS = 230  # of 253, so that the hash behind it fits

EventType = Literal["Normal", "Warning"]


@dataclass(frozen=True, slots=True)
class ObjectRef:
    """The object an Event is about."""

    api_version: str
    kind: str
    namespace: str
    name: str
    uid: str

    def to_json(self) -> Json:
        return {
            "apiVersion": self.api_version,
            "kind": self.kind,
            "namespace": self.namespace,
            "name": self.name,
            "uid": self.uid,
        }


@dataclass(slots=True)
class _Event:
    """One Event object: what makes it the same one, and how often it was seen."""

    regarding: ObjectRef
    type: EventType
    reason: EventReason
    note: str
    action: str
    related: ObjectRef | None
    key: str
    count: int = 0  # as the API server has it; 0 is not posted yet by this process
    waiting: int = 0  # seen since then
    failures: int = 0  # posts in a row without an answer
    seen_at: float = 0.0  # wall clock


@dataclass(slots=True)
class _Budget:
    left: float = BURST
    at: float = field(default_factory=time.monotonic)


class EventRecorder:
    """`async with EventRecorder(...)` posts in the background; leaving it flushes for half a second.

    `may_post` is asked right before each post: who has lost the Lease has nothing to say any more.
    `dropped` counts what was not posted, by cause: `queue_full`, `over_budget`, `refused`, `unreachable`, `lease_lost`.
    """

    def __init__(
        self,
        kube: Kube,
        *,
        instance: str,
        wall_clock: Callable[[], float],
        may_post: Callable[[], bool] = lambda: True,
    ) -> None:
        self._kube = kube
        self._instance = instance[:128]
        self._wall_clock = wall_clock
        self._may_post = may_post
        self.dropped: Counter[str] = Counter()
        self._known: OrderedDict[str, _Event] = OrderedDict()
        self._similar: OrderedDict[str, deque[float]] = OrderedDict()
        self._budgets: OrderedDict[str, _Budget] = OrderedDict()
        self._queue: asyncio.Queue[_Event] = asyncio.Queue(QUEUE_LIMIT)
        self._unposted = 0
        self._later: set[asyncio.TimerHandle] = set()  # posts to be tried again
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._post_all(), name="events")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Post what waits, for half a second at most, and end. May be called twice."""
        task, self._task = self._task, None
        if task is None:
            return
        with suppress(TimeoutError):
            await asyncio.wait_for(self._queue.join(), FLUSH_SECONDS)
        if self._unposted:
            log.warning("events=unposted count=%d", self._unposted)
        for timer in self._later:
            timer.cancel()
        task.cancel()
        await asyncio.wait([task])

    @property
    def idle(self) -> bool:
        """Whether everything recorded so far was posted or dropped."""
        return self._unposted == 0

    def record(
        self,
        regarding: ObjectRef,
        type: EventType,
        reason: EventReason,
        note: str,
        *,
        action: str,
        related: ObjectRef | None = None,
        on_both: bool = False,
    ) -> None:
        """Tell what happened to an object; `on_both` tells it on the related one as well. Never raises, never
        waits.

        `action` is what the operator did or tried, one CamelCase word.
        """
        self._record(regarding, type, reason, note, action, related)
        if on_both and related is not None:
            self._record(related, type, reason, note, action, regarding)

    def _record(
        self,
        regarding: ObjectRef,
        type: EventType,
        reason: EventReason,
        note: str,
        action: str,
        related: ObjectRef | None,
    ) -> None:
        kind = _hash(regarding.uid, type, reason, action, related.uid if related else "")
        note = _cut(note)
        if self._is_one_of_many(kind, note):
            note = _cut(f"(more of the same kind, such as) {note}")
            key = kind
        else:
            key = _hash(kind, note)
        event = self._known.get(key)
        if event is None:
            event = self._known[key] = _Event(regarding, type, reason, note, action, related, key)
        self._known.move_to_end(key)
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        event.waiting += 1
        event.seen_at = self._wall_clock()
        if event.waiting > 1:
            return  # already queued: one post will tell them all
        if not self._within_budget(regarding.uid):
            self._drop(event, "over_budget")
            return
        try:
            self._queue.put_nowait(event)
            self._unposted += 1
        except asyncio.QueueFull:
            self._drop(event, "queue_full")

    def _is_one_of_many(self, kind: str, note: str) -> bool:
        """Whether more than ten of this kind with other texts came within the window."""
        if _hash(kind, note) in self._known:
            return False
        now = time.monotonic()
        times = self._similar.setdefault(kind, deque(maxlen=SIMILAR_LIMIT))
        self._similar.move_to_end(kind)
        if len(self._similar) > REMEMBERED:
            self._similar.popitem(last=False)
        while times and now - times[0] > SIMILAR_WINDOW_SECONDS:
            times.popleft()
        many = len(times) == SIMILAR_LIMIT
        times.append(now)
        return many

    def _within_budget(self, uid: str) -> bool:
        now = time.monotonic()
        budget = self._budgets.setdefault(uid, _Budget())
        self._budgets.move_to_end(uid)
        if len(self._budgets) > REMEMBERED:
            self._budgets.popitem(last=False)
        budget.left = min(BURST, budget.left + (now - budget.at) / REFILL_SECONDS)
        budget.at = now
        if budget.left < 1:
            return False
        budget.left -= 1
        return True

    def _drop(self, event: _Event, cause: str) -> None:
        self.dropped[cause] += event.waiting
        event.waiting = 0

    async def _post_all(self) -> None:
        while True:
            event = await self._queue.get()
            try:
                if self._may_post():
                    await self._post(event)
                    event.failures = 0
                else:
                    self._drop(event, "lease_lost")
            except KubeUnreachable as error:
                self._try_again(event, error)
            except KubeError as error:
                self._drop(event, "refused")
                log.warning("event=dropped reason=%s error=%s", event.reason, error)
            except Exception:
                self._drop(event, "refused")
                log.exception("event=failed reason=%s", event.reason)
            finally:
                self._queue.task_done()
                self._unposted -= 1

    def _try_again(self, event: _Event, error: KubeUnreachable) -> None:
        """Later, and behind those that wait: what refuses this one need not refuse the others."""
        if event.failures == len(RETRY_SECONDS):
            event.failures = 0
            self._drop(event, "unreachable")
            log.warning("event=dropped reason=%s error=%s", event.reason, error)
            return
        pause = RETRY_SECONDS[event.failures] * random.uniform(0.8, 1.2)
        event.failures += 1
        self._unposted += 1

        def queue() -> None:
            self._later.discard(timer)
            try:
                self._queue.put_nowait(event)
            except asyncio.QueueFull:
                self._unposted -= 1
                self._drop(event, "queue_full")

        timer = asyncio.get_running_loop().call_later(pause, queue)
        self._later.add(timer)

    async def _post(self, event: _Event) -> None:
        """What is not told when this fails waits again."""
        news, event.waiting = event.waiting, 0
        try:
            if news and event.count == 0:
                try:
                    await self._kube.create_event(event.regarding.namespace, self._body(event))
                    event.count = 1
                    news -= 1
                except Conflict:  # posted before this process began, or by a request whose answer was lost
                    event.count = await self._count_on_server(event)
                    news -= event.failures > 0
            if news:
                await self._count_up(event, news)
        except KubeError:
            event.waiting += news
            raise

    async def _count_up(self, event: _Event, news: int) -> None:
        series = {"count": event.count + news, "lastObservedTime": _micro_time(event.seen_at)}
        try:
            await self._kube.patch_event(event.regarding.namespace, self._name(event), {"series": series})
            event.count += news
        except NotFound:  # Events live for an hour
            event.count = 0
            await self._kube.create_event(event.regarding.namespace, self._body(event))
            event.count = 1

    async def _count_on_server(self, event: _Event) -> int:
        """The series count an existing Event has. An operator may patch Events, not read them."""
        touch = {"series": {"lastObservedTime": _micro_time(event.seen_at)}}
        try:
            found = await self._kube.patch_event(event.regarding.namespace, self._name(event), touch)
        except Invalid:  # there is no series yet, and one without a count is refused
            return 1
        return int((found.get("series") or {}).get("count") or 1)

    def _body(self, event: _Event) -> Json:
        body: Json = {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"name": self._name(event), "namespace": event.regarding.namespace},
            "eventTime": _micro_time(event.seen_at),
            "reportingController": CONTROLLER,
            "reportingInstance": self._instance,
            "action": event.action,
            "reason": str(event.reason),
            "type": event.type,
            "note": event.note,
            "regarding": event.regarding.to_json(),
        }
        if event.related is not None:
            body["related"] = event.related.to_json()
        return body

    @staticmethod
    def _name(event: _Event) -> str:
        return f"{event.regarding.name[:NAME_LIMIT_CHARACTERS]}.{event.key}"


def _hash(*parts: str) -> str:
    """Short, fit for an object's name, and the same in every process."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _cut(note: str) -> str:
    """At most 1 kB, as the API demands, without half a character at the end."""
    data = note.encode()
    if len(data) <= NOTE_LIMIT_BYTES:
        return note
    return data[: NOTE_LIMIT_BYTES - 3].decode(errors="ignore") + "…"


def _micro_time(seconds_since_epoch: float) -> str:
    return datetime.fromtimestamp(seconds_since_epoch, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
