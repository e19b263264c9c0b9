"""The operator's rights: those that are documented, each of them used, none missing, and a missing one is named."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
import yaml
from tests.e2e.sites import delete, idle_pod, open_site
from tests.integration import keda_types
from tests.integration.site import Site, members
from tests.integration.support import Bed, Json, eventually

from bed.paths import REPOSITORY
from consumer_autoscaler.cluster.objects import AccessQuestion
from consumer_autoscaler.runtime.run import RIGHTS
from kind import broker, images
from kind.cluster import Cluster
from kind.release import Release

Right = tuple[str, str, str]  # group, resource or resource/subresource, verb
# The pod of `helm test` has the same account; it shows Events where it may and goes on where it may not.
HELM_TESTS = ("", "events", "list")
LOGIN = {"mechanism": "SCRAM-SHA-256", "credentialsSecretRef": {"name": "none"}}
PYTHON = "/opt/consumer-autoscaler/bin/python"

# What every ServiceAccount may do (the roles system:basic-user, system:discovery and system:public-info-viewer).
EVERYBODYS = {
    ("authorization.k8s.io", "selfsubjectaccessreviews", "create"),
    ("authorization.k8s.io", "selfsubjectrulesreviews", "create"),
    ("authentication.k8s.io", "selfsubjectreviews", "create"),
}


def rights_in(documents: list[Json]) -> set[Right]:
    """All that the roles among these objects give."""
    return {
        (group, resource, verb)
        for document in documents
        if document and document["kind"] in ("Role", "ClusterRole")
        for rule in document["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def rendered(cluster: Cluster, release: Release) -> set[Right]:
    """What the release's roles give, as the chart has rendered them."""
    return rights_in(list(yaml.safe_load_all(cluster.helm("get", "manifest", release.name, "-n", release.namespace))))


def test_may_do_what_is_documented_and_nothing_else(cluster: Cluster, release: Release) -> None:
    """`deploy/rbac.yaml` is said to be the whole list: the API server says the same of the installed account."""
    documented = rights_in(list(yaml.safe_load_all((REPOSITORY / "deploy" / "rbac.yaml").read_text())))
    assert rendered(cluster, release) == documented
    listed = cluster.kubectl("auth", "can-i", "--list", "--no-headers", "-n", release.namespace, f"--as={release.user}")
    may: set[Right] = set()
    for line in listed.splitlines():
        what, *rest = line.split("  ", 1)
        if "*" in what or not what.strip():
            continue  # paths, not resources
        verbs = rest[0].rpartition("[")[2].rstrip("]").split()
        resource, _, group = what.partition(".")
        if "/" in group:  # deployments.apps/scale
            group, _, subresource = group.partition("/")
            resource = f"{resource}/{subresource}"
        may |= {(group, resource, verb) for verb in verbs}
    assert may - EVERYBODYS == documented


async def test_each_right_is_used_and_none_is_missing(bed: Bed, cluster: Cluster, release: Release) -> None:
    """Everything that takes a right is made to happen: the audit log has each right, and nothing without one."""
    await asyncio.to_thread(keda_types.install, cluster)  # type: ignore[arg-type]
    site = await open_site(bed, "rights")
    measured = {"processingTime": {"sources": [{"podMetrics": {"port": 1}}]}}
    await asyncio.to_thread(stateful_target, cluster, site, "measured", spec=measured)
    await asyncio.to_thread(stateful_target, cluster, site, "login", kafka={"sasl": LOGIN})
    await site.until_read()
    async with members(site, commit=True):
        for _ in range(2):  # the same change twice: one Event, counted
            await site.produce(1)
            await site.until_replicas(1)
            await site.until_replicas(0, within_seconds=60)
    await asyncio.to_thread(explain_live, cluster, release, site)

    given = await asyncio.to_thread(rendered, cluster, release)

    def unused() -> set[Right]:
        """What was not used so far; fails at a request that no right covers, whatever became of it."""
        requests = cluster.audit(user=release.user)
        used = {
            (r.group, f"{r.resource}/{r.subresource}" if r.subresource else r.resource, r.verb)
            for r in requests
            if r.resource  # the others are paths, such as /version, that everybody may read
        } - {HELM_TESTS}
        assert used - EVERYBODYS <= given
        return given - used

    try:
        await eventually(lambda: asyncio.to_thread(lambda: not unused()), 120, unused)
    finally:
        await asyncio.to_thread(delete, cluster, site)
        await asyncio.to_thread(keda_types.remove, cluster)  # type: ignore[arg-type]


def stateful_target(
    cluster: Cluster, site: Site, name: str, *, kafka: Json | None = None, spec: Json | None = None
) -> None:
    """A StatefulSet of no replicas, and a resource that is to scale it by the site's group."""
    labels = {"app": name}
    target = {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": name},
        "spec": {
            "replicas": 0,
            "serviceName": name,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": idle_pod()},
        },
    }
    source = {"bootstrapServers": broker.INSIDE, **(kafka or {})}
    reference = {"targetRef": {"kind": "StatefulSet", "name": name}}
    scaler = site.scaler(name=name, kafka=source, spec={**reference, **(spec or {})})
    for body in (target, scaler):
        cluster.kubectl("apply", "-n", site.name, "-f", "-", input=json.dumps(body))


