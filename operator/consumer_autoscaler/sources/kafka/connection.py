"""The connections to one Kafka cluster: one per broker, made when needed, kept, and made again after a fault.

It stands on aiokafka's connection, not on its client: that one refreshes all topics by itself, connects to
one broker at a time, ends its refresh for good on an unexpected exception, and never goes back to the
bootstrap addresses.

- The first request to a broker waits for the connection. After a failure nobody waits: requests fail at
  once while a task of the broker's own tries again, with backoff and jitter. So a dead or silent broker
  costs one timeout.
- When no known broker answers, the bootstrap addresses are asked, soon all at once; while they fail, with
  backoff too.
- A broker that refuses the login is asked less often, so that a wrong password locks no account.
- A connection whose session ends soon is replaced, and closed when its last answers must have come.
"""

from __future__ import annotations

import asyncio
import logging
import random
import socket
from collections.abc import Callable, Iterable

from aiokafka.conn import AIOKafkaConnection, CloseReason
from aiokafka.errors import KafkaError

from consumer_autoscaler.decision.reasons import SourceReason
from consumer_autoscaler.sources.kafka.access import Access
from consumer_autoscaler.sources.kafka.codec import DECODE_ERRORS, Cursor
from consumer_autoscaler.sources.kafka.refusal import AuthenticationFailed
from consumer_autoscaler.sources.kafka.security import Security
from consumer_autoscaler.sources.kafka.stats import ReadingStats
from consumer_autoscaler.sources.kafka.wire import (
    Answer,
    BrokerAddress,
    Request,
    Unsupported,
    metadata,
    read_brokers,
)

log = logging.getLogger(__name__)

_BACKOFF_FIRST_SECONDS = 0.5
_BACKOFF_MOST_SECONDS = 5.0
_REFUSED_BACKOFF_MOST_SECONDS = 60.0
_PROBE_FOR_SECONDS = 900.0  # a broker that nobody asked for that long is not tried any more; > the longest interval
_NEXT_ADDRESS_SECONDS = 0.3  # how long one bootstrap address is waited for before the next is asked as well
_DEFAULT_PORT = 9092
_SILENT_SECONDS = 0.5


class BrokerFailed(Exception):
    """A request got no answer; says why in one word and one sentence."""

    def __init__(self, message: str, reason: SourceReason = SourceReason.BROKER_UNREACHABLE) -> None:
        super().__init__(message)
        self.reason = reason


class RequestUnsupported(BrokerFailed):
    """The broker is too old for the request."""


def parse_address(address: str) -> tuple[str, int]:
    """`host:port`, `[v6]:port` or a bare host (port 9092); raises ValueError."""
    address = address.strip()
    host, separator, port = address.rpartition(":")
    if not separator or address.endswith("]") or (":" in host and not host.startswith("[")):
        host, port = address, str(_DEFAULT_PORT)
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ValueError(f"not an address of the form host:port: {address!r}")
    return host, int(port)


def backoff_seconds(failures: int, *, refused: bool = False) -> float:
    """Doubles from 0.5 s to 5 s, or 60 s when the login was refused, less up to a half by chance, so that clients do
    not come back together.
    """
    most = _REFUSED_BACKOFF_MOST_SECONDS if refused else _BACKOFF_MOST_SECONDS
    return min(most, _BACKOFF_FIRST_SECONDS * 2.0 ** min(failures - 1, 8)) * random.uniform(0.5, 1)


def _reason(error: BaseException) -> SourceReason:
    refused = isinstance(error, AuthenticationFailed)
    return SourceReason.AUTHENTICATION_FAILED if refused else SourceReason.BROKER_UNREACHABLE


def _words(error: BaseException, timeout_seconds: float) -> str:
    if isinstance(error, AuthenticationFailed):
        return error.message
    if isinstance(error, TimeoutError):
        return f"no answer within {timeout_seconds:g} s"
    if isinstance(error, socket.gaierror):
        return f"the name cannot be resolved: {error.strerror}"
    if isinstance(error, OSError):
        return error.strerror or str(error) or type(error).__name__
    if isinstance(error, KafkaError):
        return str(error.__cause__ or error)
    return f"{type(error).__name__}: {error}"


