"""How the operator proves to the API server who it is: the pod's service account, or a kubeconfig.

Tokens are re-read: the pod's every minute (the kubelet renews the file), a kubeconfig's (token file, exec
plugin) after the API server refused it. Both HTTP clients of the process, kopf's and ours, take their
sessions from here, so they always act as the same identity.
"""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
import time
from pathlib import Path

import aiohttp
from kubernetes.aio.client import Configuration
from kubernetes.aio.config import ConfigException, list_kube_config_contexts, load_kube_config
from kubernetes.aio.config.incluster_config import (
    SERVICE_CERT_FILENAME,
    SERVICE_HOST_ENV_NAME,
    SERVICE_TOKEN_FILENAME,
    InClusterConfigLoader,
)

from consumer_autoscaler import __version__

log = logging.getLogger(__name__)

USER_AGENT = f"consumer-autoscaler/{__version__}"
# A refused token is looked up again at most this often: enough for an exec plugin, no storm while it stays
# refused.
RELOAD_INTERVAL_SECONDS = 5.0


class CredentialsUnavailable(Exception):
    """Neither a service account nor a usable kubeconfig is there; the text says which was tried."""


class Credentials:
    """An API server's address, the way to trust it, and a token or certificate that is kept fresh."""

    def __init__(
        self,
        kubeconfig: Path | None = None,
        *,
        context: str | None = None,
        token_file: str = SERVICE_TOKEN_FILENAME,
        certificate_file: str = SERVICE_CERT_FILENAME,
    ) -> None:
        self._kubeconfig = kubeconfig
        self._context = context
        self._token_file = token_file
        self._certificate_file = certificate_file
        self._configuration = Configuration()
        self._in_pod, self._path = False, Path()
        self._reloading = asyncio.Lock()
        self._reloaded_at = float("-inf")

    async def load(self) -> None:
        """Read everything anew. A named kubeconfig wins, then the pod's service account, then the default
        kubeconfig.

        Raises CredentialsUnavailable.
        """
        configuration = Configuration()
        in_pod = bool(os.environ.get(SERVICE_HOST_ENV_NAME)) and Path(self._token_file).is_file()  # noqa: ASYNC240
        path = self._kubeconfig or Path(os.environ.get("KUBECONFIG") or "~/.kube/config").expanduser()  # noqa: ASYNC240
        try:
            if in_pod and self._kubeconfig is None:
                loader = InClusterConfigLoader(self._token_file, self._certificate_file)  # type: ignore[no-untyped-call]
                loader.load_and_set(configuration)  # type: ignore[no-untyped-call]
            else:
                await load_kube_config(  # type: ignore[no-untyped-call]
                    config_file=str(path),
                    context=self._context,
                    client_configuration=configuration,
                    persist_config=False,
                )
        except (ConfigException, OSError, ValueError, KeyError, TypeError) as error:
            source = "the pod's service account" if in_pod and not self._kubeconfig else f"kubeconfig {path}"
            raise CredentialsUnavailable(f"{source} cannot be used: {error}") from error
        self._configuration = configuration
        self._reloaded_at = time.monotonic()
        self._in_pod, self._path = in_pod and self._kubeconfig is None, path

    def namespace(self) -> str:
        """The namespace that is meant where none is said: the context's, or the pod's; `default` without one."""
        try:
            if self._in_pod:
                return Path(self._token_file).with_name("namespace").read_text().strip() or "default"
            contexts, current = list_kube_config_contexts(config_file=str(self._path))  # type: ignore[no-untyped-call]
            context = next((c for c in contexts if c["name"] == self._context), current) if self._context else current
            return str((context.get("context") or {}).get("namespace") or "default")
        except (ConfigException, OSError, KeyError, TypeError, AttributeError):
            return "default"

    @property
    def server(self) -> str:
        """The API server's base URL, without a slash at the end."""
        return str(self._configuration.host).rstrip("/")

    async def authorization(self) -> str | None:
        """The Authorization header, or None when a client certificate speaks for us."""
        try:
            header = await self._configuration.get_api_key_with_prefix("BearerToken", alias="authorization")
        except (
            ConfigException,
            OSError,
        ) as error:  # the file is being replaced: the last token is still good
            log.warning("token_reread=failed error=%s", error)
            header = self._configuration.api_key.get("BearerToken")
        return str(header).strip() if header else None

    async def reload(self) -> None:
        """Re-read after a 401, at most every few seconds however many callers were refused."""
        async with self._reloading:
            if time.monotonic() - self._reloaded_at < RELOAD_INTERVAL_SECONDS:
                return
            try:
                await self.load()
            except CredentialsUnavailable as error:
                self._reloaded_at = time.monotonic()
                log.warning("credentials=unavailable error=%s", error)

    def session(self) -> aiohttp.ClientSession:
        """A new HTTP session that signs each request with the newest token. The caller closes it."""
        return aiohttp.ClientSession(
            # Watches hold a connection each for minutes; how many requests run at once is the caller's
            # business.
            connector=aiohttp.TCPConnector(limit=0, ssl=self._ssl_context()),
            headers={"User-Agent": USER_AGENT},
            middlewares=(self._sign,),
            proxy=self._configuration.proxy,
            trust_env=True,
            read_bufsize=2**18,
        )

    async def _sign(self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        authorization = await self.authorization()
        if authorization:
            request.headers["Authorization"] = authorization
        if self._configuration.tls_server_name:
            request.server_hostname = self._configuration.tls_server_name
        return await handler(request)

    def _ssl_context(self) -> ssl.SSLContext:
        configuration = self._configuration
        context = ssl.create_default_context(cafile=configuration.ssl_ca_cert, cadata=configuration.ca_cert_data)
        # Python 3.13 began to refuse authorities without key identifiers, which many clusters have. The chain
        # and the host name are still verified.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        if configuration.cert_file:
            context.load_cert_chain(configuration.cert_file, keyfile=configuration.key_file)
        if not configuration.verify_ssl:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context
