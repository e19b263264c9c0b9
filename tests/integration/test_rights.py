"""The roles as they are rendered, in every way of installing: what is in them, and that nothing else can be.

Rendered, since what a template leaves out counts: an empty `resourceNames` would mean all objects.
"""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import yaml
from tests.integration.chart_support import VERSION, Documents, helm, rendered, rules

from bed.chart import CHART
from bed.controlplane import ControlPlane
from bed.paths import REPOSITORY

pytestmark = pytest.mark.integration

RESOURCES = "consumerautoscalers"
NAMESPACED = {
    *(("consumerautoscaler.dev", RESOURCES, verb) for verb in ("get", "list", "watch")),
    ("consumerautoscaler.dev", f"{RESOURCES}/status", "patch"),
    *(("apps", kind, verb) for kind in ("deployments", "statefulsets") for verb in ("list", "watch")),
    *(("apps", f"{kind}/scale", verb) for kind in ("deployments", "statefulsets") for verb in ("get", "patch")),
    *(("autoscaling", "horizontalpodautoscalers", verb) for verb in ("list", "watch")),
    *(("keda.sh", "scaledobjects", verb) for verb in ("list", "watch")),
    ("", "pods", "list"),
    *(("events.k8s.io", "events", verb) for verb in ("create", "patch")),
}
REVIEWS = {
    ("authentication.k8s.io", "tokenreviews", "create"),
    ("authorization.k8s.io", "subjectaccessreviews", "create"),
}
LEASE = {("coordination.k8s.io", "leases", verb) for verb in ("get", "create", "update")}
SECRETS = {("", "secrets", "get")}
DELETION_COST = {("", "pods", "patch")}
PEOPLE = {  # for the cluster's own roles view, edit and admin, bound to nobody by this chart
    ("consumerautoscaler.dev", RESOURCES, verb)
    for verb in ("get", "list", "watch", "create", "update", "patch", "delete", "deletecollection")
}


def grants(documents: Documents) -> dict[tuple[str, str], set[tuple[str, str, str]]]:
    """What each bound role gives, by where: ("ClusterRoleBinding", "") or ("RoleBinding", namespace)."""
    roles = {(d["kind"], d["metadata"]["name"]): d for d in documents if d["kind"] in ("Role", "ClusterRole")}
    found: dict[tuple[str, str], set[tuple[str, str, str]]] = {}
    for binding in documents:
        if binding["kind"] in ("RoleBinding", "ClusterRoleBinding"):
            role = roles[binding["roleRef"]["kind"], binding["roleRef"]["name"]]
            where = (binding["kind"], binding["metadata"].get("namespace", ""))
            found.setdefault(where, set()).update(rules([role]))
            assert [subject["kind"] for subject in binding["subjects"]] == ["ServiceAccount"]
    return found


def check_no_open_end(documents: Documents) -> None:
    """No wildcard, no list of names that may be empty, no path outside of the API, no role that takes in others."""
    for document in documents:
        if document["kind"] not in ("Role", "ClusterRole"):
            continue
        assert "aggregationRule" not in document
        for rule in document["rules"]:
            assert set(rule) == {"apiGroups", "resources", "verbs"}, rule
            words = [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]
            assert not any("*" in word for word in words), rule
            assert all(rule.values()), rule


@pytest.mark.parametrize(
    ("secrets", "deletion_cost", "people", "namespaces"),
    list(itertools.product((True, False), (True, False), (True, False), ((), ("shop", "billing")))),
)
def test_the_chart_gives_what_it_is_told_to_and_nothing_else(
    secrets: bool, deletion_cost: bool, people: bool, namespaces: tuple[str, ...]
) -> None:
    """In every mode: Secrets by `get` only, in the served namespaces only, or not at all."""
    documents = rendered(
        f"rbac.secretAccess={str(secrets).lower()}",
        f"rbac.deletionCost={str(deletion_cost).lower()}",
        f"rbac.aggregateClusterRoles={str(people).lower()}",
        *([f"watchNamespaces={{{','.join(namespaces)}}}"] if namespaces else []),
    )
    check_no_open_end(documents)
    everywhere = NAMESPACED | (SECRETS if secrets else set()) | (DELETION_COST if deletion_cost else set())
    found = grants(documents)
    assert found.pop(("RoleBinding", "consumer-autoscaler")) == LEASE
    if namespaces:
        assert found == {
            ("ClusterRoleBinding", ""): REVIEWS,
            **{("RoleBinding", namespace): everywhere for namespace in namespaces},
        }
    else:
        assert found == {("ClusterRoleBinding", ""): everywhere | REVIEWS}
    bound = set().union(*found.values(), LEASE)
    unbound = rules([d for d in documents if d["kind"] in ("Role", "ClusterRole")]) - bound
    assert unbound == (PEOPLE - bound if people else set())


def test_without_roles_the_chart_has_none() -> None:
    documents = rendered("rbac.create=false")
    assert {d["kind"] for d in documents} & {"Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding"} == set()


def test_the_chart_changes_nothing_that_admits_requests() -> None:
    """With all that can be switched on there is no webhook, no admission policy, no CSR and no token for anybody."""
    documents = [
        document
        for values in sorted((CHART / "ci").glob("*.yaml"))
        for document in yaml.safe_load_all(helm("template", "r", CHART, *VERSION, "--values", values))
        if document
    ]
    kinds = {document["kind"] for document in documents}
    assert "Deployment" in kinds
    assert not {
        kind for kind in kinds if any(word in kind for word in ("Webhook", "Admission", "Certificate", "Secret"))
    }


@pytest.mark.parametrize(("folder", "more"), [("deploy", set()), ("deploy/deletion-cost", DELETION_COST)])
def test_the_manifests_give_the_same(controlplane: ControlPlane, folder: str, more: set[tuple[str, str, str]]) -> None:
    """As kustomize renders them."""
    text = controlplane.kubectl("kustomize", str(REPOSITORY / folder))
    documents: list[dict[str, Any]] = [document for document in yaml.safe_load_all(text) if document]
    check_no_open_end(documents)
    if more:
        assert grants(documents) == {("ClusterRoleBinding", ""): more}
        return
    assert grants(documents) == {
        ("ClusterRoleBinding", ""): NAMESPACED | REVIEWS | SECRETS,
        ("RoleBinding", "consumer-autoscaler"): LEASE,
    }
