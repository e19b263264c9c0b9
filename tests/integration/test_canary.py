"""No secret of any kind comes out of the operator anywhere, whether its login works or is refused.

Each secret is a random text, planted by a Secret of a real API server: SASL passwords, a client's secret and the token
that it is given, a private key, keys of AWS, a bearer token and a password for Prometheus. All that the operator says
is then looked through, in every form in which such a text could travel: as it is, in base64 and percent-encoded.
"""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from aiohttp import web
from tests.integration.site import Site, deployment, own_lease
from tests.integration.support import Bed, command_line, eventually, operator_on
from tests.integration.test_kafka_secrets import put_secret

from bed.kafka_admin import AclFor, AclOn
from bed.kafka_security import SecureKafka
from bed.kubeapi import ApiError
from bed.operator import NAMESPACE, USER, Operator

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]


class Canaries:
    """Random texts by what they are, and where each was found again."""

    def __init__(self) -> None:
        self.planted: dict[str, str] = {}

    def new(self, what: str) -> str:
        self.planted[what] = f"canary{secrets.token_hex(12)}"
        return self.planted[what]

    def seen_in(self, text: str) -> list[str]:
        """Which of them are in a text, in any of its forms."""
        return [what for what, secret in self.planted.items() if any(form in text for form in forms(secret))]


def forms(secret: str) -> Iterator[str]:
    """A secret as it is, in JSON, in a URL, in its hexadecimal digits, and in base64 at each of the three places."""
    yield from {secret, json.dumps(secret)[1:-1], quote(secret), quote_plus(secret), repr(secret)[1:-1]}
    yield secret.encode().hex()
    for before in range(3):
        encoded = base64.b64encode(b"x" * before + secret.encode()).decode().rstrip("=")
        yield encoded[4 if before else 0 : -4]


@pytest.fixture(scope="module")
def canaries() -> Canaries:
    return Canaries()


@pytest.fixture(scope="module")
def broker(canaries: Canaries) -> Iterator[SecureKafka]:
    """Its passwords are canaries."""
    passwords = {"alice": canaries.new("password of SCRAM and PLAIN")}
    clients = {"app": canaries.new("secret of an OAuth client")}
    with SecureKafka(passwords=passwords, clients=clients, heap_mib=256) as kafka:
        assert kafka.tokens is not None
        granted, grant = kafka.tokens.token, canaries.planted

        def remembered(client_id: str) -> str:
            token = granted(client_id)
            grant[f"token {len(grant)}"] = token.rpartition(".")[2]  # its signature: the rest is readable anyway
            return token

        kafka.tokens.token = remembered  # type: ignore[method-assign]
        for user in ("alice", "app", "CN=client"):
            for on in (AclOn.TOPIC, AclOn.GROUP):
                kafka.allow(user, AclFor.DESCRIBE, on, "*")
        yield kafka


@pytest.fixture
async def prometheus() -> Any:
    """Stands for one that refuses, and repeats in its answer what it was shown, as careless ones do."""
    shown: list[str] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        login = request.headers.get("Authorization", "")
        shown.append(login)
        words = {"status": "error", "errorType": "unauthorized", "error": f"refused: {login}"}
        return web.json_response(words, status=401 if len(shown) % 2 else 422)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}", shown
    await runner.cleanup()


