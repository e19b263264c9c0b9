"""A group consumer with a limited write rate, as one that writes to a database in batches.

A write of n records takes n / rate seconds, at most `--batch` records at a time, so one replica manages a fixed
number of records per second. `--pace FILE` says how long records take instead, and may change under way (see pace);
with `--database` each write waits for a database besides, which all consumers share. Offsets are committed every
`--commit-interval` seconds, before partitions are given up, and at the end. SIGTERM gives the unfinished write up,
commits what is done and leaves the group.

Serves `/metrics` (processing time per record) and `/ready` (200 once it is a member of the group) on
POD_IP:`--port`; the age of records at their commit goes to RESULTS_DIR/POD_NAME.jsonl (see lateness).
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import random
import signal
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.errors import KafkaError
from prometheus_client import CollectorRegistry, Histogram, generate_latest

from bed import lateness
from bed.database import Connection
from bed.pace import Pace, PaceFile

log = logging.getLogger(__name__)

_ASSIGNORS = {
    "range": RangePartitionAssignor,
    "roundrobin": RoundRobinPartitionAssignor,
    "sticky": StickyPartitionAssignor,
}
_Fetched = dict[TopicPartition, list[ConsumerRecord[Any, Any]]]
_POLL_MS = 200
_STOP_SECONDS = 5.0
_WAITING_SECONDS = 0.05  # who gets a batch so soon has not waited for records


@dataclass(frozen=True, slots=True)
class Settings:
    bootstrap: str
    group: str
    topics: tuple[str, ...]
    pace: Callable[[], Pace]
    batch: int
    commit_interval_seconds: float
    session_timeout_seconds: float
    heartbeat_seconds: float
    assignor: str
    name: str
    results: Path | None = None
    database: str | None = None  # HOST:PORT


class LimitedConsumer:
    """Reads, "writes" at the limited rate, commits; `run()` until `stop` is set."""

    def __init__(self, settings: Settings, registry: CollectorRegistry) -> None:
        self._settings = settings
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=settings.bootstrap,
            client_id=settings.name,
            group_id=settings.group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            session_timeout_ms=round(settings.session_timeout_seconds * 1000),
            heartbeat_interval_ms=round(settings.heartbeat_seconds * 1000),
            partition_assignment_strategy=[_ASSIGNORS[settings.assignor]],
            fetch_max_wait_ms=_POLL_MS,
        )
        self.stop = asyncio.Event()
        self.joined = False
        self._processing = Histogram(
            "kafka_consumer_processing_seconds",
            "Time to process one record.",
            ["group", "topic"],
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
            registry=registry,
        )
        for topic in settings.topics:
            self._processing.labels(settings.group, topic)  # there with the first scrape, also before a record
        self._done: dict[TopicPartition, list[ConsumerRecord[Any, Any]]] = {}
        self._committing = asyncio.Lock()
        self._rebalances = 0
        self._ages = lateness.Ages()
        self._busy_records, self._busy_seconds = 0, 0.0  # while there was always a whole batch to be had at once
        self._free_at = 0.0
        self._chance = random.Random(settings.name)
        self._database = Connection(settings.database) if settings.database else None

    async def run(self) -> None:
        self._consumer.subscribe(list(self._settings.topics), listener=_Rebalance(self))
        await self._consumer.start()
        reporter = asyncio.create_task(self._commit_and_report())
        try:
            while not self.stop.is_set():
                asked = time.monotonic()
                fetched = await self._consumer.getmany(timeout_ms=_POLL_MS, max_records=self._settings.batch)
                pace = self._settings.pace()
                records = [record for part in self._unstuck(fetched, pace.stuck).values() for record in part]
                rebalances = self._rebalances
                if not records:
                    continue
                begin = time.monotonic()
                # After a rebalance everybody reads on from the commits, so this write will be done again.
                written = await self._write(pace.draw(len(records), self._chance), len(records))
                if written and rebalances == self._rebalances:
                    self._finish(records, (time.monotonic() - begin) / len(records))
                    if len(records) == self._settings.batch and begin - asked < _WAITING_SECONDS:
                        self._busy_records += len(records)
                        self._busy_seconds += time.monotonic() - asked
        finally:
            reporter.cancel()
            if self._busy_records:
                log.info("busy_records=%d busy_seconds=%.1f", self._busy_records, self._busy_seconds)
            with suppress(KafkaError, TimeoutError):
                async with asyncio.timeout(_STOP_SECONDS):
                    await self.commit()
            self._report()
            async with asyncio.timeout(_STOP_SECONDS):
                await self._consumer.stop()  # leaves the group, so that the others take over at once
            if self._database:
                await self._database.aclose()

    async def commit(self) -> None:
        """Commits what is written; the records of a refused commit are not counted, others will read them."""
        async with self._committing:
            done, self._done = self._done, {}
            if not done:
                return
            try:
                await self._consumer.commit({tp: records[-1].offset + 1 for tp, records in done.items()})
            except KafkaError as error:
                log.warning("commit: %s", type(error).__name__)
                if error.retriable:  # a broker that is away: these records are still written and ours
                    for tp, records in done.items():
                        self._done[tp] = records + self._done.get(tp, [])
                return
            self._ages.add((r.timestamp for records in done.values() for r in records), time.time())

    async def give_up(self) -> None:
        """Before a rebalance: commits; what is not committed then will be read again by whoever gets it."""
        self._rebalances += 1
        await self.commit()
        self._done.clear()

    def _unstuck(self, fetched: _Fetched, stuck: Sequence[str]) -> _Fetched:
        """Without the partitions that are stuck: they are paused where they are, and go on from there."""
        names = {tp: f"{tp.topic}-{tp.partition}" for tp in self._consumer.assignment()}
        self._consumer.pause(*(tp for tp, name in names.items() if name in stuck))
        self._consumer.resume(*(tp for tp in self._consumer.paused() if names.get(tp) not in stuck))
        for tp, records in fetched.items():
            if names.get(tp) in stuck:
                self._consumer.seek(tp, records[0].offset)
        return {tp: records for tp, records in fetched.items() if names.get(tp) not in stuck}

    async def _write(self, seconds: float, rows: int) -> bool:
        """Waits as long as the work and the database take; False when it was given up because of the end."""
        loop = asyncio.get_running_loop()
        self._free_at = max(loop.time(), self._free_at) + seconds
        try:
            async with asyncio.timeout_at(self._free_at):
                await self.stop.wait()
        except TimeoutError:
            return self._database is None or await self._through(self._database, rows)
        return False

    async def _through(self, database: Connection, rows: int) -> bool:
        writing, ending = asyncio.create_task(database.write(rows)), asyncio.create_task(self.stop.wait())
        try:
            await asyncio.wait((writing, ending), return_when=asyncio.FIRST_COMPLETED)
            if writing.done():
                writing.result()
            return writing.done()
        finally:
            writing.cancel()
            ending.cancel()

    def _finish(self, records: Iterable[ConsumerRecord[Any, Any]], seconds: float) -> None:
        for record in records:
            self._done.setdefault(TopicPartition(record.topic, record.partition), []).append(record)
            self._processing.labels(self._settings.group, record.topic).observe(seconds)

    async def _commit_and_report(self) -> None:
        while True:
            await asyncio.sleep(self._settings.commit_interval_seconds)
            await self.commit()
            self._report()

    def _report(self) -> None:
        ages, self._ages = self._ages, lateness.Ages()
        if self._settings.results and ages.records:
            path = self._settings.results / f"{self._settings.name}.jsonl"
            lateness.append(path, lateness.Line(time.time(), self._settings.name, ages))


class _Rebalance(ConsumerRebalanceListener):  # type: ignore[misc]
    def __init__(self, consumer: LimitedConsumer) -> None:
        self._consumer = consumer
        self._revoked_at: float | None = None

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        if revoked:
            self._revoked_at = time.monotonic()
            await self._consumer.give_up()

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        if self._revoked_at is not None:
            log.info("paused=%.3f", time.monotonic() - self._revoked_at)
            self._revoked_at = None
        self._consumer.joined = True  # also without partitions: an idle member is ready


async def serve(settings: Settings, host: str, port: int) -> None:
    """Consumes and serves the two pages until SIGTERM."""
    registry = CollectorRegistry()
    consumer = LimitedConsumer(settings, registry)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, consumer.stop.set)

    async def metrics(_: web.Request) -> web.Response:
        text = generate_latest(registry).decode()
        return web.Response(text=text, headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    async def ready(_: web.Request) -> web.Response:
        return web.Response(status=200 if consumer.joined else 503)

    pages = web.Application()
    pages.add_routes([web.get("/metrics", metrics), web.get("/ready", ready)])
    runner = web.AppRunner(pages, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, shutdown_timeout=0.5).start()
        await consumer.run()
    finally:
        await runner.cleanup()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bed.workload consume", description=__doc__)
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--group", required=True)
    parser.add_argument("--topic", required=True, action="append", help="may be given more than once")
    parser.add_argument("--rate", type=float, required=True, help="records per second that one replica writes")
    parser.add_argument("--pace", type=Path, help="a file that says how long records take, instead of --rate")
    parser.add_argument("--database", metavar="HOST:PORT", help="that each write goes to, shared by all consumers")
    parser.add_argument("--batch", type=int, default=100, help="records per write at most")
    parser.add_argument("--commit-interval", type=float, default=1.0, help="seconds")
    parser.add_argument("--session-timeout", type=float, default=10.0, help="seconds")
    parser.add_argument("--heartbeat", type=float, default=0.5, help="seconds; a rebalance takes about this long")
    parser.add_argument("--assignor", choices=sorted(_ASSIGNORS), default="roundrobin")
    parser.add_argument("--port", type=int, default=9100)
    parser.add_argument("--name", default=os.environ.get("POD_NAME") or f"consumer-{os.getpid()}")
    results = os.environ.get("RESULTS_DIR")
    parser.add_argument("--results", type=Path, default=Path(results) if results else None, help="a folder")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    constant = Pace(seconds_per_record=1 / options.rate)
    settings = Settings(
        bootstrap=options.bootstrap,
        group=options.group,
        topics=tuple(options.topic),
        pace=PaceFile(options.pace, constant).read if options.pace else lambda: constant,
        batch=options.batch,
        commit_interval_seconds=options.commit_interval,
        session_timeout_seconds=options.session_timeout,
        heartbeat_seconds=options.heartbeat,
        assignor=options.assignor,
        name=options.name,
        results=options.results,
        database=options.database,
    )
    asyncio.run(serve(settings, os.environ.get("POD_IP", "127.0.0.1"), options.port))
