"""PEM texts -> an SSLContext that checks the certificate and the name of the host, always."""

from __future__ import annotations

import os
import re
import ssl
import tempfile

from consumer_autoscaler.sources.kafka.access.refusal import AuthenticationFailed
from consumer_autoscaler.sources.kafka.access.security import Tls

_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----", re.ASCII)


def tls_context(tls: Tls) -> ssl.SSLContext:
    """Reads the system's CAs from disk: not for the event loop. Raises AuthenticationFailed on bad material."""
    # Without what stands around the certificates: bundles have comments in any alphabet, and ssl takes ASCII only.
    trusted = "\n".join(_CERTIFICATE.findall(tls.ca_pem))
    try:
        if tls.ca_pem and not trusted:
            raise ValueError("no certificate")
        context = ssl.create_default_context(cadata=trusted or None)
    except (ssl.SSLError, ValueError):
        raise AuthenticationFailed("the CA is not a certificate in PEM") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if not tls.certificate_pem:
        return context
    # The ssl module reads a client's certificate from a file only.
    handle, path = tempfile.mkstemp(prefix="consumer-autoscaler-")  # mode 0600
    try:
        with os.fdopen(handle, "w") as file:
            file.write(f"{tls.certificate_pem}\n{tls.key_pem}\n")
        context.load_cert_chain(path, password=lambda: "")  # without it an encrypted key would ask on the terminal
    except (ssl.SSLError, ValueError):
        raise AuthenticationFailed(
            "the client's certificate and key do not belong together, or are not in PEM, or the key has a password"
        ) from None
    finally:
        os.unlink(path)  # noqa: PTH108
    return context
