"""The send function on real events of API Gateway: the cases of the reference's own test, through all layers."""

from __future__ import annotations

import base64
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from email import message_from_bytes, policy
from typing import Any

import pytest

from egret.aws.app import App
from egret.aws.webapi import webapi
from egret.contracts.encoding import go_time
from egret.contracts.settings import ApiKey, Scope
from egret.contracts.tls import TlsSupport
from egret.core.apikey import key_hash
from functions.send.handler import answer
from tests.api_client import field, file, form_data
from tests.api_service import KEY, Client, api_of_service, content, event
from tests.aws_resources import create_resources
from tests.unit.builders import ACCOUNT, NOW
from tests.unit.sending import LOGIN, Service, a_domain, an_account

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 64
PDF = b"%PDF-1.4\n"
ANN = [{"Name": "Ann", "Address": "ann@example.net"}]


class Records(logging.Handler):
    """Keeps records."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.kept.append(record)


@pytest.fixture
def service() -> Service:
    """A service in memory."""
    return Service()


@pytest.fixture
def client(service: Service) -> Client:
    """A client with a key of full scope."""
    return Client(api_of_service(service))


@pytest.fixture
def log_lines(caplog: pytest.LogCaptureFixture) -> Iterator[list[logging.LogRecord]]:
    """What the loggers of the function and of the layer wrote."""
    records = Records()
    loggers = [logging.getLogger(name) for name in ("send", "egret")]
    for logger in loggers:
        logger.addHandler(records)
    with caplog.at_level(logging.INFO, "egret"):
        yield records.kept
    for logger in loggers:
        logger.removeHandler(records)


def _data(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _full() -> dict[str, Any]:
    return {
        "From": [{"Name": "Ännchen", "Address": "app@example.com"}],
        "To": [*ANN, {"Address": "bob@example.org"}],
        "CC": [{"Name": "Carl", "Address": "carl@example.net"}],
        "BCC": [{"Name": "", "Address": "dora@bücher.example"}],
        "ReplyTo": [{"Address": "reply@example.com"}, {"Address": "other@example.com"}],
        "MessageID": "<own-id@example.com>",
        "References": ["<first@example.com>", "<second@example.com>"],
        "Date": "2026-01-02T03:04:05+01:00",
        "Subject": "¡hola!",
        "Text": "this is a test ☺\n",
        "HTML": '<html><img src="cid:png1"></html>',
        "Extra": {"k1": "v1", "k2": "v2"},
        "Headers": [["User-Agent", "test"], ["X-Custom", "yes"]],
        "AlternativeFiles": [{"Name": "i.ics", "ContentType": "text/calendar", "Data": _data(b"BEGIN:VCALENDAR\r\n")}],
        "InlineFiles": [{"Name": "p.png", "ContentType": "image/png", "ContentID": "<png1>", "Data": _data(PNG)}],
        "AttachedFiles": [{"Name": "a.pdf", "Data": _data(PDF)}],
        "RequireTLS": True,
        "FutureRelease": "2026-01-02T03:04:05Z",
        "SaveSent": True,
    }


def test_a_message_with_everything(client: Client, service: Service) -> None:
    """Ids in order To, CC, BCC; addresses as they were given; the copy in Sent reads back as it was sent."""
    result = client.good("Send", _full())
    submissions = result["Submissions"]
    assert result["MessageID"] == "<own-id@example.com>"
    assert [submission["Address"] for submission in submissions] == [
        *("ann@example.net", "bob@example.org", "carl@example.net", "dora@bücher.example")
    ]
    first = submissions[0]["QueueMsgID"]
    assert [submission["QueueMsgID"] for submission in submissions] == [first, first + 1, first + 2, first + 3]
    listed = client.good("MessageList", {"Mailbox": "Sent"})["Messages"]
    read = client.good("MessageGet", {"MsgID": listed[0]["MsgID"]})["Message"]
    assert {key: read[key] for key in ("MessageID", "References", "Subject", "Text")} == {
        key: _full()[key] for key in ("MessageID", "References", "Subject", "Text")
    }
    assert read["From"] == [{"Name": "Ännchen", "Address": "app@example.com"}]


def test_the_raw_copy_is_the_message(client: Client) -> None:
    """MessageRawGet answers bytes that the standard library reads."""
    client.good("Send", _full())
    listed = client.good("MessageList", {})["Messages"]
    got = client.raw(
        "MessageRawGet",
        b"request=" + json.dumps({"MsgID": listed[0]["MsgID"]}).encode(),
        {"Content-Type": "application/x-www-form-urlencoded"},
    )
    parsed = message_from_bytes(content(got), policy=policy.default)
    assert (got["headers"]["Content-Type"], parsed["Subject"]) == ("text/plain", "¡hola!")
    names = [part.get_filename() for part in parsed.walk() if part.get_filename()]
    assert names == ["i.ics", "p.png", "a.pdf"]


def test_a_multipart_with_files_of_every_kind(client: Client, service: Service) -> None:
    """Uploads become parts; a Message-ID is made; fromid is used."""
    body = form_data(
        field(
            "request", json.dumps({"To": ANN, "Text": "t", "HTML": "h", "Headers": [["User-Agent", "own"]]}).encode()
        ),
        file("alternativefile", "i.ics", b"BEGIN:VCALENDAR\r\n", "Content-Type: text/calendar"),
        file("inlinefile", "1.png", PNG, "Content-Type: image/png", "Content-ID: <one>"),
        file("inlinefile", "2.png", PNG, "Content-Type: image/png", "Content-ID: <two>"),
        file("attachedfile", "a.pdf", PDF),
    )
    got = client.raw("Send", body, {"Content-Type": "multipart/form-data; boundary=xYx"})
    result = json.loads(content(got))
    assert got["statusCode"] == 200, result
    message_id, submission = result["MessageID"], result["Submissions"][0]
    assert (message_id[0], message_id[-1], len(submission["FromID"])) == ("<", ">", 32)
    stored = service.store.content(ACCOUNT, submission["QueueMsgID"])
    assert stored is not None
    parsed = message_from_bytes(stored, policy=policy.default)
    parts = [
        (part.get_filename(), part.get_content_type(), part["Content-ID"])
        for part in parsed.walk()
        if part.get_filename()
    ]
    assert parts == [
        ("i.ics", "text/calendar", None),
        ("1.png", "image/png", "<one>"),
        ("2.png", "image/png", "<two>"),
        ("a.pdf", "application/pdf", None),
    ]
    assert parsed.get_all("User-Agent") == ["own"]


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        ({"To": ANN}, "missingBody"),
        ({"From": ANN, "To": ANN, "Text": "t"}, "badFrom"),
        (
            {"From": [{"Address": "a@example.com"}, {"Address": "b@example.com"}], "To": ANN, "Text": "t"},
            "multipleFrom",
        ),
        ({"Text": "t"}, "noRecipients"),
        ({"To": ANN, "Text": "t", "MessageID": "no brackets"}, "malformedMessageID"),
        ({"To": [{"Address": "no-domain"}], "Text": "t"}, "badAddress"),
        ({"To": [{"Address": "a@[192.0.2.1]"}], "Text": "t"}, "badAddress"),
        ({"To": [{"Name": "A\nB", "Address": "a@example.net"}], "Text": "t"}, "user"),
        ({"To": ANN, "Text": "t", "Subject": "a\r\nBcc: x@y.example"}, "user"),
        ({"To": ANN, "Text": "t", "Headers": [["X-A: b\r\nBcc", "c"]]}, "user"),
        ({"To": ANN, "Text": "t", "AttachedFiles": [{"Data": "!"}]}, "user"),
        ({"To": ANN, "Text": "t", "AttachedFiles": [{"UploadID": "unknown"}]}, "uploadNotFound"),
        ({"To": ANN, "Text": "t", "FutureRelease": "2099-01-01T00:00:00Z"}, "user"),
        ({"To": [{"Address": f"r{number}@example.net"} for number in range(1001)], "Text": "t"}, "tooManyRecipients"),
        ({"To": ANN, "Text": "t", "Bogus": 1}, "protocol"),
        ({"To": ANN, "Text": 1}, "protocol"),
        ([], "protocol"),
    ],
)
def test_refusals_of_send_leave_nothing(client: Client, service: Service, request_: object, code: str) -> None:
    """The reference's codes, and nothing stored."""
    assert client.refused("Send", request_) == code
    assert service.stored_count == 0


