"""After a broker has hung up without a word: what does its port speak, and does it want a login?

A port that is spoken to in the wrong way only closes the connection, as one does whose broker is in trouble. Asking
the other way tells them apart. Nothing secret is sent; each question takes a second at most.
"""

from __future__ import annotations

import asyncio
import ssl

from aiokafka.errors import KafkaError, UnsupportedSaslMechanismError
from aiokafka.protocol.admin import SaslHandShakeRequest

from consumer_autoscaler.sources.kafka.access.dial import Dial

_PATIENCE_SECONDS = 1.0


async def speaks_plain(dial: Dial, host: str, port: int) -> bool:
    """Whether a Kafka broker answers there without TLS."""
    return await _offers(dial, host, port, None) is not None


async def speaks_tls(dial: Dial, host: str, port: int) -> bool:
    """Whether a TLS server answers there, whoever it is."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            opened = await dial.socket(host, port)
            _, writer = await asyncio.open_connection(sock=opened, ssl=context, server_hostname=host)
    except ssl.SSLError as error:
        return "ALERT" in (error.reason or "")  # only a TLS server sends one
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True


async def wanted_logins(dial: Dial, host: str, port: int, context: ssl.SSLContext | None) -> list[str]:
    """The SASL mechanisms that a broker wants one of; empty when it wants none, or says nothing."""
    return await _offers(dial, host, port, context) or []


async def _offers(dial: Dial, host: str, port: int, context: ssl.SSLContext | None) -> list[str] | None:
    """None: no Kafka broker answers. A port without SASL answers with error 34 and no mechanisms (KIP-43)."""
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            connection = await dial.broker(host, port, context)
            try:
                answer = await connection.send(SaslHandShakeRequest("NONE"))
            finally:
                connection.close()
    except (KafkaError, OSError):
        return None
    wants = answer.error_code == UnsupportedSaslMechanismError.errno
    return sorted(answer.enabled_mechanisms) if wants else []
