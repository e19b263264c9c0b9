"""Opens connections to brokers, at addresses that the policy allows.

A name is looked up once, and what it resolved to is checked and connected to by number: no second look-up can lead
elsewhere in between. aiokafka would look the name up by itself; so while it connects, it sees an event loop whose
`create_connection` is the one here.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import Any

from aiokafka.conn import AIOKafkaConnection

from consumer_autoscaler.sources.address_policy import AddressDenied, AddressPolicy
from consumer_autoscaler.sources.kafka.access.names import Names


class Dial:
    """`policy` for all of one cluster's connections. The caller sets timeouts."""

    def __init__(self, policy: AddressPolicy) -> None:
        self._policy = policy
        self._names = Names()

    async def broker(self, host: str, port: int, context: ssl.SSLContext | None, **options: Any) -> AIOKafkaConnection:
        """A connection whose request versions are known; `options` are aiokafka's. Raises AddressDenied and what a
        connection can raise.
        """
        protocol = "SSL" if context else "PLAINTEXT"  # SASL is done in sasl.py
        connection = AIOKafkaConnection(host, port, security_protocol=protocol, ssl_context=context, **options)
        loop, connection._loop = connection._loop, _Connecting(connection._loop, self)
        try:
            await connection.connect()
        finally:
            connection._loop = loop
        return connection

    async def socket(self, host: str, port: int) -> socket.socket:
        """Connected to the first address of `host` that may be connected to and answers."""
        loop, failure = asyncio.get_running_loop(), OSError(f"{host} has no address")
        for family, address in await self._names.look_up(host):
            try:
                self._policy.check(host, address, port)
            except AddressDenied as denied:
                failure = denied
                continue
            opened = socket.socket(family, socket.SOCK_STREAM)
            try:
                opened.setblocking(False)
                await loop.sock_connect(opened, (address, port))
            except OSError as error:
                opened.close()
                failure = error
            except BaseException:
                opened.close()
                raise
            else:
                return opened
        raise failure


class _Connecting:
    """The event loop while a connection is made; only how a connection is opened differs."""

    def __init__(self, loop: asyncio.AbstractEventLoop, dial: Dial) -> None:
        self._loop = loop
        self._dial = dial

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)

    async def create_connection(self, factory: Any, host: str, port: int, *, ssl: ssl.SSLContext | None) -> Any:
        opened = await self._dial.socket(host, port)
        try:
            return await self._loop.create_connection(
                factory, sock=opened, ssl=ssl, server_hostname=host if ssl else None
            )
        except BaseException:
            opened.close()
            raise