def test_ten_thousand_recipients_are_refused(client: Client, service: Service) -> None:
    """Without costing more than reading them."""
    request = {"To": [{"Address": f"r{number}@example.net"} for number in range(10_000)], "Text": "t"}
    assert (client.refused("Send", request), service.stored_count) == ("tooManyRecipients", 0)


def test_suppression_methods(client: Client) -> None:
    """Empty, added, added again, present by variant, listed, removed by variant, removed again."""
    added = {"EmailAddress": "Gone+x@Bücher.Example", "Manual": True, "Reason": "r"}
    assert client.good("SuppressionList", {})["Suppressions"] == []
    assert client.good("SuppressionAdd", added) == {}
    assert client.refused("SuppressionAdd", added) == "error"
    assert client.refused("SuppressionAdd", {"EmailAddress": "gone@xn--bcher-kva.example"}) == "error"
    assert client.refused("SuppressionAdd", {"EmailAddress": "bad"}) == "badAddress"
    assert client.good("SuppressionPresent", {"EmailAddress": "gone+y@bücher.example"}) == {"Present": True}
    assert client.good("SuppressionPresent", {"EmailAddress": "other@bücher.example"}) == {"Present": False}
    assert client.refused("SuppressionPresent", {"EmailAddress": "bad"}) == "badAddress"
    entry = client.good("SuppressionList", {})["Suppressions"][0]
    assert {key: entry[key] for key in ("Account", "BaseAddress", "OriginalAddress", "Manual", "Reason")} == {
        "Account": "acme",
        "BaseAddress": "gone@bücher.example",
        "OriginalAddress": "Gone+x@bücher.example",
        "Manual": True,
        "Reason": "r",
    }
    assert client.good("SuppressionRemove", {"EmailAddress": "GONE@bücher.example"}) == {}
    assert client.refused("SuppressionRemove", {"EmailAddress": "GONE@bücher.example"}) == "error"
    assert client.good("SuppressionList", {})["Suppressions"] == []


