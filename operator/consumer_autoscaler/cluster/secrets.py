"""Reads Secrets, one by one and by name: the operator has the right to get them, not to list or watch.

What was read is kept for as long as the caller accepts, so that thousands of resources with one Secret cost one
request, and is dropped when nobody has asked for it for a while. So is a refusal.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from consumer_autoscaler.cluster.errors import KubeError
from consumer_autoscaler.cluster.kube import Kube

_KEEP_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class ReadSecret:
    """The content of a Secret at a moment of the loop's time. Its repr shows the names of the keys only."""

    at: float
    data: Mapping[str, bytes] = field(repr=False)


@dataclass(slots=True)
class _Entry:
    asked_at: float
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    read: ReadSecret | None = None
    failed_at: float = -float("inf")
    error: KubeError | None = None


class Secrets:
    """All Secrets that the process has read."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube
        self._entries: dict[tuple[str, str], _Entry] = {}
        self._dropped_at = -float("inf")

    async def read(self, namespace: str, name: str, *, max_age_seconds: float) -> ReadSecret:
        """Not older than that. Raises KubeError: NotFound, Forbidden, KubeUnreachable."""
        now = asyncio.get_running_loop().time()
        entry = self._entry(namespace, name, now)
        async with entry.lock:
            now = asyncio.get_running_loop().time()
            if entry.error is not None and now - entry.failed_at <= max_age_seconds:
                raise entry.error
            if entry.error is None and entry.read is not None and now - entry.read.at <= max_age_seconds:
                return entry.read
            try:
                entry.read = ReadSecret(now, await self._kube.get_secret(namespace, name))
                entry.error = None
            except KubeError as error:
                entry.read, entry.error, entry.failed_at = None, error, now
                raise
            return entry.read

    def _entry(self, namespace: str, name: str, now: float) -> _Entry:
        if now - self._dropped_at > _KEEP_SECONDS / 10:
            self._dropped_at = now
            for key in [key for key, entry in self._entries.items() if now - entry.asked_at > _KEEP_SECONDS]:
                del self._entries[key]
        entry = self._entries.setdefault((namespace, name), _Entry(now))
        entry.asked_at = now
        return entry
