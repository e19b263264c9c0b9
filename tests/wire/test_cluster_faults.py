"""Faults of the Kubernetes API that a real server does not show on demand."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.apiserver import FakeApiServer, Fault

from consumer_autoscaler.cluster import credentials, events, transport, watch
from consumer_autoscaler.cluster.errors import (
    Conflict,
    Forbidden,
    KubeUnreachable,
    Unauthorized,
)
from consumer_autoscaler.cluster.events import EventRecorder, ObjectRef
from consumer_autoscaler.cluster.kube import Kube
from consumer_autoscaler.cluster.lease import Lease
from consumer_autoscaler.cluster.objects import TargetKey
from consumer_autoscaler.cluster.targets import Targets
from consumer_autoscaler.decision.reasons import EventReason

KEY = TargetKey("shop", "Deployment", "payments")


@pytest.fixture
def server() -> Iterator[FakeApiServer]:
    with FakeApiServer() as server:
        yield server


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text("first\n")
    return path


@pytest.fixture
async def kube(server: FakeApiServer, tmp_path: Path, token_file: Path) -> AsyncIterator[Kube]:
    path = server.kubeconfig(tmp_path, token_file)
    async with Kube.connect(path, request_timeout_seconds=0.5) as kube:
        yield kube


def deployment(server: FakeApiServer, name: str = "payments", replicas: int = 2) -> dict[str, Any]:
    return server.put("deployments", "shop", name, {"spec": {"replicas": replicas}})


async def eventually(check: Callable[[], object], within_seconds: float = 5.0) -> None:
    """Wait until the check is true, and fail when it stays false."""
    async with asyncio.timeout(within_seconds):
        while not check():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


class TestCalls:
    async def test_a_hung_write_ends_in_time_and_says_that_nobody_knows(self, server: FakeApiServer, kube: Kube):
        """No call waits longer than its timeout, and a timeout is never taken for a refusal."""
        server.faults["patch deployments/scale"] = Fault()
        began = time.monotonic()
        with pytest.raises(KubeUnreachable, match="no answer within"):
            await kube.set_replicas(KEY, 3, "1")
        assert time.monotonic() - began < 1.0
        assert kube.requests["patch", "deployments/scale", "timeout"] == 1

    async def test_a_storm_of_conflicts_is_told_one_by_one(self, server: FakeApiServer, kube: Kube):
        """This layer never repeats a write by itself."""
        server.faults["patch deployments/scale"] = Fault(409)
        for _ in range(3):
            with pytest.raises(Conflict):
                await kube.set_replicas(KEY, 3, "1")
        assert server.requests == ["patch deployments/scale"] * 3

    async def test_a_renewed_token_is_used_after_a_401(
        self, server: FakeApiServer, kube: Kube, token_file: Path, monkeypatch: pytest.MonkeyPatch
    ):
        """The request is repeated once with what the file says now."""
        monkeypatch.setattr(credentials, "RELOAD_INTERVAL_SECONDS", 0.0)
        server.put("consumerautoscalers", "shop", "a")
        token_file.write_text("second\n")  # noqa: ASYNC240
        server.faults["list consumerautoscalers"] = Fault(401, times=1)
        assert len(await kube.list_resources()) == 1
        assert server.tokens == ["Bearer first", "Bearer second"]

    async def test_a_token_that_stays_refused_is_looked_up_without_a_storm(self, server: FakeApiServer, kube: Kube):
        """Unauthorized, which may pass; two requests for each call, no more."""
        server.faults["*"] = Fault(401)
        for _ in range(3):
            with pytest.raises(Unauthorized):
                await kube.get_scale(KEY)
        assert len(server.requests) == 6

    async def test_after_a_429_nothing_is_sent_before_the_time_the_server_named(
        self, server: FakeApiServer, kube: Kube
    ):
        """Ordinary calls wait, a Lease renewal does not, and a long wait is refused at once."""
        server.faults["get deployments/scale"] = Fault(429, times=1, headers={"Retry-After": "0.4"})
        with pytest.raises(KubeUnreachable) as error:
            await kube.get_scale(KEY)
        assert error.value.retry_after_seconds == 0.4
        began = time.monotonic()
        server.put("leases", "shop", "l", {"spec": {}})
        await kube.get_lease("shop", "l", timeout_seconds=1)
        assert time.monotonic() - began < 0.3
        await kube.list_resources()
        assert time.monotonic() - began > 0.3
        server.faults["get deployments/scale"] = Fault(429, times=1, headers={"Retry-After": "60"})
        with pytest.raises(KubeUnreachable):
            await kube.get_scale(KEY)
        sent = len(server.requests)
        with pytest.raises(KubeUnreachable, match="asked to wait"):
            await kube.list_resources()
        assert len(server.requests) == sent

    @pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"null", b'{"metadata": {}, "spec": {"replicas": "x"}}'])
    async def test_an_answer_that_is_rubbish_is_no_number(self, server: FakeApiServer, kube: Kube, body: bytes):
        """A proxy's page with status 200 is an error, never zero replicas."""
        server.faults["get deployments/scale"] = Fault(200, body=body)
        with pytest.raises(KubeUnreachable):
            await kube.get_scale(KEY)

    async def test_a_lease_that_cannot_be_reached_in_time_says_so(
        self, server: FakeApiServer, kube: Kube, caplog: pytest.LogCaptureFixture
    ):
        """Whichever limit comes first, the call's own or the one of the whole attempt: the log has the reason."""
        server.faults["get leases"] = Fault()
        times = {"duration_seconds": 0.3, "renew_deadline_seconds": 0.2, "retry_seconds": 0.05}
        lease = Lease(kube, namespace="shop", name="l", identity="a", wall_clock=time.time, **times)
        waiting = asyncio.create_task(lease.__aenter__())
        await eventually(lambda: sum("lease=unreachable" in message for message in caplog.messages) >= 3)
        waiting.cancel()
        await asyncio.wait([waiting])
        said = [message.partition("error=")[2] for message in caplog.messages if "lease=unreachable" in message]
        assert all("no answer within" in each for each in said), said

    async def test_a_namespace_that_is_being_deleted_is_told_apart(self, server: FakeApiServer, kube: Kube):
        """403 with that cause needs no right to be added."""
        cause = {"reason": "NamespaceTerminating", "message": "…", "field": "metadata.namespace"}
        status = {"kind": "Status", "reason": "Forbidden", "message": "x" * 5000, "details": {"causes": [cause]}}
        server.faults["create events"] = Fault(403, body=json.dumps(status).encode())
        with pytest.raises(Forbidden) as error:
            await kube.create_event("shop", {})
        assert error.value.reason == "NamespaceTerminating"
        assert len(str(error.value)) < 400

    async def test_lists_come_whole_from_pages(
        self, server: FakeApiServer, kube: Kube, monkeypatch: pytest.MonkeyPatch
    ):
        """Seven objects in pages of three are seven objects."""
        monkeypatch.setattr("consumer_autoscaler.cluster.kube.PAGE_SIZE", 3)
        for i in range(7):
            server.put("consumerautoscalers", "shop", f"r{i}")
        assert len(await kube.list_resources()) == 7
        assert server.requests == ["list consumerautoscalers"] * 3

    async def test_hanging_calls_do_not_hold_up_the_lease(
        self, server: FakeApiServer, kube: Kube, monkeypatch: pytest.MonkeyPatch
    ):
        """With every slot taken by calls that hang, a renewal still goes through at once."""
        server.faults["get deployments/scale"] = Fault()
        server.put("leases", "shop", "l", {"spec": {}})
        calls = [asyncio.create_task(kube.get_scale(KEY)) for _ in range(transport.CONCURRENCY + 4)]
        await asyncio.sleep(0.1)
        began = time.monotonic()
        await kube.get_lease("shop", "l", timeout_seconds=1)
        assert time.monotonic() - began < 0.2
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(result, KubeUnreachable) for result in results)