def test_deliveries_are_shown_listed_and_canceled(client: Client) -> None:
    """From queued to canceled, with the event; canceling twice is canceling once."""
    sent = client.good("Send", {"To": ANN, "Text": "t", "Subject": "s", "Extra": {"k": "v"}})
    number = sent["Submissions"][0]["QueueMsgID"]
    shown = client.good("DeliveryGet", {"QueueMsgID": number})["Delivery"]
    assert {key: shown[key] for key in ("State", "Recipient", "Subject", "MessageID", "Extra", "Attempts")} == {
        "State": "queued",
        "Recipient": "ann@example.net",
        "Subject": "s",
        "MessageID": sent["MessageID"],
        "Extra": {"k": "v"},
        "Attempts": [],
    }
    assert client.good("DeliveryCancel", {"QueueMsgID": number}) == {}
    listed = client.good("DeliveryList", {"States": ["canceled"]})["Deliveries"]
    assert [(found["QueueMsgID"], found["Events"][0]["Event"]) for found in listed] == [(number, "canceled")]
    assert client.good("DeliveryCancel", {"QueueMsgID": number}) == {}
    assert client.refused("DeliveryGet", {"QueueMsgID": number + 1}) == "deliveryNotFound"


@pytest.mark.parametrize("method", ["DeliveryGet", "DeliveryCancel"])
@pytest.mark.parametrize("request_", [{}, {"QueueMsgID": 0}, {"QueueMsgID": None}])
def test_a_delivery_that_is_not_named_is_not_found(client: Client, method: str, request_: object) -> None:
    """With the code of any that is not there, and a sentence that says what is missing."""
    status, answer = client.post(method, request_)

    assert (status, answer["Code"]) == (400, "deliveryNotFound")
    assert answer["Message"].startswith("QueueMsgID is missing")