async def test_no_secret_shows_anywhere(
    bed: Bed, broker: SecureKafka, canaries: Canaries, prometheus: tuple[str, list[str]]
) -> None:
    """Logs at DEBUG, status, Events, metrics, explain and the commands, with good logins and with refused ones."""
    site = await Site.open(bed, "canaries", broker=broker, resource=False, committed=True)
    address, shown = prometheus
    begun_at = site.began_at
    key = broker.pem("client.key")
    canaries.planted["private key"] = key.splitlines()[2]
    stranger = broker.pem("stranger.key")
    canaries.planted["private key of a stranger"] = stranger.splitlines()[2]
    assert broker.tokens is not None
    login, bare, mutual = (broker.address(name) for name in ("LOGIN", "BARE", "MUTUAL"))
    ca = {"caSecretRef": {"name": "ca"}}
    await put_secret(bed, site.name, "ca", ca_crt=broker.pem("ca.crt"))
    good, wrong = canaries.planted["password of SCRAM and PLAIN"], canaries.new("wrong password")
    client, wrong_client = canaries.planted["secret of an OAuth client"], canaries.new("wrong secret of a client")
    await put_secret(bed, site.name, "good", username="alice", password=good)
    await put_secret(bed, site.name, "wrong", username="alice", password=wrong)
    await put_secret(bed, site.name, "broken-off", username="alice", password=canaries.new("with a line break") + "\n")
    await put_secret(bed, site.name, "client", **{"client-id": "app", "client-secret": client})
    await put_secret(bed, site.name, "wrong-client", **{"client-id": "app", "client-secret": wrong_client})
    await put_secret(bed, site.name, "pair", tls_crt=broker.pem("client.crt"), tls_key=key)
    await put_secret(bed, site.name, "stranger", tls_crt=broker.pem("stranger.crt"), tls_key=stranger)
    await put_secret(bed, site.name, "no-pair", tls_crt=broker.pem("client.crt"), tls_key=canaries.new("bad key"))
    aws = {"access-key-id": canaries.new("AWS key id"), "secret-access-key": canaries.new("AWS secret key")}
    await put_secret(bed, site.name, "aws", **aws, **{"session-token": canaries.new("AWS session token")})
    await put_secret(bed, site.name, "bearer", token=canaries.new("bearer token"))
    await put_secret(bed, site.name, "basic", username="me", password=canaries.new("password of Prometheus"))

    def sasl(mechanism: str, secret: str, **more: Any) -> dict[str, Any]:
        return {"mechanism": mechanism, "credentialsSecretRef": {"name": secret}, **more}

    oauth = {"oauth": {"tokenEndpoint": broker.tokens.url, **ca}}
    kafkas: dict[str, dict[str, Any]] = {
        "scram": {"bootstrapServers": login, "tls": ca, "sasl": sasl("SCRAM-SHA-512", "good")},
        "plain": {"bootstrapServers": login, "tls": ca, "sasl": sasl("PLAIN", "good")},
        "bare": {"bootstrapServers": bare, "sasl": sasl("PLAIN", "good")},
        "scram-refused": {"bootstrapServers": login, "tls": ca, "sasl": sasl("SCRAM-SHA-512", "wrong")},
        "plain-refused": {"bootstrapServers": login, "tls": ca, "sasl": sasl("PLAIN", "wrong")},
        "line-break": {"bootstrapServers": login, "tls": ca, "sasl": sasl("PLAIN", "broken-off")},
        "untrusted": {"bootstrapServers": login, "tls": {}, "sasl": sasl("PLAIN", "good")},
        "nobody": {"bootstrapServers": "127.0.0.1:1", "sasl": sasl("PLAIN", "good")},
        "token": {"bootstrapServers": login, "tls": ca, "sasl": sasl("OAUTHBEARER", "client", **oauth)},
        "token-refused": {"bootstrapServers": login, "tls": ca, "sasl": sasl("OAUTHBEARER", "wrong-client", **oauth)},
        "aws-refused": {
            "bootstrapServers": login,
            "tls": ca,
            "sasl": sasl("AWS_MSK_IAM", "aws", awsRegion="eu-west-1"),
        },
        "mutual": {"bootstrapServers": mutual, "tls": {**ca, "certificateSecretRef": {"name": "pair"}}},
        "stranger": {"bootstrapServers": mutual, "tls": {**ca, "certificateSecretRef": {"name": "stranger"}}},
        "no-pair": {"bootstrapServers": mutual, "tls": {**ca, "certificateSecretRef": {"name": "no-pair"}}},
    }
    times = {
        "bearer": {"address": address, "query": "x", "bearerTokenSecretRef": {"name": "bearer"}},
        "basic": {"address": address, "query": "x", "basicAuthSecretRef": {"name": "basic"}},
    }
    works = {"scram", "plain", "bare", "token", "mutual", *times}
    options = ("--log-level", "DEBUG", "--allow-passwords-without-tls")
    async with operator_on(bed, *own_lease(site), *options, name="canaries") as operator:
        names = [*kafkas, *times]
        for name in names:  # a target each, or all but one would only say that they are in conflict
            path = f"/apis/apps/v1/namespaces/{site.name}/deployments"
            await bed.api.call("POST", path, deployment(1, name=name))
            spec: dict[str, Any] = {"targetRef": {"name": name}, "minReplicas": 1}
            if name in times:
                spec["processingTime"] = {"sources": [{"prometheus": times[name]}]}
            await site.create_scaler(name=name, kafka=kafkas.get(name), spec=spec)

        async def all_told() -> bool:
            for name in names:
                reasons = {c["type"]: c for c in (await site.status(name)).get("conditions", ())}
                healthy = reasons.get("SourceHealthy", {})
                if healthy.get("status") != ("True" if name in works - set(times) else "False"):
                    return False
            return True

        async def told() -> list[str]:
            found = []
            for name in names:
                conditions = (await site.status(name)).get("conditions", ())
                found += [f"{name}: {c['reason']} {c['message']}" for c in conditions if c["type"] == "SourceHealthy"]
            return found

        try:
            await eventually(all_told, 200)
        except AssertionError:
            pytest.fail("\n".join(await told()))
        said = await _everything_said(bed, site, operator, names)
    assert len(shown) > 2, "Prometheus was shown the logins"
    assert broker.tokens.granted
    assert broker.tokens.refused
    log = said.pop("log")
    assert "DEBUG" in log, "the log is at the level that shows most"
    said["log"] = log
    assert {where: canaries.seen_in(text) for where, text in said.items() if canaries.seen_in(text)} == {}
    asked = [r for r in bed.controlplane.audit(begun_at, user=USER) if r.resource == "secrets"]
    assert {r.verb for r in asked} == {"get"}
    assert {r.namespace for r in asked} == {site.name}


