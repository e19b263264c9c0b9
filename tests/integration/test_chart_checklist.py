"""What users expect of an operator's chart, one entry for each: the union of what five well-known charts have.

The charts are those of KEDA, cert-manager, kube-prometheus-stack, Strimzi and CloudNativePG as of mid-2026. An entry
is true or raises; what this chart does not have is in DROPPED, with the reason.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import yaml
from tests.integration import test_chart_values
from tests.integration.chart_support import NAMESPACE, RELEASE, VERSION, Documents, helm, kind, rendered, try_helm

from bed import chart
from bed.paths import REPOSITORY

pytestmark = pytest.mark.integration

VALUES: dict[str, Any] = test_chart_values.VALUES
ANNOTATIONS: dict[str, str] = yaml.safe_load((chart.CHART / "Chart.yaml").read_text())["annotations"]
README = chart.CHART / "README.md"
CRD = "CustomResourceDefinition"
RELEASE_WORKFLOW = (REPOSITORY / ".github/workflows/release.yaml").read_text()
TEST_WORKFLOW = (REPOSITORY / ".github/workflows/test.yaml").read_text()
E2E_WORKFLOW = (REPOSITORY / ".github/workflows/e2e.yaml").read_text()
KIND = "".join((REPOSITORY / "tests/e2e" / name).read_text() for name in ("manifests.sh", "values.sh"))

DROPPED = {
    "config checksum annotation": "there is no configuration file: settings are arguments, so a change is a new pod",
    "VPA": "what it would set, limits of memory, is small and measured; a VerticalPodAutoscaler can be given as"
    " an extraObject",
    "NetworkPolicy for Cilium": "Cilium enforces the Kubernetes kind, too",
    "renewDeadline and retryPeriod": "derived from leaderElection.leaseDurationSeconds, so that they fit it",
    "PGP signature": "charts are OCI artifacts and signed as those, without keys",
}


def only(documents: Documents, name: str) -> dict[str, Any]:
    (found,) = kind(documents, name)
    return found


def template_of(*settings: str) -> dict[str, Any]:
    documents = kind(rendered(*settings), "Deployment")
    return next(d["spec"]["template"] for d in documents if d["metadata"]["name"] == RELEASE)


def pod(*settings: str) -> dict[str, Any]:
    found: dict[str, Any] = template_of(*settings)["spec"]
    return found


def container(*settings: str) -> dict[str, Any]:
    found: dict[str, Any] = pod(*settings)["containers"][0]
    return found


def deployment(*settings: str) -> dict[str, Any]:
    documents = kind(rendered(*settings), "Deployment")
    return next(d["spec"] for d in documents if d["metadata"]["name"] == RELEASE)


def refused(*settings: str) -> str:
    """Why these values are refused; empty when they are not."""
    done = try_helm("template", RELEASE, chart.CHART, *VERSION, *(w for s in settings for w in ("--set", s)))
    return done.stderr if done.returncode else ""


def off_by_default(switch: str, name: str) -> bool:
    return kind(rendered(), name) == [] and len(kind(rendered(f"{switch}=true"), name)) == 1


def restricted(spec: dict[str, Any]) -> bool:
    """As the restricted Pod Security Standard wants a pod, and a root file system that cannot be written."""
    security = [each["securityContext"] for each in spec["containers"]]
    return (
        spec["securityContext"]["runAsNonRoot"]
        and spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        and all(not each["allowPrivilegeEscalation"] for each in security)
        and all(each["capabilities"] == {"drop": ["ALL"]} for each in security)
        and all(each["readOnlyRootFilesystem"] for each in security)
    )


def monitors_exclude_each_other() -> bool:
    both = ("metrics.serviceMonitor.enabled=true", "metrics.podMonitor.enabled=true")
    return "must not both be true" in refused(*both)


def strategy(*settings: str) -> str:
    return str(deployment(*settings)["strategy"]["type"])


def rights_are_bound_in(*namespaces: str) -> bool:
    documents = rendered(f"watchNamespaces={{{','.join(namespaces)}}}")
    bound = {
        b["metadata"]["namespace"] for b in kind(documents, "RoleBinding") if b["roleRef"]["kind"] == "ClusterRole"
    }
    return bound == set(namespaces)


def secure_everywhere() -> bool:
    """The operator's pods and those of `helm test`."""
    return restricted(pod()) and restricted(only(rendered(), "Pod")["spec"])


