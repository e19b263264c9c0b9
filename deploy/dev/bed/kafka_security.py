"""A real broker with a listener for every way in, rights (ACLs) that are enforced, and a token endpoint.

CLIENT stays PLAINTEXT for the bed itself, which is a super user there. The other listeners:

- TLS, MUTUAL: TLS without and with a client's certificate. EXPIRED, OTHERNAME: with certificates to be refused.
- LOGIN: SASL over TLS with PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 and OAUTHBEARER.
- BARE: SASL without TLS, with PLAIN and SCRAM-SHA-256, whose sessions end after SESSION_SECONDS.
"""

from __future__ import annotations

import base64
import json
import ssl
import subprocess
import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote_plus

from bed import kafka_admin, pki
from bed.kafka import Kafka, _Broker
from bed.processes import ProcessFailed, free_port

SESSION_SECONDS = 4.0
_HOST = "127.0.0.1"
_NAMES = "IP:127.0.0.1,DNS:localhost"
_SECURITY = "org.apache.kafka.common.security"
_PROTOCOLS = {
    **dict.fromkeys(("TLS", "MUTUAL", "EXPIRED", "OTHERNAME"), "SSL"),
    "LOGIN": "SASL_SSL",
    "BARE": "SASL_PLAINTEXT",
}


class TokenEndpoint:
    """The client-credentials grant over HTTPS on loopback. `clients`: secret by id; the id becomes the principal.

    The client `forged` gets tokens whose signature is not of what they say.
    """

    def __init__(self, folder: Path, clients: Mapping[str, str]) -> None:
        self.clients = dict(clients)
        self.life_seconds = 60.0
        self.granted = self.refused = 0
        self._folder = folder
        self._key = folder / "jwt.key"
        _openssl("genrsa", "-out", str(self._key), "2048")
        modulus = _openssl("rsa", "-in", str(self._key), "-noout", "-modulus").decode().strip().partition("=")[2]
        self.jwks = folder / "jwks.json"
        key = {"kty": "RSA", "kid": "bed", "use": "sig", "alg": "RS256", "e": "AQAB", "n": _b64(bytes.fromhex(modulus))}
        self.jwks.write_text(json.dumps({"keys": [key]}))
        self._server = ThreadingHTTPServer((_HOST, 0), self._handler())
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "broker.crt", folder / "broker.key")
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"https://{_HOST}:{self._server.server_address[1]}/token"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def token(self, client_id: str) -> str:
        now = int(time.time())
        claims = {
            "iss": "bed",
            "sub": client_id,
            "aud": "kafka",
            "iat": now,
            "exp": now + int(self.life_seconds),
            "scope": "kafka",
        }
        signed = f"{_b64(_json({'alg': 'RS256', 'kid': 'bed', 'typ': 'JWT'}))}.{_b64(_json(claims))}"
        what = b"something else" if client_id == "forged" else signed.encode()
        return f"{signed}.{_b64(_openssl('dgst', '-sha256', '-sign', str(self._key), stdin=what))}"

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
                kind, _, basic = self.headers.get("Authorization", "").partition(" ")
                client_id, _, secret = (unquote_plus(x) for x in base64.b64decode(basic).decode().partition(":"))
                if kind != "Basic" or endpoint.clients.get(client_id) != secret:
                    endpoint.refused += 1
                    self._answer(401, {"error": "invalid_client"})
                elif form.get("grant_type") != ["client_credentials"]:
                    self._answer(400, {"error": "unsupported_grant_type"})
                else:
                    endpoint.granted += 1
                    life = endpoint.life_seconds
                    self._answer(200, {"access_token": endpoint.token(client_id), "expires_in": life})

            def _answer(self, status: int, body: dict[str, Any]) -> None:
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.end_headers()
                self.wfile.write(_json(body))

            def log_message(self, format: str, *args: object) -> None:
                """Says nothing."""

        return Handler