def test_tls_of_a_domain(client: Client, service: Service) -> None:
    """What the egress noted for the account, by either form of the domain's name."""
    service.domain_tls.put([TlsSupport(ACCOUNT, "xn--bcher-kva.example", True, False, NOW)])
    expected = {"Domain": "bücher.example", "Updated": go_time(NOW), "STARTTLS": True, "RequireTLS": False}
    for name in ("bücher.example", "xn--bcher-kva.example"):
        assert client.good("DomainTLSGet", {"Domain": name}) == {"DomainTLS": expected}
    assert client.refused("DomainTLSGet", {"Domain": "example.net"}) == "domainNotFound"
    assert client.refused("DomainTLSGet", {}) == "user"


def test_idempotency_keys(client: Client, service: Service) -> None:
    """The same request: the same answer, sent once. Another body: 409."""
    request = {"To": ANN, "Text": "t"}
    first = client.post("Send", request, {"Idempotency-Key": "k"})
    again = client.post("Send", {"text": "t", "to": ANN}, {"idempotency-key": "k"})
    status, other = client.post("Send", {"To": ANN, "Text": "u"}, {"Idempotency-Key": "k"})
    assert (first, first[0], service.stored_count) == (again, 200, 1)
    assert (status, other["Code"]) == (409, "idempotencyConflict")


def test_an_upload_is_sent(client: Client, service: Service) -> None:
    """UploadCreate, PUT, Send with the id."""
    created = client.good("UploadCreate", {"Name": "big.pdf", "ContentType": "application/pdf", "Size": len(PDF)})
    service.blobs.upload(created["URL"], PDF)
    sent = client.good("Send", {"To": ANN, "Text": "t", "AttachedFiles": [{"UploadID": created["UploadID"]}]})
    stored = service.store.content(ACCOUNT, sent["Submissions"][0]["QueueMsgID"])
    assert stored is not None
    names = [part.get_filename() for part in message_from_bytes(stored, policy=policy.default).walk()]
    assert names[-1] == "big.pdf"


def test_a_send_key_reads_no_mail(service: Service) -> None:
    """403 with the code, which is not one of a method."""
    status, body = Client(api_of_service(service, Scope.SEND)).post("MessageList", {})
    assert (status, body["Code"]) == (403, "forbidden")


def test_one_line_of_log_tells_ids_and_no_secrets(
    service: Service, client: Client, log_lines: list[logging.LogRecord]
) -> None:
    """Method, status, account, ids, size, states; never a body, a key or an Authorization value."""
    sent = client.good("Send", {"To": ANN, "Text": "a private text", "Subject": "a private subject"})
    (line,) = log_lines
    shown = vars(line)
    assert {key: shown[key] for key in ("http_method", "path", "status", "account", "api_method", "request_id")} == {
        "http_method": "POST",
        "path": "/webapi/v0/Send",
        "status": 200,
        "account": ACCOUNT,
        "api_method": "Send",
        "request_id": "JKJaXmPLvHcESHA=",
    }
    first = sent["Submissions"][0]["QueueMsgID"]
    assert {key: shown[key] for key in ("message_id", "submission", "delivery_ids", "recipients", "states")} == {
        "message_id": sent["MessageID"],
        "submission": first,
        "delivery_ids": [first],
        "recipients": 1,
        "states": {"queued": 1},
    }
    stored = service.store.content(ACCOUNT, first)
    assert stored is not None
    assert shown["size_bytes"] == len(stored)
    assert [secret for secret in ("private", KEY, "Bearer") if secret in repr(shown)] == []


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/webapi/", 303), ("GET", "/webapi/v0/", 200), ("PUT", "/x", 404)]
)
def test_pages_through_the_function(client: Client, method: str, path: str, status: int) -> None:
    """As API Gateway expects answers: text bodies as text, headers as one object."""
    got = answer(client.api, event(method, path))
    assert (got["statusCode"], got["isBase64Encoded"], got["headers"]["X-Frame-Options"]) == (status, False, "deny")


