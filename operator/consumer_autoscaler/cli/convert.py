"""`convert`: ScaledObjects and HPAs, from files or from a cluster, to ConsumerAutoscalers."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from pathlib import Path

from consumer_autoscaler.cli.failures import CommandFailed, WrongUse
from consumer_autoscaler.cli.to_cluster import Json, add_cluster_arguments, connected
from consumer_autoscaler.cluster.errors import NotFound
from consumer_autoscaler.cluster.kube import Kube
from consumer_autoscaler.convert import report
from consumer_autoscaler.convert.documents import BadDocument, Documents, read
from consumer_autoscaler.convert.everything import convert_all
from consumer_autoscaler.convert.hpa import Stream

NAME, HELP = "convert", "make ConsumerAutoscalers of KEDA's ScaledObjects and of HPAs on lag"

_TYPES = {
    "ScaledObject": ("keda.sh", "v1alpha1", "scaledobjects"),
    "ScaledJob": ("keda.sh", "v1alpha1", "scaledjobs"),
    "TriggerAuthentication": ("keda.sh", "v1alpha1", "triggerauthentications"),
    "HorizontalPodAutoscaler": ("autoscaling", "v2", "horizontalpodautoscalers"),
    "Deployment": ("apps", "v1", "deployments"),
    "StatefulSet": ("apps", "v1", "statefulsets"),
}
_CLUSTER_AUTHENTICATIONS = ("keda.sh", "v1alpha1", "clustertriggerauthentications")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-f", "--filename", action="append", default=[], metavar="FILE",
        help="YAML or JSON with the objects, `-` for standard input; may be repeated (default: those of the cluster)",
    )  # fmt: skip
    parser.add_argument("--name", default=None, help="only the ScaledObject or HPA of this name")
    parser.add_argument("--mode", choices=("Observe", "Active"), default="Observe", help="`mode` of what is made")
    parser.add_argument(
        "--bootstrap-servers", default="", metavar="HOST:PORT[,…]", help="for HPAs: where the brokers are"
    )
    parser.add_argument(
        "--group", default="", help="for HPAs: the consumer group, where no label of the metric names it"
    )
    parser.add_argument(
        "--read-secrets", action="store_true",
        help="from the cluster, read the Secrets that authentications take `sasl` and `tls` from, too",
    )  # fmt: skip
    add_cluster_arguments(parser, all_namespaces=True, outputs=("yaml", "json"))


def run(options: argparse.Namespace) -> int:
    if options.filename and options.all_namespaces:
        raise WrongUse("-A asks for those of the cluster: leave -f out")
    documents = _from_files(options) if options.filename else asyncio.run(_from_cluster(options))
    stream = Stream(options.bootstrap_servers, options.group)
    results = convert_all(documents, stream, mode=options.mode)
    if options.name is not None:
        results = [one for one in results if one.origin.endswith(f"/{options.name}")]
    if not results:
        raise CommandFailed("there is neither a ScaledObject nor an HPA in what was given")
    if options.output == "json":
        print(json.dumps(report.as_json(results), indent=2, ensure_ascii=False))
    else:
        sys.stdout.write(report.as_yaml(results))
        print(report.as_text(results), file=sys.stderr)
    return 1 if any(one.refused for one in results) else 0


def _from_files(options: argparse.Namespace) -> Documents:
    found: list[Json] = []
    for name in options.filename:
        try:
            found += read(sys.stdin.read() if name == "-" else Path(name).read_text())
        except BadDocument as problem:
            raise WrongUse(f"{name}: {problem}") from problem
        except (OSError, UnicodeDecodeError) as error:
            raise WrongUse(f"{name} cannot be read: {error}") from error
    return Documents(found, options.namespace or "default")


async def _from_cluster(options: argparse.Namespace) -> Documents:
    async with connected(options) as kube:
        namespace = None if options.all_namespaces else options.namespace or kube.credentials.namespace()
        found: list[Json] = []
        for kind, where in _TYPES.items():
            found += await _listed(kube, kind, where, namespace)
        found += await _listed(kube, "ClusterTriggerAuthentication", _CLUSTER_AUTHENTICATIONS, None)
        if options.read_secrets:
            found += await _secrets(kube, found)
    return Documents(found, namespace or "default")


async def _listed(kube: Kube, kind: str, where: tuple[str, str, str], namespace: str | None) -> list[Json]:
    try:
        items, _ = await kube.list_objects(*where, namespace)
    except NotFound:  # KEDA is not, or no longer, installed
        return []
    return [{**item, "kind": kind} for item in items]


async def _secrets(kube: Kube, objects: list[Json]) -> list[Json]:
    """Those that say how to log in, and of them only what says it: no password leaves this function."""
    wanted: dict[tuple[str, str], set[str]] = {}
    for body in objects:
        if body["kind"] != "TriggerAuthentication":
            continue
        for one in (body.get("spec") or {}).get("secretTargetRef") or ():
            if one.get("parameter") in (
                "sasl",
                "tls",
                "saslTokenProvider",
                "awsRegion",
                "scopes",
                "oauthTokenEndpointUri",
            ):
                wanted.setdefault((body["metadata"]["namespace"], str(one["name"])), set()).add(str(one["key"]))
    found: list[Json] = []
    for (namespace, name), keys in sorted(wanted.items()):
        try:
            content = await kube.get_secret(namespace, name)
        except NotFound:
            continue
        plain = {key: content[key].decode(errors="replace") for key in keys if key in content}
        found.append({"kind": "Secret", "metadata": {"namespace": namespace, "name": name}, "stringData": plain})
    return found
