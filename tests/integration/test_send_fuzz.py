"""Bad input through all layers: a 4xx with a code and a sentence, never a 5xx, and nothing half-written."""

from __future__ import annotations

import base64
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from egret.contracts.webapi import ErrorCode
from tests.api_client import URLENCODED, field, file, form_data
from tests.api_service import Client, api_of_service, content
from tests.unit.sending import Service

NASTY = st.sampled_from(
    [
        *("", " ", "\0", "\r\n", "a\r\nBcc: x@y.example", "\t", "\x7f", "\x85", "\u2028", "\ufeff", "é", "\U0001f600"),
        *(
            "a" * 300,
            "é" * 300,
            "a " * 300,
            "=?utf-8?q?a?=",
            '"',
            "\\",
            "<>",
            ",;:",
            "%s{0}",
            "<a@b>",
            "<" + "a" * 1200 + "@b>",
        ),
    ]
)
TEXT = NASTY | st.text(max_size=20)
LOCAL_PART = (
    st.sampled_from(["ann", "a.b+c", '"a b"', '"\\""', "é", "x" * 64, "x" * 65, "a..b", ".a", "", "postmaster", "ſ"])
    | TEXT
)
DOMAIN = (
    st.sampled_from(
        [
            "example.net",
            "bücher.example",
            "xn--bcher-kva.example",
            "localhost",
            "x_y.example",
            "a..b",
            "[192.0.2.1]",
            "EXAMPLE.COM.",
            "-",
            "",
        ]
    )
    | TEXT
)
ADDRESS = st.builds("{}@{}".format, LOCAL_PART, DOMAIN) | TEXT
PERSON = st.fixed_dictionaries({"Address": ADDRESS}, optional={"Name": TEXT})
GOOD_PERSON = st.just({"Address": "ann@example.net"})
INSTANT = (
    st.none()
    | st.sampled_from(["2026-01-02T03:04:05Z", "2024-02-29T00:00:00.123456789+05:45", "1970-01-01T00:00:00-12:00"])
    | st.datetimes().map(lambda instant: instant.isoformat() + "Z")
)
DATA = st.binary(max_size=40).map(lambda raw: base64.b64encode(raw).decode()) | TEXT
FILE = st.fixed_dictionaries(
    {}, optional={"Name": TEXT, "ContentType": TEXT, "ContentID": TEXT, "Data": DATA, "UploadID": TEXT}
)


def sends(text: st.SearchStrategy[str], person: st.SearchStrategy[dict[str, str]]) -> st.SearchStrategy[dict[str, Any]]:
    """Return requests of Send whose fields are made of such texts and people."""
    from_ = st.just([{"Address": "app@example.com", "Name": "Ä"}])
    attached = st.fixed_dictionaries({"Name": text, "ContentType": st.just("a/b") | text, "Data": DATA})
    return st.fixed_dictionaries(
        {"To": st.lists(person, min_size=1, max_size=3), "Text": st.just("t") | text},
        optional={
            "From": from_ | from_ | st.lists(person, max_size=2),
            "CC": st.lists(person, max_size=1),
            "ReplyTo": st.lists(person, max_size=1),
            "MessageID": st.just("<a@b.example>") | text,
            "References": st.lists(text, max_size=2),
            "Date": INSTANT,
            "Subject": text,
            "HTML": text,
            "Extra": st.dictionaries(text, text, max_size=2),
            "Headers": st.lists(st.tuples(HEADER_NAME, text), max_size=2),
            "AlternativeFiles": st.lists(attached, max_size=1),
            "InlineFiles": st.lists(FILE, max_size=1),
            "AttachedFiles": st.lists(attached, max_size=1),
            "RequireTLS": st.none() | st.booleans(),
            "FutureRelease": INSTANT,
            "SaveSent": st.booleans(),
        },
    )


