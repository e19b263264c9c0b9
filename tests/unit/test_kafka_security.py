"""Ways into a cluster as values, and what is computed for them: SCRAM, Amazon's signatures, tokens, TLS contexts."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from urllib.parse import parse_qs, urlsplit

import pytest
from aiohttp import web
from tests.addresses import ON_THIS_MACHINE

from bed import pki
from consumer_autoscaler.sources.kafka.access import msk_iam
from consumer_autoscaler.sources.kafka.access.refusal import AuthenticationFailed
from consumer_autoscaler.sources.kafka.access.scram import BadScram, Scram
from consumer_autoscaler.sources.kafka.access.security import (
    AwsLogin,
    Mechanism,
    OAuthLogin,
    PasswordLogin,
    Security,
    Tls,
)
from consumer_autoscaler.sources.kafka.access.tls import tls_context
from consumer_autoscaler.sources.kafka.access.tokens import Tokens
from consumer_autoscaler.sources.kafka.broker import backoff_seconds
from consumer_autoscaler.sources.kafka.reader import ClusterKey

SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"  # of Amazon's own examples
AUGUST_30 = 1440938160.0  # 2015-08-30T12:36:00Z
AWS = AwsLogin(region="eu-west-1", access_key_id="AKIDEXAMPLE", secret_access_key=SECRET, session_token="a/b=")


def ways(secret: str) -> list[Security]:
    """One of each kind, with the same secret in it."""
    password = PasswordLogin(mechanism=Mechanism.SCRAM_SHA_512, username="alice", password=secret)
    oauth = OAuthLogin(token_endpoint="https://id/token", client_id="us", client_secret=secret, ca_pem=secret)
    aws = AwsLogin(region="eu-west-1", access_key_id="AKID", secret_access_key=secret, session_token=secret)
    mutual = Security(tls=Tls(ca_pem=secret, certificate_pem=secret, key_pem=secret))
    return [mutual, *(Security(tls=Tls(), login=login) for login in (password, oauth, aws))]


def test_what_is_equal_in_content_shares_connections_and_what_differs_does_not() -> None:
    """By content, for every kind of login."""
    one, same, other = ways("a"), ways("a"), ways("b")
    assert one == same
    assert {ClusterKey(frozenset({"k:1"}), each) for each in one + same + other} == {
        ClusterKey(frozenset({"k:1"}), each) for each in one + other
    }
    assert len({*one, *other}) == 8


def test_no_secret_shows_in_a_repr() -> None:
    """So a value may stand in a log line or a traceback."""
    shown = repr(ClusterKey(frozenset(), ways("hunter2")[0])) + repr(ways("hunter2"))
    assert "hunter2" not in shown
    assert "alice" in shown


def test_the_protocol_is_named_as_brokers_name_it() -> None:
    """The four of Kafka."""
    login = PasswordLogin(mechanism=Mechanism.PLAIN, username="u", password="p")
    protocols = [Security(tls=tls, login=each).protocol for tls in (None, Tls()) for each in (None, login)]
    assert protocols == ["PLAINTEXT", "SASL_PLAINTEXT", "SSL", "SASL_SSL"]


def test_scram_is_that_of_rfc_7677() -> None:
    """The exchange printed there, with its nonces."""
    scram = Scram("sha256", "user", "pencil", nonce="rOprNGfwEbeRWgbNEkqO")
    assert scram.first() == b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
    nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
    final = scram.final(f"r={nonce},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096".encode())
    assert final == f"c=biws,r={nonce},p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=".encode()
    scram.verify(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")


@pytest.mark.parametrize(
    "server_first",
    [b"", b"r=other,s=AA==,i=4096", b"r=nonce,s=AA==,i=4096", b"r=nonce2,s=AA==,i=99999999", b"\xff", b"r=nonce2,i=1"],
)
def test_a_scram_answer_that_makes_no_sense_or_would_keep_us_busy_is_refused(server_first: bytes) -> None:
    """From a hostile server, or one of another exchange."""
    with pytest.raises(BadScram):
        Scram("sha512", "u", "p", nonce="nonce").final(server_first)


def test_a_scram_server_must_know_the_password_too() -> None:
    """Else it might be anybody who accepts everything."""
    scram = Scram("sha256", "u", "p", nonce="n")
    scram.final(b"r=n2,s=AAAA,i=4096")
    with pytest.raises(BadScram):
        scram.verify(b"v=" + base64.b64encode(bytes(32)))


def test_amazons_signatures_are_those_of_its_own_examples() -> None:
    """The presigned URL of the S3 manual, and the signing key of the general one."""
    query = msk_iam.presigned_query(
        host="examplebucket.s3.amazonaws.com",
        path="/test.txt",
        query={},
        region="us-east-1",
        service="s3",
        access_key_id="AKIAIOSFODNN7EXAMPLE",
        secret_access_key="wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        at=1369353600.0,  # 2013-05-24T00:00:00Z
        expires_seconds=86400,
        payload_hash="UNSIGNED-PAYLOAD",
    )
    assert query.endswith("X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404")
    key = msk_iam.signing_key(SECRET, "20150830", "us-east-1", "iam")
    assert key.hex() == "c4afb1cc5771d871763a393e44b703571b55cc28424d1a5e86da6ed3c154a4b9"


def test_a_token_for_msk_is_a_signed_url_that_asks_to_connect() -> None:
    """In the form of Amazon's own signers: base64url without padding, the user agent after the signature."""
    text = msk_iam.token(AWS, at=AUGUST_30)
    assert "=" not in text
    url = urlsplit(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode())
    assert (url.scheme, url.netloc, url.path) == ("https", "kafka.eu-west-1.amazonaws.com", "/")
    fields = {name: values[0] for name, values in parse_qs(url.query, strict_parsing=True).items()}
    assert list(fields)[-2:] == ["X-Amz-Signature", "User-Agent"]
    assert {**fields, "X-Amz-Signature": len(fields["X-Amz-Signature"])} == {
        "Action": "kafka-cluster:Connect",
        "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
        "X-Amz-Credential": "AKIDEXAMPLE/20150830/eu-west-1/kafka-cluster/aws4_request",
        "X-Amz-Date": "20150830T123600Z",
        "X-Amz-Expires": "900",
        "X-Amz-Security-Token": "a/b=",
        "X-Amz-SignedHeaders": "host",
        "X-Amz-Signature": 64,
        "User-Agent": "consumer-autoscaler",
    }


