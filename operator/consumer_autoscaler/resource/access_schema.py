"""The fields that say how a Kafka cluster is entered. Secrets are named, in the resource's own namespace only."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Self

from pydantic import ConfigDict, Field, model_validator

from consumer_autoscaler.resource.schema_rules import DNS_SUBDOMAIN, Matches, Part, cel_rules, refuse


class SaslMechanism(StrEnum):
    """As brokers name them. GSSAPI is known here so that it can be refused in words."""

    PLAIN = "PLAIN"
    SCRAM_SHA_256 = "SCRAM-SHA-256"
    SCRAM_SHA_512 = "SCRAM-SHA-512"
    OAUTHBEARER = "OAUTHBEARER"
    AWS_MSK_IAM = "AWS_MSK_IAM"
    GSSAPI = "GSSAPI"


_NO_GSSAPI = (
    "GSSAPI (Kerberos) is not supported: use a SCRAM user, OAUTHBEARER or a client certificate for the operator"
)
_CREDENTIALS = "`credentialsSecretRef` must be set"
_OAUTH = "`oauth` must be set with mechanism OAUTHBEARER, and only with it"
_AWS = "`awsRegion` must be set with mechanism AWS_MSK_IAM, and only with it"
_SESSION = "`sessionTokenKey` is for mechanism AWS_MSK_IAM only"

SecretName = Annotated[
    str,
    Field(min_length=1, max_length=253),
    Matches(DNS_SUBDOMAIN, "must be the name of a Secret: lower-case letters, digits, '-' and '.'"),
]
SecretKeyName = Annotated[
    str,
    Field(min_length=1, max_length=253),
    Matches(r"[-._a-zA-Z0-9]+", "must be a key of a Secret: letters, digits, '-', '_' and '.'"),
]


class CaSecretRef(Part):
    name: SecretName = Field(description="Name of a Secret in the namespace of this resource.")
    key: SecretKeyName | None = Field(
        default=None, description="The key that holds the CA certificates in PEM. When not set: `ca.crt`."
    )


class CertificateSecretRef(Part):
    name: SecretName = Field(description="Name of a Secret in the namespace of this resource.")
    certificate_key: SecretKeyName | None = Field(
        default=None,
        description="The key that holds the certificate in PEM. When not set: `tls.crt`, as cert-manager writes it, "
        "or `user.crt`, as Strimzi does.",
    )
    private_key_key: SecretKeyName | None = Field(
        default=None,
        description="The key that holds the private key in PEM, without a password. When not set: `tls.key` or "
        "`user.key`.",
    )


class TlsSpec(Part):
    ca_secret_ref: CaSecretRef | None = Field(
        default=None,
        description="The CA that signed the servers' certificates. When not set: those that the operator's system "
        "trusts.",
    )
    certificate_secret_ref: CertificateSecretRef | None = Field(
        default=None, description="A certificate for the operator itself, where servers want one (mutual TLS)."
    )


class CredentialsSecretRef(Part):
    name: SecretName = Field(description="Name of a Secret in the namespace of this resource.")
    username_key: SecretKeyName | None = Field(
        default=None,
        description="The key that holds who logs in. When not set: for OAUTHBEARER `client-id`, for AWS_MSK_IAM "
        "`access-key-id`, else `username`, and where there is no such key, as in Strimzi's Secrets, the Secret's name.",
    )
    password_key: SecretKeyName | None = Field(
        default=None,
        description="The key that holds the password. When not set: for OAUTHBEARER `client-secret`, for AWS_MSK_IAM "
        "`secret-access-key`, else `password`.",
    )
    session_token_key: SecretKeyName | None = Field(
        default=None,
        description="With AWS_MSK_IAM, the key that holds the session token of temporary credentials. When not set: "
        "`session-token`, if it is there.",
    )


class OAuthSpec(Part):
    token_endpoint: Annotated[
        str,
        Field(min_length=1, max_length=1024),
        Matches(
            r"https?://[A-Za-z0-9.\[\]:_-]+(/[^ @]*)?", "must be an https:// address, without a user or spaces in it"
        ),
    ] = Field(
        description="Where tokens are had by the client-credentials grant. Plain http:// only where the operator was "
        "started with --allow-passwords-without-tls."
    )
    scope: (
        Annotated[
            str,
            Field(min_length=1, max_length=1024),
            Matches(r'[^\x00-\x1f\x7f"\\]+', "must not contain control characters, quotes or backslashes"),
        ]
        | None
    ) = Field(default=None, description="The scope to ask for; several separated by spaces. When not set: none.")
    ca_secret_ref: CaSecretRef | None = Field(
        default=None,
        description="The CA that signed the token endpoint's certificate. When not set: those that the operator's "
        "system trusts.",
    )


class SaslSpec(Part):
    model_config = ConfigDict(
        json_schema_extra=cel_rules(
            ("self.mechanism != 'GSSAPI'", _NO_GSSAPI),
            ("self.mechanism == 'GSSAPI' || has(self.credentialsSecretRef)", _CREDENTIALS),
            ("(self.mechanism == 'OAUTHBEARER') == has(self.oauth)", _OAUTH),
            ("(self.mechanism == 'AWS_MSK_IAM') == has(self.awsRegion)", _AWS),
            (
                "self.mechanism == 'AWS_MSK_IAM' || !has(self.credentialsSecretRef)"
                " || !has(self.credentialsSecretRef.sessionTokenKey)",
                _SESSION,
            ),
        )
    )

    mechanism: SaslMechanism = Field(
        description="How to log in: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER or AWS_MSK_IAM. PLAIN and "
        "OAUTHBEARER need `tls`, unless the operator was started with --allow-passwords-without-tls."
    )
    credentials_secret_ref: CredentialsSecretRef | None = Field(
        default=None, description="Where the user name and the password are, or what the mechanism has in their place."
    )
    oauth: OAuthSpec | None = Field(default=None, description="For mechanism OAUTHBEARER: where tokens come from.")
    aws_region: (
        Annotated[
            str,
            Field(min_length=1, max_length=63),
            Matches(r"[a-z0-9-]+", "must be an AWS region such as eu-west-1"),
        ]
        | None
    ) = Field(default=None, description="For mechanism AWS_MSK_IAM: the region of the cluster.")

    @model_validator(mode="after")
    def _belong_together(self) -> Self:
        aws = self.mechanism is SaslMechanism.AWS_MSK_IAM
        if self.mechanism is SaslMechanism.GSSAPI:
            refuse(_NO_GSSAPI)
        if self.credentials_secret_ref is None:
            refuse(_CREDENTIALS)
        if (self.mechanism is SaslMechanism.OAUTHBEARER) != (self.oauth is not None):
            refuse(_OAUTH)
        if aws != (self.aws_region is not None):
            refuse(_AWS)
        if self.credentials_secret_ref.session_token_key and not aws:
            refuse(_SESSION)
        return self
