"""The API as HTTP: paths, verbs, headers, errors, and what reaches a use case."""

from __future__ import annotations

import base64
import json
import logging
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egret.api.http import SECURITY_HEADERS, Headers, Request, Response
from egret.api.methods import METHODS
from egret.api.router import Api, Call, Operation
from egret.contracts.settings import Scope
from egret.contracts.webapi import MAX_ANSWER_BYTES, Empty, File, RawContent, SendRequest, SendResult, Submission, Wire
from egret.core.errors import Conflict, ContractError, InvalidRequest, Unavailable
from tests.api_client import KEY, LOGIN, URLENCODED, auth_ports, basic, field, file, form_data, multipart, post

RESULT = SendResult(
    message_id="<a@b>", submissions=(Submission(address="x@y.example", queue_msg_id=1024, from_id="f"),)
)


class Recorder:
    """Operations that note their calls and answer alike."""

    def __init__(self, answer: Wire | RawContent | None = None, error: Exception | None = None) -> None:
        self.calls: list[Call] = []
        self._answer = answer
        self._error = error

    def __call__(self, call: Call) -> Wire | RawContent | None:
        self.calls.append(call)
        if self._error:
            raise self._error
        return self._answer


def _api(operation: Operation, scope: Scope = Scope.FULL) -> Api:
    return Api(auth_ports(scope=scope), dict.fromkeys(METHODS, operation))


def _get(path: str, method: str = "GET") -> Response:
    return _api(Recorder()).handle(Request(method, path, source_ip="192.0.2.1"))


@pytest.mark.parametrize(
    ("method", "path", "status", "location"),
    [
        ("GET", "/webapi", 303, "/webapi/"),
        ("POST", "/webapi", 303, "/webapi/"),
        ("GET", "/webapi/", 303, "/webapi/v0/"),
        ("POST", "/webapi/", 405, None),
        ("HEAD", "/webapi/", 405, None),
        ("GET", "/webapi/v0/", 200, None),
        ("POST", "/webapi/v0/", 200, None),
        ("PUT", "/webapi/v0/", 200, None),
        ("GET", "/webapi/v0/Send", 200, None),
        ("GET", "/webapi/v0/MessageRawGet", 200, None),
        ("PUT", "/webapi/v0/Send", 405, None),
        ("HEAD", "/webapi/v0/Send", 405, None),
        ("OPTIONS", "/webapi/v0/Send", 405, None),
        ("DELETE", "/webapi/v0/openapi.json", 405, None),
        ("GET", "/webapi/v0/openapi.json", 200, None),
        ("POST", "/webapi/v0/Send", 401, None),
        ("GET", "/webapi/v0/Bogus", 404, None),
        ("POST", "/webapi/v0/Bogus", 404, None),
        ("POST", "/webapi/v0/send", 404, None),
        ("GET", "/webapi/v0/Send/", 404, None),
        ("GET", "/webapi/v0", 404, None),
        ("GET", "/webapi/other/", 404, None),
        ("GET", "/webapi/v1/Send", 404, None),
        ("GET", "/", 404, None),
        ("GET", "", 404, None),
        ("GET", "/Send", 404, None),
    ],
)
def test_paths_and_verbs(method: str, path: str, status: int, location: str | None) -> None:
    """The reference's table of URLs."""
    answer = _get(path, method)
    assert (answer.status, answer.headers.get("Location")) == (status, location)


@pytest.mark.parametrize(
    "path", ["/webapi", "/webapi/v0/", "/webapi/v0/Send", "/webapi/v0/Bogus", "/webapi/v0/openapi.json"]
)
def test_every_answer_carries_the_security_headers(path: str) -> None:
    """Redirects and errors, too."""
    assert SECURITY_HEADERS.items() <= _get(path).headers.items()


