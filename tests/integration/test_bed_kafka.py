"""The brokers of the test bed keep what they are given, and what is counted at them is right."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError
from tests.integration.wait import eventually

from bed import kafka_admin, lateness
from bed.kafka import Kafka
from bed.paths import REPOSITORY
from bed.produce import Profile

pytestmark = pytest.mark.integration
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(REPOSITORY / "deploy" / "dev")}


@pytest.fixture
def name() -> str:
    """A topic or group that no other test uses."""
    return f"bed-{uuid4().hex[:8]}"


def workload(*arguments: str, **environment: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "bed.workload", *arguments],
        env={**ENVIRONMENT, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def ends_now(bootstrap: str, topic: str) -> list[int]:
    """End offsets of the partitions that have a leader; none while a leader that is known is gone."""
    try:
        return list(kafka_admin.run(kafka_admin.end_offsets(bootstrap, topic)).values())
    except KafkaError:
        return []


async def test_lag_is_what_was_produced_less_what_was_committed(kafka: Kafka, name: str) -> None:
    """Ends, commits and their difference can be read for every partition."""
    kafka.create_topic(name, 3)
    await kafka_admin.produce_now(kafka.bootstrap, name, {0: 500, 1: 20, 2: 3})
    tps = [TopicPartition(name, p) for p in range(3)]
    await kafka_admin.commit_offsets(kafka.bootstrap, name, {tps[0]: 450, tps[1]: 20})
    assert await kafka_admin.end_offsets(kafka.bootstrap, name) == dict(zip(tps, (500, 20, 3), strict=True))
    assert await kafka_admin.committed_offsets(kafka.bootstrap, name, tps) == {tps[0]: 450, tps[1]: 20}
    assert await kafka_admin.lag_messages(kafka.bootstrap, name, name) == 50 + 0 + 3


async def test_topics_grow_and_go_and_groups_go(kafka: Kafka, name: str) -> None:
    """Partitions are added, a group loses its offsets when deleted, a deleted topic is gone."""
    kafka.create_topic(name, 2, configs={"retention.ms": "60000"})
    tp = TopicPartition(name, 0)
    await kafka_admin.commit_offsets(kafka.bootstrap, name, {tp: 1})
    kafka.add_partitions(name, 5)
    assert len(await kafka_admin.end_offsets(kafka.bootstrap, name)) == 5
    kafka.delete_group(name)
    assert await kafka_admin.committed_offsets(kafka.bootstrap, name, [tp]) == {}
    with pytest.raises(KafkaError):
        kafka.delete_group(name)
    kafka.delete_topic(name)
    assert await kafka_admin.end_offsets(kafka.bootstrap, name) == {}


async def test_requests_and_connections_are_counted_at_the_broker(kafka: Kafka, name: str) -> None:
    """The counts rise by exactly what a client did, and connections of clients are seen while they are open."""
    kafka.create_topic(name, 1)
    tp = TopicPartition(name, 0)
    await kafka_admin.commit_offsets(kafka.bootstrap, name, {tp: 0})
    before = kafka.counts()
    for _ in range(3):
        await kafka_admin.committed_offsets(kafka.bootstrap, name, [tp])
    async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap) as producer:
        await producer.send_and_wait(name, b"x")
        after = await asyncio.to_thread(kafka.counts)
    assert after.requests["OffsetFetch"] - before.requests["OffsetFetch"] == 3
    assert after.requests["Produce"] - before.requests.get("Produce", 0) == 1
    assert after.client_connections > before.client_connections


def test_three_brokers_outlive_the_kill_of_one_and_keep_its_data() -> None:
    """With one broker killed the others serve; started again it has its data on its old address."""
    with Kafka(brokers=3) as kafka:
        addresses = kafka.bootstrap
        kafka.create_topic("t", 6, replication=3)
        kafka.create_topic("single", 3)
        kafka_admin.run(kafka_admin.produce_now(kafka.bootstrap, "t", dict.fromkeys(range(6), 10)))
        kafka_admin.run(kafka_admin.produce_now(kafka.bootstrap, "single", dict.fromkeys(range(3), 7)))
        kafka_admin.run(kafka_admin.commit_offsets(kafka.bootstrap, "g", {TopicPartition("t", 0): 4}))
        first_pid = kafka.pid(1)
        kafka.stop_broker(1)
        assert kafka.pid(1) is None
        assert eventually(lambda: len(ends_now(_without(kafka, 1), "single")) == 2)
        kafka.start_broker(1)
        assert kafka.pid(1) not in (None, first_pid)
        assert kafka.bootstrap == addresses
        assert eventually(lambda: set(kafka_admin.run(kafka_admin.end_offsets(addresses, "single")).values()) == {7})
        assert kafka_admin.run(kafka_admin.lag_messages(addresses, "g", "t")) == 56
        only = addresses.split(",")[0]
        kafka.pause(0)
        assert kafka_admin.run(kafka_admin.brokers_known_to(only)) == set()
        kafka.resume(0)
        assert eventually(lambda: kafka_admin.run(kafka_admin.brokers_known_to(only)) == {0, 1, 2})


def _without(kafka: Kafka, number: int) -> str:
    return ",".join(a for i, a in enumerate(kafka.bootstrap.split(",")) if i != number)


def test_no_broker_survives_the_kill_of_its_bed(tmp_path: Path) -> None:
    """The broker dies with the process that started it, even by SIGKILL."""
    with subprocess.Popen(
        [sys.executable, "-m", "bed.kafka", "--run-dir", str(tmp_path)],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as bed:
        assert bed.stdout is not None
        assert bed.stdout.readline().startswith("127.0.0.1:")
        children = Path(f"/proc/{bed.pid}/task/{bed.pid}/children").read_text().split()
        assert children
        bed.kill()
        bed.wait()
    assert eventually(lambda: not any(is_running(int(pid)) for pid in children))


def test_a_profile_is_followed_in_straight_lines() -> None:
    """The rate is interpolated and the records due are the area under it."""
    profile = Profile.parse("0:100,10:300,20:0")
    assert [profile.rate(s) for s in (0, 5, 10, 15, 25)] == [100, 200, 300, 150, 0]
    assert [round(profile.records(s)) for s in (0, 5, 10, 20, 30)] == [0, 750, 2000, 3500, 3500]
    assert Profile.parse("50").records(4) == 200
    with pytest.raises(ValueError, match="rising"):
        Profile.parse("5:1,2:1")


def test_consumers_keep_to_their_rate_and_account_for_every_record(kafka: Kafka, name: str, tmp_path: Path) -> None:
    """Two consumers of 100 records/s drain at 200/s, one that ends hands over at once, no record is counted twice."""
    kafka.create_topic(name, 6)
    profile, log = "0:100,2:600,4:100", tmp_path / "produced"
    arguments = ["consume", "--bootstrap", kafka.bootstrap, "--group", name, "--topic", name]
    arguments += ["--rate", "100", "--results", str(tmp_path), "--heartbeat", "0.3"]
    consumers = [
        workload(*arguments, "--name", f"c{i}", POD_IP=f"127.29.{os.getpid() % 250}.{i + 1}") for i in range(2)
    ]
    load = ["produce", "--bootstrap", kafka.bootstrap, "--topic", name, "--partitions", "6"]
    try:
        with workload(*load, "--profile", profile, "--results", str(log)) as producer:
            assert producer.wait(30) == 0
        produced = json.loads(log.read_text().splitlines()[-1])["acknowledged"]
        assert produced == 1400
        consumers[0].send_signal(signal.SIGTERM)
        begin = time.monotonic()
        assert consumers[0].wait(10) == 0
        assert time.monotonic() - begin < 2
        before = kafka_admin.run(kafka_admin.lag_messages(kafka.bootstrap, name, name))
        time.sleep(4)
        after = kafka_admin.run(kafka_admin.lag_messages(kafka.bootstrap, name, name))
        assert before < 1400
        assert 200 <= before - after <= 500, "one consumer left: about 100 records/s"
        assert eventually(lambda: kafka_admin.run(kafka_admin.lag_messages(kafka.bootstrap, name, name)) == 0)
    finally:
        for consumer in consumers:
            consumer.terminate()
            consumer.wait(10)
    ages = lateness.total(lateness.read(tmp_path))
    assert ages.records == produced
    assert ages.longest_seconds > 3
    assert 0 < ages.late_share(3) < 1


def test_the_late_share_counts_messages_not_seconds() -> None:
    """Exactly the messages older than the promise are late."""
    ages = lateness.Ages()
    ages.add([98_000] * 3 + [90_001] * 2 + [90_000] * 4 + [89_999], committed_at=100.0)
    assert ages.records == 10
    assert ages.late_share(10) == 0.1
    assert ages.late_share(9) == 0.7
    assert lateness.Ages().late_share(10) == 0.0
