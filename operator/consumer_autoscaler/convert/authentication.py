"""How a trigger logs in: its metadata and its TriggerAuthentication, as `tls` and `sasl` of a Kafka source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from consumer_autoscaler.convert.documents import Documents
from consumer_autoscaler.convert.notes import Json, Notes, Refused, mapping, members

_MECHANISMS = {
    "plaintext": "PLAIN",
    "scram_sha256": "SCRAM-SHA-256",
    "scram_sha512": "SCRAM-SHA-512",
    "oauthbearer": "OAUTHBEARER",
    "aws_msk_iam": "AWS_MSK_IAM",
}
_UNREADABLE = {
    "hashiCorpVault": "HashiCorp Vault",
    "azureKeyVault": "Azure Key Vault",
    "gcpSecretManager": "GCP Secret Manager",
    "awsSecretManager": "AWS Secrets Manager",
    "filePath": "a file in KEDA's own pod",
    "boundServiceAccountToken": "a ServiceAccount token",
    "oauth2": "KEDA's own OAuth client",
    "configMapTargetRef": "a ConfigMap",
}
_TOKENS = "let a tool such as External Secrets write it into a Secret of this namespace, and name that"


@dataclass(frozen=True, slots=True)
class SecretKey:
    name: str
    key: str


Parameters = dict[str, "SecretKey | str"]  # where a value stands, or the value itself


@dataclass(frozen=True, slots=True)
class Target:
    """What is scaled: its containers' variables may hold what a trigger needs."""

    namespace: str
    kind: str
    name: str
    container: str = ""


def access_of(trigger: Mapping[str, Any], where: str, target: Target, documents: Documents, notes: Notes) -> Json:
    """`tls` and `sasl`, each if there is to be one. Raises Refused."""
    metadata = mapping(trigger.get("metadata"), f"{where}.metadata")
    parameters: Parameters = {}
    reference = mapping(trigger.get("authenticationRef"), f"{where}.authenticationRef")
    if reference:
        parameters = _parameters(reference, f"{where}.authenticationRef", target, documents, notes)
    for name in ("sasl", "tls", "awsRegion", "saslTokenProvider"):
        if metadata.get(name):
            parameters[name] = str(metadata[name])
    found: Json = {}
    tls = _tls(parameters, metadata, f"{where}", target, documents, notes)
    if tls is not None:
        found["tls"] = tls
    sasl = _sasl(parameters, where, target, documents, notes)
    if sasl is not None:
        found["sasl"] = sasl
        if tls is None and sasl["mechanism"] in ("PLAIN", "OAUTHBEARER"):
            notes.advice(
                f"{where}.metadata.tls",
                f"{sasl['mechanism']} without TLS sends the password as it is: the operator does so only when started"
                " with --allow-passwords-without-tls",
            )
    return found


def _parameters(
    reference: Mapping[str, Any], where: str, target: Target, documents: Documents, notes: Notes
) -> Parameters:
    kind, name = str(reference.get("kind") or "TriggerAuthentication"), str(reference.get("name") or "")
    cluster = kind == "ClusterTriggerAuthentication"
    body = documents.find(kind, name, None if cluster else target.namespace)
    if body is None:
        raise Refused(where, f"{kind} {name} is not among what was given: add it to the input")
    spec = mapping(body.get("spec"), f"{kind} {name}")
    found: Parameters = {}
    for key, what in _UNREADABLE.items():
        if spec.get(key):
            raise Refused(f"{kind} {name}: spec.{key}", f"the operator reads Secrets only, not {what}: {_TOKENS}")
    provider = mapping(spec.get("podIdentity"), f"{kind} {name}: spec.podIdentity").get("provider")
    if provider not in (None, "", "none"):
        raise Refused(
            f"{kind} {name}: spec.podIdentity",
            f"the identity of a pod ({provider}) is not supported: use a Secret with access keys",
        )
    for one in members(spec.get("secretTargetRef"), f"{kind} {name}: spec.secretTargetRef"):
        parameter, secret, key = (_member(one, member, f"{kind} {name}") for member in ("parameter", "name", "key"))
        found[parameter] = SecretKey(secret, key)
    for one in members(spec.get("env"), f"{kind} {name}: spec.env"):
        container = str(one.get("containerName") or "")
        held = variable(_member(one, "name", name), f"{kind} {name}: spec.env", target, documents, container=container)
        found[_member(one, "parameter", name)] = held
    secrets = sorted({value.name for value in found.values() if isinstance(value, SecretKey)})
    if cluster and secrets:
        notes.changed(
            where,
            f"a ClusterTriggerAuthentication reads the Secrets of KEDA's namespace: copy {', '.join(secrets)} to"
            f" {target.namespace}, as the operator reads those of the resource's own namespace only",
        )
    return found


def _member(one: Mapping[str, Any], member: str, where: str) -> str:
    value = one.get(member)
    if not value:
        raise Refused(where, f"an entry has no `{member}`")
    return str(value)


def variable(name: str, where: str, target: Target, documents: Documents, *, container: str = "") -> SecretKey | str:
    """What an environment variable of the target's container holds, or the Secret it comes from. Raises Refused."""
    env = documents.container_env(target.kind, target.name, target.namespace, container or target.container)
    if env is None:
        raise Refused(where, f"the variable {name} stands in {target.kind} {target.name}: add that to the input")
    entry = env.get(name)
    if entry is None:
        raise Refused(where, f"{target.kind} {target.name} has no variable {name} in `env`: write the value instead")
    if entry.get("value") is not None:
        return str(entry["value"])
    source = mapping(entry.get("valueFrom"), where)
    secret = mapping(source.get("secretKeyRef"), where)
    if secret.get("name") and secret.get("key"):
        return SecretKey(str(secret["name"]), str(secret["key"]))
    raise Refused(where, f"the variable {name} comes from neither a value nor a Secret: write the value instead")


