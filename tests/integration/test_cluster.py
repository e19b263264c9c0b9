"""The operator's hands and eyes on a real API server: scaling, the Lease, Events, the view of targets,
kopf.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from tests.fakes.proxy import Proxy

from bed.controlplane import ControlPlane
from consumer_autoscaler.cluster.errors import Conflict, Forbidden, Invalid, KubeUnreachable, NotFound
from consumer_autoscaler.cluster.events import BURST, EventRecorder, ObjectRef
from consumer_autoscaler.cluster.kube import Kube
from consumer_autoscaler.cluster.lease import Lease
from consumer_autoscaler.cluster.objects import AccessQuestion, TargetKey, managed_scale_time
from consumer_autoscaler.cluster.targets import Targets
from consumer_autoscaler.cluster.watch import Resync, watch
from consumer_autoscaler.decision.reasons import EventReason

pytestmark = pytest.mark.integration

CRD = Path(__file__).parents[2] / "crds" / "consumerautoscalers.yaml"
NAMESPACE = "cluster-tests"


@pytest.fixture(scope="module")
def plane(controlplane: ControlPlane) -> Iterator[ControlPlane]:
    """The shared control plane with our CRD and a namespace of this file's own."""
    controlplane.kubectl("apply", "-f", str(CRD))
    controlplane.kubectl("wait", "--for=condition=Established", "crd", "--all")
    controlplane.kubectl("create", "namespace", NAMESPACE)
    yield controlplane
    controlplane.kubectl("delete", "namespace", NAMESPACE, "--wait=false")


@pytest.fixture
async def kube(plane: ControlPlane) -> AsyncIterator[Kube]:
    async with Kube.connect(plane.kubeconfig) as kube:
        yield kube


@pytest.fixture(scope="module")
def bare_plane() -> Iterator[ControlPlane]:
    """An API server of this file's own, without controllers and CRD, which may be killed."""
    with ControlPlane(controllers=False) as plane:
        yield plane


@asynccontextmanager
async def behind_proxy(plane: ControlPlane, folder: Path) -> AsyncIterator[tuple[Proxy, Path]]:
    """A kubeconfig whose connections can be frozen."""
    address = urlsplit(plane.server)
    assert address.hostname is not None
    assert address.port is not None
    async with Proxy(address.hostname, address.port) as proxy:
        path = folder / f"proxied-{proxy.port}.yaml"
        path.write_text(plane.kubeconfig.read_text().replace(plane.server, f"https://127.0.0.1:{proxy.port}"))
        yield proxy, path


async def eventually(check: Callable[[], object], within_seconds: float = 10.0) -> None:
    """Wait until the check is true, and fail when it stays false."""
    async with asyncio.timeout(within_seconds):
        while not check():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


def workload(name: str, replicas: int = 1, kind: str = "Deployment", namespace: str = NAMESPACE) -> str:
    labels = {"app": name}
    spec: dict[str, Any] = {
        "replicas": replicas,
        "selector": {"matchLabels": labels},
        "template": {
            "metadata": {"labels": labels},
            "spec": {"containers": [{"name": "c", "image": "none"}], "terminationGracePeriodSeconds": 0},
        },
    }
    if kind == "StatefulSet":
        spec["serviceName"] = name
    metadata = {"name": name, "namespace": namespace}
    return json.dumps({"apiVersion": "apps/v1", "kind": kind, "metadata": metadata, "spec": spec})


def resource(name: str, namespace: str = NAMESPACE) -> dict[str, Any]:
    return {
        "apiVersion": "consumerautoscaler.dev/v1alpha1",
        "kind": "ConsumerAutoscaler",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "targetRef": {"name": name},
            "maxReplicas": 5,
            "sources": [{"name": "s", "kafka": {"bootstrapServers": "127.0.0.1:9092", "consumerGroup": "g"}}],
            "objective": {"maxDelaySeconds": 60},
        },
    }


class Seen:
    """A fleet that remembers what it was told."""

    def __init__(self) -> None:
        self.bodies: dict[str, Mapping[str, Any]] = {}
        self.at: dict[str, float] = {}

    @property
    def names(self) -> set[str]:
        return {body["metadata"]["name"] for body in self.bodies.values()}

    def observe(self, body: Mapping[str, Any]) -> None:
        self.at.setdefault(body["metadata"]["uid"], time.monotonic())
        self.bodies[body["metadata"]["uid"]] = body

    def forget(self, uid: str) -> None:
        self.bodies.pop(uid, None)
        self.at.pop(uid, None)

    def resync(self, bodies: Sequence[Mapping[str, Any]], *, started_before: float) -> None:
        listed = {body["metadata"]["uid"] for body in bodies}
        for uid in [u for u, at in self.at.items() if at < started_before and u not in listed]:
            self.forget(uid)
        for body in bodies:
            self.observe(body)


