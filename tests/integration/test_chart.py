"""The Helm chart: what it renders from which values."""

from __future__ import annotations

import argparse
from typing import Any

import pytest
import yaml
from tests.integration.chart_support import NAMESPACE, RELEASE, VERSION, helm, kind, rendered, rules, try_helm

from bed import chart
from bed.paths import REPOSITORY
from consumer_autoscaler.cli import run
from consumer_autoscaler.runtime.settings import read_settings

pytestmark = pytest.mark.integration


def test_what_is_made_from_the_values_and_the_crd_is_up_to_date() -> None:
    """`make chart` makes it anew."""
    assert [path for path, text in chart.made().items() if path.read_text() != text] == []


def test_helm_finds_nothing_to_complain_about() -> None:
    assert "0 chart(s) failed" in helm("lint", "--strict", chart.CHART)


def test_a_misspelt_value_is_refused_by_name() -> None:
    done = try_helm("template", RELEASE, chart.CHART, *VERSION, "--set", "replicas=3")
    assert done.returncode != 0
    assert "replicas" in done.stderr


def test_two_pods_without_a_lease_are_refused() -> None:
    done = try_helm("template", RELEASE, chart.CHART, *VERSION, "--set", "leaderElection.enabled=false")
    assert "replicaCount must be 1" in done.stderr


def test_the_rights_are_those_of_the_plain_manifests() -> None:
    """So what the other tests prove of these holds for the chart."""
    plain = [d for d in yaml.safe_load_all((REPOSITORY / "deploy" / "rbac.yaml").read_text()) if "rules" in d]
    ours = [d for d in rendered() if "rules" in d]
    assert rules(ours) == rules(plain)
    marking = rules([d for d in rendered("rbac.deletionCost=true") if "rules" in d]) - rules(plain)
    assert marking == {("", "pods", "patch")}


def test_the_pods_are_those_of_the_plain_manifests() -> None:
    """Security, probes, resources and volumes."""
    plain = yaml.safe_load((REPOSITORY / "deploy" / "deployment.yaml").read_text())["spec"]["template"]["spec"]
    ours = kind(rendered(), "Deployment")[0]["spec"]["template"]["spec"]
    for name in ("securityContext", "volumes", "enableServiceLinks", "terminationGracePeriodSeconds"):
        assert ours[name] == plain[name]
    for name in ("securityContext", "startupProbe", "livenessProbe", "readinessProbe", "resources", "env", "ports"):
        assert ours["containers"][0][name] == plain["containers"][0][name]


def test_served_namespaces_bound_the_rights() -> None:
    documents = rendered("watchNamespaces={shop,billing}")
    bound = kind(documents, "RoleBinding")
    assert {b["metadata"].get("namespace") for b in bound} == {"shop", "billing", NAMESPACE}
    everywhere = {binding["roleRef"]["name"] for binding in kind(documents, "ClusterRoleBinding")}
    assert everywhere == {f"{RELEASE}-reviews"}
    arguments = kind(documents, "Deployment")[0]["spec"]["template"]["spec"]["containers"][0]["args"]
    assert "--namespaces=shop,billing" in arguments


