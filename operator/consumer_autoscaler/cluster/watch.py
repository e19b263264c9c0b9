"""Which resources exist: kopf hands every change over, and a LIST every few minutes finds what it missed.

kopf is the watcher only: one handler that cannot fail, no state, no patches, no finalizers, so it never
writes to the cluster and needs no right to. What kopf does not do is noticed here: it never learns of an
object that was deleted while its watch was interrupted, and it would idle for ever if the CRD came later than
itself.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Protocol, Self

import kopf
from kopf._cogs.structs.references import Insights, Resource  # no public way to a late discovery; kopf is pinned

from consumer_autoscaler.cluster.errors import KubeError
from consumer_autoscaler.cluster.kube import Kube
from consumer_autoscaler.cluster.transport import Json
from consumer_autoscaler.resource.spec import GROUP, KIND, PLURAL, VERSION

log = logging.getLogger(__name__)

RESYNC_SECONDS = 300.0
LONGEST_BACKOFF_SECONDS = 30.0
CLOSE_SECONDS = 5.0


class Fleet(Protocol):
    """Who works on the resources. All three are quick and do not raise; a broken resource is the fleet's
    business.
    """

    def observe(self, body: Mapping[str, Any]) -> None:
        """This resource exists and looks like this. Called again for what is known already."""

    def forget(self, uid: str) -> None:
        """The resource with this uid is gone or going. Also called for uids never observed."""

    def resync(self, bodies: Sequence[Mapping[str, Any]], *, started_before: float) -> None:
        """These were all resources, as listed some time after `started_before` (monotonic seconds).

        What the fleet already had at that time and is not among them is gone; what it learned of later may
        just have been too new for the list.
        """


class Closable(Protocol):
    async def aclose(self) -> None: ...


async def watch(
    fleet: Fleet, *, kube: Kube, stop: asyncio.Event, closing: Sequence[Closable] = (), crd_poll_seconds: float = 5.0
) -> None:
    """Hand over every resource until `stop` is set or the process gets SIGINT or SIGTERM; then close
    everything.

    `closing` is closed in its order while the loop still works undisturbed: name all that was started for the
    fleet, or kopf will cancel its tasks five seconds later. Tasks that exist before this call are left alone.
    Waits for the CRD first. Raises what ended the watch, which is for the process to end with: a restart
    begins with a clean list.
    """
    insights = Insights()
    discovery = asyncio.create_task(_complete_discovery(insights), name="discovery")
    try:
        if not await _wait_for_crd(kube, stop, crd_poll_seconds):
            return
        await kopf.operator(
            registry=_registry(fleet, kube, stop, closing),
            settings=_settings(kube.label_selector),
            identity="consumer-autoscaler",  # type: ignore[arg-type]  # kopf would ask for the user's name, which a
            # container's numeric user has not
            clusterwide=not kube.namespaces,
            namespaces=kube.namespaces,
            stop_flag=stop,
            insights=insights,
        )
    finally:
        discovery.cancel()
        await _close(closing)  # for the ways out that do not pass kopf's cleanup; closing twice does no harm


class Resync:
    """`async with Resync(...)` lists all resources at once and every five minutes, and gives them to the
    fleet.
    """

    def __init__(self, kube: Kube, fleet: Fleet, *, interval_seconds: float = RESYNC_SECONDS) -> None:
        self._kube = kube
        self._fleet = fleet
        self._interval_seconds = interval_seconds
        self.listed = asyncio.Event()
        self._listed_at = time.monotonic()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._resync_forever(), name="resync")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End it. May be called twice."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    @property
    def age_seconds(self) -> float:
        """How long ago the last complete LIST was answered (or this object made)."""
        return time.monotonic() - self._listed_at

    async def once(self) -> None:
        """One LIST, and the fleet told. Raises KubeError."""
        started = time.monotonic()
        bodies: list[Json] = await self._kube.list_resources()
        self._fleet.resync(bodies, started_before=started)
        self._listed_at = time.monotonic()
        self.listed.set()

    async def _resync_forever(self) -> None:
        failures = 0
        while True:
            try:
                await self.once()
                failures = 0
            except KubeError as error:
                failures += 1
                if failures == 1:
                    log.warning("resync=failed error=%s", error)
            except Exception:
                failures += 1
                log.exception("resync=failed")
            pause = self._interval_seconds
            if failures:
                pause = min(self._interval_seconds, LONGEST_BACKOFF_SECONDS, 2.0 ** min(failures, 10))
            await asyncio.sleep(pause * random.uniform(0.9, 1.0))


class _Endless:
    """Delays between kopf's attempts: 1, 2, 4 … 30 s, for ever. Iterated anew for each request, so no
    generator.

    kopf's own list ends after a minute and takes the operator with it.
    """

    def __iter__(self) -> Iterator[float]:
        delay = 1.0
        while True:
            yield delay * random.uniform(0.8, 1.2)
            delay = min(delay * 2, LONGEST_BACKOFF_SECONDS)


def _settings(label_selector: str) -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.peering.standalone = True  # a stray peering object would freeze us; the Lease decides who works
    settings.scanning.disabled = True  # saves the rights on namespaces and CRDs
    if label_selector:  # the API server tells of a resource that no longer matches as if it were deleted
        settings.watching.label_selectors[GROUP, PLURAL] = label_selector
    settings.watching.server_timeout = 290
    settings.watching.client_timeout = 300
    settings.networking.request_timeout = 30
    settings.networking.connect_timeout = 10
    settings.networking.error_backoffs = _Endless()
    settings.posting.enabled = False
    settings.process.ultimate_exiting_timeout = None  # it would kill the process, whatever that does by then
    return settings


def _registry(fleet: Fleet, kube: Kube, stop: asyncio.Event, closing: Sequence[Closable]) -> kopf.OperatorRegistry:
    registry = kopf.OperatorRegistry()
    again = 0  # logins in quick succession
    last = float("-inf")

    @kopf.on.login(registry=registry)
    async def login(**_: Any) -> kopf.AiohttpSession:
        """Called at start and after each 401, which a starting API server may answer for a while."""
        nonlocal again, last
        again = again + 1 if time.monotonic() - last < 4 * LONGEST_BACKOFF_SECONDS else 0
        if again:
            await asyncio.sleep(min(2.0 ** min(again, 10), LONGEST_BACKOFF_SECONDS))
            await kube.credentials.reload()
        last = time.monotonic()
        return kopf.AiohttpSession(server=kube.credentials.server, aiohttp_session=kube.credentials.session())

    @kopf.on.event(GROUP, VERSION, PLURAL, registry=registry)
    async def observed(type: str | None, body: kopf.Body, **_: Any) -> None:
        """kopf logs and swallows errors of this place and never repeats it, so it only hands over."""
        if type == "DELETED" or body.meta.get("deletionTimestamp"):
            fleet.forget(str(body.meta["uid"]))
        else:
            fleet.observe(dict(body))

    @kopf.on.cleanup(registry=registry)
    async def close(**_: Any) -> None:
        stop.set()  # after a signal kopf would otherwise wait 5 s for its own task that waits for this flag
        _cancel_left_waiters()
        await _close(closing)

    return registry


def _cancel_left_waiters() -> None:
    """End what kopf (1.45) leaves of a watch that is cancelled while it hands an object over, and not while it reads.

    Its generator is then not closed, and kopf would wait 5 s for the task in it. By now the watch itself is over.
    """
    for task in asyncio.all_tasks():
        if task.get_name().startswith("pause-waiter for "):
            task.cancel()


async def _close(closing: Sequence[Closable]) -> None:
    """Each in turn; one that fails or hangs does not keep the others from it."""
    for thing in closing:
        try:
            await asyncio.wait_for(thing.aclose(), CLOSE_SECONDS)
        except Exception:
            log.exception("close=failed what=%s", type(thing).__name__)


async def _complete_discovery(insights: Insights) -> None:
    """Tell kopf of our resource type when its one look at the API server's discovery did not find it.

    An API server that has just started serves a custom resource some moments before it names it in discovery. kopf
    would log "Unresolved resources" and be deaf for ever. That the type is served was seen before kopf was started.
    """
    await insights.ready_resources.wait()
    if insights.watched_resources:
        return
    log.info("discovery=completed resource=%s.%s", PLURAL, GROUP)
    async with insights.revised:
        insights.watched_resources.add(
            Resource(
                group=GROUP,
                version=VERSION,
                plural=PLURAL,
                kind=KIND,
                singular=KIND.lower(),
                namespaced=True,
                verbs=frozenset({"get", "list", "watch"}),
            )
        )
        insights.revised.notify_all()


async def _wait_for_crd(kube: Kube, stop: asyncio.Event, poll_seconds: float) -> bool:
    """Until the API server serves our resource type. False: told to stop meanwhile."""
    told = ""
    while not stop.is_set():
        try:
            if await kube.resources_are_served():
                return True
            problem = f"{PLURAL}.{GROUP} is not installed; do: kubectl apply -f crds/{PLURAL}.yaml"
        except KubeError as error:
            problem = f"{PLURAL}.{GROUP} cannot be read: {error}"
        if problem != told:
            log.warning("crd=waiting %s", problem)
            told = problem
        try:
            await asyncio.wait_for(stop.wait(), poll_seconds)
        except TimeoutError:
            continue
    return False
