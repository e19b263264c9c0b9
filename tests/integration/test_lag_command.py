"""`consumer-autoscaler lag` against Kafka's own tool, over many random groups, and as people see it."""

from __future__ import annotations

import asyncio
import json
import logging
import random
import secrets
import sys
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any, NamedTuple

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from tests.integration.support import eventually

from bed import kafka_admin
from bed.kafka import Kafka
from bed.paths import REPOSITORY

pytestmark = pytest.mark.integration

GROUPS, TOPICS, LIVE = 200, 12, 6
TOOL = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand"


class Row(NamedTuple):
    """What Kafka's tool says about a partition of a group; None where it prints a dash."""

    committed: int | None
    end: int
    lag: int | None
    client: str | None


async def command(*arguments: str, code: int = 0) -> str:
    """What the command prints, run as a user runs it."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "consumer_autoscaler", "lag", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=REPOSITORY / "operator",
    )
    async with asyncio.timeout(90):
        out, err = await process.communicate()
    assert process.returncode == code, err.decode()
    return (out if code == 0 else err).decode()


async def lag_json(kafka: Kafka, *arguments: str) -> dict[str, Any]:
    printed = json.loads(await command("--bootstrap-servers", kafka.bootstrap, "-o", "json", *arguments))
    return {group["group"]: group for group in printed["groups"]}


def by_the_tool(text: str) -> dict[tuple[str, str, int], Row]:
    """The rows of `--describe --all-groups`; the columns begin with group, topic, partition, current, end, lag."""
    rows = {}
    for line in text.splitlines():
        cells = line.split()
        if len(cells) >= 9 and cells[2].isdigit():
            committed, end, lag = (None if cell == "-" else int(cell) for cell in cells[3:6])
            assert end is not None
            rows[cells[0], cells[1], int(cells[2])] = Row(committed, end, lag, None if cells[8] == "-" else cells[8])
    return rows


@pytest.mark.timeout(240)
async def test_it_agrees_with_kafkas_own_tool_on_every_partition(kafka: Kafka) -> None:
    """200 random groups, some with members, some with commits that retention has overtaken or beyond the end.

    By rule we differ in the lag of commits outside of the log: there the consumer's fetch is out of range, so it will
    reset, and what counts is what it will read then (here: Earliest). The tool also prints nothing about partitions
    that were neither committed nor given to a member; we name them without a committed offset.
    """
    logging.getLogger("aiokafka").setLevel(logging.ERROR)
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    dice, prefix = random.Random(seed), f"agree-{secrets.token_hex(2)}"
    ends, starts = await _random_topics(kafka, prefix, dice)
    groups = await _random_groups(kafka, prefix, ends, dice)
    async with AsyncExitStack() as stack:
        for number in range(LIVE):
            await _live_group(kafka, f"{prefix}-live-{number}", dice.sample(sorted(ends), 2), stack)
        tool = asyncio.to_thread(kafka.tool, TOOL, "--bootstrap-server", kafka.bootstrap, "--describe", "--all-groups")
        names = [*groups, *(f"{prefix}-live-{number}" for number in range(LIVE))]
        arguments = [part for name in names for part in ("--group", name)]
        ours, theirs = await asyncio.gather(lag_json(kafka, "--offset-reset", "earliest", *arguments), tool)

    rows = {key: row for key, row in by_the_tool(theirs).items() if key[0].startswith(prefix)}
    assert len(rows) >= GROUPS
    seen = 0
    for name in names:
        assert ours[name]["unavailable"] is None, ours[name]
        for partition in ours[name]["partitions"]:
            where = (partition["topic"], partition["partition"])
            row = rows.get((name, *where))
            if row is None:
                assert partition["committedOffset"] is None, (name, where)
                continue
            seen += 1
            end, start = ends[where[0]][where[1]], starts[where[0]][where[1]]
            assert partition["committedOffset"] == row.committed, (name, where)
            assert partition["endOffset"] == row.end == end, (name, where)
            assert partition["startOffset"] == start, (name, where)
            assert (partition["owner"] or {}).get("clientId") == row.client, (name, where)
            inside = row.committed is not None and start <= row.committed <= end
            assert partition["lagMessages"] == (row.lag if inside else end - start), (name, where)
    assert seen == len(rows)


async def _random_topics(
    kafka: Kafka, prefix: str, dice: random.Random
) -> tuple[dict[str, list[int]], dict[str, list[int]]]:
    """Topics with some records, of which retention took some; the end and start offsets of each."""
    topics = [kafka_admin.Topic(f"{prefix}-t{number}", dice.randint(1, 5)) for number in range(TOPICS)]
    await kafka_admin.create_topics(kafka.bootstrap, topics)
    ends = {topic.name: [dice.choice([0, dice.randint(1, 30)]) for _ in range(topic.partitions)] for topic in topics}
    starts = {name: [dice.choice([0, 0, dice.randint(0, end)]) for end in each] for name, each in ends.items()}
    for name, each in ends.items():
        await kafka_admin.produce_now(kafka.bootstrap, name, dict(enumerate(each)))
    gone = {TopicPartition(name, p): start for name, each in starts.items() for p, start in enumerate(each) if start}
    await kafka_admin.delete_records(kafka.bootstrap, gone)
    return ends, starts


async def _random_groups(kafka: Kafka, prefix: str, ends: Mapping[str, list[int]], dice: random.Random) -> list[str]:
    """Groups without members that committed on some partitions of one or two topics."""
    commits: dict[str, dict[TopicPartition, int]] = {}
    for number in range(GROUPS):
        offsets: dict[TopicPartition, int] = {}
        while not offsets:
            for topic in dice.sample(sorted(ends), dice.randint(1, 2)):
                for partition, end in enumerate(ends[topic]):
                    if dice.random() < 0.8:
                        beyond = end + 5 if dice.random() < 0.05 else end
                        offsets[TopicPartition(topic, partition)] = dice.randint(0, beyond)
        commits[f"{prefix}-{number}"] = offsets
    await kafka_admin.commit_many(kafka.bootstrap, commits)
    return list(commits)


async def _live_group(kafka: Kafka, group: str, topics: list[str], stack: AsyncExitStack) -> None:
    """Two members that were given their partitions and have committed on some of them."""
    for number in range(2):
        consumer = AIOKafkaConsumer(
            *topics,
            bootstrap_servers=kafka.bootstrap,
            group_id=group,
            client_id=f"{group}-member-{number}",
            enable_auto_commit=False,
            auto_offset_reset="latest",
            heartbeat_interval_ms=300,
        )
        await consumer.start()
        stack.push_async_callback(consumer.stop)
    await eventually(consumer.assignment)
    await asyncio.sleep(1.0)  # the first member has joined the second one's generation as well
    await consumer.commit(dict.fromkeys(sorted(consumer.assignment())[:1], 0))


async def test_the_table_has_a_line_for_each_group_and_partition(kafka: Kafka) -> None:
    name = f"table-{secrets.token_hex(2)}"
    await kafka_admin.create_topics(kafka.bootstrap, [kafka_admin.Topic(name, 2)])
    await kafka_admin.produce_now(kafka.bootstrap, name, {0: 5, 1: 3})
    await kafka_admin.commit_offsets(kafka.bootstrap, name, {TopicPartition(name, 0): 1, TopicPartition(name, 1): 3})
    text = await command("--bootstrap-servers", kafka.bootstrap, "--group", name)
    head, columns, *rows = text.splitlines()
    assert head.startswith(f"{name}: classic group, Empty, 0 members, lag 4 in 1 of 2 partitions, oldest ")
    assert columns.split() == ["TOPIC", "PARTITION", "COMMITTED", "END", "LAG", "DELAY", "CLIENT"]
    assert [row.split()[1:5] for row in rows] == [["0", "1", "5", "4"], ["1", "3", "3", "0"]]
    wide = await command("--bootstrap-servers", kafka.bootstrap, "--group", name, "-o", "wide")
    assert "INSTANCE" in wide.splitlines()[1]


async def test_without_a_group_all_of_the_cluster_are_shown(kafka: Kafka) -> None:
    name = f"all-{secrets.token_hex(2)}"
    await kafka_admin.create_topics(kafka.bootstrap, [kafka_admin.Topic(name, 1)])
    await kafka_admin.commit_many(kafka.bootstrap, {f"{name}-{n}": {TopicPartition(name, 0): 0} for n in range(3)})
    assert {f"{name}-{n}" for n in range(3)} <= set(await lag_json(kafka))


async def test_what_cannot_be_read_says_why(kafka: Kafka) -> None:
    """A group that does not exist is a line with a reason; a cluster that does not answer is an error."""
    seen = await lag_json(kafka, "--group", "nobody-has-this")
    assert seen["nobody-has-this"]["unavailable"]["reason"] == "GroupNotFound"
    error = await command("--bootstrap-servers", "127.0.0.1:1", code=1)
    assert "no bootstrap server answers" in error
    assert "Traceback" not in error
