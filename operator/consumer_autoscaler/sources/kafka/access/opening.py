"""Opens connections to the brokers of one cluster the way its Security says, and knows when one must be replaced.

aiokafka does not authenticate anew within a connection (KIP-368), and a broker closes one whose session has ended. So a
connection is due for replacement before that, and its successor is made while the old one still answers.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from weakref import WeakKeyDictionary, WeakSet

from aiokafka.conn import AIOKafkaConnection
from aiokafka.errors import KafkaError

from consumer_autoscaler.sources.address_policy import AddressPolicy
from consumer_autoscaler.sources.kafka.access import probe
from consumer_autoscaler.sources.kafka.access.dial import Dial
from consumer_autoscaler.sources.kafka.access.refusal import AuthenticationFailed, closed_by_peer, tls_problem
from consumer_autoscaler.sources.kafka.access.sasl import authenticate
from consumer_autoscaler.sources.kafka.access.security import PasswordLogin, Security
from consumer_autoscaler.sources.kafka.access.tls import tls_context
from consumer_autoscaler.sources.kafka.access.tokens import Tokens

_RENEW_SHARE = 0.8  # of a session's life
_IDLE_MS = 9 * 60 * 1000  # just below the ten minutes after which brokers drop an idle connection


class Access:
    """One way in, to addresses that `policy` allows. `clock`: the wall time. Used in one event loop."""

    def __init__(
        self, security: Security, *, policy: AddressPolicy, clock: Callable[[], float], timeout_seconds: float
    ) -> None:
        self._security = security
        self._context: ssl.SSLContext | None = None
        self._timeout_seconds = timeout_seconds
        self._dial = Dial(policy)
        login = security.login
        self._tokens: Tokens | None = None
        if login is not None and not isinstance(login, PasswordLogin):
            self._tokens = Tokens(login, policy=policy, clock=clock, timeout_seconds=timeout_seconds)
        self._renew_at: WeakKeyDictionary[AIOKafkaConnection, float] = WeakKeyDictionary()
        self._unproven: WeakSet[AIOKafkaConnection] = WeakSet()  # no request has been answered yet

    async def open(self, host: str, port: int, *, client_id: str) -> AIOKafkaConnection:
        """A connection that may be used. Raises AuthenticationFailed, and whatever a connection can raise.

        Within one timeout; with a token endpoint within two, one of them for the endpoint.
        """
        tls, login = self._security.tls, self._security.login
        if tls is not None and self._context is None:
            self._context = await asyncio.to_thread(tls_context, tls)
        if self._tokens is not None:
            await self._tokens.token()  # before the broker's own timeout begins
        async with asyncio.timeout(self._timeout_seconds):
            connection = await self._connected(host, port, client_id)
            try:
                if login is not None:
                    seconds = await self._authenticated(connection)
                    if seconds:
                        self._renew_at[connection] = asyncio.get_running_loop().time() + _RENEW_SHARE * seconds
            except BaseException:
                connection.close()
                raise
        self._unproven.add(connection)
        return connection

    def due(self, connection: AIOKafkaConnection) -> bool:
        """Whether its session ends soon."""
        at = self._renew_at.get(connection)
        return at is not None and asyncio.get_running_loop().time() >= at

    def answered(self, connection: AIOKafkaConnection) -> None:
        """A request has been answered: from now on a closed connection is only that."""
        self._unproven.discard(connection)

    async def refusal(self, connection: AIOKafkaConnection, error: BaseException) -> AuthenticationFailed | None:
        """What a failed request says about the way in, if it was the first of its connection."""
        if connection not in self._unproven:
            return None
        if self._security.tls is not None and (problem := tls_problem(error)):
            return AuthenticationFailed(problem)
        if self._security.login is None and closed_by_peer(error):
            wanted = await probe.wanted_logins(self._dial, connection.host, connection.port, self._context)
            if wanted:
                return AuthenticationFailed(f"it wants a login, by one of {', '.join(wanted)}: set `sasl`")
        return None

    async def _connected(self, host: str, port: int, client_id: str) -> AIOKafkaConnection:
        encrypted = self._security.tls is not None
        try:
            return await self._dial.broker(
                host,
                port,
                self._context,
                client_id=client_id,
                # Behind the timeout set here, which is the one that acts.
                request_timeout_ms=int(self._timeout_seconds * 1000) + 1000,
                max_idle_ms=_IDLE_MS,
            )
        except (KafkaError, OSError) as error:  # ssl.SSLError is an OSError
            if encrypted and (problem := tls_problem(error)):
                raise AuthenticationFailed(problem) from error
            if closed_by_peer(error):
                if encrypted and await probe.speaks_plain(self._dial, host, port):
                    words = "it speaks no TLS on this port: leave out `tls`, or use another port"
                    raise AuthenticationFailed(words) from error
                if not encrypted and await probe.speaks_tls(self._dial, host, port):
                    raise AuthenticationFailed("it speaks TLS on this port: set `tls`") from error
            raise

    async def _authenticated(self, connection: AIOKafkaConnection) -> float:
        login = self._security.login
        assert login is not None
        try:
            return await authenticate(connection, login, self._tokens)
        except AuthenticationFailed:
            raise
        except KafkaError as error:
            if self._security.tls is not None and (problem := tls_problem(error)):
                raise AuthenticationFailed(problem) from error
            raise