class TestTargets:
    async def test_a_deletion_lost_in_a_gap_is_found_by_the_new_list(self, server: FakeApiServer, kube: Kube):
        """410 and no DELETED event: the target is gone from the view all the same, and that is told."""
        deployment(server, "payments")
        deployment(server, "orders")
        changed: list[str] = []
        async with Targets(kube, on_change=lambda key: changed.append(key.name), first_backoff_seconds=0.05) as view:
            await asyncio.wait_for(view.wait_synced(), 5)
            changed.clear()
            server.delete("deployments", "shop", "payments", lost=True)
            server.forget_history()
            await eventually(lambda: view.get(KEY) is None)
            assert changed == ["payments"]
            assert len(view) == 1

    async def test_a_stream_without_any_sign_of_life_is_opened_again(
        self, server: FakeApiServer, kube: Kube, monkeypatch: pytest.MonkeyPatch
    ):
        """A half-open connection: the change is seen after the silence limit, without a new list."""
        monkeypatch.setattr("consumer_autoscaler.cluster.kube.WATCH_SILENCE_SECONDS", 0.4)
        deployment(server)
        async with Targets(kube, first_backoff_seconds=0.05) as view:
            await asyncio.wait_for(view.wait_synced(), 5)
            server.silent = True
            deployment(server, replicas=9)
            await asyncio.sleep(0.2)
            server.silent = False
            server.end_watches()
            await eventually(lambda: (found := view.get(KEY)) and found.replicas == 9)
            assert server.requests.count("list deployments") == 1

    async def test_nothing_is_known_while_the_list_is_refused(self, server: FakeApiServer, kube: Kube):
        """A missing right is told as what it is, not as a missing target; the attempts back off."""
        server.faults["list deployments"] = Fault(403)
        async with Targets(kube, first_backoff_seconds=0.1) as view:
            await asyncio.sleep(1.0)
            with pytest.raises(Forbidden):
                view.get(KEY)
            attempts = server.requests.count("list deployments")
            assert 3 <= attempts <= 8
            deployment(server)
            del server.faults["list deployments"]
            await asyncio.wait_for(view.wait_synced(), 5)
            assert view.get(KEY) is not None

    async def test_an_outage_of_the_server_loses_nothing(self, server: FakeApiServer, kube: Kube):
        """503 for everything: the last view stands, and what changed meanwhile is seen afterwards."""
        deployment(server)
        async with Targets(kube, first_backoff_seconds=0.05) as view:
            await asyncio.wait_for(view.wait_synced(), 5)
            server.faults["*"] = Fault(503)
            server.end_watches()
            deployment(server, replicas=7)
            await asyncio.sleep(0.3)
            found = view.get(KEY)
            assert found is not None
            assert found.replicas == 2
            del server.faults["*"]
            await eventually(lambda: (found := view.get(KEY)) and found.replicas == 7)

    async def test_an_object_of_an_unknown_shape_does_not_end_the_view(self, server: FakeApiServer, kube: Kube):
        """The others are still followed."""
        deployment(server)
        async with Targets(kube, first_backoff_seconds=0.05) as view:
            await asyncio.wait_for(view.wait_synced(), 5)
            server.say("deployments", "MODIFIED", {"metadata": {"name": 1, "namespace": "shop"}})
            deployment(server, replicas=5)
            await eventually(lambda: (found := view.get(KEY)) and found.replicas == 5)


