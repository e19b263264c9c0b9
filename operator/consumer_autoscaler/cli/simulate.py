"""`simulate`: a recorded load, scaled by several policies; what is fetched is fetched here."""

from __future__ import annotations

import argparse
import asyncio
import sys
from typing import TYPE_CHECKING

import aiohttp

from consumer_autoscaler.cli.failures import CommandFailed
from consumer_autoscaler.prometheus_range import NoAnswer, range_queries
from consumer_autoscaler.resource.spec import InvalidSpec
from consumer_autoscaler.runtime.clock import steady_clock
from consumer_autoscaler.simulation.arguments import add_arguments

if TYPE_CHECKING:  # needs numpy, which the other commands do without
    from consumer_autoscaler.simulation.history import Recorded

__all__ = ["HELP", "NAME", "add_arguments", "run"]

NAME, HELP = "simulate", "scale a modelled group by a recorded load, by several policies"
ANSWER_SECONDS = 15


def run(options: argparse.Namespace) -> int:
    try:
        from consumer_autoscaler.simulation import command
    except ModuleNotFoundError as error:
        raise CommandFailed(f"`simulate` needs {error.name}: pip install 'consumer-autoscaler[simulation]'") from error
    fetched = recorded = None
    try:
        if options.prometheus is not None:
            recorded = asyncio.run(_past(options))
        elif options.trace is not None and options.trace.startswith(("http://", "https://")):
            fetched = asyncio.run(_fetch(options.trace))
        return command.main(options, fetched, recorded)
    except NoAnswer as problem:
        raise CommandFailed(str(problem)) from problem
    except (command.WrongUse, command.BadTrace, InvalidSpec) as problem:
        print(f"consumer-autoscaler simulate: {problem}", file=sys.stderr)
        return 2


async def _past(options: argparse.Namespace) -> Recorded:
    from consumer_autoscaler.simulation.history_collect import collect
    from consumer_autoscaler.simulation.history_command import wanted

    what = wanted(options, steady_clock()())
    async with range_queries(options.prometheus, options.bearer_token_file) as ask:
        return await collect(ask, what)


async def _fetch(url: str) -> str:
    """What Prometheus answers to a range query; its own error messages are kept for the reader of the answer."""
    try:
        timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url) as answer:
            return await answer.text()
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        raise CommandFailed(f"the load cannot be fetched ({type(error).__name__}): check the URL") from error