async def _everything_said(bed: Bed, site: Site, operator: Operator, names: list[str]) -> dict[str, str]:
    """All outputs by what they are."""
    token = await bed.aside(
        bed.controlplane.kubectl, "create", "token", "consumer-autoscaler", "-n", NAMESPACE, "--duration=10m"
    )
    said: dict[str, str] = {}
    for group in ("/api/v1", "/apis/events.k8s.io/v1"):
        said[f"events {group}"] = json.dumps(await bed.api.call("GET", f"{group}/namespaces/{site.name}/events"))
    for name in names:
        said[f"resource {name}"] = json.dumps(await site.get_scaler(name))
        said[f"live {name}"] = await asyncio.to_thread(_live, f"{operator.port}/explain/{site.name}/{name}", token)
    where = ("--operator", f"http://127.0.0.1:{operator.port}", f"{site.name}/bearer")
    said["explain"] = str(await command_line("explain", "--live", *where, token=token.strip()))
    for path in ("/metrics", "/healthz", "/readyz", "/explain/x/y", "/nonsense"):
        said[path] = (await asyncio.to_thread(operator.get, path))[1]
    environment = Path(f"/proc/{operator.process.pid}/cmdline")
    said["command line"] = (await asyncio.to_thread(environment.read_bytes)).decode()
    said["log"] = await asyncio.to_thread(operator.process.log.read_text)
    try:
        lease = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases"
        said["leases"] = json.dumps(await bed.api.call("GET", lease))
    except ApiError as error:
        said["leases"] = str(error)
    return said


def _live(where: str, token: str) -> str:
    """What /explain shows to one who may see all."""
    request = urllib.request.Request(f"http://127.0.0.1:{where}", headers={"Authorization": f"Bearer {token.strip()}"})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        return f"{error.code} {error.read().decode()}"


def test_a_canary_is_found_in_every_form(canaries: Canaries) -> None:
    """The search is no better than its forms: here is each of them, found."""
    mine = Canaries()
    secret = mine.new("password")
    texts = [
        secret, f"x{secret}y", json.dumps({"a": secret}), quote(secret), secret.encode().hex(),
        *(base64.b64encode(f"{user}:{secret}".encode()).decode() for user in ("", "a", "ab", "alice")),
        f"Traceback\n  login('{secret}')\nValueError: {secret!r}",
    ]  # fmt: skip
    assert [text for text in texts if mine.seen_in(text) != ["password"]] == []
    assert mine.seen_in("nothing of the sort") == []