HEADER_NAME = st.sampled_from(["X-A", "X-B", "User-Agent", "Subject", "From", "DKIM-Signature"])
SEND = sends(TEXT, GOOD_PERSON | GOOD_PERSON | PERSON)
MILD_TEXT = st.sampled_from(
    ["", "é", "\U0001f600 " * 30, "a" * 60, "two words", '"', "\\", "<>", "=?utf-8?q?a?=", "\u2028"]
)
MILD_PERSON = st.builds(
    lambda local, domain, name: {"Name": name, "Address": f"{local}@{domain}"},
    st.sampled_from(["ann", "a.b+c", '"a b"', "é", "x" * 64]),
    st.sampled_from(["example.net", "bücher.example", "xn--bcher-kva.example", "localhost"]),
    MILD_TEXT,
)
MILD_SEND = sends(MILD_TEXT, MILD_PERSON)
NUMBER = st.integers(min_value=-(2**63), max_value=2**63 - 1) | st.sampled_from([0, 1, 2**53, 1024])
OTHERS = st.one_of(
    st.tuples(
        st.sampled_from(["SuppressionAdd", "SuppressionRemove", "SuppressionPresent"]),
        st.fixed_dictionaries({"EmailAddress": ADDRESS}),
    ),
    st.tuples(st.sampled_from(["MessageGet", "MessageRawGet"]), st.fixed_dictionaries({"MsgID": NUMBER})),
    st.tuples(st.sampled_from(["DeliveryGet", "DeliveryCancel"]), st.fixed_dictionaries({"QueueMsgID": NUMBER})),
    st.tuples(
        st.just("MessageList"), st.fixed_dictionaries({}, optional={"Mailbox": TEXT, "Cursor": TEXT, "Limit": NUMBER})
    ),
    st.tuples(
        st.sampled_from(["DMARCReportList", "TLSReportList"]),
        st.fixed_dictionaries({}, optional={"Cursor": TEXT, "Limit": NUMBER}),
    ),
    st.tuples(
        st.just("UploadCreate"), st.fixed_dictionaries({}, optional={"Name": TEXT, "ContentType": TEXT, "Size": NUMBER})
    ),
    st.tuples(
        st.just("DeliveryList"),
        st.fixed_dictionaries(
            {},
            optional={
                "States": st.lists(TEXT, max_size=1),
                "Recipient": ADDRESS,
                "QueueMsgID": NUMBER,
                "Since": INSTANT,
                "Until": INSTANT,
                "Cursor": TEXT,
                "Limit": NUMBER,
            },
        ),
    ),
)
CODES = {code.value for code in ErrorCode}


def _is_helpful(body: Any) -> bool:
    """Tell whether an error has a known code and a sentence."""
    return body["Code"] in CODES - {"server"} and len(body["Message"]) > 5


@given(SEND)
def test_send_accepts_whole_or_refuses_whole(request: dict[str, Any]) -> None:
    """With ids for all recipients and as many deliveries stored, or with a code and nothing stored."""
    service = Service()
    status, body = Client(api_of_service(service)).post("Send", request)
    recipients = len(request["To"]) + len(request.get("CC", ()))
    if status == 200:
        assert (len(body["Submissions"]), len(service.store.table.deliveries)) == (recipients, recipients)
    else:
        assert (status, _is_helpful(body), service.stored_count) == (400, True, 0), body


@given(MILD_SEND)
def test_what_was_accepted_is_shown(request: dict[str, Any]) -> None:
    """Every delivery of an accepted message can be read back, and so can its copy."""
    client = Client(api_of_service(Service()))
    status, body = client.post("Send", {**request, "SaveSent": True})
    for submission in body["Submissions"] if status == 200 else []:
        shown = client.good("DeliveryGet", {"QueueMsgID": submission["QueueMsgID"]})["Delivery"]
        assert (shown["MessageID"], shown["Subject"]) == (body["MessageID"], request.get("Subject", ""))
    if status == 200:
        (listed,) = client.good("MessageList", {})["Messages"]
        read = client.good("MessageGet", {"MsgID": listed["MsgID"]})["Message"]
        assert read["MessageID"] == body["MessageID"]


@given(OTHERS)
def test_the_other_methods_refuse_with_a_code(call: tuple[str, dict[str, Any]]) -> None:
    """Values that no client should send."""
    status, body = Client(api_of_service(Service())).post(*call)
    assert status == 200 or (status == 400 and _is_helpful(body)), (status, body)


@given(st.binary(max_size=60), st.sampled_from([URLENCODED, "multipart/form-data; boundary=xYx", "text/plain"]))
def test_any_bytes_are_refused_and_nothing_is_stored(body: bytes, content_type: str) -> None:
    """Random bytes never make a message."""
    service = Service()
    got = Client(api_of_service(service)).raw("Send", body, {"Content-Type": content_type})
    assert (got["statusCode"], service.stored_count) == (400, 0)


@given(st.integers(min_value=0), st.binary(max_size=30), TEXT)
def test_a_truncated_multipart_is_refused_and_nothing_is_stored(cut: int, data: bytes, name: str) -> None:
    """Wherever the connection broke."""
    service = Service()
    request = json.dumps({"To": [{"Address": "ann@example.net"}], "Text": "t"}).encode()
    clean = name.replace("\r", "").replace("\n", "").replace('"', "").replace("\\", "")
    whole = form_data(field("request", request), file("attachedfile", clean, data.replace(b"--xYx", b"")))
    got = Client(api_of_service(service)).raw(
        "Send", whole[: cut % (len(whole) - 4)], {"Content-Type": "multipart/form-data; boundary=xYx"}
    )
    assert (got["statusCode"], json.loads(content(got))["Code"], service.stored_count) == (400, "protocol", 0)
