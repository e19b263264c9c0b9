"""`lag`: consumer groups at one moment, read as the operator reads them."""

from __future__ import annotations

import argparse
import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING

from consumer_autoscaler import lag_report
from consumer_autoscaler.cli.explain import add_operator_argument, live
from consumer_autoscaler.cli.failures import CommandFailed, WrongUse
from consumer_autoscaler.cli.to_cluster import add_cluster_arguments, add_resource_argument
from consumer_autoscaler.decision.tracks import waited_seconds
from consumer_autoscaler.decision.values import GroupReading, IsolationLevel, OffsetReset
from consumer_autoscaler.runtime.clock import steady_clock

if TYPE_CHECKING:  # aiokafka comes with it
    from consumer_autoscaler.sources.kafka.inspection.inspect import GroupInspection

NAME, HELP = "lag", "show the lag of consumer groups, as the operator reads it"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_resource_argument(parser, optional=True)
    parser.add_argument(
        "--bootstrap-servers", default=None, metavar="HOST:PORT[,…]",
        help="read from these brokers, with your own access; without it NAME is asked for at the operator",
    )  # fmt: skip
    parser.add_argument(
        "--group", action="append", default=[], help="may be given more than once (default: all groups)"
    )
    parser.add_argument(
        "--topic", action="append", default=[], help="may be given more than once (default: the group's)"
    )
    parser.add_argument(
        "--offset-reset",
        choices=["latest", "earliest", "none"],
        default="latest",
        help="what a partition without a commit means: the consumers' auto.offset.reset (default: latest)",
    )
    parser.add_argument(
        "--isolation-level",
        choices=["read_uncommitted", "read_committed"],
        default="read_uncommitted",
        help="the consumers' isolation.level (default: read_uncommitted)",
    )
    parser.add_argument(
        "--command-config", type=Path, default=None, metavar="FILE", help="a Kafka client's properties: TLS and SASL"
    )
    parser.add_argument("-o", "--output", choices=["table", "wide", "json"], default="table")
    add_operator_argument(parser)
    add_cluster_arguments(parser)


def run(options: argparse.Namespace) -> int:
    if (options.resource is None) == (options.bootstrap_servers is None):
        raise WrongUse("give either the NAME of a resource, or --bootstrap-servers")
    asyncio.run(_lag(options) if options.resource is None else _lag_of_resource(options))
    return 0


async def _lag_of_resource(options: argparse.Namespace) -> None:
    """What the operator read last: it has the access to the brokers, the person needs none."""
    from consumer_autoscaler.sources.kafka.inspection.inspect import GroupInspection

    bundle, _ = await live(options)
    group, tracks = bundle.observation.group, {(t.topic, t.partition): t for t in bundle.history.tracks}
    delays = {}
    if isinstance(group, GroupReading):
        for p in group.partitions:
            track = tracks.get((p.topic, p.partition))
            if p.lag_messages == 0:
                delays[p.topic, p.partition] = 0.0
            elif track is not None:
                delays[p.topic, p.partition] = waited_seconds(track, p, bundle.now)
    name = str(options.resource).rpartition("/")[2]
    _print([GroupInspection(name, group, {}, delays)], options.output, bundle.observation.at)


async def _lag(options: argparse.Namespace) -> None:
    from consumer_autoscaler.sources.kafka.access.client_properties import load as load_properties
    from consumer_autoscaler.sources.kafka.broker import BrokerFailed, parse_address
    from consumer_autoscaler.sources.kafka.inspection.inspect import inspect

    servers = tuple(address.strip() for address in options.bootstrap_servers.split(","))
    clock = steady_clock()
    at = clock()
    try:
        for address in servers:
            parse_address(address)
        seen = await inspect(
            servers,
            options.group,
            clock=clock,
            topics=options.topic,
            offset_reset=OffsetReset(options.offset_reset.title()),
            isolation_level=IsolationLevel[options.isolation_level.upper()],
            security=load_properties(options.command_config) if options.command_config else None,
        )
    except (BrokerFailed, ValueError) as error:
        raise CommandFailed(str(error)) from error
    _print(seen, options.output, at)


def _print(seen: list[GroupInspection], output: str, at: float) -> None:
    if output == "json":
        print(json.dumps(lag_report.as_json(seen, at=at), indent=2))
    else:
        print(lag_report.as_table(seen, wide=output == "wide"))
