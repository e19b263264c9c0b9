"""All brokers of one Kafka cluster, as the metadata names them.

When no known broker answers, the bootstrap addresses are asked, soon all at once; while they fail, with backoff too.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterable

from aiokafka.conn import AIOKafkaConnection

from consumer_autoscaler.decision.reasons import SourceReason
from consumer_autoscaler.sources.address_policy import AS_INSTALLED, AddressPolicy
from consumer_autoscaler.sources.kafka.access.opening import Access
from consumer_autoscaler.sources.kafka.access.security import Security
from consumer_autoscaler.sources.kafka.broker import (
    Broker,
    BrokerFailed,
    Dialer,
    backoff_seconds,
    parse_address,
    reason_of,
    words_of,
)
from consumer_autoscaler.sources.kafka.stats import ReadingStats
from consumer_autoscaler.sources.kafka.wire.codec import DECODE_ERRORS, Cursor
from consumer_autoscaler.sources.kafka.wire.requests import Answer, BrokerAddress, Request, metadata, read_brokers

log = logging.getLogger(__name__)

_NEXT_ADDRESS_SECONDS = 0.3  # how long one bootstrap address is waited for before the next is asked as well
_SILENT_SECONDS = 0.5
_NAMED_BY = "`bootstrapServers`"
# What it means when none lets us in; of several reasons the first, which a person must act on.
_BOOTSTRAP_SAYS = {
    SourceReason.AUTHENTICATION_FAILED: "no bootstrap server lets us in",
    SourceReason.ADDRESS_DENIED: "no bootstrap server is connected to",
    SourceReason.BROKER_UNREACHABLE: "no bootstrap server answers",
}


class Brokers:
    """All brokers of one cluster. What asks raises BrokerFailed."""

    def __init__(
        self,
        bootstrap: Iterable[str],
        *,
        client_id: str,
        timeout_seconds: float,
        stats: ReadingStats,
        security: Security | None = None,
        policy: AddressPolicy = AS_INSTALLED,
        clock: Callable[[], float] = lambda: 0.0,
    ) -> None:
        """`security`: PLAINTEXT without. `policy`: of all addresses, those that brokers advertise too. `clock`: the
        wall time, which only signatures for Amazon MSK need.
        """
        self._bootstrap = sorted(set(bootstrap))
        access = Access(security or Security(), policy=policy, clock=clock, timeout_seconds=timeout_seconds)
        self._dialer = Dialer(client_id, timeout_seconds, stats, access)
        self._brokers: dict[int, Broker] = {}
        self._bootstrap_failures = 0
        self._bootstrap_not_before = 0.0
        self._bootstrap_why = ""
        self._bootstrap_reason = SourceReason.BROKER_UNREACHABLE
        self._closing: set[asyncio.Task[None]] = set()

    @property
    def node_ids(self) -> list[int]:
        """Of the brokers that are known; after `ask_metadata` all of the cluster."""
        return list(self._brokers)

    @property
    def connections(self) -> int:
        return sum(broker.connected for broker in self._brokers.values())

    def silent(self, seconds: float) -> set[int]:
        """The brokers that somebody has waited for that long."""
        return {node for node, broker in self._brokers.items() if broker.silent_seconds >= seconds}

    async def ask(self, node_id: int, request: Request) -> Answer:
        broker = self._brokers.get(node_id)
        if broker is None:
            raise BrokerFailed(f"broker {node_id} is not part of the cluster at present")
        return await broker.ask(request)

    async def ask_any(self, request: Request) -> Answer:
        """Asks one broker after the other until one answers; first those that are connected and keep nobody waiting."""
        brokers = [broker for broker in self._brokers.values() if not broker.failing]
        random.shuffle(brokers)
        brokers.sort(key=lambda broker: (broker.silent_seconds > _SILENT_SECONDS, not broker.connected))
        failure = self._nobody_answers()
        for broker in brokers:
            try:
                return await broker.ask(request)
            except BrokerFailed as error:
                failure = error
        raise failure

    def _nobody_answers(self) -> BrokerFailed:
        """Before anybody was asked: what a person must act on, if a broker has failed for that."""
        for broker in self._brokers.values():
            if broker.failing and broker.reason_of is not SourceReason.BROKER_UNREACHABLE:
                return broker.failure
        return BrokerFailed(f"no broker of the cluster behind {', '.join(self._bootstrap)} answers")

    async def ask_metadata(self, topics: Iterable[str]) -> Cursor:
        """Learns the brokers; returns the answer from its topics on (`wire.read_topics`).

        Goes back to the bootstrap addresses when no known broker answers.
        """
        request = metadata(topics)
        try:
            answer, connection = await self.ask_any(request), None
        except BrokerFailed:
            connection, answer = await self._ask_bootstrap(request)
        try:
            cursor = Cursor(answer.data)
            self._update(read_brokers(cursor))
        except DECODE_ERRORS as error:
            raise BrokerFailed(f"a broker's metadata cannot be read: {error}") from error
        finally:
            if connection is not None and not self._adopt(connection):
                connection.close()
        return cursor

    def learn(self, address: BrokerAddress) -> None:
        """Adds a broker that is named as a coordinator before it is in the metadata."""
        if address.node_id not in self._brokers:
            self._brokers[address.node_id] = Broker(address, self._dialer)

    def _update(self, addresses: list[BrokerAddress]) -> None:
        if not addresses:
            raise ValueError("it names no broker")
        before, self._brokers = self._brokers, {}
        for address in addresses:
            known = before.get(address.node_id)
            if known is not None and known.address == address:
                self._brokers[address.node_id] = before.pop(address.node_id)
            else:
                self._brokers[address.node_id] = Broker(address, self._dialer)
        for broker in before.values():
            task = asyncio.create_task(broker.aclose())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    def _adopt(self, connection: AIOKafkaConnection) -> bool:
        return any(
            broker.adopt(connection)
            for broker in self._brokers.values()
            if (broker.address.host, broker.address.port) == (connection.host, connection.port)
        )

    async def _ask_bootstrap(self, request: Request) -> tuple[AIOKafkaConnection, Answer]:
        loop = asyncio.get_running_loop()
        if loop.time() < self._bootstrap_not_before:
            raise BrokerFailed(self._bootstrap_why, self._bootstrap_reason)
        why: list[str] = []
        reasons: set[SourceReason] = set()
        addresses = random.sample(self._bootstrap, len(self._bootstrap))
        tasks: dict[asyncio.Task[tuple[AIOKafkaConnection, Answer]], str] = {}
        pending: set[asyncio.Task[tuple[AIOKafkaConnection, Answer]]] = set()
        winner: tuple[AIOKafkaConnection, Answer] | None = None
        try:
            while (pending or addresses) and winner is None:
                if addresses:
                    task = asyncio.create_task(self._ask_address(addresses[-1], request))
                    tasks[task] = addresses.pop()
                    pending.add(task)
                patience = _NEXT_ADDRESS_SECONDS if addresses else None
                done, pending = await asyncio.wait(pending, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    if (error := task.exception()) is not None:
                        why.append(f"{tasks[task]} ({words_of(error, self._dialer.timeout_seconds, _NAMED_BY)})")
                        reasons.add(reason_of(error))
                    elif winner is None:
                        winner = task.result()
                    else:
                        task.result()[0].close()
            await self._abandon(pending)
        except BaseException:
            if winner is not None:
                winner[0].close()
            await self._abandon(pending)
            raise
        if winner is None:
            self._bootstrap_failures += 1
            reason = next(each for each in _BOOTSTRAP_SAYS if each in reasons)
            refused = reason is SourceReason.AUTHENTICATION_FAILED
            self._bootstrap_not_before = loop.time() + backoff_seconds(self._bootstrap_failures, refused=refused)
            self._bootstrap_why = f"{_BOOTSTRAP_SAYS[reason]}: {', '.join(sorted(why))}"
            self._bootstrap_reason = reason
            if self._bootstrap_failures == 1:
                log.info("%s", self._bootstrap_why)
            raise BrokerFailed(self._bootstrap_why, self._bootstrap_reason)
        if self._bootstrap_failures:
            log.info("a bootstrap server of %s answers again", ", ".join(self._bootstrap))
        self._bootstrap_failures = 0
        return winner

    async def _ask_address(self, address: str, request: Request) -> tuple[AIOKafkaConnection, Answer]:
        """Within one timeout for both, the connection and the answer."""
        async with asyncio.timeout(self._dialer.timeout_seconds):
            connection = await self._dialer.connect(*parse_address(address))
            try:
                return connection, await self._dialer.ask(connection, request)
            except BaseException:
                connection.close()
                raise

    @staticmethod
    async def _abandon(tasks: Iterable[asyncio.Task[tuple[AIOKafkaConnection, Answer]]]) -> None:
        for task in tasks:
            task.cancel()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if not isinstance(result, BaseException):
                result[0].close()

    async def aclose(self) -> None:
        """Ends every connection and task of this cluster."""
        brokers, self._brokers = list(self._brokers.values()), {}
        await asyncio.gather(*(broker.aclose() for broker in brokers), *self._closing)