@pytest.mark.parametrize(
    ("setting", "path", "expected"),
    [
        ("image.tag=9.9", ("containers", 0, "image"), "ghcr.io/consumer-autoscaler/consumer-autoscaler:9.9"),
        ("image.digest=sha256:ab", ("containers", 0, "image"),
         "ghcr.io/consumer-autoscaler/consumer-autoscaler@sha256:ab"),
        ("image.registry=mirror.example", ("containers", 0, "image"),
         "mirror.example/consumer-autoscaler/consumer-autoscaler:0.1.0"),
        ("imagePullSecrets[0].name=pull", ("imagePullSecrets",), [{"name": "pull"}]),
        ("priorityClassName=high", ("priorityClassName",), "high"),
        ("nodeSelector.disk=ssd", ("nodeSelector",), {"disk": "ssd"}),
        ("tolerations[0].operator=Exists", ("tolerations",), [{"operator": "Exists"}]),
        ("extraEnv[0].name=A,extraEnv[0].value=b", ("containers", 0, "env", 1), {"name": "A", "value": "b"}),
        ("serviceAccount.create=false,serviceAccount.name=own", ("serviceAccountName",), "own"),
        ("hostUsers=false", ("hostUsers",), False),
        ("dnsConfig.nameservers={10.0.0.10}", ("dnsConfig",), {"nameservers": ["10.0.0.10"]}),
        ("extraEnvFrom[0].secretRef.name=more", ("containers", 0, "envFrom"), [{"secretRef": {"name": "more"}}]),
        ("serviceAccount.automount=false", ("automountServiceAccountToken",), False),
        ("livenessProbe.failureThreshold=9", ("containers", 0, "livenessProbe"),
         {"failureThreshold": 9, "periodSeconds": 20, "timeoutSeconds": 5,
          "httpGet": {"path": "/healthz", "port": "http"}}),
        ("startupProbe.failureThreshold=90", ("containers", 0, "startupProbe", "failureThreshold"), 90),
        ("readinessProbe.periodSeconds=2", ("containers", 0, "readinessProbe", "periodSeconds"), 2),
        ("metrics.port=9000", ("containers", 0, "ports", 0, "containerPort"), 9000),
    ],
)  # fmt: skip
def test_a_value_reaches_the_pods(setting: str, path: tuple[str | int, ...], expected: object) -> None:
    found: Any = kind(rendered(setting), "Deployment")[0]["spec"]["template"]["spec"]
    for step in path:
        found = found[step]
    assert found == expected


@pytest.mark.parametrize(
    ("switch", "kinds"),
    [
        ("podDisruptionBudget.enabled=true", {"PodDisruptionBudget"}),
        ("networkPolicy.enabled=true", {"NetworkPolicy"}),
        ("metrics.podMonitor.enabled=true", {"PodMonitor"}),
        ("metrics.serviceMonitor.enabled=true", {"Service", "ServiceMonitor"}),
        ("extraObjects[0].kind=ConfigMap", {"ConfigMap"}),
    ],
)
def test_what_is_off_by_default_is_one_switch_away(switch: str, kinds: set[str]) -> None:
    before = {document["kind"] for document in rendered()}
    assert {document["kind"] for document in rendered(switch)} - before == kinds


def test_a_probe_can_be_left_out() -> None:
    container = kind(rendered("livenessProbe=null"), "Deployment")[0]["spec"]["template"]["spec"]["containers"][0]
    assert "livenessProbe" not in container
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"


def test_another_namespace_takes_all_that_is_in_one() -> None:
    documents = rendered("namespaceOverride=elsewhere", "metrics.podMonitor.enabled=true")
    assert {d["metadata"]["namespace"] for d in documents if "namespace" in d["metadata"]} == {"elsewhere"}
    subjects = [subject for d in documents for subject in d.get("subjects", ())]
    assert {subject["namespace"] for subject in subjects} == {"elsewhere"}
    (monitor,) = kind(documents, "PodMonitor")
    assert monitor["spec"]["namespaceSelector"] == {"matchNames": ["elsewhere"]}


def test_a_long_name_stays_within_what_kubernetes_allows() -> None:
    """Of Services and values of labels: 63 characters."""
    documents = rendered(f"fullnameOverride={'n' * 63}", "metrics.serviceMonitor.enabled=true")
    names = {document["metadata"]["name"] for document in documents if document["kind"] in ("Service", "Deployment")}
    assert len(names) == 3
    assert all(len(name) <= 63 for name in names)


def test_common_labels_and_annotations_are_on_every_object() -> None:
    more = (
        "rbac.aggregateClusterRoles=true",
        "metrics.serviceMonitor.enabled=true",
        "podDisruptionBudget.enabled=true",
    )
    documents = rendered(
        "commonLabels.team=a",
        "commonAnnotations.owner=b",
        "networkPolicy.enabled=true",
        "metrics.prometheusRule.enabled=true",
        *more,
    )
    assert len(documents) > 10
    for document in documents:
        metadata = document["metadata"]
        assert metadata["labels"]["team"] == "a", metadata["name"]
        assert metadata["annotations"]["owner"] == "b", metadata["name"]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ((), {"maxUnavailable": 1}),
        (("podDisruptionBudget.minAvailable=50%",), {"minAvailable": "50%"}),
        (("podDisruptionBudget.minAvailable=0",), {"minAvailable": 0}),
        (
            ("podDisruptionBudget.unhealthyPodEvictionPolicy=AlwaysAllow",),
            {"maxUnavailable": 1, "unhealthyPodEvictionPolicy": "AlwaysAllow"},
        ),
    ],
)
def test_a_disruption_budget_has_one_bound(settings: tuple[str, ...], expected: dict[str, Any]) -> None:
    (budget,) = kind(rendered("podDisruptionBudget.enabled=true", *settings), "PodDisruptionBudget")
    del budget["spec"]["selector"]
    assert budget["spec"] == expected


