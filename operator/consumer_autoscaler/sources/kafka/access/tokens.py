"""Where OAUTHBEARER tokens come from, and how long one is used.

A token is kept until four fifths of its life have gone. Only AuthenticationFailed and ConnectionError (AddressDenied is
one) leave here: a refusal is a person's to mend, an endpoint that does not answer may pass. What the endpoint says is
never quoted, but for the error codes that RFC 6749 §5.2 lists.
"""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from collections.abc import Callable
from urllib.parse import quote_plus, urlsplit

import aiohttp

from consumer_autoscaler.sources.address_policy import AddressDenied, AddressPolicy
from consumer_autoscaler.sources.http_guard import guarded_socket, request_to
from consumer_autoscaler.sources.kafka.access import msk_iam
from consumer_autoscaler.sources.kafka.access.refusal import AuthenticationFailed, certificate_problem
from consumer_autoscaler.sources.kafka.access.security import AwsLogin, OAuthLogin, Tls
from consumer_autoscaler.sources.kafka.access.tls import tls_context

KEEP_SHARE = 0.8
_DEFAULT_LIFE_SECONDS = 300.0  # when the endpoint does not say: RFC 6749 only recommends that it does
_MAX_ANSWER_BYTES = 64 * 1024
_ERRORS = frozenset(
    {
        *("invalid_request", "invalid_client", "invalid_grant"),
        *("unauthorized_client", "unsupported_grant_type", "invalid_scope"),
    }
)


class Tokens:
    """The tokens of one login. `clock` gives the wall time, for signatures."""

    def __init__(
        self,
        login: OAuthLogin | AwsLogin,
        *,
        policy: AddressPolicy,
        clock: Callable[[], float],
        timeout_seconds: float,
    ) -> None:
        self._login = login
        self._policy = policy
        self._clock = clock
        self._timeout_seconds = timeout_seconds
        self._token = ""
        self._keep_until = -float("inf")
        self._failure: Exception | None = None
        self._failed_at = 0.0
        self._one_at_a_time = asyncio.Lock()
        self._context: ssl.SSLContext | None = None

    async def token(self) -> str:
        """Raises AuthenticationFailed and ConnectionError. Those who wait at the same time share one request."""
        loop = asyncio.get_running_loop()
        began_at = loop.time()
        async with self._one_at_a_time:
            if loop.time() < self._keep_until:
                return self._token
            if self._failure is not None and self._failed_at >= began_at:
                raise self._failure
            try:
                self._token, life_seconds = await self._new()
            except (AuthenticationFailed, ConnectionError) as error:
                self._failure, self._failed_at = error, loop.time()
                raise
            self._failure, self._keep_until = None, loop.time() + KEEP_SHARE * life_seconds
            return self._token

    def forget(self) -> None:
        """After a broker has refused it."""
        self._keep_until = -float("inf")

    async def _new(self) -> tuple[str, float]:
        if isinstance(self._login, AwsLogin):
            return msk_iam.token(self._login, at=self._clock()), msk_iam.LIFE_SECONDS
        return await self._granted(self._login)

    async def _granted(self, login: OAuthLogin) -> tuple[str, float]:
        where = f"the token endpoint {urlsplit(login.token_endpoint).netloc}"
        form = {"grant_type": "client_credentials", **({"scope": login.scope} if login.scope else {})}
        identity = f"{quote_plus(login.client_id)}:{quote_plus(login.client_secret)}".encode()
        headers = {
            "Authorization": f"Basic {base64.b64encode(identity).decode()}",
            "Accept": "application/json",
            "Accept-Encoding": "identity",
        }
        if self._context is None:
            self._context = await asyncio.to_thread(tls_context, Tls(ca_pem=login.ca_pem))
        try:
            with request_to(urlsplit(login.token_endpoint).hostname or ""):
                async with (
                    asyncio.timeout(self._timeout_seconds),
                    self._session() as session,
                    session.post(
                        login.token_endpoint, data=form, headers=headers, ssl=self._context, allow_redirects=False
                    ) as answer,
                ):
                    body = bytearray()
                    async for chunk in answer.content.iter_any():
                        body += chunk
                        if len(body) > _MAX_ANSWER_BYTES:
                            words = f"{where} answers with more than 64 KiB; is it the right address?"
                            raise AuthenticationFailed(words)
                    return _read(where, answer.status, bytes(body))
        except AddressDenied as denied:
            raise AddressDenied(str(denied), "`sasl.oauth.tokenEndpoint`") from None
        except TimeoutError as error:
            raise ConnectionError(f"{where} did not answer within {self._timeout_seconds:g} s") from error
        except aiohttp.ClientConnectorCertificateError as error:
            problem = certificate_problem(error.certificate_error, "sasl.oauth.caSecretRef")
            raise AuthenticationFailed(f"{where}: {problem}") from None
        except aiohttp.ClientSSLError:
            raise AuthenticationFailed(f"{where} does not speak TLS as it should") from None
        except (aiohttp.ClientError, ValueError) as error:
            raise ConnectionError(f"{where} does not answer ({type(error).__name__})") from None

    def _session(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(socket_factory=guarded_socket(self._policy)),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
        )


def _read(where: str, status: int, body: bytes) -> tuple[str, float]:
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        answer = {}
    if status >= 500 or status == 429:
        raise ConnectionError(f"{where} answered with status {status}")
    if status != 200:
        code = answer.get("error")
        said = f" ({code})" if isinstance(code, str) and code in _ERRORS else ""
        raise AuthenticationFailed(
            f"{where} gives no token: status {status}{said}; check the client's id, secret and scope"
        )
    token, life = answer.get("access_token"), answer.get("expires_in")
    if not isinstance(token, str) or not token.isascii() or not token.isprintable() or " " in token or not token:
        raise AuthenticationFailed(f"{where} answers without an `access_token`; is it the right address?")
    try:
        seconds = float(life)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        seconds = _DEFAULT_LIFE_SECONDS
    return token, seconds if 0 < seconds < 10**9 else _DEFAULT_LIFE_SECONDS