def test_nothing_allows_other_origins() -> None:
    """No CORS: a page elsewhere must not call with a visitor's credentials."""
    answer = _get("/webapi/v0/Send", "OPTIONS")
    assert [name for name in answer.headers if name.lower().startswith("access-control")] == []


@pytest.mark.parametrize("path", ["/webapi/v0/", "/webapi/v0/Send"])
def test_pages_are_html(path: str) -> None:
    """As browsers expect them."""
    assert _get(path).headers["Content-Type"] == "text/html; charset=utf-8"


def test_trouble_before_a_method_is_plain_text() -> None:
    """Clients of the reference show the status line only."""
    assert _get("/webapi/v0/Bogus").headers["Content-Type"] == "text/plain; charset=utf-8"


def test_a_405_names_what_is_possible() -> None:
    """RFC 9110 15.5.6."""
    assert _get("/webapi/v0/Send", "PUT").headers["Allow"] == "GET, POST"


def test_a_good_call_reaches_its_operation_and_comes_back_as_json() -> None:
    """The caller, the decoded request, the result."""
    recorder = Recorder(RESULT)
    answer = _api(recorder).handle(post("Send", '{"Subject":"<é>"}', headers={"Idempotency-Key": "k"}))
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json; charset=utf-8")
    assert answer.body == (
        b'{"MessageID":"<a@b>","Submissions":[{"Address":"x@y.example","QueueMsgID":1024,"FromID":"f"}]}\n'
    )
    call = recorder.calls[0]
    assert (call.caller.account.id, call.request, call.idempotency_key) == ("shopshop", SendRequest(subject="<é>"), "k")


def test_methods_without_a_result_answer_an_empty_object() -> None:
    """Not an empty body: clients decode JSON."""
    assert _api(Recorder()).handle(post("SuppressionAdd", "{}")).body == b"{}\n"


def test_only_idempotent_methods_get_the_key() -> None:
    """Elsewhere the header means nothing."""
    recorder = Recorder()
    _api(recorder).handle(post("SuppressionAdd", "{}", headers={"Idempotency-Key": "k"}))
    assert recorder.calls[0].idempotency_key == ""


@pytest.mark.parametrize("key", ["k" * 256, "é", "a\tb"])
def test_unusable_idempotency_keys_are_refused(key: str) -> None:
    """Before anything is sent."""
    recorder = Recorder()
    answer = _api(recorder).handle(post("Send", "{}", headers={"Idempotency-Key": key}))
    assert (answer.status, json.loads(answer.body)["Code"], recorder.calls) == (400, "user", [])


def test_raw_messages_are_plain_text() -> None:
    """As stored, byte for byte."""
    answer = _api(Recorder(RawContent(b"A: b\r\n\r\n\xff\r\n"))).handle(post("MessageRawGet", '{"MsgID":1}'))
    assert (answer.status, answer.headers["Content-Type"], answer.body) == (200, "text/plain", b"A: b\r\n\r\n\xff\r\n")


def test_large_raw_messages_are_redirected() -> None:
    """What a Lambda cannot answer is fetched from storage."""
    answer = _api(Recorder(RawContent(url="https://bucket/x"))).handle(post("MessageRawGet", '{"MsgID":1}'))
    assert (answer.status, answer.headers["Location"]) == (303, "https://bucket/x")


def test_an_answer_too_large_for_a_lambda_is_refused_with_a_way_out() -> None:
    """Not a failure of the gateway that nobody can read."""
    answer = _api(Recorder(SendResult(message_id="x" * MAX_ANSWER_BYTES))).handle(post("Send", "{}"))
    assert (answer.status, json.loads(answer.body)["Code"]) == (400, "user")


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (InvalidRequest("badAddress", "It has no @."), 400, "badAddress"),
        (InvalidRequest("idempotencyConflict", "Another body."), 409, "idempotencyConflict"),
        (InvalidRequest("idempotencyInFlight", "Still at it."), 409, "idempotencyInFlight"),
        (Conflict("It changed meanwhile."), 400, "error"),
    ],
)
def test_mistakes_of_the_caller_are_json(error: InvalidRequest | Conflict, status: int, code: str) -> None:
    """Code and sentence; the private detail stays out of it."""
    error.detail = "internal"
    answer = _api(Recorder(error=error)).handle(post("Send", "{}"))
    assert (answer.status, json.loads(answer.body)) == (status, {"Code": code, "Message": error.public})
    assert answer.facts["detail"] == "internal"


