"""How a Kafka cluster is entered: the resolved material as values. No IO.

Two are equal when their contents are: clients are shared by addresses and what is in here, never by the name of a
Secret. What must not be seen is not in `repr`, so a value may be logged.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class Mechanism(StrEnum):
    """The SASL mechanisms by the names that brokers use; AWS_MSK_IAM goes over the wire as OAUTHBEARER."""

    PLAIN = "PLAIN"
    SCRAM_SHA_256 = "SCRAM-SHA-256"
    SCRAM_SHA_512 = "SCRAM-SHA-512"
    OAUTHBEARER = "OAUTHBEARER"
    AWS_MSK_IAM = "AWS_MSK_IAM"

    @property
    def on_the_wire(self) -> str:
        return "OAUTHBEARER" if self is Mechanism.AWS_MSK_IAM else self.value

    @property
    def reveals(self) -> bool:
        """Whether whoever listens to a connection without TLS can use what he hears. SCRAM shows a proof only."""
        return self not in (Mechanism.SCRAM_SHA_256, Mechanism.SCRAM_SHA_512)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """TLS with the host's name checked, always. No CA: those that the system trusts."""

    ca_pem: str = field(default="", repr=False)
    certificate_pem: str = field(default="", repr=False)  # the client's own, with its chain; "" without
    key_pem: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class PasswordLogin:
    """PLAIN (RFC 4616) or SCRAM (RFC 5802, RFC 7677)."""

    mechanism: Mechanism
    username: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class OAuthLogin:
    """OAUTHBEARER (RFC 7628) with tokens of the client-credentials grant (RFC 6749 §4.4)."""

    token_endpoint: str  # http(s)://…
    client_id: str
    client_secret: str = field(repr=False)
    scope: str = ""
    ca_pem: str = field(default="", repr=False)  # of the token endpoint
    mechanism: Mechanism = field(default=Mechanism.OAUTHBEARER, init=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class AwsLogin:
    """Amazon MSK with IAM: tokens that are signed here, without asking anybody."""

    region: str
    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str = field(default="", repr=False)
    mechanism: Mechanism = field(default=Mechanism.AWS_MSK_IAM, init=False)


Login = PasswordLogin | OAuthLogin | AwsLogin


@dataclass(frozen=True, slots=True, kw_only=True)
class Security:
    """One way in. Neither TLS nor a login: PLAINTEXT."""

    tls: Tls | None = None
    login: Login | None = None

    @property
    def protocol(self) -> str:
        """Kafka's own word, as in a broker's `listener.security.protocol.map`."""
        encrypted = "SSL" if self.tls is not None else "PLAINTEXT"
        return f"SASL_{encrypted}" if self.login is not None else encrypted