@asynccontextmanager
async def endpoint(answer: Callable[[int], web.Response]) -> AsyncIterator[tuple[OAuthLogin, list[dict[str, str]]]]:
    """A token endpoint that says what `answer` gives for the n-th request; with it what it was asked."""
    asked: list[dict[str, str]] = []

    async def handle(request: web.Request) -> web.Response:
        form = {name: str(value) for name, value in (await request.post()).items()}
        asked.append({**form, "authorization": request.headers["Authorization"]})
        return answer(len(asked))

    app = web.Application()
    app.router.add_post("/token", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        yield (
            OAuthLogin(token_endpoint=f"http://127.0.0.1:{port}/token", client_id="a:b", client_secret="s", scope="k"),
            asked,
        )
    finally:
        await runner.cleanup()


def tokens(login: OAuthLogin | AwsLogin) -> Tokens:
    return Tokens(login, policy=ON_THIS_MACHINE, clock=lambda: AUGUST_30, timeout_seconds=5)


def granted(token: str, life: object) -> web.Response:
    return web.json_response({"access_token": token, "token_type": "Bearer", "expires_in": life})


async def test_a_token_is_asked_for_once_and_again_when_it_grows_old_or_was_refused() -> None:
    """Many connections at once share one; the client's id and secret are encoded as RFC 6749 wants."""
    async with endpoint(lambda n: granted(f"t{n}", 3600 if n < 3 else 1e-9)) as (login, asked):
        ours = tokens(login)
        assert await asyncio.gather(*(ours.token() for _ in range(5))) == ["t1"] * 5
        ours.forget()
        assert [await ours.token(), await ours.token()] == ["t2", "t2"]
        ours.forget()
        assert [await ours.token(), await ours.token()] == ["t3", "t4"]
    basic = base64.b64encode(b"a%3Ab:s").decode()
    assert asked[0] == {"grant_type": "client_credentials", "scope": "k", "authorization": f"Basic {basic}"}


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (lambda n: web.json_response({"error": "invalid_client"}, status=401), r"status 401 \(invalid_client\)"),
        (lambda n: web.json_response({"error": "<secret>"}, status=400), "status 400; check"),
        (lambda n: web.Response(status=302, headers={"Location": "http://169.254.169.254/"}), "status 302"),
        (lambda n: web.Response(text="<html>"), "without an `access_token`"),
        (lambda n: granted("two words", 10), "without an `access_token`"),
    ],
)
async def test_an_endpoint_that_refuses_or_answers_nonsense_is_named_and_never_quoted(
    answer: Callable[[int], web.Response], says: str
) -> None:
    """No redirect is followed, and only error codes of the standard are repeated."""
    async with endpoint(answer) as (login, _):
        with pytest.raises(AuthenticationFailed, match=says) as caught:
            await tokens(login).token()
    assert "<secret>" not in str(caught.value)