@pytest.mark.parametrize(
    "error", [RuntimeError("secret words"), ContractError(detail="secret words"), KeyError("secret words")]
)
def test_failures_of_ours_leak_nothing_and_are_logged(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    """500 with the request's id; the traceback is in the log."""
    with caplog.at_level(logging.ERROR):
        answer = _api(Recorder(error=error)).handle(post("Send", "{}"))
    assert (answer.status, b"secret" in answer.body, b"r-1" in answer.body) == (500, False, True)
    assert [record.exc_info is not None for record in caplog.records] == [True]
    assert SECURITY_HEADERS.items() <= answer.headers.items()


def test_a_dependency_that_is_down_is_503_with_a_time(caplog: pytest.LogCaptureFixture) -> None:
    """The client knows that trying again is right."""
    answer = _api(Recorder(error=Unavailable(detail="table"))).handle(post("Send", "{}"))
    assert (answer.status, answer.headers["Retry-After"], b"table" in answer.body) == (503, "5", False)
    assert "table" in caplog.text


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (
            replace(
                post("Send", ""),
                headers=Headers({"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}),
            ),
            "protocol",
        ),
        (multipart("Send", form_data(field("request", b"{}")), boundary=""), "protocol"),
        (replace(post("Send", ""), body=b"unencoded garbage %"), "protocol"),
        (replace(post("Send", ""), body=b""), "protocol"),
        (post("Send", "notjson"), "protocol"),
        (post("Send", "[]"), "protocol"),
    ],
)
def test_bodies_that_the_reference_refuses(request_: Request, code: str) -> None:
    """Six cases of its own tests."""
    recorder = Recorder()
    answer = _api(recorder).handle(request_)
    assert (answer.status, json.loads(answer.body)["Code"], recorder.calls) == (400, code, [])


def test_files_of_the_form_come_behind_those_of_the_json() -> None:
    """Within each class; files under other names are ignored."""
    recorder = Recorder(RESULT)
    body = form_data(
        field("request", b'{"AttachedFiles":[{"Name":"1","Data":"eA=="}]}'),
        file("attachedfile", "2", b"\xff\x00", "Content-Type: a/b"),
        file("alternativefile", "i.ics", b"x"),
        file("inlinefile", "p.png", b"y", "Content-ID: <c>"),
        file("attachedfile", "3", b""),
        file("otherfile", "4", b"z"),
    )
    assert _api(recorder).handle(multipart("Send", body)).status == 200
    assert recorder.calls[0].request == SendRequest(
        alternative_files=(File(name="i.ics", data="eA=="),),
        inline_files=(File(name="p.png", content_id="<c>", data="eQ=="),),
        attached_files=(
            File(name="1", data="eA=="),
            File(name="2", content_type="a/b", data=base64.b64encode(b"\xff\x00").decode()),
            File(name="3"),
        ),
    )


ALLOWED = {
    Scope.FULL: set(METHODS),
    Scope.SEND: {"Send", "UploadCreate", "DeliveryGet", "DeliveryList", "DeliveryCancel", "DomainTLSGet"},
    Scope.READ: {
        "DeliveryGet",
        "DeliveryList",
        "DomainTLSGet",
        "SuppressionList",
        "SuppressionPresent",
        "MessageList",
        "MessageGet",
        "MessageRawGet",
        "DMARCReportList",
        "TLSReportList",
        "MessagePartGet",
        "MailboxList",
    },
}


@pytest.mark.parametrize("scope", list(Scope))
def test_scopes(scope: Scope) -> None:
    """Each method, each scope: 200 or 403 with the code `forbidden`, before the body is looked at."""
    recorder = Recorder()
    api = _api(recorder, scope)
    for name in METHODS:
        answer = api.handle(post(name, "{}"))
        expected = 200 if name in ALLOWED[scope] else 403
        assert (name, answer.status) == (name, expected)
        if expected == 403:
            assert json.loads(answer.body)["Code"] == "forbidden"
    assert len(recorder.calls) == len(ALLOWED[scope])


@pytest.mark.parametrize(
    ("site", "authorization", "status"),
    [
        ("cross-site", basic(LOGIN, KEY), 403),
        ("same-site", basic(LOGIN, KEY), 403),
        ("same-origin", basic(LOGIN, KEY), 200),
        ("none", basic(LOGIN, KEY), 200),
        ("cross-site", f"Bearer {KEY}", 200),
    ],
)
def test_a_page_elsewhere_cannot_use_a_remembered_login(site: str, authorization: str, status: int) -> None:
    """Browsers add a Basic login to forged forms by themselves, and say where the form came from."""
    recorder = Recorder()
    request = post("SuppressionAdd", "{}", authorization=authorization, headers={"Sec-Fetch-Site": site})
    assert (_api(recorder).handle(request).status, len(recorder.calls)) == (status, int(status == 200))


def test_what_a_request_leaves_for_the_log() -> None:
    """Ids and names, at most ten deliveries; nothing that was sent."""
    answer = _api(Recorder(RESULT)).handle(post("Send", '{"Subject":"private"}'))
    assert answer.facts == {
        "api_method": "Send",
        "account": "shopshop",
        "login": "ann@shop.example",
        "message_id": "<a@b>",
        "delivery_ids": [1024],
        "recipients": 1,
    }


def test_a_missing_operation_is_found_at_the_start() -> None:
    """Not when the first customer calls it."""
    with pytest.raises(ValueError, match="Send"):
        Api(auth_ports(), {name: Recorder() for name in METHODS if name != "Send"})


def _mutations(request: Request) -> st.SearchStrategy[Request]:
    types = st.sampled_from([URLENCODED, "multipart/form-data; boundary=x", "application/json", ""]) | st.text(
        max_size=20
    )
    return st.builds(
        lambda body, kind, verb: replace(
            request, body=body, method=verb, headers=Headers({**request.headers, "content-type": kind})
        ),
        st.binary(max_size=200) | st.binary(max_size=50).map(lambda tail: request.body + tail),
        types,
        st.sampled_from(["POST", "POST", "POST", "PUT", ""]),
    )


@given(st.sampled_from(sorted(METHODS)).flatmap(lambda name: _mutations(post(name, "{}"))))
def test_any_body_is_answered_without_a_failure_of_ours(request: Request) -> None:
    """200 for what is a call, 4xx for the rest, never 5xx."""
    answer = _api(Recorder(Empty())).handle(request)
    assert answer.status == 200 or 400 <= answer.status < 500


@given(
    st.text(max_size=40), st.text(max_size=8), st.dictionaries(st.text(max_size=10), st.text(max_size=30), max_size=4)
)
def test_any_path_verb_and_header_is_answered(path: str, verb: str, headers: dict[str, str]) -> None:
    """Requests of scanners cost a 404."""
    answer = _api(Recorder()).handle(Request(verb, path, Headers(headers), b"", "192.0.2.1"))
    assert answer.status < 500


def test_a_client_address_that_is_none_is_not_a_login_of_anybody() -> None:
    """A key that misses from an unreadable address: our failure, told as such, and no entry."""
    request = replace(post("Send", "{}", authorization="Bearer wrong"), source_ip="not an address")
    assert _api(Recorder()).handle(request).status in (401, 500)
