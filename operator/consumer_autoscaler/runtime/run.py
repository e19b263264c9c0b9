"""Wiring and lifetimes: what is started in which order, and ended in the opposite one."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from contextlib import AsyncExitStack, suppress

from consumer_autoscaler.cluster.credentials import CredentialsUnavailable
from consumer_autoscaler.cluster.errors import Invalid, KubeError
from consumer_autoscaler.cluster.events import EventRecorder
from consumer_autoscaler.cluster.kube import Kube
from consumer_autoscaler.cluster.lease import Lease
from consumer_autoscaler.cluster.objects import AccessQuestion
from consumer_autoscaler.cluster.rivals import Rivals
from consumer_autoscaler.cluster.secrets import Secrets
from consumer_autoscaler.cluster.targets import Targets
from consumer_autoscaler.cluster.watch import Resync, watch
from consumer_autoscaler.decision.bundle import Bundle
from consumer_autoscaler.resource.spec import GROUP, PLURAL
from consumer_autoscaler.runtime.autoscaler import Parts
from consumer_autoscaler.runtime.clock import steady_clock
from consumer_autoscaler.runtime.fleet import Fleet
from consumer_autoscaler.runtime.kafka_access import KafkaAccess
from consumer_autoscaler.runtime.metrics.loop_lag import LoopLag
from consumer_autoscaler.runtime.metrics.meters import Meters
from consumer_autoscaler.runtime.metrics.page import Page
from consumer_autoscaler.runtime.metrics.process import Process
from consumer_autoscaler.runtime.pauses import short_pauses
from consumer_autoscaler.runtime.processing_time import ProcessingTimes
from consumer_autoscaler.runtime.settings import Settings
from consumer_autoscaler.runtime.web import Health, WebServer
from consumer_autoscaler.sources.kafka.reader import KafkaLagSource
from consumer_autoscaler.sources.pod_http import PodHttp
from consumer_autoscaler.sources.processing import PodMetrics
from consumer_autoscaler.sources.prometheus import PrometheusMetrics
from consumer_autoscaler.sources.prometheus_http import PrometheusHttp

log = logging.getLogger(__name__)

RIGHTS = (
    ("list", GROUP, PLURAL, ""),
    ("watch", GROUP, PLURAL, ""),
    ("get", GROUP, PLURAL, ""),
    ("patch", GROUP, PLURAL, "status"),
    ("list", "apps", "deployments", ""),
    ("watch", "apps", "deployments", ""),
    ("get", "apps", "deployments", "scale"),
    ("patch", "apps", "deployments", "scale"),
    ("list", "apps", "statefulsets", ""),
    ("watch", "apps", "statefulsets", ""),
    ("get", "apps", "statefulsets", "scale"),
    ("patch", "apps", "statefulsets", "scale"),
    ("list", "", "pods", ""),
    ("create", "events.k8s.io", "events", ""),
    ("patch", "events.k8s.io", "events", ""),
)

LOOK_SECONDS = 15.0


class Unfit(RuntimeError):
    """The operator cannot start; the message says what is missing."""


async def run(settings: Settings) -> int:
    """Runs until SIGINT or SIGTERM (0) or until the Lease is lost (1). Raises Unfit."""
    clock, stop = steady_clock(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):  # kopf puts its own in their place when it starts
        loop.add_signal_handler(number, stop.set)

    async with AsyncExitStack() as stack:
        stack.enter_context(short_pauses())
        kube = Kube.connect(
            settings.kubeconfig,
            namespaces=settings.namespaces,
            label_selector=settings.label_selector,
            request_timeout_seconds=settings.request_timeout_seconds,
        )
        try:
            await stack.enter_async_context(kube)
        except CredentialsUnavailable as problem:
            raise Unfit(str(problem)) from problem
        lease = Lease(
            kube,
            namespace=settings.effective_lease_namespace(),
            name=settings.lease_name,
            identity=settings.identity,
            wall_clock=clock,
            duration_seconds=settings.lease_duration_seconds,
            renew_deadline_seconds=settings.lease_duration_seconds * 2 / 3,
            retry_seconds=settings.lease_duration_seconds * 2 / 15,
        )
        may_write = (lambda: lease.held) if settings.leader_election else (lambda: True)
        policy = settings.address_policy()
        lag = KafkaLagSource(clock, request_timeout_seconds=settings.request_timeout_seconds, policy=policy)
        secrets = Secrets(kube)
        pods = PodHttp(policy=policy)
        prometheus = PrometheusHttp(policy=policy)
        processing = ProcessingTimes(
            kube,
            secrets,
            PodMetrics(pods),
            PrometheusMetrics(prometheus),
            allow_passwords_without_tls=settings.allow_passwords_without_tls,
        )
        events = EventRecorder(kube, instance=settings.identity, wall_clock=clock, may_post=may_write)
        targets = Targets(kube)
        rivals = Rivals(kube)
        access = KafkaAccess(lag, secrets, settings.allow_passwords_without_tls)
        meters = Meters()
        fleet = Fleet(Parts(kube, targets, processing, events, clock, may_write, access, rivals, meters))
        resync = Resync(kube, fleet, interval_seconds=settings.resync_seconds)
        health = _health(settings, lease, fleet, resync)
        process = Process(
            fleet=fleet,
            kube=kube,
            readings=lambda: lag.stats,
            leader=may_write,
            health=lambda: 2 if health.sick() else 0 if health.ready()[0] else 1,
            listed_at=lambda: clock() - resync.age_seconds if resync.listed.is_set() else None,
            source_seconds={
                "kafka": lag.stats.request_seconds,
                "pods": pods.request_seconds,
                "prometheus": prometheus.request_seconds,
            },
            meters=meters,
            loop_lag=await stack.enter_async_context(LoopLag()),
        )
        web = WebServer(
            host=settings.listen_host,
            port=settings.port,
            page=Page(process),
            health=health,
            kube=kube,
            bundle_of=lambda namespace, name: _bundle(fleet, namespace, name),
        )
        await stack.enter_async_context(web)
        await _check_rights(kube, stop)
        await _check_selector(kube)
        if settings.leader_election:
            if not await _acquired(lease, stop, stack):
                return 0
            lost = asyncio.create_task(_stop_when_lost(lease, stop), name="lease-lost")
            stack.callback(lost.cancel)
        await stack.enter_async_context(events)
        await stack.enter_async_context(targets)
        await stack.enter_async_context(rivals)
        await _or_stop(targets.wait_synced(), stop)
        await _or_stop(_looked(rivals), stop)
        await stack.enter_async_context(resync)
        log.info(
            "operator=started namespaces=%s labels=%s",
            ",".join(settings.namespaces) or "all",
            settings.label_selector or "all",
        )
        await watch(fleet, kube=kube, stop=stop, closing=(resync, fleet, lag, processing, events, targets, rivals, web))
    log.info("operator=stopped lease_lost=%s", lease.lost.is_set())
    return 1 if lease.lost.is_set() else 0


async def _looked(rivals: Rivals) -> None:
    """Nothing is scaled before it is known who else does; but what cannot be listed must not stop the start."""
    with suppress(TimeoutError):
        await asyncio.wait_for(rivals.wait_looked(), LOOK_SECONDS)


def _bundle(fleet: Fleet, namespace: str, name: str) -> Bundle | None:
    autoscaler = fleet.find(namespace, name)
    return autoscaler.last if autoscaler is not None else None


def _health(settings: Settings, lease: Lease, fleet: Fleet, resync: Resync) -> Health:
    def sick() -> str | None:
        if lease.lost.is_set():
            return "the Lease is lost"
        if fleet.dead_tasks:
            return f"{fleet.dead_tasks} autoscalers have ended although their resources live"
        if resync.listed.is_set() and resync.age_seconds > 3 * settings.resync_seconds:
            return f"resources were last listed {resync.age_seconds:.0f} s ago"
        return None

    def ready() -> tuple[bool, str]:
        if settings.leader_election and not lease.acquired:
            return True, "standby"
        return resync.listed.is_set(), "working" if resync.listed.is_set() else "resources were not listed yet"

    return Health(sick, ready)


async def _check_rights(kube: Kube, stop: asyncio.Event) -> None:
    """Names the missing rights and ends: a watch would retry a 403 in silence for ever."""
    pause = 1.0
    while not stop.is_set():
        questions = [
            AccessQuestion(verb=verb, group=group, resource=resource, subresource=sub, namespace=namespace or "")
            for verb, group, resource, sub in RIGHTS
            for namespace in kube.scopes
        ]
        try:
            missing = await kube.missing_rights(questions)
        except KubeError as error:
            log.warning("rights=unknown error=%s", error)
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), pause)
            pause = min(30.0, 2 * pause)
            continue
        if missing:
            raise Unfit("missing rights, see the installed roles: " + "; ".join(q.text for q in missing))
        return


async def _check_selector(kube: Kube) -> None:
    """Ends with the API server's words: with a selector that it cannot read nothing would ever be served."""
    if kube.label_selector:
        try:
            await kube.resources_are_served()
        except Invalid as error:
            raise Unfit(f"--label-selector {kube.label_selector!r}: {error.message}") from error
        except KubeError as error:
            log.warning("label_selector=unchecked error=%s", error)


async def _acquired(lease: Lease, stop: asyncio.Event, stack: AsyncExitStack) -> bool:
    """Waits as a standby. False when told to stop first."""
    return await _or_stop(stack.enter_async_context(lease), stop)


async def _or_stop(work: object, stop: asyncio.Event) -> bool:
    task = asyncio.ensure_future(work)  # type: ignore[call-overload]
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            await task
            return True
        return False
    finally:
        for each in (task, stopping):
            if not each.done():
                each.cancel()
                with suppress(asyncio.CancelledError):
                    await each


async def _stop_when_lost(lease: Lease, stop: asyncio.Event) -> None:
    await lease.lost.wait()
    log.error("lease=lost: stopping")
    stop.set()


def main(settings: Settings) -> int:
    """The process: logging, the loop, and the exit status."""
    from consumer_autoscaler.runtime import logs

    logs.configure(settings.log_level, settings.log_format)
    try:
        return asyncio.run(run(settings))
    except Unfit as problem:
        print(f"consumer-autoscaler: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0
