"""Who asked the API server for what: the audit log read back as values that a test can count.

The API server writes one line per request when its response is complete (a watch: when it ends), so a request
is in the log at the latest a few milliseconds after its answer has arrived.
Form of a line: https://kubernetes.io/docs/reference/config-api/apiserver-audit.v1/
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

POLICY = """\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived, ResponseStarted]
rules: [{level: Metadata}]
"""

WRITE_VERBS = frozenset({"create", "update", "patch", "delete", "deletecollection"})


@dataclass(frozen=True, slots=True)
class Request:
    """One request; `received_at` in seconds since the epoch. Empty strings where a part does not apply."""

    received_at: float
    user: str
    verb: str
    group: str
    resource: str
    subresource: str
    namespace: str
    name: str
    status_code: int
    user_agent: str


def read_requests(log: Path, *, since: float = 0.0, user: str | None = None) -> list[Request]:
    """The requests received at or after `since`, of one user or of all; a half-written line is left out.

    A ServiceAccount's user is `system:serviceaccount:NAMESPACE:NAME`.
    """
    if not log.exists():
        return []
    requests = []
    with log.open() as lines:
        for line in lines:
            if line.endswith("\n"):
                request = _parsed(json.loads(line))
                if request.received_at >= since and user in (None, request.user):
                    requests.append(request)
    return requests


class Tail:
    """The requests of a log as they come: `read()` gives those that were written since the last time."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._position = 0
        self._half = b""

    def read(self) -> list[Request]:
        """In the order of their answers; a half-written line comes with its other half."""
        if not self._log.exists():
            return []
        with self._log.open("rb") as log:
            log.seek(self._position)
            new = log.read()
        self._position += len(new)
        *lines, self._half = (self._half + new).split(b"\n")
        return [_parsed(json.loads(line)) for line in lines]


def count(requests: Iterable[Request]) -> Counter[tuple[str, str, str, str]]:
    """How often each (user, verb, resource, subresource) occurs."""
    return Counter((r.user, r.verb, r.resource, r.subresource) for r in requests)


def _parsed(event: dict[str, Any]) -> Request:
    about = event.get("objectRef") or {}
    return Request(
        received_at=datetime.fromisoformat(event["requestReceivedTimestamp"]).timestamp(),
        user=event["user"].get("username", ""),
        verb=event["verb"],
        group=about.get("apiGroup", ""),
        resource=about.get("resource", ""),
        subresource=about.get("subresource", ""),
        namespace=about.get("namespace", ""),
        name=about.get("name", ""),
        status_code=(event.get("responseStatus") or {}).get("code", 0),
        user_agent=event.get("userAgent", ""),
    )