class Closing:
    def __init__(self) -> None:
        self.closed = 0

    async def aclose(self) -> None:
        self.closed += 1


class TestScale:
    async def test_a_write_that_names_an_old_version_changes_nothing(self, plane: ControlPlane, kube: Kube):
        """Somebody else scaled between our read and our write: Conflict, and their count stands."""
        plane.kubectl("create", "-f", "-", input=workload("stale"))
        key = TargetKey(NAMESPACE, "Deployment", "stale")
        read = await kube.get_scale(key)
        plane.kubectl("scale", "deployment/stale", "--replicas=3", f"--namespace={NAMESPACE}")
        with pytest.raises(Conflict):
            await kube.set_replicas(key, 7, read.resource_version)
        assert (await kube.get_scale(key)).replicas == 3

    @pytest.mark.parametrize("kind", ["Deployment", "StatefulSet"])
    async def test_zero_is_written_and_read_as_zero(self, plane: ControlPlane, kube: Kube, kind: str):
        """The API leaves a zero out of its answers; it is still 0, not unknown and not 1."""
        plane.kubectl("create", "-f", "-", input=workload(f"zero-{kind.lower()}", 2, kind))
        key = TargetKey(NAMESPACE, kind, f"zero-{kind.lower()}")
        written = await set_replicas_quietly(kube, key, 0)
        assert written == 0
        assert (await kube.get_scale(key)).replicas == 0

    async def test_a_count_of_our_own_is_known_as_ours_until_somebody_else_sets_it(
        self, plane: ControlPlane, kube: Kube
    ):
        """What a process that died between scaling and writing the status did is seen by the next one."""
        plane.kubectl("create", "-f", "-", input=workload("managed"))
        key = TargetKey(NAMESPACE, "Deployment", "managed")

        def written_at() -> float | None:
            get = ("get", "deployment/managed", f"--namespace={NAMESPACE}", "--show-managed-fields", "--output=json")
            return managed_scale_time(json.loads(plane.kubectl(*get)))

        assert written_at() is None
        before = time.time()
        await set_replicas_quietly(kube, key, 2)
        async with asyncio.timeout(10):  # the controller's answer carries the time
            while (ours := written_at()) is None or ours < before - 1:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert ours < time.time() + 1
        plane.kubectl("scale", "deployment/managed", "--replicas=4", f"--namespace={NAMESPACE}")
        assert written_at() is None

    async def test_a_missing_target_is_not_found(self, kube: Kube):
        """A target that is not there is told apart from one that cannot be read."""
        with pytest.raises(NotFound):
            await kube.get_scale(TargetKey(NAMESPACE, "Deployment", "nobody"))

    async def test_status_of_a_resource_that_is_gone_is_not_found(self, kube: Kube):
        """That is how a missed deletion is noticed."""
        with pytest.raises(NotFound):
            await kube.patch_status(NAMESPACE, "nobody", {"observedGeneration": 1})

    async def test_pods_are_found_by_the_targets_selector(self, plane: ControlPlane, kube: Kube):
        """Name, address and readiness of each living pod."""
        plane.kubectl("create", "-f", "-", input=workload("pods", 2))
        plane.kubectl("rollout", "status", "deployment/pods", f"--namespace={NAMESPACE}", "--timeout=20s")
        pods = await kube.pods(NAMESPACE, "app=pods")
        assert len(pods) == 2
        assert all(pod.ready and pod.ip for pod in pods)
        with pytest.raises(Invalid):
            await kube.pods(NAMESPACE, "")


async def set_replicas_quietly(kube: Kube, key: TargetKey, replicas: int) -> int:
    """Scale although controllers write the status of the same object meanwhile."""
    for _ in range(10):
        try:
            fresh = await kube.get_scale(key)
            return (await kube.set_replicas(key, replicas, fresh.resource_version)).replicas
        except Conflict:
            await asyncio.sleep(0.1)
    raise AssertionError("ten conflicts in a row")


