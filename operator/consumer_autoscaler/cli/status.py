"""`status`: how all resources stand, or one of them with its conditions and last Events."""

from __future__ import annotations

import argparse
import asyncio
import json

import yaml

from consumer_autoscaler import explain, status_report
from consumer_autoscaler.cli.colours import painted
from consumer_autoscaler.cli.to_cluster import (
    Json,
    add_cluster_arguments,
    add_resource_argument,
    connected,
    named,
    resource_of,
    resources_of,
)
from consumer_autoscaler.cluster.kube import Kube, KubeError
from consumer_autoscaler.runtime.clock import steady_clock

NAME, HELP = "status", "how the resources stand: replicas, lag, delay, promise, and why"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_resource_argument(parser, optional=True)
    add_cluster_arguments(parser, all_namespaces=True, outputs=("wide", "json", "yaml"))


def run(options: argparse.Namespace) -> int:
    asyncio.run(_status(options))
    return 0


async def _status(options: argparse.Namespace) -> None:
    async with connected(options) as kube:
        if options.resource is not None:
            namespace, name = named(options, kube)
            body = await resource_of(kube, namespace, name)
            print(_printed(body, options.output) or await _screen(kube, body))
            return
        bodies = await resources_of(kube, options)
    bodies.sort(key=lambda body: (body["metadata"]["namespace"], body["metadata"]["name"]))
    many: Json = {"apiVersion": "v1", "kind": "List", "items": bodies}
    if text := _printed(many, options.output):
        print(text)
    elif not bodies:
        print(
            "There is no ConsumerAutoscaler" + ("." if options.all_namespaces else " in this namespace; -A shows all.")
        )
    else:
        print(
            status_report.as_table(
                bodies,
                namespaces=options.all_namespaces,
                wide=options.output == "wide",
                now=steady_clock()(),
                paint=painted,
            )
        )


def _printed(body: Json, output: str | None) -> str:
    """JSON or YAML as kubectl prints it, nothing for the other forms."""
    if output == "json":
        return json.dumps(body, indent=2)
    return yaml.safe_dump(body, sort_keys=False, allow_unicode=True).rstrip() if output == "yaml" else ""


async def _screen(kube: Kube, body: Json) -> str:
    reason, message = status_report.story(body)
    lines = [explain.from_status(body), "", f"In short   {painted(reason, 'bold')}: {message}", ""]
    try:
        events = await kube.events_of(body["metadata"]["namespace"], body["metadata"]["uid"])
        lines += status_report.events_of(events, steady_clock()(), painted)
    except KubeError as error:  # the rest is worth having without them
        lines.append(f"Events     cannot be read: {error.message}")
    return "\n".join(lines)
