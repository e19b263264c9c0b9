"""`status`: how all resources stand, or one of them with its conditions and last Events."""

from __future__ import annotations

import argparse
import asyncio
import json
import time

import yaml

from consumer_autoscaler import explain, status_report
from consumer_autoscaler.cli.colours import painted
from consumer_autoscaler.cli.failures import CommandFailed, WrongUse
from consumer_autoscaler.cli.to_cluster import (
    Json,
    add_cluster_arguments,
    add_resource_argument,
    connected,
    named,
    resource_of,
    resources_of,
)
from consumer_autoscaler.cluster.errors import KubeError
from consumer_autoscaler.cluster.kube import Kube
from consumer_autoscaler.runtime.clock import steady_clock

ASK_AGAIN_SECONDS = 1.0

NAME, HELP = "status", "how the resources stand: replicas, lag, delay, promise, and why"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_resource_argument(parser, optional=True)
    add_cluster_arguments(parser, all_namespaces=True, outputs=("wide", "json", "yaml"))
    parser.add_argument(
        "--wait-for", metavar="CONDITION", default=None, help="of one resource: wait until this condition is True"
    )
    parser.add_argument(
        "--timeout-seconds", type=float, default=60.0, help="longest wait, then the exit status is 1 (default: 60)"
    )


def run(options: argparse.Namespace) -> int:
    asyncio.run(_status(options))
    return 0


async def _status(options: argparse.Namespace) -> None:
    if options.wait_for and options.resource is None:
        raise WrongUse("--wait-for is for one resource: give its NAME")
    async with connected(options) as kube:
        if options.resource is not None:
            namespace, name = named(options, kube)
            if options.wait_for:
                await _wait(kube, namespace, name, options.wait_for, options.timeout_seconds)
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


async def _wait(kube: Kube, namespace: str, name: str, type_: str, timeout_seconds: float) -> None:
    """Until the condition is True for the resource as it is now. Raises CommandFailed with what it says instead."""
    end = time.monotonic() + timeout_seconds
    while True:
        body = await resource_of(kube, namespace, name)
        status, reason, message = status_report.condition(body, type_)
        if status == "True" and status_report.is_up_to_date(body, type_):
            return
        if time.monotonic() > end:
            said = f"{status}, {reason}: {message}" if status else "not reported: is the operator running?"
            raise CommandFailed(f"{namespace}/{name}: after {timeout_seconds:g} s {type_} is {said}")
        await asyncio.sleep(ASK_AGAIN_SECONDS)


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