def test_an_answer_is_json_for_the_runtime(client: Client) -> None:
    """What the runtime marshals: strings, numbers, booleans."""
    got = answer(client.api, event("GET", "/webapi/v0/openapi.json"))
    assert json.loads(json.dumps(got)) == got


def test_a_body_that_is_not_base64_is_read_as_text(client: Client) -> None:
    """API Gateway passes text types on as they are."""
    headers = {**client.headers, "Content-Type": "application/x-www-form-urlencoded"}
    got = answer(client.api, event("POST", "/webapi/v0/SuppressionList", b"request={}", headers))
    assert (got["statusCode"], got["body"]) == (200, '{"Suppressions":[],"Cursor":""}\n')


def test_a_disabled_account_cannot_call(client: Client, service: Service) -> None:
    """At once, since the settings say so."""
    service.settings.put_account(replace(service.caller().account, disabled=True))
    assert client.post("SuppressionList", {})[0] == 401


@pytest.mark.emulator
def test_the_function_on_aws(moto_endpoint: str) -> None:
    """Composed from the environment that template.yaml sets, on tables, bucket, queue and key of an emulator."""
    resources = create_resources(moto_endpoint)
    app = App.from_environment(resources.environment(moto_endpoint))
    app.settings_writer.put_account(an_account())
    app.settings_writer.put_key(ApiKey(hash=key_hash(KEY), account=ACCOUNT, login=LOGIN))
    app.settings_writer.put_domain(a_domain(dkim_keys=()))
    client = Client(webapi(app))
    sent = client.good("Send", {"To": ANN, "Text": "t", "SaveSent": True})
    shown = client.good("DeliveryGet", {"QueueMsgID": sent["Submissions"][0]["QueueMsgID"]})["Delivery"]
    listed = client.good("MessageList", {})["Messages"]
    read = client.good("MessageGet", {"MsgID": listed[0]["MsgID"]})
    assert (shown["State"], shown["MessageID"], read["Message"]["MessageID"]) == (
        *("queued", sent["MessageID"]),
        sent["MessageID"],
    )
    assert client.good("SuppressionAdd", {"EmailAddress": "a@example.net"}) == {}
    assert len(client.good("SuppressionList", {})["Suppressions"]) == 1
    client.headers["Authorization"] = "Bearer wrong"
    assert [client.post("Send", {})[0] for _ in range(11)] == [401] * 10 + [429]


COLD_START = """
import json, sys
from functions.send.handler import handle
for event in json.load(sys.stdin):
    handle(event, None)
"""


@pytest.mark.emulator
def test_a_cold_start_logs_json_alone(moto_endpoint: str) -> None:
    """A process of its own, as a Lambda is: every line that it writes is JSON, those of the layer included."""
    environment = create_resources(moto_endpoint).environment(moto_endpoint)
    lost = {**environment, "EGRET_SETTINGS_TABLE": "gone", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    call = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/x-www-form-urlencoded"}
    events = [event("GET", "/webapi/v0/"), event("POST", "/webapi/v0/Send", b"request={}", call)]
    done = subprocess.run(
        [sys.executable, "-c", COLD_START],
        input=json.dumps(events),
        env=lost,
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    requests = [(line["path"], line["status"]) for line in lines if line["message"] == "request"]
    failures = [line["level"] for line in lines if line["message"] != "request"]
    assert (requests[0], requests[1][1] >= 500, done.stderr) == (("/webapi/v0/", 200), True, "")
    assert set(failures) <= {"WARNING", "ERROR"}
    assert failures
