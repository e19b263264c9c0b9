"""The texts in the Secrets that a resource names, or a message that says which Secret or key is amiss."""

from __future__ import annotations

import asyncio

from consumer_autoscaler.cluster.errors import Forbidden, NotFound
from consumer_autoscaler.cluster.secrets import ReadSecret, Secrets
from consumer_autoscaler.resource.access import SecretKey

MAX_TEXT_BYTES = 256 * 1024  # a bundle of CAs is far smaller


class Unresolved(Exception):
    """What a resource names cannot be used; the message names the Secret and the key."""


class SecretTexts:
    """Reads the keys of one resource's Secrets, each Secret once."""

    def __init__(self, secrets: Secrets, namespace: str, max_age_seconds: float) -> None:
        self._secrets = secrets
        self._namespace = namespace
        self._max_age_seconds = max_age_seconds
        self._read: dict[str, ReadSecret] = {}
        self._began_at = asyncio.get_running_loop().time()

    @property
    def oldest_at(self) -> float:
        return min((each.at for each in self._read.values()), default=self._began_at)

    async def text(self, wanted: SecretKey | None) -> str:
        """Empty when nothing is wanted."""
        if wanted is None:
            return ""
        data = (await self._secret(wanted.secret)).data
        value = next((data[key] for key in wanted.keys if key in data), None)
        if value is None:
            if wanted.optional:
                return ""
            if wanted.or_name:
                return wanted.secret
            raise Unresolved(f"Secret {wanted.secret} has no key {' or '.join(wanted.keys)}")
        where = f"Secret {wanted.secret}: {' or '.join(wanted.keys)}"
        if not value or len(value) > MAX_TEXT_BYTES:
            raise Unresolved(f"{where} {'is longer than 256 KiB' if value else 'is empty'}")
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise Unresolved(f"{where} is not text in UTF-8") from None

    async def _secret(self, name: str) -> ReadSecret:
        if name not in self._read:
            try:
                found = await self._secrets.read(self._namespace, name, max_age_seconds=self._max_age_seconds)
            except NotFound:
                raise Unresolved(f"there is no Secret {name} in namespace {self._namespace}") from None
            except Forbidden:
                words = f"the operator may not read Secret {name}: give it the right to get Secrets in namespace"
                raise Unresolved(f"{words} {self._namespace} (docs/kafka-access.md)") from None
            self._read[name] = found
        return self._read[name]
