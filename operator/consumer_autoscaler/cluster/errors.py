"""What can go wrong between the operator and the Kubernetes API, one exception per way to react.

`reason` is one CamelCase word, fit for a log line, a metric label or a condition's message; the text is the
API server's own sentence, cut short. Neither holds a token nor the body of an object.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus

MESSAGE_LIMIT_CHARACTERS = 300


class KubeError(Exception):
    """A call to the API server that did not give what it was made for."""

    def __init__(self, reason: str, message: str, *, retry_after_seconds: float | None = None) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        self.message = message
        self.retry_after_seconds = retry_after_seconds


class Forbidden(KubeError):
    """403: a right is missing, or the namespace is being deleted (reason `NamespaceTerminating`)."""


class NotFound(KubeError):
    """404: the object, or the whole resource type, is not there."""


class Conflict(KubeError):
    """409: somebody else wrote first (`Conflict`), or the object exists already (`AlreadyExists`)."""


class Expired(KubeError):
    """410: the resourceVersion is too old to continue from; list again."""


class Invalid(KubeError):
    """The request itself was refused (400, 422 and the other 4xx): repeating it does not help."""


class KubeUnreachable(KubeError):
    """No usable answer: connection, timeout, 5xx, 429. Whether a write took effect is unknown: read first."""


class Unauthorized(KubeUnreachable):
    """401 even with re-read credentials. It may pass: a starting API server answers so for a moment."""


_BY_STATUS: Mapping[int, type[KubeError]] = {
    HTTPStatus.UNAUTHORIZED: Unauthorized,
    HTTPStatus.FORBIDDEN: Forbidden,
    HTTPStatus.NOT_FOUND: NotFound,
    HTTPStatus.CONFLICT: Conflict,
    HTTPStatus.GONE: Expired,
    HTTPStatus.REQUEST_TIMEOUT: KubeUnreachable,
    HTTPStatus.TOO_MANY_REQUESTS: KubeUnreachable,
}


def error_from_answer(code: int, body: bytes, retry_after: str | None = None) -> KubeError:
    """The exception for an answer with an error code: HTTP, or the `Status` object of a watch's ERROR
    event.
    """
    status = _status_object(body)
    message = str(status.get("message") or "").strip() or f"HTTP {code}"
    reason = str(status.get("reason") or "") or _phrase(code)
    details = status.get("details")
    causes = details.get("causes") if isinstance(details, dict) else None
    if any(isinstance(c, dict) and c.get("reason") == "NamespaceTerminating" for c in causes or ()):
        reason = "NamespaceTerminating"
    kind = _BY_STATUS.get(code, KubeUnreachable if code >= 500 else Invalid)
    return kind(reason, message[:MESSAGE_LIMIT_CHARACTERS], retry_after_seconds=_seconds(retry_after))


def _phrase(code: int) -> str:
    try:
        return HTTPStatus(code).phrase.title().replace(" ", "")
    except ValueError:  # some proxies have codes of their own
        return f"Http{code}"


def _status_object(body: bytes) -> dict[str, object]:
    try:
        value = json.loads(body)
    except ValueError:  # a proxy's page, or an answer cut short
        return {}
    return value if isinstance(value, dict) else {}


def _seconds(retry_after: str | None) -> float | None:
    """The header's seconds, at most five minutes; its date form is not used by the API server."""
    try:
        return min(max(float(retry_after or ""), 0.0), 300.0)
    except ValueError:
        return None