def annotations_of(document: dict[str, Any]) -> dict[str, str]:
    found: dict[str, str] = document["metadata"]["annotations"]
    return found


FULL = chart.CHART / "ci" / "full-values.yaml"
NOTES = (chart.CHART / "templates" / "NOTES.txt").read_text()
NO_LEASE = ("leaderElection.enabled=false", "replicaCount=1")
ROWS: dict[str, Callable[[], object]] = {
    # values
    "values.schema.json": lambda: "additional properties" in refused("replicas=3"),
    "README generated from values": lambda: README.read_text() == chart.made()[README],
    "values linted against templates": lambda: test_chart_values.read_but_missing() == set(),
    # the CRD
    "CRD location": lambda: (chart.CHART / "templates/crd.yaml").exists() and not (chart.CHART / "crds").exists(),
    "CRD switch": lambda: VALUES["crds"]["install"] and kind(rendered("crds.install=false"), CRD) == [],
    "CRDs kept on uninstall": lambda: "keep" in annotations_of(only(rendered(), CRD)).values(),
    "CRDs upgraded by `helm upgrade`": lambda: kind(yaml_of("--is-upgrade"), CRD),
    # what is served, and with which rights
    "cluster or namespaced install": lambda: rights_are_bound_in("shop", "billing"),
    "label-selector sharding": lambda: "--label-selector=shard=a" in container("watchLabelSelector=shard=a")["args"],
    "rbac.create": lambda: kind(rendered(), "ClusterRole") and not kind(rendered("rbac.create=false"), "ClusterRole"),
    "aggregate to view/edit/admin": lambda: (
        len(kind(rendered("rbac.aggregateClusterRoles=true"), "ClusterRole"))
        == len(kind(rendered(), "ClusterRole")) + 2
    ),
    "ServiceAccount create, annotations": lambda: (
        kind(rendered("serviceAccount.create=false"), "ServiceAccount") == []
        and only(rendered("serviceAccount.annotations.a=b"), "ServiceAccount")["metadata"]["annotations"] == {"a": "b"}
    ),
    "automount-token knob": lambda: (
        pod()["automountServiceAccountToken"]
        and not pod("serviceAccount.automount=false")["automountServiceAccountToken"]
    ),
    # the pods
    "restricted PSS by default + read-only root filesystem": secure_everywhere,
    "PSS checked in CI": lambda: "pod-security.kubernetes.io/enforce=restricted" in KIND,
    "liveness and readiness tunable": lambda: (
        [
            container(f"{probe}.failureThreshold=7")[probe]["failureThreshold"]
            for probe in ("startupProbe", "livenessProbe", "readinessProbe")
        ]
        == [7, 7, 7]
    ),
    "PDB": lambda: off_by_default("podDisruptionBudget.enabled", "PodDisruptionBudget"),
    "topologySpreadConstraints": lambda: pod("topologySpreadConstraints[0].maxSkew=1")["topologySpreadConstraints"],
    "priorityClassName": lambda: pod("priorityClassName=high")["priorityClassName"] == "high",
    "extra args / env / volumes": lambda: (
        "--a" in container("extraArgs={--a}")["args"]
        and {"name": "A"} in container("extraEnv[0].name=A")["env"]
        and {"name": "v"} in pod("extraVolumes[0].name=v")["volumes"]
        and {"name": "v"} in container("extraVolumeMounts[0].name=v")["volumeMounts"]
    ),
    "image digest, registry override": lambda: (
        container("image.digest=sha256:a", "image.registry=r.example")["image"]
        == "r.example/consumer-autoscaler/consumer-autoscaler@sha256:a"
    ),
    "imagePullSecrets": lambda: pod("imagePullSecrets[0].name=a")["imagePullSecrets"] == [{"name": "a"}],
    "revisionHistoryLimit": lambda: deployment("revisionHistoryLimit=9")["revisionHistoryLimit"] == 9,
    "update strategy": lambda: (
        [strategy(), strategy(*NO_LEASE), strategy("updateStrategy.type=Recreate")]
        == ["RollingUpdate", "Recreate", "Recreate"]
    ),
    "hostUsers": lambda: "hostUsers" not in pod() and pod("hostUsers=false")["hostUsers"] is False,
    # around them
    "NetworkPolicy": lambda: off_by_default("networkPolicy.enabled", "NetworkPolicy"),
    "ServiceMonitor / PodMonitor": lambda: (
        off_by_default("metrics.serviceMonitor.enabled", "ServiceMonitor")
        and off_by_default("metrics.podMonitor.enabled", "PodMonitor")
        and monitors_exclude_each_other()
    ),
    "PrometheusRule": lambda: (
        off_by_default("metrics.prometheusRule.enabled", "PrometheusRule")
        and all(
            rule["annotations"]["runbook_url"]
            for group in only(rendered("metrics.prometheusRule.enabled=true"), "PrometheusRule")["spec"]["groups"]
            for rule in group["rules"]
        )
    ),
    "Grafana dashboard ConfigMap": lambda: (
        kind(rendered(), "ConfigMap") == []
        and {
            found["metadata"]["labels"]["grafana_dashboard"]
            for found in kind(rendered("metrics.grafanaDashboard.enabled=true"), "ConfigMap")
        }
        == {"1"}
    ),
    "extraObjects (templated)": lambda: (
        only(yaml_of("--values", str(FULL)), "ConfigMap")["data"] == {"release": RELEASE}
    ),
    "kubeVersion gate": lambda: "incompatible" in old_kubernetes(),
    "check after install": lambda: annotations_of(only(rendered(), "Pod"))["helm.sh/hook"] == "test",
    "NOTES.txt with next commands": lambda: all(word in NOTES for word in ("kubectl get cas", "describe", "logs")),
    # how it is tested
    "helm-unittest": lambda: len(list((chart.CHART / "tests").glob("*_test.yaml"))) >= 5,
    "chart-testing (`ct`)": lambda: (
        "ct lint --config charts/ct.yaml" in TEST_WORKFLOW
        and yaml.safe_load((REPOSITORY / "charts/ct.yaml").read_text())["chart-dirs"] == ["charts"]
    ),
    "kubeconform strict": lambda: (
        "-strict" in (REPOSITORY / "tests/e2e/kubeconform.sh").read_text()
        and "tests/e2e/kubeconform.sh" in TEST_WORKFLOW
    ),
    "kind install in CI": lambda: (
        all(f"helm {step}" in KIND for step in ("install", "test", "upgrade", "rollback"))
        and all(f"tests/e2e/{script}" in E2E_WORKFLOW for script in ("manifests.sh", "values.sh"))
        and "make e2e" in E2E_WORKFLOW
    ),
    # how it is published
    "Artifact Hub annotations": lambda: {f"artifacthub.io/{name}" for name in ARTIFACT_HUB} <= set(ANNOTATIONS),
    "chart signature": lambda: 'cosign sign --yes "$CHARTS/consumer-autoscaler@$CHART_DIGEST"' in RELEASE_WORKFLOW,
    "chart as OCI artifact": lambda: 'oci://$CHARTS"' in RELEASE_WORKFLOW,
    "image signature": lambda: (
        'cosign sign --yes --recursive "$IMAGE@$IMAGE_DIGEST"' in RELEASE_WORKFLOW
        and "cosign attest --yes --type spdxjson" in RELEASE_WORKFLOW
        and "attest-build-provenance" in RELEASE_WORKFLOW
    ),
}
ARTIFACT_HUB = (
    "license", "category", "operator", "operatorCapabilities", "crds", "crdsExamples", "images", "links",
    "containsSecurityUpdates", "prerelease",
)  # fmt: skip

