"""The client's side of SCRAM (RFC 5802, RFC 7677), computed. No IO.

Kafka takes user names and passwords as UTF-8 without SASLprep (KIP-84), and so does this.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets

MAX_ITERATIONS = 1_000_000  # Kafka itself allows 16384; a hostile broker shall not keep a processor busy for long


class BadScram(Exception):
    """What the server sent is not SCRAM, or not from a server that knows the password."""


class Scram:
    """One exchange: `first()`, `final(answer)`, `verify(answer)`. `hash_name` is sha256 or sha512."""

    def __init__(self, hash_name: str, username: str, password: str, *, nonce: str = "") -> None:
        self._hash_name = hash_name
        self._password = password.encode()
        self._nonce = nonce or secrets.token_urlsafe(24)
        self._bare = f"n={username.replace('=', '=3D').replace(',', '=2C')},r={self._nonce}"
        self._server_signature = b""

    def first(self) -> bytes:
        return f"n,,{self._bare}".encode()

    def final(self, server_first: bytes) -> bytes:
        """Takes tens of milliseconds with many iterations: not for the event loop. Raises BadScram."""
        try:
            fields = _fields(server_first)
            nonce, salt, iterations = fields["r"], base64.b64decode(fields["s"], validate=True), int(fields["i"])
        except (KeyError, ValueError, binascii.Error) as error:
            raise BadScram("the broker's first answer is not SCRAM") from error
        if not nonce.startswith(self._nonce) or len(nonce) == len(self._nonce):
            raise BadScram("the broker's answer does not belong to this exchange")
        if not 0 < iterations <= MAX_ITERATIONS:
            raise BadScram(f"the broker asks for {iterations} iterations")
        salted = hashlib.pbkdf2_hmac(self._hash_name, self._password, salt, iterations)
        client_key = self._hmac(salted, b"Client Key")
        stored_key = hashlib.new(self._hash_name, client_key).digest()
        without_proof = f"c=biws,r={nonce}"
        message = ",".join((self._bare, server_first.decode(), without_proof)).encode()
        signature = self._hmac(stored_key, message)
        proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
        self._server_signature = self._hmac(self._hmac(salted, b"Server Key"), message)
        return f"{without_proof},p={base64.b64encode(proof).decode()}".encode()

    def verify(self, server_final: bytes) -> None:
        """Raises BadScram unless the server knows the password too."""
        try:
            signature = base64.b64decode(_fields(server_final)["v"], validate=True)
        except (KeyError, ValueError, binascii.Error) as error:
            raise BadScram("the broker's last answer is not SCRAM") from error
        if not self._server_signature or not hmac.compare_digest(signature, self._server_signature):
            raise BadScram("the broker does not know the password that it accepted")

    def _hmac(self, key: bytes, message: bytes) -> bytes:
        return hmac.new(key, message, self._hash_name).digest()


def _fields(message: bytes) -> dict[str, str]:
    return dict(part.split("=", 1) for part in message.decode().split(","))