class SecureKafka(Kafka):
    """One broker: `with SecureKafka(passwords={"alice": "secret"}) as kafka: kafka.address("LOGIN")`.

    passwords: of PLAIN, for good, and of SCRAM, until `set_password` changes one. clients: of the token endpoint.
    """

    def __init__(self, *, passwords: Mapping[str, str], clients: Mapping[str, str], **more: Any) -> None:
        super().__init__(**more)
        self._passwords = dict(passwords)
        self._clients = dict(clients)
        self._ports = {name: free_port(_HOST) for name in _PROTOCOLS}
        self.certificates = self.run_dir / "certificates"
        self.tokens: TokenEndpoint | None = None

    def address(self, listener: str) -> str:
        return f"{_HOST}:{self._ports[listener]}"

    def pem(self, file: str) -> str:
        """`ca.crt`, `other.crt` (a CA that signed nothing here), `client.crt`, `client.key`, `stranger.crt`, …."""
        return (self.certificates / file).read_text()

    def start(self) -> None:
        pki.make_ca(self.certificates)
        pki.make_ca(self.certificates, "other")
        pki.make_pair(self.certificates, "broker", names=_NAMES)
        pki.make_pair(self.certificates, "expired", names=_NAMES, days="-1")
        pki.make_pair(self.certificates, "othername", names="DNS:kafka.elsewhere.example")
        pki.make_pair(self.certificates, "client")
        pki.make_pair(self.certificates, "stranger", ca="other")
        self.tokens = TokenEndpoint(self.certificates, self._clients)
        super().start()

    def stop(self) -> None:
        if self.tokens is not None:
            self.tokens.stop()
        super().stop()

    def set_password(self, user: str, password: str, *, bits: int = 512) -> None:
        """Makes or changes a user of SCRAM-SHA-256 or -512 (~2 s: a JVM)."""
        secret = f"SCRAM-SHA-{bits}=[iterations=4096,password={password}]"
        where = ("--bootstrap-server", self.bootstrap, "--entity-type", "users", "--entity-name", user)
        self.tool("kafka.admin.ConfigCommand", *where, "--alter", "--add-config", secret)

    def allow(self, user: str, operation: kafka_admin.AclFor, on: kafka_admin.AclOn, name: str) -> None:
        kafka_admin.run(kafka_admin.allow(self.bootstrap, f"User:{user}", operation, on, name))

    def _format_options(self) -> list[str]:
        users = [
            f"SCRAM-SHA-{bits}=[name={user},password={password}]"
            for user, password in self._passwords.items()
            for bits in (256, 512)
        ]
        return [word for user in users for word in ("--add-scram", user)]

    def _properties(self, broker: _Broker) -> dict[str, str]:
        usual = super()._properties(broker)
        plain = " ".join(f'user_{user}="{password}"' for user, password in self._passwords.items())
        assert self.tokens is not None
        login, bare = "listener.name.login", "listener.name.bare"
        scram = f"{_SECURITY}.scram.ScramLoginModule required;"
        return {
            **usual,
            "listeners": ",".join([usual["listeners"], *(f"{n}://{_HOST}:{p}" for n, p in self._ports.items())]),
            "listener.security.protocol.map": ",".join(
                [usual["listener.security.protocol.map"], *(f"{name}:{how}" for name, how in _PROTOCOLS.items())]
            ),
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ANONYMOUS",
            **self._keys("tls", "broker"),
            **self._keys("mutual", "broker"),
            "listener.name.mutual.ssl.client.auth": "required",
            "listener.name.mutual.ssl.truststore.type": "PEM",
            "listener.name.mutual.ssl.truststore.location": str(self.certificates / "ca.crt"),
            **self._keys("expired", "expired"),
            **self._keys("othername", "othername"),
            **self._keys("login", "broker"),
            f"{login}.sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER",
            f"{bare}.sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256",
            **{f"{x}.plain.sasl.jaas.config": f"{_SECURITY}.plain.PlainLoginModule required {plain};"
               for x in (login, bare)},
            **{f"{x}.scram-sha-{bits}.sasl.jaas.config": scram
               for x, bits in ((login, 256), (login, 512), (bare, 256))},
            f"{bare}.scram-sha-256.connections.max.reauth.ms": str(int(SESSION_SECONDS * 1000)),
            f"{login}.oauthbearer.connections.max.reauth.ms": "3600000",  # without it expired tokens stay good
            f"{login}.oauthbearer.sasl.jaas.config": f"{_SECURITY}.oauthbearer.OAuthBearerLoginModule required;",
            f"{login}.oauthbearer.sasl.server.callback.handler.class":
                f"{_SECURITY}.oauthbearer.OAuthBearerValidatorCallbackHandler",
            "sasl.oauthbearer.jwks.endpoint.url": self.tokens.jwks.as_uri(),
            "sasl.oauthbearer.expected.audience": "kafka",
            "sasl.oauthbearer.expected.issuer": "bed",
            # Seen with 4.1.1: the default validator believes a token whatever its signature says.
            "sasl.oauthbearer.jwt.validator.class": f"{_SECURITY}.oauthbearer.BrokerJwtValidator",
        }  # fmt: skip

    def _keys(self, listener: str, pair: str) -> dict[str, str]:
        prefix = f"listener.name.{listener}.ssl.keystore"
        return {f"{prefix}.type": "PEM", f"{prefix}.location": str(self.certificates / f"{pair}.pem")}

    def _java_command(self, *options: str) -> list[str]:
        # Since 4.0 a broker reads keys from such addresses and files only as this names.
        allowed = "org.apache.kafka.sasl.oauthbearer.allowed"
        jwks = self.certificates / "jwks.json"
        return super()._java_command(f"-D{allowed}.urls={jwks.as_uri()}", f"-D{allowed}.files={jwks}", *options)


def _openssl(*arguments: str, stdin: bytes = b"") -> bytes:
    done = subprocess.run(["openssl", *arguments], input=stdin, capture_output=True, timeout=30, check=False)
    if done.returncode:
        raise ProcessFailed(f"openssl {arguments[0]} failed: {done.stderr.decode().strip()}")
    return done.stdout


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