# The names of values that users of other charts try first.
NAMES = """
nameOverride fullnameOverride namespaceOverride commonLabels commonAnnotations podLabels podAnnotations
image.registry image.repository image.tag image.digest image.pullPolicy imagePullSecrets
serviceAccount.create serviceAccount.name serviceAccount.annotations serviceAccount.labels serviceAccount.automount
rbac.create rbac.aggregateClusterRoles rbac.secretAccess
crds.install crds.keep crds.annotations watchNamespaces watchLabelSelector allowedEndpoints deniedCidrs
replicaCount leaderElection.enabled leaderElection.leaseDurationSeconds logging.level logging.format
updateStrategy revisionHistoryLimit terminationGracePeriodSeconds
podSecurityContext securityContext resources livenessProbe readinessProbe startupProbe priorityClassName nodeSelector
tolerations affinity topologySpreadConstraints hostUsers dnsConfig
podDisruptionBudget.enabled podDisruptionBudget.minAvailable podDisruptionBudget.maxUnavailable
podDisruptionBudget.unhealthyPodEvictionPolicy
networkPolicy.enabled networkPolicy.extraIngress networkPolicy.extraEgress
metrics.port metrics.prometheusRule.enabled metrics.prometheusRule.labels metrics.prometheusRule.disabled
metrics.prometheusRule.runbookUrlBase metrics.prometheusRule.rules
metrics.grafanaDashboard.enabled metrics.grafanaDashboard.namespace metrics.grafanaDashboard.label
metrics.grafanaDashboard.labelValue metrics.grafanaDashboard.annotations
extraArgs extraEnv extraEnvFrom extraVolumes extraVolumeMounts extraObjects
"""
MONITOR_NAMES = [
    f"metrics.{monitor}.{name}"
    for monitor in ("serviceMonitor", "podMonitor")
    for name in (
        "enabled", "namespace", "interval", "scrapeTimeout", "additionalLabels", "relabelings", "metricRelabelings",
        "honorLabels", "scheme", "tlsConfig",
    )
]  # fmt: skip


