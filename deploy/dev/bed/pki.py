"""Certificates and kubeconfigs of the bed, made with the `openssl` program in about 0.2 s.

Keys are elliptic (P-256): making RSA keys would take longer than everything else together.
"""

from __future__ import annotations

import base64
import os
import subprocess
from pathlib import Path

import yaml

from bed.processes import ProcessFailed

SERVER_NAMES = (
    "IP:127.0.0.1,IP:10.96.0.1,DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,"
    "DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local"
)
_DAYS = "3650"


def make_certificates(folder: Path) -> None:
    """Writes `ca`, `apiserver`, `admin` and `scheduler` as `.crt` and `.key`, and the token key pair `sa`.

    `admin` is in `system:masters`, so no authorization rule applies to it.
    """
    make_ca(folder)
    _signed(folder, "apiserver", "/CN=kube-apiserver", "serverAuth", SERVER_NAMES)
    _signed(folder, "admin", "/O=system:masters/CN=bed-admin", "clientAuth")
    _signed(folder, "scheduler", "/CN=system:kube-scheduler", "clientAuth")
    _key(folder, "sa")
    _openssl(folder, "ec", "-in", "sa.key", "-pubout", "-out", "sa.pub")


def make_ca(folder: Path, name: str = "ca") -> None:
    """Writes a CA as `name.crt` and `name.key`."""
    folder.mkdir(parents=True, exist_ok=True)
    _key(folder, name)
    extensions = (
        "basicConstraints=critical,CA:TRUE",
        "keyUsage=critical,keyCertSign,cRLSign,digitalSignature",
    )
    _openssl(
        folder,
        *("req", "-x509", "-new", "-key", f"{name}.key", "-subj", f"/CN=bed-{name}"),
        *("-days", _DAYS, "-out", f"{name}.crt"),
        *(word for extension in extensions for word in ("-addext", extension)),
    )


def make_pair(folder: Path, name: str, *, names: str = "", ca: str = "ca", days: str = _DAYS) -> None:
    """Writes `name.crt` and `name.key`, and both in `name.pem` as Kafka wants them (PKCS 8 first).

    names: of a server, as `IP:127.0.0.1,DNS:localhost`; "": a client's. days: negative for an expired one.
    """
    _signed(folder, name, f"/CN={name}", "serverAuth" if names else "clientAuth", names, ca=ca, days=days)
    key = _openssl(folder, "pkcs8", "-topk8", "-nocrypt", "-in", f"{name}.key")
    (folder / f"{name}.pem").write_text(key + (folder / f"{name}.crt").read_text())


def certificate_user(folder: Path, name: str) -> dict[str, str]:
    """The `user` part of a kubeconfig that identifies itself by the certificate `name`."""
    return {
        "client-certificate-data": _base64(folder / f"{name}.crt"),
        "client-key-data": _base64(folder / f"{name}.key"),
    }


def write_kubeconfig(path: Path, *, server: str, ca: Path, user: dict[str, str], namespace: str = "default") -> Path:
    """Writes a kubeconfig that only its owner can read."""
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "bed", "cluster": {"server": server, "certificate-authority-data": _base64(ca)}}],
        "users": [{"name": "bed", "user": user}],
        "contexts": [{"name": "bed", "context": {"cluster": "bed", "user": "bed", "namespace": namespace}}],
        "current-context": "bed",
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        yaml.safe_dump(content, file)
    return path


def _base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def _key(folder: Path, name: str) -> None:
    _openssl(folder, "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", f"{name}.key")


def _signed(
    folder: Path, name: str, subject: str, usage: str, names: str = "", *, ca: str = "ca", days: str = _DAYS
) -> None:
    _key(folder, name)
    _openssl(folder, "req", "-new", "-key", f"{name}.key", "-subj", subject, "-out", f"{name}.csr")
    lines = ["keyUsage=critical,digitalSignature", f"extendedKeyUsage={usage}"]
    lines += [f"subjectAltName={names}"] if names else []
    (folder / f"{name}.ext").write_text("\n".join(lines) + "\n")
    _openssl(
        folder,
        *("x509", "-req", "-in", f"{name}.csr", "-CA", f"{ca}.crt", "-CAkey", f"{ca}.key"),
        *("-CAcreateserial", "-days", days, "-extfile", f"{name}.ext", "-out", f"{name}.crt"),
    )


def _openssl(folder: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["openssl", *arguments], cwd=folder, check=True, capture_output=True, text=True, timeout=30
        )
    except FileNotFoundError as error:
        raise ProcessFailed("the bed needs the `openssl` program to make certificates") from error
    except subprocess.CalledProcessError as error:
        raise ProcessFailed(f"openssl {arguments[0]} failed: {error.stderr.strip()}") from error
    return done.stdout