def _text(parameters: Parameters, name: str, where: str, target: Target, documents: Documents, default: str) -> str:
    """The value of a parameter that must be known now. Raises Refused."""
    value = parameters.get(name)
    if value is None:
        return default
    if isinstance(value, str):
        return value.strip()
    text = documents.secret_text(target.namespace, value.name, value.key)
    if text is None:
        raise Refused(
            f"{where}: {name}",
            f"stands in the Secret {value.name} under {value.key}, which is not among what was given: add the Secret"
            f" to the input (or --read-secrets), or write `{name}` into the trigger's metadata",
        )
    return text.strip()


def _secret(parameters: Parameters, name: str, where: str) -> SecretKey | None:
    value = parameters.get(name)
    if isinstance(value, str):
        raise Refused(f"{where}: {name}", "stands in the open: put it into a Secret, which the operator can read")
    return value


def _tls(
    parameters: Parameters,
    metadata: Mapping[str, Any],
    where: str,
    target: Target,
    documents: Documents,
    notes: Notes,
) -> Json | None:
    enabled = _text(parameters, "tls", where, target, documents, "disable")
    if enabled not in ("enable", "disable"):
        raise Refused(f"{where}: tls", f"{enabled[:40]!r} is neither enable nor disable")
    if enabled == "disable":
        return None
    spec: Json = {}
    if (ca := _secret(parameters, "ca", where)) is not None:
        spec["caSecretRef"] = {"name": ca.name, "key": ca.key}
    certificate, key = _secret(parameters, "cert", where), _secret(parameters, "key", where)
    if certificate and key:
        if certificate.name != key.name:
            raise Refused(f"{where}: cert, key", "stand in two Secrets: put certificate and key into one")
        spec["certificateSecretRef"] = {
            "name": certificate.name, "certificateKey": certificate.key, "privateKeyKey": key.key
        }  # fmt: skip
        if parameters.get("keyPassword") is not None:
            raise Refused(f"{where}: keyPassword", "keys with a password are not supported: use one without")
    elif certificate or key:
        raise Refused(f"{where}: cert, key", "one without the other")
    if str(metadata.get("unsafeSsl", "false")).lower() == "true":
        notes.changed(
            f"{where}.metadata.unsafeSsl",
            "the brokers' certificates are always verified: name their CA in `tls.caSecretRef`",
        )
    return spec


def _sasl(parameters: Parameters, where: str, target: Target, documents: Documents, notes: Notes) -> Json | None:
    given = _text(parameters, "sasl", where, target, documents, "none")
    if given == "none":
        return None
    if given == "gssapi":
        raise Refused(f"{where}: sasl", "Kerberos (gssapi) is not supported: use a SCRAM user or a client certificate")
    provider = _text(parameters, "saslTokenProvider", where, target, documents, "bearer")
    name = "aws_msk_iam" if given == "oauthbearer" and provider == "aws_msk_iam" else given
    mechanism = _MECHANISMS.get(name)
    if mechanism is None:
        raise Refused(f"{where}: sasl", f"{given[:40]!r} is not a mechanism that is known")
    sasl: Json = {"mechanism": mechanism}
    user, password, token = ("username", "password", "")
    if mechanism == "AWS_MSK_IAM":
        user, password, token = "awsAccessKeyID", "awsSecretAccessKey", "awsSessionToken"
        region = _text(parameters, "awsRegion", where, target, documents, "")
        if not region:
            raise Refused(f"{where}: awsRegion", "is needed for AWS_MSK_IAM")
        sasl["awsRegion"] = region
        if parameters.get("awsRoleArn") is not None:
            raise Refused(f"{where}: awsRoleArn", "assuming a role is not supported: use a Secret with access keys")
    if mechanism == "OAUTHBEARER":
        sasl["oauth"] = _oauth(parameters, where, target, documents)
    sasl["credentialsSecretRef"] = _credentials(parameters, user, password, token, where)
    return sasl


def _oauth(parameters: Parameters, where: str, target: Target, documents: Documents) -> Json:
    endpoint = _text(parameters, "oauthTokenEndpointUri", where, target, documents, "")
    if not endpoint:
        raise Refused(f"{where}: oauthTokenEndpointUri", "is needed for oauthbearer")
    if parameters.get("oauthExtensions") is not None:
        raise Refused(f"{where}: oauthExtensions", "extensions of a token are not supported")
    oauth: Json = {"tokenEndpoint": endpoint}
    scopes = _text(parameters, "scopes", where, target, documents, "")
    if scopes:
        oauth["scope"] = " ".join(part.strip() for part in scopes.split(","))
    return oauth


def _credentials(parameters: Parameters, user: str, password: str, token: str, where: str) -> Json:
    first, second = _secret(parameters, user, where), _secret(parameters, password, where)
    if first is None or second is None:
        missing = " and ".join(name for name, value in ((user, first), (password, second)) if value is None)
        raise Refused(f"{where}: {missing}", "not found in the authentication: the operator takes both from a Secret")
    if first.name != second.name:
        raise Refused(f"{where}: {user}, {password}", "stand in two Secrets: put them into one")
    found = {"name": first.name, "usernameKey": first.key, "passwordKey": second.key}
    session = _secret(parameters, token, where) if token else None
    if session is not None:
        if session.name != first.name:
            raise Refused(f"{where}: {token}", "stands in another Secret: put it into the same")
        found["sessionTokenKey"] = session.key
    return found
