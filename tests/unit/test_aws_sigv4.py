"""Signatures of requests, judged by botocore's signer."""

from __future__ import annotations

from datetime import UTC, datetime

import botocore.auth
import botocore.awsrequest
import botocore.compat
import botocore.credentials
import pytest
from hypothesis import given
from hypothesis import strategies as st

from egret.aws.sigv4 import Credentials, Scope, sign

HEADERS = {"host": "dynamodb.eu-west-1.amazonaws.com", "content-type": "application/x-amz-json-1.0"}
STAMP = "20260102T030405Z"
AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def _by_botocore(credentials: Credentials, scope: Scope, headers: dict[str, str], body: bytes) -> str:
    """Return the signature that botocore computes for a request of that instant."""
    request = botocore.awsrequest.AWSRequest(method="POST", url=f"https://{headers['host']}/", data=body)
    for name, value in {**headers, "X-Amz-Date": STAMP}.items():
        request.headers[name] = value
    if credentials.token:
        request.headers["X-Amz-Security-Token"] = credentials.token
    request.context["timestamp"] = STAMP
    known = botocore.credentials.Credentials(credentials.access_key_id, credentials.secret_access_key)
    signer = botocore.auth.SigV4Auth(known, scope.service, scope.region)
    signature: str = signer.signature(signer.string_to_sign(request, signer.canonical_request(request)), request)
    return signature


@pytest.mark.parametrize("token", ["", "a token/of+a session=="])
def test_signature_is_the_one_that_botocore_computes(token: str) -> None:
    """With and without the token of a session, which is signed as well."""
    credentials = Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", token)
    scope = Scope("eu-west-1", "dynamodb")
    headers = {**HEADERS, "x-amz-target": "DynamoDB_20120810.PutItem"}

    signed = sign(credentials, scope, headers, b'{"TableName":"mail"}', AT)

    names = ";".join(sorted(set(signed) - {"authorization"}))
    signature = _by_botocore(credentials, scope, headers, b'{"TableName":"mail"}')
    assert signed["authorization"] == (
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260102/eu-west-1/dynamodb/aws4_request, "
        f"SignedHeaders={names}, Signature={signature}"
    )


@given(
    body=st.binary(max_size=200),
    region=st.sampled_from(["us-east-1", "ap-southeast-2"]),
    service=st.text("abc", min_size=1),
)
def test_any_body_region_and_service_is_signed_as_by_botocore(body: bytes, region: str, service: str) -> None:
    """The signature depends on all of them."""
    credentials, scope = Credentials("AKID", "secret"), Scope(region, service)
    signed = sign(credentials, scope, HEADERS, body, AT)
    assert signed["authorization"].rpartition("=")[2] == _by_botocore(credentials, scope, HEADERS, body)


def test_what_is_sent_is_what_was_signed() -> None:
    """The date and the token are headers too; the given ones stay as they were."""
    signed = sign(Credentials("AKID", "secret", "token"), Scope("eu-west-1", "sqs"), HEADERS, b"", AT)
    assert {name: value for name, value in signed.items() if name != "authorization"} == {
        **HEADERS,
        "x-amz-date": STAMP,
        "x-amz-security-token": "token",
    }
