"""Why a broker does not let us in, in words that say what to do.

What a wrong way in looks like from outside differs: an error code, a TLS alert, or only a closed connection. The
readings of it below were seen on Kafka 4.1 and are held by tests on a real broker.
"""

from __future__ import annotations

import ssl

from aiokafka.errors import KafkaError

_EXPIRED, _NOT_YET = 10, 9  # X509_V_ERR_… of OpenSSL
_NAME_MISMATCH, _ADDRESS_MISMATCH = 62, 64


class AuthenticationFailed(KafkaError):  # type: ignore[misc]
    """We were not let in; repeating it does not help, a person must act. The message is a whole clause."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


def certificate_problem(error: BaseException, ca_field: str) -> str:
    """What is wrong with the other side's certificate. `ca_field`: where a CA is named."""
    code = getattr(error, "verify_code", None)
    if code in (_EXPIRED, _NOT_YET):
        return f"its certificate {'has expired' if code == _EXPIRED else 'is not valid yet'}: it must be renewed there"
    if code in (_NAME_MISMATCH, _ADDRESS_MISMATCH):
        return "its certificate is for another name than the one connected to"
    return f"its certificate is signed by a CA that is not trusted: name its CA in `{ca_field}`"


def tls_problem(error: BaseException) -> str | None:
    """What a failed TLS handshake (or the first answer after it) means, None when it means nothing of that sort."""
    for each in _causes(error):
        if isinstance(each, ssl.SSLCertVerificationError):
            return certificate_problem(each, "tls.caSecretRef")
        if isinstance(each, ssl.SSLError):
            reason = each.reason or ""
            if "HANDSHAKE_FAILURE" in reason:
                return "it breaks off the TLS handshake: it may want a client's certificate, or other ciphers"
            if "CERTIFICATE_REQUIRED" in reason or "BAD_CERTIFICATE" in reason:
                return "it wants a client's certificate: set `tls.certificateSecretRef`"
            if "UNKNOWN_CA" in reason or "CERTIFICATE" in reason:
                return "it does not accept the client's certificate: see `tls.certificateSecretRef`"
            if "EOF" in reason:
                return None  # it only hung up
            return f"the TLS handshake failed ({reason or 'no reason given'})"
    return None


def closed_by_peer(error: BaseException) -> bool:
    """Whether the other side ended the connection in good order, as a broker does that refuses."""
    return any(
        isinstance(each, EOFError | ConnectionResetError | BrokenPipeError | ssl.SSLEOFError) for each in _causes(error)
    )


def _causes(error: BaseException) -> list[BaseException]:
    found: list[BaseException] = []
    here: BaseException | None = error
    while here is not None and here not in found:
        found.append(here)
        here = here.__cause__ or here.__context__
    return found
