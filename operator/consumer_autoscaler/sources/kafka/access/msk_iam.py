"""Tokens for Amazon MSK with IAM: a presigned URL that says "kafka-cluster:Connect", in base64url.

The signature is AWS Signature Version 4 in the query string
(https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html); what MSK wants to see in
the URL is what Amazon's own signers put there (aws-msk-iam-sasl-signer-python). No IO, no clock.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import quote

from consumer_autoscaler.sources.kafka.access.security import AwsLogin

LIFE_SECONDS = 900  # the longest that MSK accepts
_ALGORITHM = "AWS4-HMAC-SHA256"
_SERVICE = "kafka-cluster"
_USER_AGENT = "consumer-autoscaler"  # required by MSK, outside of the signature


def token(login: AwsLogin, *, at: float) -> str:
    """Valid for LIFE_SECONDS from `at` (seconds since the epoch)."""
    host = f"kafka.{login.region}.amazonaws.com"
    query = presigned_query(
        host=host,
        path="/",
        query={"Action": "kafka-cluster:Connect"},
        region=login.region,
        service=_SERVICE,
        access_key_id=login.access_key_id,
        secret_access_key=login.secret_access_key,
        session_token=login.session_token,
        at=at,
        expires_seconds=LIFE_SECONDS,
    )
    url = f"https://{host}/?{query}&User-Agent={_USER_AGENT}"
    return base64.urlsafe_b64encode(url.encode()).decode().rstrip("=")


def presigned_query(
    *,
    host: str,
    path: str,
    query: Mapping[str, str],
    region: str,
    service: str,
    access_key_id: str,
    secret_access_key: str,
    session_token: str = "",
    at: float,
    expires_seconds: int,
    payload_hash: str = hashlib.sha256(b"").hexdigest(),
) -> str:
    """The signed query string of a GET that signs the host only."""
    moment = datetime.fromtimestamp(at, UTC)
    stamp, day = moment.strftime("%Y%m%dT%H%M%SZ"), moment.strftime("%Y%m%d")
    scope = f"{day}/{region}/{service}/aws4_request"
    whole = {
        **query,
        "X-Amz-Algorithm": _ALGORITHM,
        "X-Amz-Credential": f"{access_key_id}/{scope}",
        "X-Amz-Date": stamp,
        "X-Amz-Expires": str(expires_seconds),
        "X-Amz-SignedHeaders": "host",
        **({"X-Amz-Security-Token": session_token} if session_token else {}),
    }
    canonical_query = "&".join(sorted(f"{_quoted(name)}={_quoted(value)}" for name, value in whole.items()))
    canonical = "\n".join(("GET", path, canonical_query, f"host:{host}", "", "host", payload_hash))
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    to_sign = "\n".join((_ALGORITHM, stamp, scope, digest))
    key = signing_key(secret_access_key, day, region, service)
    signature = hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest()
    return f"{canonical_query}&X-Amz-Signature={signature}"


def signing_key(secret_access_key: str, day: str, region: str, service: str) -> bytes:
    key = f"AWS4{secret_access_key}".encode()
    for part in (day, region, service, "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return key


def _quoted(text: str) -> str:
    return quote(text, safe="-_.~")
