"""One broker of a cluster: its connection, made when needed, kept, and made again after a fault.

It stands on aiokafka's connection, not on its client: that one refreshes all topics by itself, connects to one broker
at a time, ends its refresh for good on an unexpected exception, and never goes back to the bootstrap addresses.

- The first request waits for the connection. After a failure nobody waits: requests fail at once while a task of the
  broker's own tries again, with backoff and jitter. So a dead or silent broker costs one timeout.
- A broker that refuses the login is asked less often, so that a wrong password locks no account.
- A connection whose session ends soon is replaced, and closed when its last answers must have come.
"""

from __future__ import annotations

import asyncio
import logging
import random
import socket

from aiokafka.conn import AIOKafkaConnection, CloseReason
from aiokafka.errors import KafkaError

from consumer_autoscaler.decision.reasons import SourceReason
from consumer_autoscaler.durations import timed
from consumer_autoscaler.sources.address_policy import AddressDenied
from consumer_autoscaler.sources.kafka.access.opening import Access
from consumer_autoscaler.sources.kafka.access.refusal import AuthenticationFailed
from consumer_autoscaler.sources.kafka.stats import ReadingStats
from consumer_autoscaler.sources.kafka.wire.requests import Answer, BrokerAddress, Request, Unsupported

log = logging.getLogger(__name__)

_BACKOFF_FIRST_SECONDS = 0.5
_BACKOFF_MOST_SECONDS = 5.0
_REFUSED_BACKOFF_MOST_SECONDS = 60.0
_PROBE_FOR_SECONDS = 900.0  # a broker that nobody asked for that long is not tried any more; > the longest interval
_DEFAULT_PORT = 9092
_NAMED_BY = "`advertised.listeners` of the brokers"


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


def reason_of(error: BaseException) -> SourceReason:
    if isinstance(error, AuthenticationFailed):
        return SourceReason.AUTHENTICATION_FAILED
    return SourceReason.ADDRESS_DENIED if isinstance(error, AddressDenied) else SourceReason.BROKER_UNREACHABLE


def words_of(error: BaseException, timeout_seconds: float, named_by: str) -> str:
    """What a person can do something with. `named_by`: where the address comes from."""
    if isinstance(error, AddressDenied):
        return f"{error.field or named_by}: {error}"
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


class Dialer:
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
            with timed(self._stats.request_seconds):
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


class Broker:
    """One broker's connection, and the task that makes it."""

    def __init__(self, address: BrokerAddress, dialer: Dialer) -> None:
        self.address = address
        self._dialer = dialer
        self._connection: AIOKafkaConnection | None = None
        self._task: asyncio.Task[None] | None = None
        self._tried = asyncio.Event()  # the attempt under way, if any, has ended at least once
        self._failures = 0
        self._why = ""
        self.reason_of = SourceReason.BROKER_UNREACHABLE
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
    def failure(self) -> BrokerFailed:
        """Why it cannot be asked, while it is `failing`."""
        return BrokerFailed(self._sentence(self._why, self.reason_of), self.reason_of)

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
            words, reason = words_of(error, self._dialer.timeout_seconds, _NAMED_BY), reason_of(error)
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
            raise self.failure
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
            if self._failures and self.reason_of is SourceReason.AUTHENTICATION_FAILED:
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
        refused = self.reason_of is SourceReason.AUTHENTICATION_FAILED
        return backoff_seconds(self._failures, refused=refused)

    def _connected(self, connection: AIOKafkaConnection) -> None:
        if self._failures:
            log.info("%s answers again", self._name())
        self._connection, self._failures, self._why = connection, 0, ""
        self._tried.set()

    def _failed(self, error: BaseException) -> None:
        self._failures += 1
        self._why, self.reason_of = words_of(error, self._dialer.timeout_seconds, _NAMED_BY), reason_of(error)
        if self._failures == 1:
            log.info("%s", self._sentence(self._why, self.reason_of))
        self._tried.set()

    def _name(self) -> str:
        return f"broker {self.address.node_id} ({self.address.host}:{self.address.port})"

    def _sentence(self, why: str, reason: SourceReason) -> str:
        match reason:
            case SourceReason.AUTHENTICATION_FAILED:
                return f"{self._name()} does not let us in: {why}"
            case SourceReason.ADDRESS_DENIED:
                return f"{self._name()} is not connected to: {why}"
            case _:
                return f"{self._name()} does not answer: {why}"

    async def aclose(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        for retired in self._retired:
            retired.close(reason=CloseReason.SHUTDOWN)
        if self._connection is not None:
            closed, self._connection = self._connection.close(reason=CloseReason.SHUTDOWN), None
            await asyncio.wait([closed], timeout=1)
