"""`crd`: the CustomResourceDefinition, as it is installed."""

from __future__ import annotations

import argparse
import sys

from consumer_autoscaler.resource.crd import render

NAME, HELP = "crd", "print the CustomResourceDefinition"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """It has none."""


def run(options: argparse.Namespace) -> int:
    sys.stdout.write(render())
    return 0
