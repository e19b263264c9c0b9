"""Which keys of which Secrets a resource names for its way into Kafka. References only: nothing is read here."""

from __future__ import annotations

from dataclasses import dataclass

from consumer_autoscaler.resource.access_schema import CaSecretRef, SaslMechanism, SaslSpec, TlsSpec

_USERNAME: dict[SaslMechanism, tuple[str, ...]] = {
    SaslMechanism.OAUTHBEARER: ("client-id",),
    SaslMechanism.AWS_MSK_IAM: ("access-key-id",),
}
_PASSWORD: dict[SaslMechanism, tuple[str, ...]] = {
    SaslMechanism.OAUTHBEARER: ("client-secret",),
    SaslMechanism.AWS_MSK_IAM: ("secret-access-key",),
}


@dataclass(frozen=True, slots=True)
class SecretKey:
    """One entry of a Secret of the resource's namespace: the first of `keys` that is there."""

    secret: str
    keys: tuple[str, ...]
    or_name: bool = False  # without any of them: the Secret's own name
    optional: bool = False  # without any of them: nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsAccess:
    ca: SecretKey | None = None  # None: the system's
    certificate: SecretKey | None = None
    private_key: SecretKey | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SaslAccess:
    """`token_endpoint` with OAUTHBEARER, `aws_region` with AWS_MSK_IAM, else empty."""

    mechanism: SaslMechanism
    username: SecretKey
    password: SecretKey
    session_token: SecretKey | None = None
    token_endpoint: str = ""
    scope: str = ""
    oauth_ca: SecretKey | None = None
    aws_region: str = ""


def tls_access(spec: TlsSpec) -> TlsAccess:
    own = spec.certificate_secret_ref
    if own is None:
        return TlsAccess(ca=_ca(spec.ca_secret_ref))
    return TlsAccess(
        ca=_ca(spec.ca_secret_ref),
        certificate=SecretKey(own.name, secret_keys(own.certificate_key, "tls.crt", "user.crt")),
        private_key=SecretKey(own.name, secret_keys(own.private_key_key, "tls.key", "user.key")),
    )


def sasl_access(spec: SaslSpec) -> SaslAccess:
    ref, how, oauth = spec.credentials_secret_ref, spec.mechanism, spec.oauth
    assert ref is not None  # the model refuses it
    named = not ref.username_key and how not in _USERNAME
    return SaslAccess(
        mechanism=how,
        username=SecretKey(ref.name, secret_keys(ref.username_key, *_USERNAME.get(how, ("username",))), or_name=named),
        password=SecretKey(ref.name, secret_keys(ref.password_key, *_PASSWORD.get(how, ("password",)))),
        session_token=_session_token(ref.name, ref.session_token_key) if how is SaslMechanism.AWS_MSK_IAM else None,
        token_endpoint=oauth.token_endpoint if oauth else "",
        scope=(oauth.scope or "") if oauth else "",
        oauth_ca=_ca(oauth.ca_secret_ref) if oauth else None,
        aws_region=spec.aws_region or "",
    )


def _session_token(secret: str, key: str | None) -> SecretKey:
    return SecretKey(secret, secret_keys(key, "session-token"), optional=key is None)


def _ca(ref: CaSecretRef | None) -> SecretKey | None:
    return None if ref is None else SecretKey(ref.name, secret_keys(ref.key, "ca.crt"))


def secret_keys(chosen: str | None, *usual: str) -> tuple[str, ...]:
    """The key that the user chose, else the usual ones."""
    return (chosen,) if chosen else usual
