"""The command line: `run` the operator, print the `crd`, `explain` a decision, show the `lag`, `simulate` a load."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp

from consumer_autoscaler import __version__, explain, lag_report
from consumer_autoscaler.cluster.kube import CredentialsUnavailable, Kube, KubeError, NotFound
from consumer_autoscaler.decision.bundle import BadBundle, Bundle, load
from consumer_autoscaler.decision.values import IsolationLevel, OffsetReset
from consumer_autoscaler.prometheus_range import NoAnswer, range_queries
from consumer_autoscaler.resource.crd import render
from consumer_autoscaler.resource.spec import InvalidSpec
from consumer_autoscaler.runtime.clock import steady_clock
from consumer_autoscaler.runtime.settings import InvalidSettings, Settings, read_settings
from consumer_autoscaler.simulation.arguments import add_arguments

if TYPE_CHECKING:  # needs numpy, which the other commands do without
    from consumer_autoscaler.simulation.history import Recorded

TOKEN_VARIABLE = "CONSUMER_AUTOSCALER_TOKEN"
ANSWER_SECONDS = 15


class CommandFailed(Exception):
    """The command cannot do what was asked; the message says why and what to do."""


def main(arguments: Sequence[str] | None = None) -> int:
    """0 done, 1 failed, 2 wrong use."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        match options.command:
            case "run":
                return _run(options)
            case "crd":
                sys.stdout.write(render())
                return 0
            case "lag":
                asyncio.run(_lag(options))
                return 0
            case "simulate":
                return _simulate(options)
            case _:
                asyncio.run(_explain(options))
                return 0
    except InvalidSettings as problem:
        print(f"consumer-autoscaler: {problem}", file=sys.stderr)
        return 2
    except CommandFailed as problem:
        print(f"consumer-autoscaler: {problem}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # `… | head`
        return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="consumer-autoscaler", description="Scales the consumers of a stream by a promise in seconds."
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="run the operator")
    for name, field in Settings.model_fields.items():
        flag = "--" + name.replace("_", "-")
        about = f"{field.description} (default: {_shown(name)})"
        if field.annotation is bool:
            run.add_argument(flag, action=argparse.BooleanOptionalAction, default=None, help=field.description)
        else:
            run.add_argument(flag, default=None, metavar="VALUE", help=about)
    commands.add_parser("crd", help="print the CustomResourceDefinition")
    how = commands.add_parser("explain", help="say how the last decision came about")
    how.add_argument("resource", metavar="NAMESPACE/NAME")
    how.add_argument("--kubeconfig", type=Path, default=None, help="kubeconfig to read with")
    how.add_argument("--context", default=None, help="context of the kubeconfig")
    how.add_argument("--live", action="store_true", help="ask the running operator for its last bundle")
    how.add_argument(
        "--operator",
        metavar="URL",
        default="http://127.0.0.1:8080",
        help="its endpoint (kubectl -n consumer-autoscaler port-forward deployment/consumer-autoscaler 8080)",
    )
    how.add_argument(
        "--json", action="store_true", help="print the resource's status, or with --live the bundle, as JSON"
    )
    lag = commands.add_parser("lag", help="show the lag of consumer groups, as the operator reads it")
    lag.add_argument("--bootstrap-servers", required=True, metavar="HOST:PORT[,…]")
    lag.add_argument("--group", action="append", default=[], help="may be given more than once (default: all groups)")
    lag.add_argument("--topic", action="append", default=[], help="may be given more than once (default: the group's)")
    lag.add_argument(
        "--offset-reset",
        choices=["latest", "earliest", "none"],
        default="latest",
        help="what a partition without a commit means: the consumers' auto.offset.reset (default: latest)",
    )
    lag.add_argument(
        "--isolation-level",
        choices=["read_uncommitted", "read_committed"],
        default="read_uncommitted",
        help="the consumers' isolation.level (default: read_uncommitted)",
    )
    lag.add_argument(
        "--command-config", type=Path, default=None, metavar="FILE", help="a Kafka client's properties: TLS and SASL"
    )
    lag.add_argument("-o", "--output", choices=["table", "wide", "json"], default="table")
    add_arguments(
        commands.add_parser("simulate", help="scale a modelled group by a recorded load, by several policies")
    )
    return parser


def _shown(name: str) -> str:
    field = Settings.model_fields[name]
    if field.default_factory is not None:
        return "the host's name"
    return str(field.default) if field.default not in (None, "", ()) else "none"


def _run(options: argparse.Namespace) -> int:
    settings = read_settings({name: getattr(options, name) for name in Settings.model_fields})
    from consumer_autoscaler.runtime.run import main as run_operator  # kopf and aiokafka: not for the other commands

    return run_operator(settings)


def _simulate(options: argparse.Namespace) -> int:
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


async def _explain(options: argparse.Namespace) -> None:
    namespace, slash, name = options.resource.partition("/")
    if not (namespace and slash and name):
        raise CommandFailed(f"{options.resource!r} must be NAMESPACE/NAME")
    if options.live:
        bundle, raw = await _live(options, namespace, name)
        print(json.dumps(raw, indent=2) if options.json else explain.from_bundle(bundle))
        return
    try:
        async with Kube.connect(options.kubeconfig, context=options.context) as kube:
            body = await kube.get_resource(namespace, name)
    except NotFound as error:
        raise CommandFailed(f"there is no ConsumerAutoscaler {namespace}/{name}") from error
    except (KubeError, CredentialsUnavailable) as error:
        raise CommandFailed(str(error)) from error
    print(json.dumps(body.get("status") or {}, indent=2) if options.json else explain.from_status(body))


async def _live(options: argparse.Namespace, namespace: str, name: str) -> tuple[Bundle, Any]:
    url = f"{options.operator.rstrip('/')}/explain/{namespace}/{name}"
    headers = {"Authorization": f"Bearer {await _token(options)}"}
    try:
        timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url, headers=headers) as answer:
            if answer.status != 200:
                raise CommandFailed(f"the operator answered {answer.status}: {(await answer.text())[:300]}")
            raw = await answer.json()
    except (aiohttp.ClientError, TimeoutError) as error:
        raise CommandFailed(
            f"the operator cannot be reached at {options.operator} ({type(error).__name__}); from outside of the"
            " cluster: kubectl -n consumer-autoscaler port-forward deployment/consumer-autoscaler 8080"
        ) from error
    try:
        return load(raw), raw
    except BadBundle as error:
        raise CommandFailed(f"the operator's answer is not understood, another version? {error}") from error


async def _token(options: argparse.Namespace) -> str:
    token = os.environ.get(TOKEN_VARIABLE)
    if not token:
        try:
            async with Kube.connect(options.kubeconfig, context=options.context) as kube:
                header = await kube.credentials.authorization()
        except CredentialsUnavailable as error:
            raise CommandFailed(str(error)) from error
        token = (header or "").removeprefix("Bearer ").strip()
    if not token:
        raise CommandFailed(
            "the kubeconfig has no token (a client certificate cannot be shown to the operator): set"
            f" {TOKEN_VARIABLE}=$(kubectl create token SERVICEACCOUNT)"
        )
    return token
