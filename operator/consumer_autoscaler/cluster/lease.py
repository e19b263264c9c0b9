"""One writer at a time: a `coordination.k8s.io` Lease, judged by this process's monotonic clock only.

The clocks of two pods are never compared. A standby measures how long the record has not changed in its own
eyes, and takes over when that is longer than the lease says. The holder counts from the *start* of its last
successful renewal and stops believing in itself after the renew deadline, which is shorter than the lease: so
there is a gap between two writers, never an overlap, as long as the clocks run at the same speed.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from consumer_autoscaler.cluster.errors import Conflict, KubeError, NotFound
from consumer_autoscaler.cluster.kube import Kube
from consumer_autoscaler.cluster.transport import Json

log = logging.getLogger(__name__)

RELEASE_TIMEOUT_SECONDS = 1.0


class Lease:
    """`async with Lease(...)` waits, as a standby, until the Lease is ours; then it is renewed in the
    background.

    `held` must be asked immediately before each write. `lost` is set once and for good when the Lease could
    not be renewed in time or somebody else has it: the process should end. A clean exit gives the Lease up at
    once. `identity` is made unique to the process, so that a restarted pod is not mistaken for the one
    before.
    """

    def __init__(
        self,
        kube: Kube,
        *,
        namespace: str,
        name: str,
        identity: str,
        wall_clock: Callable[[], float],
        duration_seconds: float = 15.0,
        renew_deadline_seconds: float = 10.0,
        retry_seconds: float = 2.0,
    ) -> None:
        if not duration_seconds > renew_deadline_seconds > retry_seconds > 0:
            raise ValueError("a lease needs duration > renew deadline > retry > 0")
        self._kube = kube
        self._namespace = namespace
        self._name = name
        self.identity = f"{identity}_{uuid.uuid4()}"
        self._wall_clock = wall_clock
        self._duration_seconds = duration_seconds
        self._renew_deadline_seconds = renew_deadline_seconds
        self._retry_seconds = retry_seconds
        self.lost = asyncio.Event()
        self._renewed_at = float("-inf")  # monotonic start of the last request that made or kept us the holder
        self._lease: Json | None = None  # as last read or written
        self._changed_at = float("-inf")  # monotonic, when the record last changed in our eyes
        self._task: asyncio.Task[None] | None = None

    @property
    def held(self) -> bool:
        """Whether this process may write, at this very moment."""
        return not self.lost.is_set() and time.monotonic() - self._renewed_at < self._renew_deadline_seconds

    @property
    def acquired(self) -> bool:
        """Whether this process has ever been the holder; False is a standby."""
        return self._task is not None

    async def __aenter__(self) -> Self:
        log.info("lease=waiting name=%s/%s identity=%s", self._namespace, self._name, self.identity)
        while not await self._attempt(self._renew_deadline_seconds):  # noqa: ASYNC110
            await asyncio.sleep(self._pause())
        self._task = asyncio.create_task(self._keep(), name="lease")
        log.info("lease=acquired name=%s/%s identity=%s", self._namespace, self._name, self.identity)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        if self.held:
            await self._release()

    async def _keep(self) -> None:
        """Renew until the deadline passes without success, or until somebody else holds the Lease."""
        while True:
            await asyncio.sleep(self._pause())
            while not self.lost.is_set():
                left = self._renewed_at + self._renew_deadline_seconds - time.monotonic()
                if left <= 0:
                    self._lose("not renewed in time")
                elif await self._attempt(left):
                    break
                elif self._holder() not in ("", self.identity):
                    self._lose(f"held by {self._holder()}")
                else:
                    await asyncio.sleep(min(self._pause() / 2, max(left, 0.0)))
            if self.lost.is_set():
                return

    async def _attempt(self, limit_seconds: float) -> bool:
        """Try once to become or stay the holder. Every failure means "not yet", never "it is over"."""
        started = time.monotonic()
        try:
            async with asyncio.timeout(limit_seconds):
                if self._lease is None or self._holder() != self.identity:
                    await self._read(limit_seconds)
                if self._lease is None:
                    written = await self._kube.create_lease(
                        self._namespace, self._record(), timeout_seconds=limit_seconds
                    )
                elif self._holder() in ("", self.identity) or self._has_run_out():
                    written = await self._kube.replace_lease(
                        self._namespace, self._name, self._record(), timeout_seconds=limit_seconds
                    )
                else:
                    return False
        except (Conflict, NotFound) as error:  # somebody was faster, or deleted it: look at what is there now
            log.info("lease=retry name=%s/%s error=%s", self._namespace, self._name, error)
            await self._look(limit_seconds)
            return False
        except (KubeError, TimeoutError) as error:
            why = str(error) or f"no answer within {limit_seconds:.3g} s"  # a TimeoutError says nothing
            log.warning("lease=unreachable name=%s/%s held=%s error=%s", self._namespace, self._name, self.held, why)
            return False
        self._see(written)
        self._renewed_at = started
        return True

    async def _look(self, limit_seconds: float) -> None:
        try:
            async with asyncio.timeout(limit_seconds):
                await self._read(limit_seconds)
        except (KubeError, TimeoutError) as error:
            why = str(error) or f"no answer within {limit_seconds:.3g} s"
            log.warning("lease=unreachable name=%s/%s error=%s", self._namespace, self._name, why)

    async def _read(self, limit_seconds: float) -> None:
        try:
            self._see(await self._kube.get_lease(self._namespace, self._name, timeout_seconds=limit_seconds))
        except NotFound:
            self._lease = None

    def _see(self, lease: Json) -> None:
        if self._lease is None or _version(lease) != _version(self._lease):
            self._changed_at = time.monotonic()
        self._lease = lease

    def _holder(self) -> str:
        return str(_spec(self._lease).get("holderIdentity") or "")

    def _has_run_out(self) -> bool:
        """Whether the record has stood still for longer than its holder promised to let it."""
        promised = _spec(self._lease).get("leaseDurationSeconds")
        duration = float(promised) if isinstance(promised, int) and promised > 0 else self._duration_seconds
        return time.monotonic() - self._changed_at > duration

    def _record(self) -> Json:
        """The Lease as we want it: ours, renewed now. Acquisition and its count as Kubernetes' own clients
        keep them.
        """
        now = _micro_time(self._wall_clock())
        old = _spec(self._lease)
        mine = old.get("holderIdentity") == self.identity
        transitions = int(old.get("leaseTransitions") or 0)
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": self._metadata(),
            "spec": {
                "holderIdentity": self.identity,
                "leaseDurationSeconds": max(1, round(self._duration_seconds)),
                "acquireTime": old.get("acquireTime") if mine else now,
                "renewTime": now,
                "leaseTransitions": transitions if mine or self._lease is None else transitions + 1,
            },
        }

    def _metadata(self) -> Json:
        """What identifies the object and the version we replace; labels and annotations of others are
        kept.
        """
        if self._lease is None:
            return {"name": self._name, "namespace": self._namespace}
        return dict(self._lease["metadata"], managedFields=None)

    def _lose(self, why: str) -> None:
        log.error("lease=lost name=%s/%s identity=%s why=%s", self._namespace, self._name, self.identity, why)
        self.lost.set()

    async def _release(self) -> None:
        spec = dict(_spec(self._lease), holderIdentity="", leaseDurationSeconds=1)
        body: Json = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": self._metadata(),
            "spec": spec,
        }
        self._renewed_at = float("-inf")  # from here on nothing may be written, whatever the answer
        try:
            await self._kube.replace_lease(self._namespace, self._name, body, timeout_seconds=RELEASE_TIMEOUT_SECONDS)
            log.info("lease=released name=%s/%s", self._namespace, self._name)
        except KubeError as error:  # it runs out by itself
            log.warning("lease=not_released name=%s/%s error=%s", self._namespace, self._name, error)

    def _pause(self) -> float:
        return self._retry_seconds * random.uniform(0.8, 1.2)


def _spec(lease: Json | None) -> Json:
    return (lease or {}).get("spec") or {}


def _version(lease: Json) -> tuple[str, str]:
    return str(lease["metadata"].get("uid")), str(lease["metadata"].get("resourceVersion"))


def _micro_time(seconds_since_epoch: float) -> str:
    """The API's MicroTime: UTC with microseconds."""
    return datetime.fromtimestamp(seconds_since_epoch, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