def explain_live(cluster: Cluster, release: Release, site: Site) -> None:
    """Asks the working pod, from inside, as somebody who may not read the resource."""
    token = cluster.kubectl("create", "token", "default", "-n", site.name).strip()
    ask = (
        "import sys, urllib.request, urllib.error\n"
        f"url = 'http://127.0.0.1:8080/explain/{site.name}/scaler'\n"
        f"request = urllib.request.Request(url, headers={{'Authorization': 'Bearer ' + sys.stdin.read().strip()}})\n"
        "try: print(urllib.request.urlopen(request, timeout=10).status)\n"
        "except urllib.error.HTTPError as error: print(error.code)\n"
    )
    pod = release.leader()
    said = cluster.kubectl("exec", "-i", "-n", release.namespace, pod, "--", PYTHON, "-c", ask, input=token)
    assert said.strip() == "403", said


@pytest.fixture
def trial(cluster: Cluster) -> Iterator[str]:
    """A namespace for operators of which each lacks one right."""
    cluster.kubectl("create", "namespace", "trial")
    yield "trial"
    cluster.kubectl("delete", "namespace", "trial", "--wait=false")
    cluster.kubectl("delete", "clusterrole,clusterrolebinding", "-l", "e2e=trial")


@pytest.mark.usefixtures("release")
async def test_without_one_of_its_rights_it_ends_and_names_it(cluster: Cluster, trial: str) -> None:
    """Operators beside each other, each with all rights but one: each ends with status 1 and the name of that one."""
    cases = {f"without-{number}": right for number, right in enumerate(RIGHTS)}
    for some in batched(cases, 3):
        objects = [thing for name in some for thing in lacking(trial, name, cases[name])]
        body = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
        await asyncio.to_thread(cluster.kubectl, "apply", "-f", "-", input=body)
        await eventually(lambda some=some: asyncio.to_thread(lambda: set(some) <= set(exit_codes(cluster, trial))), 120)
    assert set(exit_codes(cluster, trial).values()) == {1}
    for name, (verb, group, resource, subresource) in cases.items():
        missing = AccessQuestion(verb=verb, group=group, resource=resource, subresource=subresource)
        said = await asyncio.to_thread(cluster.kubectl, "logs", "-n", trial, name)
        assert said.rstrip().endswith(f"missing rights, see the installed roles: {missing.text}"), said


def batched(names: Iterable[str], size: int) -> Iterator[list[str]]:
    """So many at a time."""
    rest = list(names)
    while rest:
        yield rest[:size]
        rest = rest[size:]


def exit_codes(cluster: Cluster, namespace: str) -> dict[str, int]:
    """Of the pods that have ended."""
    return {
        pod["metadata"]["name"]: status["state"]["terminated"]["exitCode"]
        for pod in cluster.get(f"/api/v1/namespaces/{namespace}/pods")["items"]
        for status in pod["status"].get("containerStatuses", ())
        if "terminated" in status["state"]
    }


def lacking(namespace: str, name: str, right: tuple[str, str, str, str]) -> list[Json]:
    """An operator as a pod, with an account of its own that has all of RIGHTS but this one."""
    metadata = {"name": name, "labels": {"e2e": "trial"}}
    rules = [
        {"apiGroups": [group], "resources": [f"{resource}/{sub}" if sub else resource], "verbs": [verb]}
        for verb, group, resource, sub in RIGHTS
        if (verb, group, resource, sub) != right
    ]
    rbac = "rbac.authorization.k8s.io"
    subject = {"kind": "ServiceAccount", "name": name, "namespace": namespace}
    role: dict[str, Any] = {"apiGroup": rbac, "kind": "ClusterRole", "name": name}
    container = {"name": "operator", "image": images.OPERATOR, "args": ["run", "--no-leader-election"]}
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {**metadata, "namespace": namespace}},
        {"apiVersion": f"{rbac}/v1", "kind": "ClusterRole", "metadata": metadata, "rules": rules},
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": metadata,
            "roleRef": role,
            "subjects": [subject],
        },
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {**metadata, "namespace": namespace},
            "spec": {"serviceAccountName": name, "restartPolicy": "Never", "containers": [container]},
        },
    ]


async def test_without_the_right_to_secrets_only_what_needs_them_stands_still(
    bed: Bed, cluster: Cluster, release: Release
) -> None:
    """`rbac.secretAccess: false`: a resource with a login says what is missing, another goes on."""
    await asyncio.to_thread(release.install, {"rbac": {"secretAccess": False}})
    try:
        site = await open_site(bed, "secrets")
        await asyncio.to_thread(stateful_target, cluster, site, "login", kafka={"sasl": LOGIN})
        said = await site.until_condition(
            "SourceHealthy", "False", "AuthenticationFailed", name="login", within_seconds=60
        )
        assert f"give it the right to get Secrets in namespace {site.name}" in said
        await site.produce(1)
        await site.until_replicas(1)
        await asyncio.to_thread(delete, cluster, site)
    finally:
        await asyncio.to_thread(release.install)