class TestRights:
    async def test_a_missing_right_is_found_by_asking(self, plane: ControlPlane, kube: Kube):
        """A role without `patch` on /scale is told by name, and the call itself is Forbidden."""
        plane.kubectl("create", "serviceaccount", "half", f"--namespace={NAMESPACE}")
        plane.kubectl(
            "create", "role", "half", "--verb=get", "--resource=deployments.apps/scale", f"--namespace={NAMESPACE}"
        )
        plane.kubectl(
            "create", "rolebinding", "half", "--role=half", f"--serviceaccount={NAMESPACE}:half",
            f"--namespace={NAMESPACE}",
        )  # fmt: skip
        plane.kubectl("create", "-f", "-", input=workload("rights"))
        key = TargetKey(NAMESPACE, "Deployment", "rights")
        get = AccessQuestion(verb="get", group="apps", resource="deployments", subresource="scale", namespace=NAMESPACE)
        patch = AccessQuestion(
            verb="patch", group="apps", resource="deployments", subresource="scale", namespace=NAMESPACE
        )
        path = plane.kubeconfig_for(NAMESPACE, "half")
        async with Kube.connect(path) as half:
            async with asyncio.timeout(5):
                # The authoriser learns of the binding a moment later.
                while await half.missing_rights([get]):  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
            assert await half.missing_rights([get, patch]) == [patch]
            assert patch.text == f"patch deployments/scale.apps in namespace {NAMESPACE}"
            fresh = await half.get_scale(key)
            with pytest.raises(Forbidden):
                await half.set_replicas(key, 2, fresh.resource_version)
        assert await kube.missing_rights([get, patch]) == []

    async def test_a_token_is_reviewed_and_its_owner_asked_about(self, plane: ControlPlane, kube: Kube):
        """Whose token it is, and whether that user may read a resource; a made-up token is nobody's."""
        plane.kubectl("create", "serviceaccount", "reader", f"--namespace={NAMESPACE}")
        token = plane.kubectl("create", "token", "reader", f"--namespace={NAMESPACE}").strip()
        user = await kube.review_token(token)
        assert user is not None
        assert user.name == f"system:serviceaccount:{NAMESPACE}:reader"
        question = AccessQuestion(
            verb="get",
            group="consumerautoscaler.dev",
            resource="consumerautoscalers",
            namespace=NAMESPACE,
            name="x",
        )
        assert not await kube.may(user, question)
        plane.kubectl(
            "create", "role", "reader", "--verb=get",
            "--resource=consumerautoscalers.consumerautoscaler.dev", f"--namespace={NAMESPACE}",
        )  # fmt: skip
        plane.kubectl(
            "create", "rolebinding", "reader", "--role=reader", f"--serviceaccount={NAMESPACE}:reader",
            f"--namespace={NAMESPACE}",
        )  # fmt: skip
        async with asyncio.timeout(5):
            # The authoriser learns of the binding a moment later.
            while not await kube.may(user, question):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert await kube.review_token("made.up.token") is None


def lease_of(kube: Kube, name: str, identity: str, seconds: float = 3.0) -> Lease:
    return Lease(
        kube,
        namespace=NAMESPACE,
        name=name,
        identity=identity,
        wall_clock=time.time,
        duration_seconds=seconds,
        renew_deadline_seconds=seconds * 2 / 3,
        retry_seconds=0.2,
    )


