"""A client's properties file as people have it, to the way in that it describes."""

from __future__ import annotations

from pathlib import Path

import pytest

from consumer_autoscaler.sources.kafka.access.client_properties import BadProperties, load, properties_of, security_of
from consumer_autoscaler.sources.kafka.access.security import Mechanism, OAuthLogin, PasswordLogin, Security, Tls

JAVA = r"""
# for the tools
security.protocol=SASL_SSL
sasl.mechanism = SCRAM-SHA-512
sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required \
    username="ops" \
    password="s=e;c";
ssl.truststore.type=PEM
ssl.truststore.location=CA
client.id: somebody
"""


def test_a_java_clients_file_is_understood(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("the CA")
    (tmp_path / "client.properties").write_text(JAVA.replace("=CA", f"={tmp_path / 'ca.pem'}"))
    assert load(tmp_path / "client.properties") == Security(
        tls=Tls(ca_pem="the CA"),
        login=PasswordLogin(mechanism=Mechanism.SCRAM_SHA_512, username="ops", password="s=e;c"),
    )


def test_librdkafkas_names_say_the_same(tmp_path: Path) -> None:
    for name in ("ca", "cert", "key"):
        (tmp_path / name).write_text(f"the {name}")
    text = f"""
        security.protocol=ssl
        ssl.ca.location={tmp_path}/ca
        ssl.certificate.location={tmp_path}/cert
        ssl.key.location={tmp_path}/key
    """
    tls = Tls(ca_pem="the ca", certificate_pem="the cert", key_pem="the key")
    assert security_of(properties_of(text)) == Security(tls=tls)


def test_tokens_are_asked_for_at_the_endpoint() -> None:
    properties = {
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "OAUTHBEARER",
        "sasl.oauthbearer.token.endpoint.url": "http://127.0.0.1:1/token",
        "sasl.jaas.config": 'x.OAuthBearerLoginModule required clientId="a" clientSecret="b" scope="c";',
    }
    login = OAuthLogin(token_endpoint="http://127.0.0.1:1/token", client_id="a", client_secret="b", scope="c")
    assert security_of(properties) == Security(login=login)


def test_without_a_protocol_it_is_plaintext() -> None:
    assert security_of({"bootstrap.servers": "x:1"}) == Security()


@pytest.mark.parametrize(
    ("properties", "message"),
    [
        ({"security.protocol": "TLS"}, "security.protocol must be one of PLAINTEXT, SSL"),
        ({"security.protocol": "SASL_SSL"}, "sasl.mechanism is required"),
        ({"security.protocol": "SASL_SSL", "sasl.mechanism": "GSSAPI"}, "sasl.mechanism must be PLAIN"),
        ({"security.protocol": "SASL_SSL", "sasl.mechanism": "PLAIN"}, "must give username and password"),
        ({"security.protocol": "SSL", "ssl.truststore.location": "a.jks"}, "ssl.truststore.type must be PEM"),
        ({"security.protocol": "SSL", "ssl.ca.location": "/nowhere"}, "ssl.ca.location: the file cannot be read"),
        ({"ssl.endpoint.identification.algorithm": ""}, "ssl.endpoint.identification.algorithm is not supported"),
    ],
)
def test_what_cannot_be_used_is_named_with_the_remedy(properties: dict[str, str], message: str) -> None:
    with pytest.raises(BadProperties, match=message):
        security_of(properties)


def test_no_secret_is_in_a_message() -> None:
    text = 'security.protocol=SASL_SSL\nsasl.mechanism=PLAIN\nsasl.jaas.config=x required password="hunter2";'
    with pytest.raises(BadProperties) as caught:
        security_of(properties_of(text))
    assert "hunter2" not in str(caught.value)
