"""Signatures of webhook calls, judged by the `standardwebhooks` library."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from egret.core.errors import InvalidRequest
from egret.core.signature import secret_from_bytes, secret_to_bytes, sign, timestamp_header, verify

OLD = secret_from_bytes(bytes(range(32)))
NEW = secret_from_bytes(bytes(range(32, 64)))
AT = datetime(2026, 3, 1, 12, 0, 7, 999999, tzinfo=UTC)
BODY = '{"Event":"delivered","Error":"\\u003cé\\u003e é"}'.encode()


def _headers(signature: str, at: datetime = AT, webhook_id: str = "call_17") -> dict[str, str]:
    return {"webhook-id": webhook_id, "webhook-timestamp": timestamp_header(at), "webhook-signature": signature}


def test_signature_equals_that_of_the_reference_library() -> None:
    """Same secret, id, moment and body: the same text, fraction of a second and all."""
    assert sign([OLD], "call_17", AT, BODY) == Webhook(OLD).sign("call_17", AT, BODY.decode())


@given(key=st.binary(min_size=24, max_size=64), body=st.text(max_size=200), seconds=st.integers(0, 4_000_000_000))
def test_signatures_agree_with_the_reference_library(key: bytes, body: str, seconds: int) -> None:
    """For any key, body and moment."""
    secret, at = secret_from_bytes(key), datetime.fromtimestamp(seconds, UTC)
    payload = body.encode("utf-8", "replace")
    assert sign([secret], "m_1", at, payload) == Webhook(secret).sign("m_1", at, payload.decode())


@pytest.mark.parametrize("secret", [OLD, NEW])
def test_reference_library_accepts_a_call_during_rotation(secret: str) -> None:
    """While two secrets are in use, a receiver that knows either one accepts the call."""
    now = datetime.now(UTC)
    headers = _headers(sign([OLD, NEW], "call_17", now, BODY), now)
    assert Webhook(secret).verify(BODY, headers, json_parse=False) is None


def test_reference_library_refuses_a_changed_body() -> None:
    """The judge itself can say no."""
    now = datetime.now(UTC)
    headers = _headers(sign([OLD], "call_17", now, BODY), now)
    with pytest.raises(WebhookVerificationError, match="No matching signature"):
        Webhook(OLD).verify(BODY + b" ", headers, json_parse=False)


@pytest.mark.parametrize(
    ("known", "signed_with", "expected"),
    [
        ([OLD], [OLD], True),
        ([NEW], [OLD, NEW], True),
        ([OLD, NEW], [NEW], True),
        ([NEW], [OLD], False),
        ([OLD], [], False),
    ],
)
def test_verify_wants_a_secret_in_common(known: list[str], signed_with: list[str], expected: bool) -> None:
    """Signed and known secrets may be several; one in common is enough, none is not."""
    assert verify(known, _headers(sign(signed_with, "call_17", AT, BODY)), BODY, AT) == expected


@pytest.mark.parametrize(
    ("offset_s", "expected"), [(0, True), (300, True), (-300, True), (302, False), (-302, False), (10**7, False)]
)
def test_verify_refuses_an_old_or_future_call(offset_s: int, expected: bool) -> None:
    """A recorded call cannot be played back after the tolerance of five minutes."""
    headers = _headers(sign([OLD], "call_17", AT, BODY))
    assert verify([OLD], headers, BODY, AT.replace(microsecond=0) + timedelta(seconds=offset_s)) == expected


@pytest.mark.parametrize(
    "change",
    [
        {"webhook-id": "call_18"},
        {"webhook-id": ""},
        {"webhook-id": "call.17"},
        {"webhook-timestamp": str(int(AT.timestamp()) + 1)},
        {"webhook-timestamp": "soon"},
        {"webhook-timestamp": "٣"},
        {"webhook-timestamp": "9" * 5000},
        {"webhook-timestamp": ""},
        {"webhook-signature": ""},
        {"webhook-signature": "v1,"},
        {"webhook-signature": "v1,é"},
        {"webhook-signature": "v1a,AAAA"},
    ],
)
def test_verify_refuses_any_changed_header(change: dict[str, str]) -> None:
    """Id and moment are signed too, and nonsense is refused without an exception."""
    headers = _headers(sign([OLD], "call_17", AT, BODY)) | change
    assert not verify([OLD], headers, BODY, AT)


def test_verify_reads_header_names_in_any_case() -> None:
    """Proxies rewrite the case of header names."""
    headers = {name.title(): value for name, value in _headers(sign([OLD], "call_17", AT, BODY)).items()}
    assert verify([OLD], headers, BODY, AT)


@given(
    st.dictionaries(st.sampled_from(["webhook-id", "webhook-timestamp", "webhook-signature"]), st.text()), st.binary()
)
def test_verify_never_raises_and_never_accepts_noise(headers: dict[str, str], body: bytes) -> None:
    """Whatever a stranger sends is simply not verified."""
    assert not verify([OLD], headers, body, AT)


@pytest.mark.parametrize("length", [24, 32, 64])
def test_secret_reads_back_what_was_written(length: int) -> None:
    """With or without prefix and padding, surrounding space ignored."""
    key = bytes(range(length))
    written = secret_from_bytes(key)
    forms = [written, written.removeprefix("whsec_"), written.rstrip("="), f" {written}\n"]
    assert [secret_to_bytes(form) for form in forms] == [key] * 4


@pytest.mark.parametrize(
    "secret",
    ["", "whsec_", "whsec_!!!!", "whsec_é", "whsec_A", "whsec_" + base64.b64encode(bytes(23)).decode(), "A" * 88],
)
def test_bad_secret_is_a_fault_of_the_user(secret: str) -> None:
    """A setting that cannot sign is refused with a sentence, when it is set."""
    with pytest.raises(InvalidRequest) as caught:
        secret_to_bytes(secret)
    assert caught.value.code == "user"


@pytest.mark.parametrize("length", [0, 23, 65])
def test_short_and_long_keys_are_refused(length: int) -> None:
    """192 to 512 bits, as the specification has it."""
    with pytest.raises(ValueError, match="24 to 64"):
        secret_from_bytes(bytes(length))


@pytest.mark.parametrize("webhook_id", ["", "a.b"])
def test_ambiguous_id_is_not_signed(webhook_id: str) -> None:
    """`a.b` with timestamp 1 would sign the same bytes as `a` with another timestamp."""
    with pytest.raises(ValueError, match="full stop"):
        sign([OLD], webhook_id, AT, BODY)


def test_naive_moment_is_not_signed() -> None:
    """A local time taken for UTC would be refused by every receiver; fail early instead."""
    with pytest.raises(ValueError, match="aware"):
        sign([OLD], "call_17", AT.replace(tzinfo=None), BODY)