class TestLease:
    async def test_a_standby_takes_over_from_a_leader_that_hangs_and_never_overlaps(
        self, plane: ControlPlane, kube: Kube, tmp_path: Path
    ):
        """The leader stops believing in itself before the standby begins; takeover within duration + 2 s."""
        async with behind_proxy(plane, tmp_path) as (proxy, path), Kube.connect(path) as hanging:
            both, neither = 0, 0
            async with lease_of(hanging, "takeover", "a") as first:
                second = lease_of(kube, "takeover", "b")
                waiting = asyncio.create_task(second.__aenter__())
                await asyncio.sleep(0.5)
                assert not waiting.done()
                proxy.freeze()
                frozen_at = time.monotonic()
                while not second.held:
                    both += first.held and second.held
                    neither += not first.held and not second.held
                    await asyncio.sleep(0.01)
                    assert time.monotonic() - frozen_at < 3.0 + 2.0
                assert first.lost.is_set()
                proxy.thaw()  # the old leader's last request may now reach the server: too late
                await asyncio.sleep(0.5)
                assert second.held
                assert not first.held
            await waiting
            await second.__aexit__(None, None, None)
        assert both == 0
        assert neither > 0

    async def test_only_one_of_many_that_start_at_once_holds_it(self, kube: Kube):
        """They all see the same free Lease; the API server's version check lets one through."""
        leases = [lease_of(kube, "race", str(i)) for i in range(5)]
        tasks = [asyncio.create_task(lease.__aenter__()) for lease in leases]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.sleep(1.0)
        assert sum(lease.held for lease in leases) == 1
        assert ("create", "leases", "409") in kube.requests
        for task, lease in zip(tasks, leases, strict=True):
            if task.done():
                await lease.__aexit__(None, None, None)
            task.cancel()
        await asyncio.wait(tasks)

    async def test_a_clean_exit_hands_over_at_once(self, kube: Kube):
        """The holder gives the Lease up, so the next need not wait for it to run out."""
        async with lease_of(kube, "release", "a", seconds=15.0) as first:
            assert first.held
        assert not first.held
        began = time.monotonic()
        async with lease_of(kube, "release", "b", seconds=15.0) as second:
            assert second.held
            body = await kube.get_lease(NAMESPACE, "release", timeout_seconds=5)
            assert body["spec"]["holderIdentity"] == second.identity
            assert body["spec"]["leaseTransitions"] == 1
        assert time.monotonic() - began < 1.0

    async def test_a_lease_taken_by_somebody_else_is_lost(self, kube: Kube, plane: ControlPlane):
        """Whoever overwrote it, we stop: `held` is false from the next renewal on."""
        async with lease_of(kube, "stolen", "a") as lease:
            plane.kubectl(
                "patch", "lease", "stolen", f"--namespace={NAMESPACE}", "--type=merge",
                "-p", '{"spec":{"holderIdentity":"thief"}}',
            )  # fmt: skip
            await asyncio.wait_for(lease.lost.wait(), 2)
            assert not lease.held

    async def test_a_process_that_slept_does_not_believe_that_it_holds_the_lease(self, kube: Kube):
        """After a stop of the whole process, longer than the deadline, the very first question is answered No."""
        async with lease_of(kube, "slept", "a") as lease:
            assert lease.held
            time.sleep(2.2)  # noqa: ASYNC251  # nothing of this process runs, as under SIGSTOP
            assert not lease.held
            await asyncio.wait_for(lease.lost.wait(), 2)

    async def test_a_deleted_lease_is_made_again_by_its_holder(self, kube: Kube, plane: ControlPlane):
        """Somebody who cleans up too much does not stop the operator."""
        async with lease_of(kube, "deleted", "a") as lease:
            plane.kubectl("delete", "lease", "deleted", f"--namespace={NAMESPACE}")
            await asyncio.sleep(1.0)
            assert lease.held
            body = await kube.get_lease(NAMESPACE, "deleted", timeout_seconds=5)
            assert body["spec"]["holderIdentity"] == lease.identity


def events_about(plane: ControlPlane, name: str) -> list[dict[str, Any]]:
    text = plane.kubectl(
        "get", "events.events.k8s.io", f"--namespace={NAMESPACE}", f"--field-selector=regarding.name={name}",
        "-o", "json",
    )  # fmt: skip
    items: list[dict[str, Any]] = json.loads(text)["items"]
    return items


def reference(name: str, kind: str = "ConsumerAutoscaler") -> ObjectRef:
    return ObjectRef("consumerautoscaler.dev/v1alpha1", kind, NAMESPACE, name, f"uid-of-{name}")


