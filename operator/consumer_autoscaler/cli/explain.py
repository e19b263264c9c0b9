"""`explain`: how the last decision of one resource came about."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
from typing import Any

import aiohttp
import yaml

from consumer_autoscaler import explain
from consumer_autoscaler.cli.failures import CommandFailed
from consumer_autoscaler.cli.to_cluster import (
    add_cluster_arguments,
    add_resource_argument,
    connected,
    named,
    resource_of,
)
from consumer_autoscaler.cluster.kube import Kube
from consumer_autoscaler.decision.bundle import BadBundle, Bundle, load

NAME, HELP = "explain", "say how the last decision came about"
TOKEN_VARIABLE = "CONSUMER_AUTOSCALER_TOKEN"
ANSWER_SECONDS = 15


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_resource_argument(parser)
    add_cluster_arguments(parser, outputs=("json", "yaml"))
    parser.add_argument("--live", action="store_true", help="ask the running operator for its last bundle")
    add_operator_argument(parser)
    parser.add_argument(
        "--json", action="store_true", help="print the resource's status, or with --live the bundle, as JSON"
    )


def run(options: argparse.Namespace) -> int:
    asyncio.run(_explain(options))
    return 0


async def _explain(options: argparse.Namespace) -> None:
    output = "json" if options.json else options.output
    if options.live:
        bundle, raw = await live(options)
        print(_printed(raw, output) or explain.from_bundle(bundle))
        return
    async with connected(options) as kube:
        body = await resource_of(kube, *named(options, kube))
    print(_printed(body.get("status") or {}, output) or explain.from_status(body))


def _printed(content: Any, output: str | None) -> str:
    if output == "yaml":
        return yaml.safe_dump(content, sort_keys=False, allow_unicode=True).rstrip()
    return json.dumps(content, indent=2) if output == "json" else ""


async def live(options: argparse.Namespace) -> tuple[Bundle, Any]:
    """The last bundle of the running operator, read and as it was sent. Raises CommandFailed and WrongUse."""
    token = os.environ.get(TOKEN_VARIABLE, "")
    if token and (options.namespace or "/" in options.resource):  # no kubeconfig is needed then
        namespace, name = named(options, None)
    else:
        async with connected(options) as kube:
            namespace, name = named(options, kube)
            token = token or await _token(kube)
    url = f"{options.operator.rstrip('/')}/explain/{namespace}/{name}"
    headers = {"Authorization": f"Bearer {token}"}
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


async def _token(kube: Kube) -> str:
    token = (await kube.credentials.authorization() or "").removeprefix("Bearer ").strip()
    if not token:
        raise CommandFailed(
            "the kubeconfig has no token (a client certificate cannot be shown to the operator): set"
            f" {TOKEN_VARIABLE}=$(kubectl create token SERVICEACCOUNT)"
        )
    return token


def add_operator_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--operator",
        metavar="URL",
        default="http://127.0.0.1:8080",
        help="its endpoint (kubectl -n consumer-autoscaler port-forward deployment/consumer-autoscaler 8080)",
    )
