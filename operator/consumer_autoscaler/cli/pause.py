"""`pause`: the annotations that stop the scaling of a resource, wholly, at a count, or in one direction."""

from __future__ import annotations

import argparse
import asyncio

from consumer_autoscaler.cli.failures import CommandFailed, WrongUse
from consumer_autoscaler.cli.to_cluster import add_cluster_arguments, add_resource_argument, connected, named
from consumer_autoscaler.cluster.errors import NotFound
from consumer_autoscaler.resource.pauses import ANNOTATIONS, PAUSED, PAUSED_REPLICAS, PAUSED_SCALE_IN, PAUSED_SCALE_OUT

NAME, HELP = "pause", "stop the scaling of a resource, or keep it at a count"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_resource_argument(parser)
    parser.add_argument("--replicas", type=int, default=None, metavar="N", help="scale to N, and keep that")
    parser.add_argument("--scale-in", action="store_true", help="only downs are paused")
    parser.add_argument("--scale-out", action="store_true", help="only ups are paused")
    add_cluster_arguments(parser)


def run(options: argparse.Namespace) -> int:
    if options.replicas is not None and (options.scale_in or options.scale_out):
        raise WrongUse("--replicas pauses both directions: leave --scale-in and --scale-out out")
    if options.replicas is not None and not 0 <= options.replicas <= 10_000:
        raise WrongUse("--replicas must be from 0 to 10000")
    wanted: dict[str, str | None] = dict.fromkeys(ANNOTATIONS)  # what was paused otherwise before is no more
    if options.replicas is not None:
        wanted[PAUSED_REPLICAS] = str(options.replicas)
        said = f"paused at {options.replicas} replicas"
    elif options.scale_in or options.scale_out:
        wanted[PAUSED_SCALE_IN] = "true" if options.scale_in else None
        wanted[PAUSED_SCALE_OUT] = "true" if options.scale_out else None
        said = " and ".join(w for w, on in (("downs", options.scale_in), ("ups", options.scale_out)) if on) + " paused"
    else:
        wanted[PAUSED] = "true"
        said = "paused"
    asyncio.run(annotate(options, wanted, said))
    return 0


async def annotate(options: argparse.Namespace, annotations: dict[str, str | None], said: str) -> None:
    """Writes them, and says what has been done as kubectl does. Raises CommandFailed and WrongUse."""
    async with connected(options) as kube:
        namespace, name = named(options, kube)
        try:
            await kube.annotate_resource(namespace, name, annotations)
        except NotFound as error:
            raise CommandFailed(f"there is no ConsumerAutoscaler {namespace}/{name}") from error
    print(f"consumerautoscaler.consumerautoscaler.dev/{name} {said}")