class TestEvents:
    async def test_the_same_event_again_is_counted_also_by_the_next_process(self, kube: Kube, plane: ControlPlane):
        """One Event object with a series, whose count goes on after a restart."""
        for expected in (3, 6):
            async with EventRecorder(kube, instance="pod-1", wall_clock=time.time) as recorder:
                for _ in range(3):
                    recorder.record(
                        reference("again"), "Warning", EventReason.SOURCE_FAILED, "no broker", action="Read"
                    )
                    await asyncio.sleep(0.05)
            (event,) = events_about(plane, "again")
            assert event["series"]["count"] == expected
            assert event["note"] == "no broker"
            assert not recorder.dropped

    async def test_many_texts_of_one_kind_become_one_event(self, kube: Kube, plane: ControlPlane):
        """Ten in their own words, the other five counted together."""
        async with EventRecorder(kube, instance="pod-1", wall_clock=time.time) as recorder:
            for i in range(15):
                recorder.record(reference("many"), "Warning", EventReason.SOURCE_FAILED, f"offset {i}", action="Read")
                await asyncio.sleep(0.02)
        events = events_about(plane, "many")
        assert len(events) == 11
        assert sum((e.get("series") or {"count": 1})["count"] for e in events) == 15

    async def test_an_object_that_never_stops_talking_is_cut_off(self, kube: Kube, plane: ControlPlane):
        """25 posts, whatever they say; others are not affected."""
        async with EventRecorder(kube, instance="pod-1", wall_clock=time.time) as recorder:
            for _ in range(BURST + 10):
                recorder.record(reference("loud"), "Warning", EventReason.SOURCE_FAILED, "no", action="Read")
                await eventually(lambda: recorder.idle)  # or one post would tell several
            recorder.record(reference("calm"), "Normal", EventReason.SOURCE_RECOVERED, "yes", action="Read")
        (event,) = events_about(plane, "loud")
        assert event["series"]["count"] == BURST
        assert recorder.dropped == {"over_budget": 10}
        assert len(events_about(plane, "calm")) == 1

    async def test_a_scaling_is_told_on_the_resource_and_on_the_target(self, kube: Kube, plane: ControlPlane):
        """Whoever describes either of them sees it."""
        async with EventRecorder(kube, instance="pod-1", wall_clock=time.time) as recorder:
            recorder.record(
                reference("scaled"),
                "Normal",
                EventReason.TARGET_SCALED_UP,
                "1 → 4 replicas " + "x" * 2000,
                action="Scale",
                related=reference("scaled-target", "Deployment"),
                on_both=True,
            )
        (on_resource,) = events_about(plane, "scaled")
        (on_target,) = events_about(plane, "scaled-target")
        assert on_resource["related"]["name"] == "scaled-target"
        assert on_target["related"]["name"] == "scaled"
        assert len(on_target["note"].encode()) <= 1024
        assert not recorder.dropped


class TestTargets:
    async def test_the_view_follows_count_readiness_and_deletion(self, plane: ControlPlane, kube: Kube):
        """Scaled, ready, deleted: the view says it within a second, and tells who asked to know."""
        plane.kubectl("create", "-f", "-", input=workload("seen", 2))
        key = TargetKey(NAMESPACE, "Deployment", "seen")
        changed: list[TargetKey] = []
        async with Targets(kube, on_change=changed.append) as targets:
            await asyncio.wait_for(targets.wait_synced(), 5)
            await eventually(lambda: (view := targets.get(key)) and view.ready == 2)
            await set_replicas_quietly(kube, key, 4)
            await eventually(lambda: (view := targets.get(key)) and view.replicas == view.ready == 4)
            view = targets.get(key)
            assert view is not None
            assert not view.rolling
            assert view.selector == "app=seen"
            assert view.scaled_at is not None
            plane.kubectl("delete", "deployment", "seen", f"--namespace={NAMESPACE}")
            await eventually(lambda: targets.get(key) is None)
            assert key in changed
            assert targets.get(TargetKey(NAMESPACE, "StatefulSet", "seen")) is None

    async def test_before_the_first_list_nothing_is_known(self, kube: Kube):
        """Not listed is unknown, not absent."""
        targets = Targets(kube)
        with pytest.raises(KubeUnreachable):
            targets.get(TargetKey(NAMESPACE, "Deployment", "seen"))


