"""Secrets of a real API server as ways into a real broker: rotated without restart, shared by content, named."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from tests.addresses import ON_THIS_MACHINE
from tests.integration.site import Site, own_lease
from tests.integration.support import Bed, Together, eventually, operator_on

from bed.kafka_security import SecureKafka
from bed.kubeapi import MERGE_PATCH
from bed.operator import NAMESPACE, SERVICE_ACCOUNT
from consumer_autoscaler.cluster.kube import Kube
from consumer_autoscaler.cluster.secrets import Secrets
from consumer_autoscaler.decision.reasons import SourceReason
from consumer_autoscaler.decision.values import GroupReading, OffsetReset, Unavailable
from consumer_autoscaler.resource.access import SaslAccess, SecretKey, TlsAccess
from consumer_autoscaler.resource.access_schema import SaslMechanism
from consumer_autoscaler.resource.spec import KafkaSpec
from consumer_autoscaler.runtime.kafka_access import KafkaAccess
from consumer_autoscaler.sources.kafka.reader import KafkaLagSource
from consumer_autoscaler.sources.protocol import GroupRequest, Subscription

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240), pytest.mark.usefixtures("operator")]

together = Together()


class Shared:
    """For tests that run at the same time and so take no fixture of their own."""

    broker: SecureKafka


@pytest.fixture(scope="module", autouse=True)
def secure(secure_kafka: SecureKafka) -> None:
    Shared.broker = secure_kafka


async def put_secret(bed: Bed, namespace: str, name: str, **content: str) -> None:
    """Makes it or changes it; keys are written with `_` for `.`."""
    data = {key.replace("_", "."): base64.b64encode(value.encode()).decode() for key, value in content.items()}
    path = f"/api/v1/namespaces/{namespace}/secrets"
    names = [item["metadata"]["name"] for item in (await bed.api.call("GET", path))["items"]]
    if name in names:
        await bed.api.call("PATCH", f"{path}/{name}", {"data": data}, content_type=MERGE_PATCH)
    else:
        await bed.api.call("POST", path, {"metadata": {"name": name}, "data": data})


@together
async def test_a_password_is_rotated_without_a_restart(bed: Bed) -> None:
    """The broker's first, then the Secret's; in between the condition says it and nothing is scaled."""
    site = await Site.open(bed, "rotated", broker=Shared.broker, resource=False)
    await put_secret(bed, site.name, "bea", password="bea-secret")  # without a `username`, as Strimzi writes it
    sasl = {"mechanism": "SCRAM-SHA-256", "credentialsSecretRef": {"name": "bea"}}
    kafka = {"bootstrapServers": Shared.broker.address("BARE"), "sasl": sasl}
    await site.create_scaler(kafka=kafka)
    await site.until_read()

    await asyncio.to_thread(Shared.broker.set_password, "bea", "bea-other", bits=256)
    said = await site.until_condition("SourceHealthy", "False", "AuthenticationFailed")
    assert "refuses user 'bea' by SCRAM-SHA-256: unknown user or wrong password" in said
    await site.produce(3, 2, 1)
    await site.holds(0, polls=3)

    await put_secret(bed, site.name, "bea", password="bea-other")
    await site.until_replicas(3)


@together
async def test_a_missing_secret_is_named_until_it_is_there(bed: Bed) -> None:
    """Nothing is scaled down meanwhile."""
    site, kafka = await through_secrets(bed, "missing")
    await site.create_scaler(kafka=kafka)
    said = await site.until_condition("SourceHealthy", "False", "AuthenticationFailed")
    assert said.startswith(f"there is no Secret login in namespace {site.name}")
    assert site.counts == [1]
    await put_secret(bed, site.name, "login", username="alice", password="alice-secret")
    await site.until_read()


@together
async def test_a_missing_key_is_named_until_it_is_there(bed: Bed) -> None:
    """As a missing Secret is."""
    site, kafka = await through_secrets(bed, "keyless")
    await put_secret(bed, site.name, "login", username="alice")
    await site.create_scaler(kafka=kafka)
    said = await site.until_condition("SourceHealthy", "False", "AuthenticationFailed")
    assert said.startswith("Secret login has no key password")
    assert site.counts == [1]
    await put_secret(bed, site.name, "login", password="alice-secret")
    await site.until_read()


async def through_secrets(bed: Bed, label: str) -> tuple[Site, dict[str, Any]]:
    """A site with one pod and the broker's CA; its resource is to log in by the Secret `login`."""
    site = await Site.open(bed, label, replicas=1, broker=Shared.broker, resource=False)
    await put_secret(bed, site.name, "cluster-ca", ca_crt=Shared.broker.pem("ca.crt"))
    sasl = {"mechanism": "SCRAM-SHA-512", "credentialsSecretRef": {"name": "login"}}
    tls = {"caSecretRef": {"name": "cluster-ca"}}
    return site, {"bootstrapServers": Shared.broker.address("LOGIN"), "tls": tls, "sasl": sasl}


