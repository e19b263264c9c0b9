"""The calls the operator makes to the Kubernetes API, each with a timeout and a typed error.

Objects come and go as plain JSON; what the decision needs is cut out at this border. Nothing here retries or
remembers: a write that timed out has an unknown outcome, and the next cycle begins with a fresh read.
"""

from __future__ import annotations

import asyncio
import base64
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

from consumer_autoscaler.cluster.credentials import Credentials
from consumer_autoscaler.cluster.errors import Expired, Invalid, KubeUnreachable, NotFound
from consumer_autoscaler.cluster.objects import (
    FIELD_MANAGER,
    POD_DELETION_COST,
    TARGET_PLURALS,
    AccessQuestion,
    FreshScale,
    Pod,
    TargetKey,
    UserInfo,
    fresh_scale,
    living,
    pod_of,
)
from consumer_autoscaler.cluster.transport import Json, Transport
from consumer_autoscaler.durations import Durations
from consumer_autoscaler.resource.spec import GROUP, PLURAL, VERSION

PAGE_SIZE = 500
# A watch is ended by the server after this long and re-opened; the spread keeps many watches from moving in
# step.
WATCH_SECONDS = 290
# The API server sends a bookmark about every minute; a stream without even that is dead (half-open TCP).
WATCH_SILENCE_SECONDS = 75.0