class TestWatch:
    async def test_waits_for_the_crd_then_sees_what_is_created(self, bare_plane: ControlPlane):
        """Started before the CRD is installed, the operator recovers without a restart."""
        seen, stop, closing = Seen(), asyncio.Event(), Closing()
        async with Kube.connect(bare_plane.kubeconfig) as kube:
            task = asyncio.create_task(watch(seen, kube=kube, stop=stop, closing=[closing], crd_poll_seconds=0.3))
            await asyncio.sleep(0.5)
            assert not task.done()
            bare_plane.kubectl("apply", "-f", str(CRD))
            bare_plane.kubectl("wait", "--for=condition=Established", "crd", "--all")
            bare_plane.kubectl("create", "-f", "-", input=json.dumps(resource("late", "default")))
            await eventually(lambda: "late" in seen.names, 15)
            stop.set()
            await asyncio.wait_for(task, 2)
        assert closing.closed

    async def test_survives_a_killed_api_server(self, bare_plane: ControlPlane):
        """After the API server is back, new resources and changed targets are seen without a restart."""
        bare_plane.kubectl("apply", "-f", str(CRD))
        bare_plane.kubectl("wait", "--for=condition=Established", "crd", "--all")
        bare_plane.kubectl("create", "-f", "-", input=workload("kept", 1, namespace="default"))
        key = TargetKey("default", "Deployment", "kept")
        seen, stop = Seen(), asyncio.Event()
        async with (
            Kube.connect(bare_plane.kubeconfig) as kube,
            Targets(kube) as targets,
            Resync(kube, seen) as resync,
        ):
            task = asyncio.create_task(watch(seen, kube=kube, stop=stop, closing=[resync, targets]))
            await asyncio.wait_for(targets.wait_synced(), 5)
            await asyncio.wait_for(resync.listed.wait(), 5)
            bare_plane.stop_apiserver()
            await asyncio.sleep(1.5)
            view = targets.get(key)
            assert view is not None
            assert view.replicas == 1
            with pytest.raises(KubeUnreachable):
                await kube.get_scale(key)
            assert not task.done()
            await asyncio.to_thread(bare_plane.start_apiserver)
            bare_plane.kubectl("scale", "deployment/kept", "--replicas=6", "--namespace=default")
            bare_plane.kubectl("create", "-f", "-", input=json.dumps(resource("after", "default")))
            await eventually(lambda: (view := targets.get(key)) and view.replicas == 6, 15)
            await eventually(lambda: "after" in seen.names, 15)
            stop.set()
            await asyncio.wait_for(task, 2)

    async def test_a_resource_deleted_unseen_is_forgotten_by_the_next_list(
        self, plane: ControlPlane, kube: Kube, tmp_path: Path
    ):
        """The watch hangs; the periodic list, on a working connection, finds out."""
        seen, stop = Seen(), asyncio.Event()
        async with behind_proxy(plane, tmp_path) as (proxy, path), Kube.connect(path) as hanging:
            plane.kubectl("create", "-f", "-", input=json.dumps(resource("unseen")))
            task = asyncio.create_task(watch(seen, kube=hanging, stop=stop))
            await eventually(lambda: "unseen" in seen.names)
            proxy.freeze()
            plane.kubectl("delete", "cas", "unseen", f"--namespace={NAMESPACE}")
            plane.kubectl("create", "-f", "-", input=json.dumps(resource("new-unseen")))
            await asyncio.sleep(0.3)
            assert "unseen" in seen.names
            await Resync(kube, seen).once()
            assert seen.names >= {"new-unseen"}
            assert "unseen" not in seen.names
            stop.set()
            proxy.thaw()
            await asyncio.wait_for(task, 6)

    async def test_stops_within_two_seconds_with_a_thousand_resources(self, plane: ControlPlane, kube: Kube):
        """Everything is handed over in seconds; stopping closes what was named and leaves no task behind."""
        namespace = f"{NAMESPACE}-many"
        plane.kubectl("create", "namespace", namespace)
        names = [f"r{i}" for i in range(1000)]
        await create_many(kube, [resource(name, namespace) for name in names], namespace)
        try:
            before = asyncio.all_tasks()
            seen, stop, closing = Seen(), asyncio.Event(), Closing()
            async with Kube.connect(plane.kubeconfig, namespaces=[namespace]) as own:
                resync = Resync(own, seen)
                task = asyncio.create_task(watch(seen, kube=own, stop=stop, closing=[resync, closing]))
                async with resync:
                    began = time.monotonic()
                    await eventually(lambda: seen.names >= set(names), 20)
                    assert time.monotonic() - began < 10
                    began = time.monotonic()
                    stop.set()
                    await task
                    assert time.monotonic() - began < 2
            assert closing.closed
            assert asyncio.all_tasks() <= before
        finally:
            plane.kubectl("delete", "namespace", namespace, "--wait=false")


async def create_many(kube: Kube, bodies: Sequence[Mapping[str, Any]], namespace: str) -> None:
    """Create custom resources over one session; kubectl would take half a minute."""
    path = f"/apis/consumerautoscaler.dev/v1alpha1/namespaces/{namespace}/consumerautoscalers"
    slots = asyncio.Semaphore(16)
    async with kube.credentials.session() as session:

        async def create(body: Mapping[str, Any]) -> None:
            async with slots, session.post(kube.credentials.server + path, json=body) as answer:
                assert answer.status == 201, await answer.text()

        await asyncio.gather(*(create(body) for body in bodies))