class _Dialer:
    """How a connection is made and used; the same for all brokers of a cluster."""

    def __init__(self, client_id: str, timeout_seconds: float, stats: ReadingStats, access: Access) -> None:
        self.timeout_seconds = timeout_seconds
        self._stats = stats
        self._client_id = client_id
        self._access = access

    async def connect(self, host: str, port: int) -> AIOKafkaConnection:
        """Connects, authenticates, and asks for the broker's request versions. Raises anything: callers catch
        broadly.
        """
        return await self._access.open(host, port, client_id=self._client_id)

    def due(self, connection: AIOKafkaConnection) -> bool:
        """Whether it must be replaced soon."""
        return self._access.due(connection)

    async def ask(self, connection: AIOKafkaConnection, request: Request) -> Answer:
        try:
            async with asyncio.timeout(self.timeout_seconds):
                pending = connection.send(request)
                self._stats.requests[request.name] += 1
                answer: Answer = await pending
        except (KafkaError, OSError) as error:
            if (refusal := await self._access.refusal(connection, error)) is not None:
                raise refusal from error
            raise
        self._access.answered(connection)
        return answer


class _Broker:
    """One broker's connection, and the task that makes it."""

    def __init__(self, address: BrokerAddress, dialer: _Dialer) -> None:
        self.address = address
        self._dialer = dialer
        self._connection: AIOKafkaConnection | None = None
        self._task: asyncio.Task[None] | None = None
        self._tried = asyncio.Event()  # the attempt under way, if any, has ended at least once
        self._failures = 0
        self._why = ""
        self._reason = SourceReason.BROKER_UNREACHABLE
        self._asked_at = 0.0
        self._retired: set[AIOKafkaConnection] = set()  # replaced, with answers still to come
        self._waiting: dict[object, float] = {}  # since when each caller waits

    @property
    def connected(self) -> bool:
        return self._connection is not None and self._connection.connected()

    @property
    def failing(self) -> bool:
        return self._failures > 0

    @property
    def silent_seconds(self) -> float:
        """How long the caller that waits longest has been without an answer."""
        return asyncio.get_running_loop().time() - min(self._waiting.values()) if self._waiting else 0.0

    def adopt(self, connection: AIOKafkaConnection) -> bool:
        """Takes over a connection that was made to the same address; False when it has or makes one."""
        if self.connected or self._task is not None:
            return False
        self._connected(connection)
        return True

    async def ask(self, request: Request) -> Answer:
        caller = object()
        self._waiting[caller] = asyncio.get_running_loop().time()
        try:
            return await self._ask(request)
        finally:
            del self._waiting[caller]

    async def _ask(self, request: Request) -> Answer:
        connection = await self._ready()
        try:
            return await self._dialer.ask(connection, request)
        except Unsupported as error:
            raise RequestUnsupported(f"{self._name()}: {error}; Kafka 3.0 or newer is needed") from error
        except (KafkaError, OSError) as error:  # TimeoutError is an OSError
            still_used = self._connection is connection
            if still_used:
                connection.close(reason=CloseReason.CONNECTION_TIMEOUT)
                self._connection = None
                if isinstance(error, TimeoutError | AuthenticationFailed):
                    self._failed(error)
                    self._start()
            words, reason = _words(error, self._dialer.timeout_seconds), _reason(error)
            raise BrokerFailed(self._sentence(words, reason), reason) from error

    async def _ready(self) -> AIOKafkaConnection:
        self._asked_at = asyncio.get_running_loop().time()
        if (connection := self._connection) is not None:
            if connection.connected() and not self._dialer.due(connection):
                return connection
            self._retire(connection)
            self._connection = None
        self._start()
        if not self._failures:
            self._tried.clear()
            await self._tried.wait()  # bounded: every attempt has a timeout
        if self._connection is None:
            raise BrokerFailed(self._sentence(self._why, self._reason), self._reason)
        return self._connection

    def _retire(self, connection: AIOKafkaConnection) -> None:
        """Closes it when every request on it has been answered or given up."""
        if not connection.connected():
            connection.close()
            return

        def end() -> None:
            connection.close()
            self._retired.discard(connection)

        self._retired.add(connection)
        asyncio.get_running_loop().call_later(self._dialer.timeout_seconds, end)

    def _start(self) -> None:
        if self._task is None:
            self._task = asyncio.create_task(self._connect(), name=f"kafka-connect-{self.address.node_id}")

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            if self._failures and self._reason is SourceReason.AUTHENTICATION_FAILED:
                await asyncio.sleep(self._pause_seconds())  # it answers and refuses: not at once again
            while True:
                try:
                    connection = await self._dialer.connect(self.address.host, self.address.port)
                except Exception as error:  # whatever it is, the broker cannot be used now
                    self._failed(error)
                else:
                    self._connected(connection)
                    return
                if loop.time() - self._asked_at > _PROBE_FOR_SECONDS:
                    return
                await asyncio.sleep(self._pause_seconds())
        finally:
            self._task = None
            self._tried.set()

    def _pause_seconds(self) -> float:
        refused = self._reason is SourceReason.AUTHENTICATION_FAILED
        return backoff_seconds(self._failures, refused=refused)

    def _connected(self, connection: AIOKafkaConnection) -> None:
        if self._failures:
            log.info("%s answers again", self._name())
        self._connection, self._failures, self._why = connection, 0, ""
        self._tried.set()

    def _failed(self, error: BaseException) -> None:
        self._failures += 1
        self._why, self._reason = _words(error, self._dialer.timeout_seconds), _reason(error)
        if self._failures == 1:
            log.info("%s", self._sentence(self._why, self._reason))
        self._tried.set()

    def _name(self) -> str:
        return f"broker {self.address.node_id} ({self.address.host}:{self.address.port})"

    def _sentence(self, why: str, reason: SourceReason) -> str:
        refused = reason is SourceReason.AUTHENTICATION_FAILED
        return f"{self._name()} {'does not let us in' if refused else 'does not answer'}: {why}"

    async def aclose(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        for retired in self._retired:
            retired.close(reason=CloseReason.SHUTDOWN)
        if self._connection is not None:
            closed, self._connection = self._connection.close(reason=CloseReason.SHUTDOWN), None
            await asyncio.wait([closed], timeout=1)


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
        clock: Callable[[], float] = lambda: 0.0,
    ) -> None:
        """`security`: PLAINTEXT without. `clock`: the wall time, which only signatures for Amazon MSK need."""
        self._bootstrap = sorted(set(bootstrap))
        access = Access(security or Security(), clock=clock, timeout_seconds=timeout_seconds)
        self._dialer = _Dialer(client_id, timeout_seconds, stats, access)
        self._brokers: dict[int, _Broker] = {}
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
        failure = BrokerFailed(f"no broker of the cluster behind {', '.join(self._bootstrap)} answers")
        for broker in brokers:
            try:
                return await broker.ask(request)
            except BrokerFailed as error:
                failure = error
        raise failure

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
            self._brokers[address.node_id] = _Broker(address, self._dialer)

    def _update(self, addresses: list[BrokerAddress]) -> None:
        if not addresses:
            raise ValueError("it names no broker")
        before, self._brokers = self._brokers, {}
        for address in addresses:
            known = before.get(address.node_id)
            if known is not None and known.address == address:
                self._brokers[address.node_id] = before.pop(address.node_id)
            else:
                self._brokers[address.node_id] = _Broker(address, self._dialer)
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
                        why.append(f"{tasks[task]} ({_words(error, self._dialer.timeout_seconds)})")
                        reasons.add(_reason(error))
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
            refused = SourceReason.AUTHENTICATION_FAILED in reasons
            self._bootstrap_not_before = loop.time() + backoff_seconds(self._bootstrap_failures, refused=refused)
            says = "no bootstrap server lets us in" if refused else "no bootstrap server answers"
            self._bootstrap_why = f"{says}: {', '.join(sorted(why))}"
            self._bootstrap_reason = SourceReason.AUTHENTICATION_FAILED if refused else SourceReason.BROKER_UNREACHABLE
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
