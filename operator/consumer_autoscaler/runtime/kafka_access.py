"""From the Secrets that a resource names to a way into its cluster, and to a new one when they have changed.

Secrets are read again every five minutes, and every ten seconds while the login is refused. When their content has
changed, the resource leaves the old client, which ends with its last user, and joins the one of the new content. While
a Secret is missing, or lacks a key, the reading is Unavailable and names it; while the API server cannot be asked,
what was read last goes on.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, replace

from consumer_autoscaler.cluster.errors import KubeError
from consumer_autoscaler.cluster.secrets import Secrets
from consumer_autoscaler.decision.reasons import SourceReason
from consumer_autoscaler.decision.values import GroupReading, Unavailable
from consumer_autoscaler.resource.access import SaslAccess
from consumer_autoscaler.resource.access_schema import SaslMechanism
from consumer_autoscaler.resource.spec import KafkaSpec
from consumer_autoscaler.runtime.secret_texts import SecretTexts, Unresolved
from consumer_autoscaler.sources.kafka.access.security import (
    AwsLogin,
    Login,
    Mechanism,
    OAuthLogin,
    PasswordLogin,
    Security,
    Tls,
)
from consumer_autoscaler.sources.kafka.inspection.owners import Owners
from consumer_autoscaler.sources.protocol import GroupRequest, LagSource, Subscription

log = logging.getLogger(__name__)

AGAIN_SECONDS = 300.0
AFTER_A_REFUSAL_SECONDS = 10.0

_FLAG = "start the operator with --allow-passwords-without-tls"


@dataclass(frozen=True, slots=True)
class KafkaAccess:
    """Subscribes resources to their readings, those with Secrets through them."""

    lag: LagSource
    secrets: Secrets
    allow_passwords_without_tls: bool = False
    again_seconds: float = AGAIN_SECONDS  # how old what was read may be
    after_a_refusal_seconds: float = AFTER_A_REFUSAL_SECONDS  # the same while the login is refused

    def subscribe(self, namespace: str, kafka: KafkaSpec, request: GroupRequest) -> Subscription:
        if kafka.tls is None and kafka.sasl is None:
            return self.lag.subscribe(request)
        return _ThroughSecrets(self, namespace, kafka, request)

    async def resolve(self, namespace: str, kafka: KafkaSpec, *, max_age_seconds: float) -> tuple[Security, float]:
        """The way in, and when the oldest part of it was read (the loop's time). Raises Unresolved, KubeError."""
        reading = SecretTexts(self.secrets, namespace, max_age_seconds)
        tls: Tls | None = None
        if kafka.tls is not None:
            tls = Tls(
                ca_pem=await reading.text(kafka.tls.ca),
                certificate_pem=await reading.text(kafka.tls.certificate),
                key_pem=await reading.text(kafka.tls.private_key),
            )
        login = await self._login(reading, kafka.sasl, encrypted=tls is not None) if kafka.sasl is not None else None
        return Security(tls=tls, login=login), reading.oldest_at

    async def _login(self, reading: SecretTexts, sasl: SaslAccess, *, encrypted: bool) -> Login:
        mechanism = Mechanism(sasl.mechanism.value)
        if mechanism.reveals and not encrypted and not self.allow_passwords_without_tls:
            raise Unresolved(f"{mechanism} without TLS shows the login to whoever listens: set `tls`, or {_FLAG}")
        if sasl.token_endpoint.startswith("http://") and not self.allow_passwords_without_tls:
            raise Unresolved(f"`tokenEndpoint` without TLS shows the client's secret: use https://, or {_FLAG}")
        username = (await reading.text(sasl.username)).strip()
        password = await reading.text(sasl.password)
        if password.endswith("\n"):
            keys = " or ".join(sasl.password.keys)
            raise Unresolved(f"Secret {sasl.password.secret}: {keys} ends with a line break, which is hardly meant")
        match sasl.mechanism:
            case SaslMechanism.OAUTHBEARER:
                return OAuthLogin(
                    token_endpoint=sasl.token_endpoint,
                    client_id=username,
                    client_secret=password,
                    scope=sasl.scope,
                    ca_pem=await reading.text(sasl.oauth_ca),
                )
            case SaslMechanism.AWS_MSK_IAM:
                session_token = (await reading.text(sasl.session_token)).strip()
                return AwsLogin(
                    region=sasl.aws_region,
                    access_key_id=username,
                    secret_access_key=password,
                    session_token=session_token,
                )
            case _:
                return PasswordLogin(mechanism=mechanism, username=username, password=password)


class _ThroughSecrets:
    """A subscription that is renewed when the Secrets behind it have changed."""

    def __init__(self, access: KafkaAccess, namespace: str, kafka: KafkaSpec, request: GroupRequest) -> None:
        self._access = access
        self._namespace = namespace
        self._kafka = kafka
        self._request = request
        self._inner: Subscription | None = None
        self._security: Security | None = None
        self._problem: Unavailable | None = None
        self._older_than_seconds: float | None = None
        self._secrets_read_at = -float("inf")
        self._max_age_seconds = access.again_seconds
        self._not_before = -float("inf")  # while the API server is in trouble, readings must not wait for it each time

    async def next(self) -> GroupReading | Unavailable:
        if self._problem is None:
            await self._renew()
        else:
            await self._repaired()
        if self._inner is None:
            assert self._problem is not None
            return self._problem
        reading = await self._inner.next()
        refused = isinstance(reading, Unavailable) and reading.reason is SourceReason.AUTHENTICATION_FAILED
        self._max_age_seconds = self._access.after_a_refusal_seconds if refused else self._access.again_seconds
        return reading

    def look_up_older_than(self, seconds: float | None) -> None:
        self._older_than_seconds = seconds
        if self._inner is not None:
            self._inner.look_up_older_than(seconds)

    def look_again(self, seconds: float) -> None:
        if self._inner is not None:
            self._inner.look_again(seconds)

    async def owners(self) -> Owners:
        return {} if self._inner is None else await self._inner.owners()

    def close(self) -> None:
        if self._inner is not None:
            self._inner.close()
            self._inner = None

    async def _repaired(self) -> None:
        """Until the problem is solved, but for one interval at most: it is told as often as readings are."""
        loop = asyncio.get_running_loop()
        end = loop.time() + self._request.interval_seconds
        while self._problem is not None and (left_seconds := end - loop.time()) > 0:
            await asyncio.sleep(min(left_seconds, self._access.after_a_refusal_seconds))
            await self._renew()

    async def _renew(self) -> None:
        now = asyncio.get_running_loop().time()
        if self._inner is not None and (now < self._not_before or now - self._secrets_read_at < self._max_age_seconds):
            return
        max_age = self._access.after_a_refusal_seconds if self._inner is None else self._max_age_seconds
        try:
            security, read_at = await self._access.resolve(self._namespace, self._kafka, max_age_seconds=max_age)
        except Unresolved as problem:
            self.close()
            self._problem = Unavailable(SourceReason.AUTHENTICATION_FAILED, str(problem))
            return
        except KubeError as error:
            if self._inner is None:
                words = f"the Secrets cannot be read now: {error.reason}"
                self._problem = Unavailable(SourceReason.AUTHENTICATION_FAILED, words)
            self._not_before = now + self._access.after_a_refusal_seconds
            return
        self._problem, self._secrets_read_at = None, read_at
        if self._inner is not None and security == self._security:
            return
        if self._inner is not None:
            log.info("secrets=changed group=%s namespace=%s", self._request.consumer_group, self._namespace)
        self.close()
        self._security = security
        self._inner = self._access.lag.subscribe(replace(self._request, security=security))
        self._inner.look_up_older_than(self._older_than_seconds)