class Kube:
    """The operator's hands on one Kubernetes cluster. Use as an async context manager.

    All methods raise KubeError: Forbidden, NotFound, Conflict, Expired, Invalid, or KubeUnreachable when
    there was no usable answer (then the outcome of a write is unknown).
    """

    def __init__(
        self,
        credentials: Credentials,
        *,
        namespaces: Sequence[str] = (),
        label_selector: str = "",
        request_timeout_seconds: float = 10.0,
    ) -> None:
        self.credentials = credentials
        self.namespaces = tuple(namespaces)
        """The namespaces the operator serves; empty means all."""
        self.label_selector = label_selector
        """What the labels of the resources it serves match; empty means all."""
        self._transport = Transport(credentials, request_timeout_seconds=request_timeout_seconds)

    @classmethod
    def connect(
        cls,
        kubeconfig: Path | None = None,
        *,
        context: str | None = None,
        namespaces: Sequence[str] = (),
        label_selector: str = "",
        request_timeout_seconds: float = 10.0,
    ) -> Self:
        """As the given kubeconfig's user, else as the pod's service account, else by the default kubeconfig.

        Entering the context loads the credentials and raises CredentialsUnavailable; no request is made yet.
        """
        credentials = Credentials(kubeconfig, context=context)
        return cls(
            credentials,
            namespaces=namespaces,
            label_selector=label_selector,
            request_timeout_seconds=request_timeout_seconds,
        )

    async def __aenter__(self) -> Self:
        await self._transport.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._transport.aclose()

    @property
    def requests(self) -> Counter[tuple[str, str, str]]:
        """Requests made so far by (verb, resource, code); the code is the HTTP status, `timeout` or
        `error`.
        """
        return self._transport.requests

    @property
    def request_seconds(self) -> Mapping[str, Durations]:
        """How long requests took, by verb, watches excepted."""
        return self._transport.request_seconds

    @property
    def scopes(self) -> tuple[str | None, ...]:
        """What to list and watch: each served namespace, or one None for the whole cluster."""
        return self.namespaces or (None,)

    # Targets

    async def get_scale(self, key: TargetKey) -> FreshScale:
        """The replica count the target is asked to have, and the version a write must name."""
        resource, path = _target(key)
        return fresh_scale(await self._transport.request("get", f"{resource}/scale", f"{path}/scale"))

    async def set_replicas(
        self, key: TargetKey, replicas: int, resource_version: str, *, field_manager: str = FIELD_MANAGER
    ) -> FreshScale:
        """Ask for a replica count, unless the target changed since `resource_version` was read: then
        Conflict.
        """
        resource, path = _target(key)
        body: Json = {"metadata": {"resourceVersion": resource_version}, "spec": {"replicas": replicas}}
        query = {"fieldManager": field_manager}
        return fresh_scale(
            await self._transport.request("patch", f"{resource}/scale", f"{path}/scale", query=query, body=body)
        )

    async def list_targets(self, kind: str, namespace: str | None) -> tuple[list[Json], str]:
        """All targets of a kind, and the resourceVersion to watch from. Costly: once, then watch."""
        return await self.list_objects("apps", "v1", TARGET_PLURALS[kind], namespace)

    def watch_targets(self, kind: str, namespace: str | None, resource_version: str) -> AsyncIterator[Json]:
        """Changes from a version on as `{"type", "object"}`, bookmarks among them; ends when the server ends
        it.
        """
        return self.watch_objects("apps", "v1", TARGET_PLURALS[kind], namespace, resource_version)

    # Objects of any type

    async def list_objects(
        self, group: str, version: str, plural: str, namespace: str | None
    ) -> tuple[list[Json], str]:
        """All objects of a type, and the resourceVersion to watch from. NotFound: the type is not served."""
        return await self._list(plural, _collection(group, version, namespace, plural))

    def watch_objects(
        self, group: str, version: str, plural: str, namespace: str | None, resource_version: str
    ) -> AsyncIterator[Json]:
        """Changes of a type from a version on, as `watch_targets` gives them."""
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(WATCH_SECONDS),
        }
        return self._transport.stream(
            plural,
            _collection(group, version, namespace, plural),
            query=query,
            silence_seconds=WATCH_SILENCE_SECONDS,
            total_seconds=WATCH_SECONDS + WATCH_SILENCE_SECONDS,
        )

    async def get_object(self, group: str, version: str, plural: str, namespace: str | None, name: str) -> Json:
        path = f"{_collection(group, version, namespace, plural)}/{_segment(name)}"
        return await self._transport.request("get", plural, path)

    # What a scaling touches

    async def pods(self, namespace: str, selector: str) -> list[Pod]:
        """The living pods that a label selector finds; an empty selector, which would find all, is
        refused.
        """
        if not selector:
            raise Invalid("EmptySelector", "refusing to list every pod of a namespace as one target's")
        items, _ = await self._list("pods", _collection("", "v1", namespace, "pods"), query={"labelSelector": selector})
        return [pod_of(item) for item in items if living(item)]

    async def set_deletion_cost(self, namespace: str, pod: str, cost: str | None) -> None:
        """Which of a ReplicaSet's pods go first (lower ones); None removes it. Needs a right of its own."""
        path = f"{_collection('', 'v1', namespace, 'pods')}/{_segment(pod)}"
        body: Json = {"metadata": {"annotations": {POD_DELETION_COST: cost}}}
        await self._transport.request("patch", "pods", path, query={"fieldManager": FIELD_MANAGER}, body=body)

    async def get_secret(self, namespace: str, name: str) -> dict[str, bytes]:
        """The content of one Secret. Never logged, and kept by nobody but secrets.py."""
        body = await self._transport.request(
            "get", "secrets", f"{_collection('', 'v1', namespace, 'secrets')}/{_segment(name)}"
        )
        try:
            return {str(key): base64.b64decode(value) for key, value in (body.get("data") or {}).items()}
        except (AttributeError, TypeError, ValueError):
            raise KubeUnreachable("BadAnswer", "get secrets: the answer is not a Secret") from None

    # Our own resources

    async def get_resource(self, namespace: str, name: str) -> Json:
        path = f"{_collection(GROUP, VERSION, namespace, PLURAL)}/{_segment(name)}"
        return await self._transport.request("get", PLURAL, path)

    async def list_resources(self) -> list[Json]:
        """All ConsumerAutoscalers that are served, as they were not before the call began."""
        found: list[Json] = []
        for namespace in self.scopes:
            items, _ = await self._list(PLURAL, _collection(GROUP, VERSION, namespace, PLURAL), self._selecting())
            found += items
        return found

    async def resources_are_served(self) -> bool:
        """Whether the API server knows our resource type. False: the CRD is not installed (yet).

        Raises Invalid when it cannot read the label selector.
        """
        path = f"{_collection(GROUP, VERSION, self.scopes[0], PLURAL)}"
        try:
            await self._transport.request("list", PLURAL, path, query={"limit": "1", **self._selecting()})
        except NotFound:
            return False
        return True

    def _selecting(self) -> dict[str, str]:
        return {"labelSelector": self.label_selector} if self.label_selector else {}

    async def annotate_resource(self, namespace: str, name: str, annotations: dict[str, str | None]) -> Json:
        """Sets annotations of a resource, or removes those that are None; gives the resource as it is then."""
        path = f"{_collection(GROUP, VERSION, namespace, PLURAL)}/{_segment(name)}"
        body: Json = {"metadata": {"annotations": annotations}}
        return await self._transport.request("patch", PLURAL, path, query={"fieldManager": FIELD_MANAGER}, body=body)

    async def patch_status(self, namespace: str, name: str, status: Json) -> None:
        """Merge into the status; lists such as conditions are replaced whole. NotFound: the resource is
        gone.
        """
        path = f"{_collection(GROUP, VERSION, namespace, PLURAL)}/{_segment(name)}/status"
        await self._transport.request(
            "patch", f"{PLURAL}/status", path, query={"fieldManager": FIELD_MANAGER}, body={"status": status}
        )

    # Events and Leases

    async def events_of(self, namespace: str, uid: str) -> list[Json]:
        """What was told about one object, as core/v1 Events, in no order."""
        query = {"fieldSelector": f"involvedObject.uid={uid}"}
        items, _ = await self._list("events", _collection("", "v1", namespace, "events"), query=query)
        return items

    async def create_event(self, namespace: str, body: Json) -> Json:
        return await self._transport.request("create", "events", _collection(*_EVENTS, namespace, "events"), body=body)

    async def patch_event(self, namespace: str, name: str, body: Json) -> Json:
        path = f"{_collection(*_EVENTS, namespace, 'events')}/{_segment(name)}"
        return await self._transport.request("patch", "events", path, body=body)

    async def get_lease(self, namespace: str, name: str, *, timeout_seconds: float) -> Json:
        path = f"{_collection(*_LEASES, namespace, 'leases')}/{_segment(name)}"
        return await self._transport.request("get", "leases", path, timeout_seconds=timeout_seconds, urgent=True)

    async def create_lease(self, namespace: str, body: Json, *, timeout_seconds: float) -> Json:
        path = _collection(*_LEASES, namespace, "leases")
        return await self._transport.request(
            "create", "leases", path, body=body, timeout_seconds=timeout_seconds, urgent=True
        )

    async def replace_lease(self, namespace: str, name: str, body: Json, *, timeout_seconds: float) -> Json:
        """Write the whole Lease; its metadata.resourceVersion must be the one that was read, else
        Conflict.
        """
        path = f"{_collection(*_LEASES, namespace, 'leases')}/{_segment(name)}"
        return await self._transport.request(
            "update", "leases", path, body=body, timeout_seconds=timeout_seconds, urgent=True
        )

    # Rights

    async def can_i(self, verb: str, group: str, resource: str, subresource: str = "", namespace: str = "") -> bool:
        """Whether the operator itself has a right (SelfSubjectAccessReview, which everybody may ask)."""
        question = AccessQuestion(
            verb=verb, group=group, resource=resource, subresource=subresource, namespace=namespace
        )
        body = _review("SelfSubjectAccessReview", {"resourceAttributes": question.attributes()})
        return await self._allowed("selfsubjectaccessreviews", body)

    async def missing_rights(self, questions: Sequence[AccessQuestion]) -> list[AccessQuestion]:
        """Those of the wanted rights that the operator does not have."""
        asked = (self.can_i(q.verb, q.group, q.resource, q.subresource, q.namespace) for q in questions)
        answers = await asyncio.gather(*asked)
        return [question for question, granted in zip(questions, answers, strict=True) if not granted]

    async def review_token(self, token: str) -> UserInfo | None:
        """Whose bearer token this is; None when the API server does not accept it."""
        body: Json = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token},
        }
        answer = await self._transport.request(
            "create", "tokenreviews", "/apis/authentication.k8s.io/v1/tokenreviews", body=body
        )
        status = answer.get("status") or {}
        if status.get("authenticated") is not True:
            return None
        user = status.get("user") or {}
        extra = tuple((key, tuple(values)) for key, values in (user.get("extra") or {}).items())
        return UserInfo(user.get("username", ""), user.get("uid", ""), tuple(user.get("groups") or ()), extra)

    async def may(self, user: UserInfo, question: AccessQuestion) -> bool:
        """Whether somebody else has a right (SubjectAccessReview)."""
        spec: Json = {
            "user": user.name,
            "uid": user.uid,
            "groups": list(user.groups),
            "extra": {key: list(values) for key, values in user.extra},
            "resourceAttributes": question.attributes(),
        }
        return await self._allowed("subjectaccessreviews", _review("SubjectAccessReview", spec))

    async def _allowed(self, plural: str, body: Json) -> bool:
        answer = await self._transport.request("create", plural, f"/apis/authorization.k8s.io/v1/{plural}", body=body)
        return (answer.get("status") or {}).get("allowed") is True

    async def _list(self, resource: str, path: str, query: dict[str, str] | None = None) -> tuple[list[Json], str]:
        """All pages of a LIST, most recent state; a continuation that expired starts it over, twice at
        most.
        """
        for attempt in (1, 2, 3):
            try:
                return await self._pages(resource, path, query or {})
            except Expired:
                if attempt == 3:
                    raise
        raise AssertionError("unreachable")

    async def _pages(self, resource: str, path: str, query: dict[str, str]) -> tuple[list[Json], str]:
        found: list[Json] = []
        more: dict[str, str] = {}
        while True:
            page = await self._transport.request(
                "list", resource, path, query={**query, "limit": str(PAGE_SIZE), **more}
            )
            found += page.get("items") or ()
            metadata = page.get("metadata") or {}
            if not metadata.get("continue"):
                return found, str(metadata.get("resourceVersion") or "")
            more = {"continue": metadata["continue"]}


_EVENTS = ("events.k8s.io", "v1")
_LEASES = ("coordination.k8s.io", "v1")


def _collection(group: str, version: str, namespace: str | None, plural: str) -> str:
    root = f"/apis/{group}/{version}" if group else f"/api/{version}"
    return f"{root}/namespaces/{_segment(namespace)}/{plural}" if namespace else f"{root}/{plural}"


def _target(key: TargetKey) -> tuple[str, str]:
    plural = TARGET_PLURALS.get(key.kind)
    if plural is None:
        raise Invalid("UnsupportedKind", f"a {key.kind} cannot be a target; a Deployment or StatefulSet can")
    return plural, f"{_collection('apps', 'v1', key.namespace, plural)}/{_segment(key.name)}"


def _review(kind: str, spec: Json) -> Json:
    return {"apiVersion": "authorization.k8s.io/v1", "kind": kind, "spec": spec}


def _segment(name: str) -> str:
    """One part of a path, whatever is in the name: it cannot lead to another one."""
    return quote(name, safe="")
