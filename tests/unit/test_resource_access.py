"""Reading `tls` and `sasl` of a resource: which keys of which Secrets, and what a bad combination is told."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import yaml
from tests.unit.test_resource_spec import SMALLEST, body, refusal

from consumer_autoscaler.resource.access import SaslAccess, SecretKey, TlsAccess
from consumer_autoscaler.resource.access_schema import SaslMechanism
from consumer_autoscaler.resource.spec import KafkaSpec, parse


def spec_with(text: str) -> dict[str, Any]:
    """The smallest spec with these fields of `kafka` added."""
    spec: dict[str, Any] = copy.deepcopy(SMALLEST)
    spec["sources"][0]["kafka"] |= yaml.safe_load(text)
    return spec


def kafka(text: str) -> KafkaSpec:
    return parse(body(spec_with(text))).kafka


def test_without_the_fields_the_way_in_is_plain() -> None:
    """No TLS, no login."""
    assert (kafka("{}").tls, kafka("{}").sasl) == (None, None)


def test_an_empty_tls_trusts_what_the_system_trusts() -> None:
    """Enough for brokers with certificates of a public CA."""
    assert kafka("tls: {}").tls == TlsAccess()


def test_cert_managers_and_strimzis_keys_are_the_usual_ones() -> None:
    """So that a name alone is enough with either."""
    read = kafka("tls: {caSecretRef: {name: cluster-ca}, certificateSecretRef: {name: me}}")
    assert read.tls == TlsAccess(
        ca=SecretKey("cluster-ca", ("ca.crt",)),
        certificate=SecretKey("me", ("tls.crt", "user.crt")),
        private_key=SecretKey("me", ("tls.key", "user.key")),
    )


def test_keys_that_are_named_are_the_only_ones() -> None:
    """Every reference can name its own."""
    read = kafka("""
        tls:
          caSecretRef: {name: a, key: root.pem}
          certificateSecretRef: {name: b, certificateKey: c.pem, privateKeyKey: k.pem}
        sasl: {mechanism: PLAIN, credentialsSecretRef: {name: d, usernameKey: u, passwordKey: p}}
    """)
    assert read.tls == TlsAccess(
        ca=SecretKey("a", ("root.pem",)),
        certificate=SecretKey("b", ("c.pem",)),
        private_key=SecretKey("b", ("k.pem",)),
    )
    assert read.sasl == SaslAccess(
        mechanism=SaslMechanism.PLAIN, username=SecretKey("d", ("u",)), password=SecretKey("d", ("p",))
    )


def test_a_strimzi_user_is_named_as_its_secret() -> None:
    """Its Secret holds a password only."""
    read = kafka("sasl: {mechanism: SCRAM-SHA-512, credentialsSecretRef: {name: autoscaler}}")
    assert read.sasl == SaslAccess(
        mechanism=SaslMechanism.SCRAM_SHA_512,
        username=SecretKey("autoscaler", ("username",), or_name=True),
        password=SecretKey("autoscaler", ("password",)),
    )


def test_tokens_have_an_endpoint_and_msk_a_region() -> None:
    """With the keys that such credentials usually have."""
    oauth = kafka("""
        sasl:
          mechanism: OAUTHBEARER
          credentialsSecretRef: {name: c}
          oauth: {tokenEndpoint: "https://id.example/realms/x/token", scope: kafka read, caSecretRef: {name: ca}}
    """).sasl
    assert oauth == SaslAccess(
        mechanism=SaslMechanism.OAUTHBEARER,
        username=SecretKey("c", ("client-id",)),
        password=SecretKey("c", ("client-secret",)),
        token_endpoint="https://id.example/realms/x/token",
        scope="kafka read",
        oauth_ca=SecretKey("ca", ("ca.crt",)),
    )
    aws = kafka("""
        tls: {}
        sasl: {mechanism: AWS_MSK_IAM, credentialsSecretRef: {name: c}, awsRegion: eu-west-1}
    """).sasl
    assert aws == SaslAccess(
        mechanism=SaslMechanism.AWS_MSK_IAM,
        username=SecretKey("c", ("access-key-id",)),
        password=SecretKey("c", ("secret-access-key",)),
        session_token=SecretKey("c", ("session-token",), optional=True),
        aws_region="eu-west-1",
    )


NAMED = "credentialsSecretRef: {name: c}"
REFUSED = [
    ("sasl: {mechanism: GSSAPI}", "GSSAPI (Kerberos) is not supported: use a SCRAM user"),
    ("sasl: {mechanism: PLAIN}", "`credentialsSecretRef` must be set"),
    (f"sasl: {{mechanism: OAUTHBEARER, {NAMED}}}", "`oauth` must be set with mechanism OAUTHBEARER"),
    (f"sasl: {{mechanism: PLAIN, {NAMED}, awsRegion: eu-west-1}}", "`awsRegion` must be set with mechanism AWS_MSK"),
    (f"sasl: {{mechanism: AWS_MSK_IAM, {NAMED}, awsRegion: eu-west-1}}", "`tls: {}` is enough"),
    (
        "sasl: {mechanism: PLAIN, credentialsSecretRef: {name: c, sessionTokenKey: t}}",
        "`sessionTokenKey` is for mechanism AWS_MSK_IAM only",
    ),
    ("sasl: {mechanism: MD5}", "must be one of"),
    ("tls: {caSecretRef: {name: other/ns}}", "must be the name of a Secret"),
    ("tls: {caSecretRef: {name: a, key: ../b}}", "must be a key of a Secret"),
    (
        f"sasl: {{mechanism: OAUTHBEARER, {NAMED}, oauth: {{tokenEndpoint: 'https://u:p@id/'}}}}",
        "must be an https:// address",
    ),
]


@pytest.mark.parametrize(("text", "says"), REFUSED)
def test_what_does_not_belong_together_is_refused_in_words(text: str, says: str) -> None:
    """By the operator; the API server says the same, which the test of the CRD on a real one shows."""
    assert says in refusal(spec_with(text))
