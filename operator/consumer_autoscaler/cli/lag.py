"""`lag`: consumer groups at one moment, read as the operator reads them."""

from __future__ import annotations

import argparse
import asyncio
import json
from pathlib import Path

from consumer_autoscaler import lag_report
from consumer_autoscaler.cli.failures import CommandFailed
from consumer_autoscaler.decision.values import IsolationLevel, OffsetReset
from consumer_autoscaler.runtime.clock import steady_clock

NAME, HELP = "lag", "show the lag of consumer groups, as the operator reads it"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--bootstrap-servers", required=True, metavar="HOST:PORT[,…]")
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


def run(options: argparse.Namespace) -> int:
    asyncio.run(_lag(options))
    return 0


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
    if options.output == "json":
        print(json.dumps(lag_report.as_json(seen, at=at), indent=2))
    else:
        print(lag_report.as_table(seen, wide=options.output == "wide"))
