"""A Kafka client's properties file, as Kafka's own tools take it by --command-config, to a Security.

Both the Java client's names and librdkafka's are understood where they say the same. Certificates must be PEM.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from consumer_autoscaler.sources.kafka.access.security import Login, Mechanism, OAuthLogin, PasswordLogin, Security, Tls

PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
_KNOWN = re.compile(
    r"security\.protocol|sasl\.(mechanisms?|jaas\.config|username|password)"
    r"|sasl\.oauthbearer\.(token\.endpoint\.url|client\.id|client\.secret|scope|method)"
    r"|sasl\.login\.callback\.handler\.class"
    r"|ssl\.(ca|certificate|key)\.location|ssl\.(truststore|keystore)\.(type|location|certificates|key)"
    r"|ssl\.keystore\.certificate\.chain"
)
_CHECKED = ("sasl.", "ssl.", "security.")  # another setting of these could make the way in another one


class BadProperties(ValueError):
    """The file cannot be used; the message names the property and the remedy, and shows no value of it."""


def load(path: Path) -> Security:
    """Reads the file. Raises BadProperties."""
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise BadProperties(f"{path} cannot be read: {getattr(error, 'strerror', None) or 'it is no text'}") from error
    return security_of(properties_of(text))


def properties_of(text: str) -> dict[str, str]:
    """Names and values; `#` and `!` begin a comment, a backslash at the end of a line continues it."""
    found: dict[str, str] = {}
    for line in re.sub(r"\\\r?\n[ \t]*", "", text).splitlines():
        line = line.strip()
        if line and line[0] not in "#!":
            name, _, value = re.sub(r"\s*[=:]\s*", "=", line, count=1).partition("=")
            found[name] = value.replace(r"\n", "\n")
    return found


def security_of(properties: Mapping[str, str]) -> Security:
    """The way in that they describe. Raises BadProperties."""
    for name in properties:
        if name.startswith(_CHECKED) and not _KNOWN.fullmatch(name):
            raise BadProperties(f"{name} is not supported")
    protocol = properties.get("security.protocol", "PLAINTEXT").upper()
    if protocol not in PROTOCOLS:
        raise BadProperties(f"security.protocol must be one of {', '.join(PROTOCOLS)}")
    tls = _tls(properties) if protocol.endswith("SSL") else None
    return Security(tls=tls, login=_login(properties) if protocol.startswith("SASL") else None)


def _tls(properties: Mapping[str, str]) -> Tls:
    for store in ("ssl.truststore", "ssl.keystore"):
        if properties.get(f"{store}.location") and properties.get(f"{store}.type", "").upper() != "PEM":
            raise BadProperties(f"{store}.type must be PEM: export the store's certificates as PEM")
    chain = properties.get("ssl.keystore.certificate.chain") or _file(properties, "ssl.certificate.location")
    key = properties.get("ssl.keystore.key") or _file(properties, "ssl.key.location")
    store = _file(properties, "ssl.keystore.location")  # holds both
    return Tls(
        ca_pem=properties.get("ssl.truststore.certificates")
        or _file(properties, "ssl.truststore.location")
        or _file(properties, "ssl.ca.location"),
        certificate_pem=chain or store,
        key_pem=key or store,
    )


def _login(properties: Mapping[str, str]) -> Login:
    name = properties.get("sasl.mechanism") or properties.get("sasl.mechanisms") or ""
    options = dict(re.findall(r'(\w+)\s*=\s*"((?:[^"\\]|\\.)*)"', properties.get("sasl.jaas.config", "")))
    match name:
        case "PLAIN" | "SCRAM-SHA-256" | "SCRAM-SHA-512":
            username = options.get("username") or properties.get("sasl.username")
            password = options.get("password") or properties.get("sasl.password")
            if not username or password is None:
                raise BadProperties(
                    "sasl.jaas.config must give username and password (or sasl.username, sasl.password)"
                )
            return PasswordLogin(mechanism=Mechanism(name), username=username, password=password)
        case "OAUTHBEARER":
            endpoint = properties.get("sasl.oauthbearer.token.endpoint.url")
            client_id = options.get("clientId") or properties.get("sasl.oauthbearer.client.id")
            secret = options.get("clientSecret") or properties.get("sasl.oauthbearer.client.secret")
            if not endpoint or not client_id or not secret:
                raise BadProperties(
                    "OAUTHBEARER needs sasl.oauthbearer.token.endpoint.url, and clientId and clientSecret in"
                    " sasl.jaas.config (or sasl.oauthbearer.client.id and .secret)"
                )
            scope = options.get("scope") or properties.get("sasl.oauthbearer.scope", "")
            return OAuthLogin(token_endpoint=endpoint, client_id=client_id, client_secret=secret, scope=scope)
        case "":
            raise BadProperties("sasl.mechanism is required by this security.protocol")
        case _:
            raise BadProperties("sasl.mechanism must be PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER")


def _file(properties: Mapping[str, str], name: str) -> str:
    path = properties.get(name)
    if not path:
        return ""
    try:
        return Path(path).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise BadProperties(f"{name}: the file cannot be read, or is no PEM") from error
