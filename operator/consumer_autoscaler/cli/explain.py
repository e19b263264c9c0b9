"""`explain`: how the last decision of one resource came about."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
from pathlib import Path
from typing import Any

import aiohttp

from consumer_autoscaler import explain
from consumer_autoscaler.cli.failures import CommandFailed
from consumer_autoscaler.cluster.kube import CredentialsUnavailable, Kube, KubeError, NotFound
from consumer_autoscaler.decision.bundle import BadBundle, Bundle, load

NAME, HELP = "explain", "say how the last decision came about"
TOKEN_VARIABLE = "CONSUMER_AUTOSCALER_TOKEN"
ANSWER_SECONDS = 15


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("resource", metavar="NAMESPACE/NAME")
    parser.add_argument("--kubeconfig", type=Path, default=None, help="kubeconfig to read with")
    parser.add_argument("--context", default=None, help="context of the kubeconfig")
    parser.add_argument("--live", action="store_true", help="ask the running operator for its last bundle")
    parser.add_argument(
        "--operator",
        metavar="URL",
        default="http://127.0.0.1:8080",
        help="its endpoint (kubectl -n consumer-autoscaler port-forward deployment/consumer-autoscaler 8080)",
    )
    parser.add_argument(
        "--json", action="store_true", help="print the resource's status, or with --live the bundle, as JSON"
    )


def run(options: argparse.Namespace) -> int:
    asyncio.run(_explain(options))
    return 0


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