@together
async def test_mutual_tls_by_a_cert_manager_secret(bed: Bed) -> None:
    """One Secret has the CA and the operator's own certificate, under cert-manager's keys."""
    site = await Site.open(bed, "mutual", broker=Shared.broker, resource=False)
    pair = {"tls_crt": Shared.broker.pem("client.crt"), "tls_key": Shared.broker.pem("client.key")}
    await put_secret(bed, site.name, "me", ca_crt=Shared.broker.pem("ca.crt"), **pair)
    tls = {"caSecretRef": {"name": "me"}, "certificateSecretRef": {"name": "me"}}
    await site.create_scaler(kafka={"bootstrapServers": Shared.broker.address("MUTUAL"), "tls": tls})
    await site.produce(1)
    await site.until_replicas(1)


@together
async def test_a_plain_password_without_tls_needs_the_operators_leave(bed: Bed) -> None:
    """It is not even tried."""
    site = await Site.open(bed, "bare", broker=Shared.broker, resource=False)
    await put_secret(bed, site.name, "alice", username="alice", password="alice-secret")
    sasl = {"mechanism": "PLAIN", "credentialsSecretRef": {"name": "alice"}}
    await site.create_scaler(kafka={"bootstrapServers": Shared.broker.address("BARE"), "sasl": sasl})
    said = await site.until_condition("SourceHealthy", "False", "AuthenticationFailed")
    assert "set `tls`, or start the operator with --allow-passwords-without-tls" in said


@together
async def test_no_secret_shows_in_logs_status_events_or_pages(bed: Bed) -> None:
    """Not even with the log at DEBUG, neither one that is accepted nor one that is refused."""
    site, kafka = await through_secrets(bed, "canary")
    await put_secret(bed, site.name, "login", username="alice", password="alice-secret")
    await put_secret(bed, site.name, "wrong", username="alice", password="canary-in-a-mine")
    async with operator_on(bed, *own_lease(site), "--log-level", "DEBUG", name="canary") as operator:
        await site.create_scaler(kafka=kafka)
        await site.until_read()
        wrong = {**kafka["sasl"], "credentialsSecretRef": {"name": "wrong"}}
        await site.create_scaler(name="refused", kafka={**kafka, "sasl": wrong})
        await site.until_condition("SourceHealthy", "False", "AuthenticationFailed", name="refused")
        shown = operator.process.log.read_text() + (await asyncio.to_thread(operator.get, "/metrics"))[1]
        events = await bed.api.call("GET", f"/apis/events.k8s.io/v1/namespaces/{site.name}/events")
        shown += f"{await site.status()} {await site.status('refused')} {events}"
    assert "does not let us in" in shown or "lets us in" in shown
    assert [secret for secret in ("alice-secret", "canary-in-a-mine", "PRIVATE KEY") if secret in shown] == []