class Seen:
    def __init__(self) -> None:
        self.uids: set[str] = set()

    def observe(self, body: Mapping[str, Any]) -> None:
        self.uids.add(body["metadata"]["uid"])

    def forget(self, uid: str) -> None:
        self.uids.discard(uid)

    def resync(self, bodies: Sequence[Mapping[str, Any]], *, started_before: float) -> None:
        self.uids = {body["metadata"]["uid"] for body in bodies}


class TestWatch:
    @pytest.fixture(autouse=True)
    def quick(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(watch, "LONGEST_BACKOFF_SECONDS", 0.2)

    async def test_a_long_outage_and_refused_tokens_are_survived(self, server: FakeApiServer, kube: Kube):
        """503, 403, 401 and 429 for a while, in a row: afterwards new resources are seen, by the same
        process.
        """
        seen, stop = Seen(), asyncio.Event()
        uid = server.put("consumerautoscalers", "shop", "a")["metadata"]["uid"]
        task = asyncio.create_task(watch.watch(seen, kube=kube, stop=stop))
        await eventually(lambda: uid in seen.uids)
        for status in (503, 403, 401, 429):
            server.faults["*"] = Fault(status, headers={"Retry-After": "0"})
            server.end_watches()
            await asyncio.sleep(0.5)
        del server.faults["*"]
        late = server.put("consumerautoscalers", "shop", "b")["metadata"]["uid"]
        await eventually(lambda: late in seen.uids, 15)
        stop.set()
        await asyncio.wait_for(task, 2)

    async def test_a_resource_that_discovery_does_not_name_yet_is_watched(self, server: FakeApiServer, kube: Kube):
        """As on an API server that has just started: served, but not listed among the resource types."""
        server.discovery["/apis"]["groups"] = []
        seen, stop = Seen(), asyncio.Event()
        task = asyncio.create_task(watch.watch(seen, kube=kube, stop=stop))
        await eventually(lambda: "watch consumerautoscalers" in server.requests)
        uid = server.put("consumerautoscalers", "shop", "a")["metadata"]["uid"]
        await eventually(lambda: uid in seen.uids)
        stop.set()
        await asyncio.wait_for(task, 2)

    async def test_an_error_kopf_cannot_pass_ends_the_watch_with_everything_closed(
        self, server: FakeApiServer, kube: Kube
    ):
        """A WATCH error 500: the call raises, so that the process ends and starts anew, and what it named is
        closed.
        """

        class Thing:
            closed = False

            async def aclose(self) -> None:
                self.closed = True

        class Broken:
            async def aclose(self) -> None:
                raise RuntimeError("cannot be closed")

        thing = Thing()
        uid = server.put("consumerautoscalers", "shop", "a")["metadata"]["uid"]
        seen = Seen()
        task = asyncio.create_task(watch.watch(seen, kube=kube, stop=asyncio.Event(), closing=[Broken(), thing]))
        await eventually(lambda: uid in seen.uids)
        server.say("consumerautoscalers", "ERROR", {"kind": "Status", "code": 500, "message": "etcd is unwell"})
        with pytest.raises(Exception, match="etcd is unwell"):
            await asyncio.wait_for(task, 10)
        assert thing.closed

    async def test_a_list_that_fails_is_tried_again_soon(self, server: FakeApiServer, kube: Kube):
        """The safety net does not wait five minutes after a failure."""
        server.faults["list consumerautoscalers"] = Fault(500, times=2)
        uid = server.put("consumerautoscalers", "shop", "a")["metadata"]["uid"]
        seen = Seen()
        async with watch.Resync(kube, seen) as resync:
            await asyncio.wait_for(resync.listed.wait(), 5)
            assert seen.uids == {uid}


class TestEvents:
    async def test_an_api_that_hangs_neither_blocks_nor_delays_the_end(self, server: FakeApiServer, kube: Kube):
        """Recording returns at once, a full queue drops and counts, and closing takes half a second."""
        server.faults["create events"] = Fault()
        began = time.monotonic()
        async with EventRecorder(kube, instance="me", wall_clock=time.time) as recorder:
            for i in range(1200):
                about = ObjectRef("v1", "X", "shop", f"x{i}", f"uid{i}")
                recorder.record(about, "Normal", EventReason.PAUSED, "text", action="Pause")
            assert time.monotonic() - began < 0.4
            assert recorder.dropped["queue_full"] == 200
            closing = time.monotonic()
        assert time.monotonic() - closing < 0.8

    async def test_what_the_api_server_could_not_take_is_told_a_little_later(self, server: FakeApiServer, kube: Kube):
        """Once, however often it was tried; and behind it others are not kept waiting."""
        server.faults["create events"] = Fault(503, times=1)
        async with EventRecorder(kube, instance="me", wall_clock=time.time) as recorder:
            for name in ("a", "b"):
                about = ObjectRef("v1", "X", "shop", name, name)
                recorder.record(about, "Normal", EventReason.PAUSED, "text", action="Pause")
            await eventually(lambda: [key for key in server.objects if key[2].startswith("b.")])
            assert not [key for key in server.objects if key[2].startswith("a.")]
            await eventually(lambda: recorder.idle)
        events = [body for key, body in server.objects.items() if key[0] == "events"]
        assert [event["regarding"]["name"] for event in events] == ["b", "a"]
        assert not any("series" in event for event in events)
        assert not recorder.dropped

    async def test_what_was_written_without_an_answer_is_told_once(
        self, server: FakeApiServer, kube: Kube, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.setattr(events, "RETRY_SECONDS", (0.01,))
        server.faults["create events"] = Fault(503, times=1, done=True)
        refused = {"kind": "Status", "code": 422, "reason": "Invalid", "message": "series.count: must be set"}
        server.faults["patch events"] = Fault(422, times=1, body=json.dumps(refused).encode())
        async with EventRecorder(kube, instance="me", wall_clock=time.time) as recorder:
            about = ObjectRef("v1", "X", "shop", "x", "uid")
            recorder.record(about, "Normal", EventReason.PAUSED, "text", action="Pause")
            await eventually(lambda: recorder.idle)
        (told,) = [body for key, body in server.objects.items() if key[0] == "events"]
        assert "series" not in told
        assert not recorder.dropped

    async def test_what_it_cannot_take_for_a_minute_is_dropped_and_counted(
        self, server: FakeApiServer, kube: Kube, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.setattr(events, "RETRY_SECONDS", (0.01, 0.02))
        server.faults["create events"] = Fault(503)
        async with EventRecorder(kube, instance="me", wall_clock=time.time) as recorder:
            about = ObjectRef("v1", "X", "shop", "x", "uid")
            recorder.record(about, "Normal", EventReason.PAUSED, "text", action="Pause")
            await eventually(lambda: recorder.idle)
        assert recorder.dropped == {"unreachable": 1}
        assert server.requests.count("create events") == 3

    async def test_who_has_lost_the_lease_posts_nothing_any_more(self, server: FakeApiServer, kube: Kube):
        """Also not what was recorded before: another process speaks now."""
        about = ObjectRef("v1", "X", "shop", "x", "uid")
        held = True
        async with EventRecorder(kube, instance="me", wall_clock=time.time, may_post=lambda: held) as recorder:
            recorder.record(about, "Normal", EventReason.PAUSED, "text", action="Pause")
            held = False
            await eventually(lambda: recorder.idle)
        assert recorder.dropped["lease_lost"] == 1
        assert not [key for key in server.objects if key[0] == "events"]

    async def test_an_event_that_expired_is_written_anew(self, server: FakeApiServer, kube: Kube):
        """Events live for an hour; the next repeat makes a new one with a count of its own."""
        about = ObjectRef("v1", "X", "shop", "x", "uid")
        async with EventRecorder(kube, instance="me", wall_clock=time.time) as recorder:
            for _ in range(2):
                recorder.record(about, "Normal", EventReason.PAUSED, "text", action="Pause")
                await eventually(lambda: recorder.idle)
            ((key, event),) = [(k, v) for k, v in server.objects.items() if k[0] == "events"]
            assert event["series"]["count"] == 2
            server.delete(*key)
            recorder.record(about, "Normal", EventReason.PAUSED, "text", action="Pause")
            await eventually(lambda: key in server.objects)
            assert "series" not in server.objects[key]
        assert not recorder.dropped
