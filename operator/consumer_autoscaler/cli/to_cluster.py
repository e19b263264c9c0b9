"""What the subcommands that talk to a cluster share: kubectl's own options, and its way of naming a resource."""

from __future__ import annotations

import argparse
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from consumer_autoscaler.cli.failures import CommandFailed, WrongUse
from consumer_autoscaler.cluster.credentials import CredentialsUnavailable
from consumer_autoscaler.cluster.errors import Forbidden, KubeError, NotFound
from consumer_autoscaler.cluster.kube import Kube
from consumer_autoscaler.resource.spec import GROUP, PLURAL

Json = dict[str, Any]
RESOURCE_METAVAR = "NAME"


def add_cluster_arguments(
    parser: argparse.ArgumentParser, *, all_namespaces: bool = False, outputs: Sequence[str] = ()
) -> None:
    parser.add_argument("-n", "--namespace", default=None, help="the namespace (default: the context's)")
    if all_namespaces:
        parser.add_argument("-A", "--all-namespaces", action="store_true", help="those of all namespaces")
    parser.add_argument("--kubeconfig", type=Path, default=None, help="kubeconfig to use")
    parser.add_argument("--context", default=None, help="context of the kubeconfig")
    if outputs:
        parser.add_argument("-o", "--output", choices=outputs, default=None, help="another form of output")


def add_resource_argument(parser: argparse.ArgumentParser, *, optional: bool = False) -> None:
    parser.add_argument(
        "resource",
        metavar=RESOURCE_METAVAR,
        nargs="?" if optional else None,
        help="a ConsumerAutoscaler: NAME, or NAMESPACE/NAME",
    )


@asynccontextmanager
async def connected(options: argparse.Namespace) -> AsyncIterator[Kube]:
    """The cluster of these options. What the API server refuses becomes CommandFailed."""
    try:
        async with Kube.connect(options.kubeconfig, context=options.context) as kube:
            yield kube
    except Forbidden as error:
        raise CommandFailed(f"{error.message}: docs/kubectl.md has the rights that each subcommand needs") from error
    except (KubeError, CredentialsUnavailable) as error:
        raise CommandFailed(str(error)) from error


def named(options: argparse.Namespace, kube: Kube | None) -> tuple[str, str]:
    """Namespace and name of the resource that is asked for; its credentials know the default. Raises WrongUse."""
    namespace, slash, name = str(options.resource).partition("/")
    if not slash:
        default = kube.credentials.namespace() if kube is not None else ""
        namespace, name = options.namespace or default, options.resource
    elif options.namespace not in (None, namespace):
        raise WrongUse(f"{options.resource!r} names another namespace than -n {options.namespace}")
    if not namespace or not name or "/" in name:
        raise WrongUse(f"{options.resource!r} must be NAME or NAMESPACE/NAME")
    return namespace, name


async def resource_of(kube: Kube, namespace: str, name: str) -> Json:
    """The resource as it is. Raises CommandFailed when there is none."""
    try:
        return await kube.get_resource(namespace, name)
    except NotFound as error:
        raise CommandFailed(f"there is no ConsumerAutoscaler {namespace}/{name}") from error


async def resources_of(kube: Kube, options: argparse.Namespace) -> list[Json]:
    """Those of the namespace, or of all of them. Raises CommandFailed when the CRD is not installed."""
    namespace = None if options.all_namespaces else options.namespace or kube.credentials.namespace()
    try:
        found, _ = await kube.list_objects(GROUP, "v1alpha1", PLURAL, namespace)
    except NotFound as error:
        raise CommandFailed(f"{PLURAL}.{GROUP} is not installed in this cluster") from error
    return found