@asynccontextmanager
async def access_as(bed: Bed, namespace: str, account: str) -> AsyncIterator[tuple[KafkaAccess, KafkaLagSource]]:
    """What the operator has inside, with the rights of a service account."""
    kubeconfig = await bed.aside(bed.controlplane.kubeconfig_for, namespace, account)
    source = KafkaLagSource(time.time, policy=ON_THIS_MACHINE)
    try:
        async with Kube.connect(kubeconfig) as kube:
            yield KafkaAccess(source, Secrets(kube)), source
    finally:
        await source.aclose()


def reason(reading: GroupReading | Unavailable) -> object:
    return reading.reason if isinstance(reading, Unavailable) else None


def login(namespace: str, secret: str, to: KafkaAccess) -> Subscription:
    """A resource of the namespace that logs in as this Secret says."""
    address = Shared.broker.address("LOGIN")
    sasl = SaslAccess(
        mechanism=SaslMechanism.SCRAM_SHA_512,
        username=SecretKey(secret, ("username",)),
        password=SecretKey(secret, ("password",)),
    )
    kafka = KafkaSpec(
        bootstrap_servers=(address,),
        consumer_group="nobody",
        topics=("anything",),
        offset_reset=OffsetReset.LATEST,
        tls=TlsAccess(ca=SecretKey("cluster-ca", ("ca.crt",))),
        sasl=sasl,
    )
    request = GroupRequest(bootstrap_servers=(address,), consumer_group="g", topics=(namespace,), interval_seconds=1)
    return to.subscribe(namespace, kafka, request)


@together
async def test_clients_are_shared_by_what_is_in_secrets_not_by_their_names(bed: Bed) -> None:
    """Two names with one content: one client; another user: another."""
    site = await Site.open(bed, "shared", broker=Shared.broker, resource=False)
    await put_secret(bed, site.name, "cluster-ca", ca_crt=Shared.broker.pem("ca.crt"))
    for name in ("one", "other-name"):
        await put_secret(bed, site.name, name, username="alice", password="alice-secret")
    await put_secret(bed, site.name, "other-user", username="full", password="full-secret")
    async with access_as(bed, NAMESPACE, SERVICE_ACCOUNT) as (access, source):
        for name, clients in (("one", 1), ("other-name", 1), ("other-user", 2)):
            assert reason(await login(site.name, name, access).next()) is not SourceReason.AUTHENTICATION_FAILED
            assert source.stats.clusters == clients


@together
async def test_the_client_of_an_old_password_ends_with_its_last_user(bed: Bed) -> None:
    """One resource goes over to the new content, and no connection stays behind."""
    site = await Site.open(bed, "left", broker=Shared.broker, resource=False)
    await put_secret(bed, site.name, "cluster-ca", ca_crt=Shared.broker.pem("ca.crt"))
    await put_secret(bed, site.name, "login", username="alice", password="alice-secret")
    async with access_as(bed, NAMESPACE, SERVICE_ACCOUNT) as (access, source):
        subscription = login(site.name, "login", replace(access, again_seconds=0))
        assert reason(await subscription.next()) is None
        await put_secret(bed, site.name, "login", username="full", password="full-secret")
        while (
            reason(await subscription.next()) is not SourceReason.AUTHORIZATION_FAILED
        ):  # another user, without rights
            assert source.stats.clusters == 1
        assert source.stats.clusters == 1
        subscription.close()
        await eventually(lambda: (source.stats.clusters, source.stats.connections) == (0, 0))


@together
async def test_a_right_on_secrets_that_is_missing_is_named(bed: Bed) -> None:
    """As where an administrator gives it for some namespaces only."""
    site = await Site.open(bed, "forbidden", broker=Shared.broker, resource=False)
    await bed.aside(bed.controlplane.kubectl, "create", "serviceaccount", "weak", "-n", site.name)
    async with access_as(bed, site.name, "weak") as (access, _):
        reading = await login(site.name, "one", access).next()
        assert not isinstance(reading, GroupReading)
        assert reading.reason is SourceReason.AUTHENTICATION_FAILED
        assert f"give it the right to get Secrets in namespace {site.name}" in reading.message