def yaml_of(*flags: str) -> Documents:
    text = helm("template", RELEASE, chart.CHART, "--namespace", NAMESPACE, *VERSION, *flags)
    return [document for document in yaml.safe_load_all(text) if document]


def old_kubernetes() -> str:
    return try_helm("template", RELEASE, chart.CHART, "--kube-version", "1.28.0").stderr


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_the_chart_has(row: str) -> None:
    assert ROWS[row]() not in (False, [], "")


def test_what_is_dropped_is_not_there_and_has_a_reason() -> None:
    """So that the list stays true."""
    assert all(len(reason) > 20 for reason in DROPPED.values())
    documents = rendered("metrics.serviceMonitor.enabled=true", "networkPolicy.enabled=true")
    kinds = {document["kind"] for document in documents}
    assert not kinds & {"ConfigMap", "Secret", "VerticalPodAutoscaler", "CiliumNetworkPolicy"}
    assert template_of() != template_of("logging.level=DEBUG"), "a change of a setting must be a new pod"


def test_the_usual_names_of_values_are_there() -> None:
    known = {
        ".".join(path[:depth]) for path, _ in test_chart_values.leaves(VALUES) for depth in range(1, len(path) + 1)
    }
    assert [name for name in [*NAMES.split(), *MONITOR_NAMES] if name not in known] == []


def test_one_version_is_named_everywhere() -> None:
    """The chart's, the program's, and that of the image which Artifact Hub shows."""
    described = yaml.safe_load((chart.CHART / "Chart.yaml").read_text())
    version = described["version"]
    assert described["appVersion"] == version
    assert f'version = "{version}"' in (REPOSITORY / "pyproject.toml").read_text()
    (image,) = yaml.safe_load(ANNOTATIONS["artifacthub.io/images"])
    assert image["image"] == container()["image"]