@pytest.mark.parametrize(
    ("value", "name", "endpoints"),
    [("serviceMonitor", "ServiceMonitor", "endpoints"), ("podMonitor", "PodMonitor", "podMetricsEndpoints")],
)
def test_scraping_can_be_tuned(value: str, name: str, endpoints: str) -> None:
    here = f"metrics.{value}"
    settings = (
        "enabled=true", "interval=5s", "scrapeTimeout=4s", "scheme=https", "honorLabels=false", "namespace=monitoring",
        "additionalLabels.release=prometheus", "tlsConfig.insecureSkipVerify=true",
        "relabelings[0].action=labeldrop", "metricRelabelings[0].action=drop",
    )  # fmt: skip
    (monitor,) = kind(rendered(*(f"{here}.{setting}" for setting in settings)), name)
    assert monitor["metadata"]["namespace"] == "monitoring"
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    assert monitor["spec"]["namespaceSelector"] == {"matchNames": [NAMESPACE]}
    assert monitor["spec"][endpoints] == [
        {
            "port": "http", "interval": "5s", "scrapeTimeout": "4s", "scheme": "https", "honorLabels": False,
            "tlsConfig": {"insecureSkipVerify": True},
            "relabelings": [{"action": "labeldrop"}], "metricRelabelings": [{"action": "drop"}],
        }
    ]  # fmt: skip
    (plain,) = kind(rendered(f"{here}.enabled=true"), name)
    assert plain["spec"][endpoints] == [{"port": "http", "interval": "30s", "honorLabels": True}]


def test_two_kinds_of_scraping_at_once_are_refused() -> None:
    switches = ("--set", "metrics.podMonitor.enabled=true,metrics.serviceMonitor.enabled=true")
    assert "must not both be true" in try_helm("template", RELEASE, chart.CHART, *VERSION, *switches).stderr


def test_the_crd_is_kept_unless_told_otherwise() -> None:
    annotations = kind(rendered(), "CustomResourceDefinition")[0]["metadata"].get("annotations", {})
    assert annotations["helm.sh/resource-policy"] == "keep"
    let_go = kind(rendered("crds.keep=false"), "CustomResourceDefinition")[0]["metadata"].get("annotations", {})
    assert "helm.sh/resource-policy" not in let_go
    assert kind(rendered("crds.install=false"), "CustomResourceDefinition") == []


def test_every_program_argument_of_the_chart_is_one_of_the_operator() -> None:
    documents = rendered(
        "leaderElection.enabled=false",
        "replicaCount=1",
        "watchNamespaces={shop}",
        "watchLabelSelector=team in (shop\\,billing)",
        "allowedEndpoints={10.0.0.0/8,kafka.svc:9092}",
        "deniedCidrs={10.96.0.0/12}",
        "extraArgs={--resync-seconds=60}",
    )
    arguments = kind(documents, "Deployment")[0]["spec"]["template"]["spec"]["containers"][0]["args"]
    parser = argparse.ArgumentParser()
    run.add_arguments(parser)
    assert arguments[0] == "run"
    options = parser.parse_args(arguments[1:])
    assert (options.leader_election, options.namespaces, options.resync_seconds) == (False, "shop", "60")
    assert options.label_selector == "team in (shop,billing)"
    policy = read_settings({"allowed_endpoints": options.allowed_endpoints, "denied_cidrs": options.denied_cidrs}, {})
    assert (policy.allowed_endpoints, policy.denied_cidrs) == (("10.0.0.0/8", "kafka.svc:9092"), ("10.96.0.0/12",))
