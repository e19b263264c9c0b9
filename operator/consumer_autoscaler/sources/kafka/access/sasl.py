"""SASL on a connection that is open: KIP-43's handshake, then KIP-152's exchange.

Not aiokafka's own, which takes a refused token for accepted (it never reads the broker's answer, RFC 7628 §3.2.3),
does not say which mechanisms a broker offers, and forgets how long the session lasts (KIP-368).
"""

from __future__ import annotations

import asyncio

from aiokafka.conn import AIOKafkaConnection
from aiokafka.errors import IllegalSaslStateError, NoError, SaslAuthenticationFailed, UnsupportedSaslMechanismError
from aiokafka.errors import for_code as error_class
from aiokafka.protocol.admin import SaslAuthenticateRequest, SaslHandShakeRequest

from consumer_autoscaler.sources.kafka.access.refusal import AuthenticationFailed
from consumer_autoscaler.sources.kafka.access.scram import BadScram, Scram
from consumer_autoscaler.sources.kafka.access.security import Login, Mechanism, PasswordLogin
from consumer_autoscaler.sources.kafka.access.tokens import Tokens


async def authenticate(connection: AIOKafkaConnection, login: Login, tokens: Tokens | None) -> float:
    """Returns how many seconds the session lasts; 0: without end. The caller sets the timeout.

    Raises AuthenticationFailed when the broker (or the token endpoint) refuses, KafkaError, OSError and TimeoutError
    when there is no answer.
    """
    await _agree(connection, login.mechanism)
    if isinstance(login, PasswordLogin):
        if login.mechanism is Mechanism.PLAIN:
            secret = "\0".join(("", login.username, login.password))
            return (await _step(connection, login, secret.encode()))[1]
        return await _scram(connection, login)
    assert tokens is not None
    token = await tokens.token()
    try:
        answer, seconds = await _step(connection, login, f"n,,\x01auth=Bearer {token}\x01\x01".encode())
        if answer:  # the refusal, as JSON; the broker says the rest when that is acknowledged
            await _step(connection, login, b"\x01")
            raise AuthenticationFailed(_refused(login))
    except AuthenticationFailed:
        tokens.forget()
        raise
    return seconds


async def _agree(connection: AIOKafkaConnection, mechanism: Mechanism) -> None:
    answer = await connection.send(SaslHandShakeRequest(mechanism.on_the_wire))
    error = error_class(answer.error_code)
    if error is NoError:
        return
    if issubclass(error, UnsupportedSaslMechanismError):
        offered = ", ".join(sorted(answer.enabled_mechanisms)) or "none"
        raise AuthenticationFailed(f"it does not offer {mechanism.on_the_wire} on this port, but: {offered}")
    if issubclass(error, IllegalSaslStateError):
        raise AuthenticationFailed("it wants no login on this port: leave out `sasl`, or use another port")
    raise AuthenticationFailed(f"it refuses the SASL handshake (error {answer.error_code})")


async def _scram(connection: AIOKafkaConnection, login: PasswordLogin) -> float:
    scram = Scram(login.mechanism.removeprefix("SCRAM-").replace("-", "").lower(), login.username, login.password)
    try:
        first, _ = await _step(connection, login, scram.first())
        final, seconds = await _step(connection, login, await asyncio.to_thread(scram.final, first))
        scram.verify(final)
    except BadScram as error:
        raise AuthenticationFailed(str(error)) from error
    return seconds


async def _step(connection: AIOKafkaConnection, login: Login, payload: bytes) -> tuple[bytes, float]:
    answer = await connection.send(SaslAuthenticateRequest(payload))
    error = error_class(answer.error_code)
    if issubclass(error, SaslAuthenticationFailed):
        raise AuthenticationFailed(_refused(login))
    if error is not NoError:
        raise AuthenticationFailed(f"it broke off the login with error {answer.error_code}")
    return answer.sasl_auth_bytes or b"", max(0, getattr(answer, "session_lifetime_ms", 0)) / 1000


def _refused(login: Login) -> str:
    if isinstance(login, PasswordLogin):
        return f"it refuses user {login.username!r} by {login.mechanism}: unknown user or wrong password"
    if login.mechanism is Mechanism.AWS_MSK_IAM:
        return "it refuses the signed token: check the access key, the region and the right kafka-cluster:Connect"
    return "it refuses the token: check its audience, issuer and the keys that the broker trusts"