async def test_an_answer_in_pieces_is_put_together_and_an_endless_one_is_not() -> None:
    """As proxies and hostile servers send them."""
    text = json.dumps({"access_token": "t" * 50_000, "expires_in": 60})
    async with endpoint(lambda n: web.Response(text=text)) as (login, _):
        assert await tokens(login).token() == "t" * 50_000
    async with endpoint(lambda n: web.Response(body=b" " * 200_000)) as (login, _):
        with pytest.raises(AuthenticationFailed, match="more than 64 KiB"):
            await tokens(login).token()


async def test_those_who_wait_for_a_token_together_fail_together() -> None:
    """One request for all: a hundred brokers must not wait for a dead endpoint one after the other."""
    async with endpoint(lambda n: web.Response(status=503)) as (login, asked):
        ours = tokens(login)
        failed = await asyncio.gather(*(ours.token() for _ in range(20)), return_exceptions=True)
        assert {type(each) for each in failed} == {ConnectionError}
        assert len(asked) == 1
        with pytest.raises(ConnectionError):
            await ours.token()
    assert len(asked) == 2


async def test_an_endpoint_in_trouble_is_not_a_refusal() -> None:
    """It may pass: tried again as a broker that does not answer is."""
    async with endpoint(lambda n: web.Response(status=503)) as (login, _):
        with pytest.raises(ConnectionError, match="status 503"):
            await tokens(login).token()
    with pytest.raises(OSError, match="does not answer"):
        await tokens(login).token()


async def test_tokens_for_msk_need_nobody() -> None:
    """Signed here, and kept."""
    ours = tokens(AWS)
    assert await ours.token() == await ours.token() == msk_iam.token(AWS, at=AUGUST_30)


@pytest.mark.parametrize("tls", [Tls(ca_pem="nonsense"), Tls(certificate_pem="nonsense", key_pem="nonsense")])
def test_material_that_is_not_pem_is_a_refusal_in_words(tls: Tls) -> None:
    """Not an exception of OpenSSL's, and nothing of the material in it."""
    with pytest.raises(AuthenticationFailed, match="PEM") as caught:
        tls_context(tls)
    assert "nonsense" not in str(caught.value)


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Certificates and keys by the names of their files."""
    folder = tmp_path_factory.mktemp("pki")
    pki.make_ca(folder)
    for name in ("client", "stranger"):
        pki.make_pair(folder, name)
    return lambda file: (folder / file).read_text()


def test_a_context_checks_certificates_and_names(pem: Callable[[str], str]) -> None:
    """Trusting the given CAs only, whatever a bundle has around them."""
    bundle = f"# Zertifikat für «Käufer»\n{pem('ca.crt')}\n# und noch eins\n{pem('client.crt')}"
    own = {"certificate_pem": pem("client.crt"), "key_pem": pem("client.key")}
    context = tls_context(Tls(ca_pem=bundle, **own))
    assert (context.check_hostname, context.verify_mode) == (True, ssl.CERT_REQUIRED)
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
    assert len(context.get_ca_certs()) == 1
    assert context.cert_store_stats()["x509"] == 2


def test_a_certificate_with_another_key_is_a_refusal_in_words(pem: Callable[[str], str]) -> None:
    """And so is no key at all."""
    for key in (pem("stranger.key"), ""):
        with pytest.raises(AuthenticationFailed, match="do not belong together"):
            tls_context(Tls(certificate_pem=pem("client.crt"), key_pem=key))


def test_a_refused_login_is_repeated_ever_more_rarely() -> None:
    """Up to once a minute: accounts get locked otherwise."""
    assert all(backoff_seconds(n, refused=True) <= 60 for n in range(1, 60))
    assert backoff_seconds(60, refused=True) >= 30
