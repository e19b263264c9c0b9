"""`resume`: takes away all that `pause` has written."""

from __future__ import annotations

import argparse
import asyncio

from consumer_autoscaler.cli.pause import annotate
from consumer_autoscaler.cli.to_cluster import add_cluster_arguments, add_resource_argument
from consumer_autoscaler.resource.pauses import ANNOTATIONS

NAME, HELP = "resume", "scale a paused resource again"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_resource_argument(parser)
    add_cluster_arguments(parser)


def run(options: argparse.Namespace) -> int:
    asyncio.run(annotate(options, dict.fromkeys(ANNOTATIONS), "resumed"))
    return 0
