"""What the tests of the Helm chart share: Helm itself, and what it renders."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import yaml

from bed import chart
from bed.parts import KUBERNETES_VERSION, program

RELEASE = NAMESPACE = "consumer-autoscaler"
VERSION = ("--kube-version", KUBERNETES_VERSION)  # a Helm that was built from modules believes in an old one

Documents = list[dict[str, Any]]


def try_helm(*arguments: str | Path, by: str = "helm") -> subprocess.CompletedProcess[str]:
    """`by` is the part: `helm` is Helm 3, `helm4` is Helm 4."""
    return subprocess.run([program(by), *map(str, arguments)], capture_output=True, text=True, timeout=100, check=False)


def helm(*arguments: str | Path, by: str = "helm") -> str:
    done = try_helm(*arguments, by=by)
    assert done.returncode == 0, done.stderr
    return done.stdout


def rendered(*settings: str) -> Documents:
    flags = [word for setting in settings for word in ("--set", setting)]
    out = helm("template", RELEASE, chart.CHART, "--namespace", NAMESPACE, *VERSION, *flags)
    return [document for document in yaml.safe_load_all(out) if document]


def kind(documents: Documents, name: str) -> Documents:
    return [document for document in documents if document["kind"] == name]


def rules(roles: Documents) -> set[tuple[str, str, str]]:
    return {
        (group, resource, verb)
        for role in roles
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
