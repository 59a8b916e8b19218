"""The cases of the reference's own test of its webapi, one by one, through the function.

The account has a login with fromids, there are another account and a disabled domain. Where Egret differs on purpose,
the test says so: `DIFFERS`.
"""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from egret.contracts.settings import ApiKey
from egret.core.apikey import key_hash
from functions.send.handler import answer
from tests.api_client import basic, field, file, form_data
from tests.api_service import KEY, Client, api_of_service, content, event
from tests.unit.builders import ACCOUNT, NOW
from tests.unit.sending import LOGIN, Service, a_domain, an_account

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 64
PDF = b"%PDF-1.4\n"
ICS = b"BEGIN:VCALENDAR\r\n"
TO = [{"Address": "mjl@example.net"}]
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture
def service() -> Service:
    """A service in memory; a domain of the account is disabled."""
    service = Service()
    service.settings.put_domain(a_domain(domain="off.example", return_path_domain="bounces.off.example", disabled=True))
    return service


@pytest.fixture
def client(service: Service) -> Client:
    """A client with a key of full scope."""
    return Client(api_of_service(service))


def call(client: Client, method: str, path: str) -> dict[str, Any]:
    """Make a request without credentials and without a body; return what API Gateway gets."""
    return answer(client.api, event(method, path))


def status(client: Client, authorization: str | None, method: str = "SuppressionList") -> int:
    """Post an empty request with these credentials; return the status."""
    headers = FORM | ({} if authorization is None else {"Authorization": authorization})
    return int(answer(client.api, event("POST", f"/webapi/v0/{method}", b"request={}", headers))["statusCode"])


def full(**changes: Any) -> dict[str, Any]:
    """Return the request with everything."""
    data = {name: base64.b64encode(raw).decode() for name, raw in {"ics": ICS, "png": PNG, "pdf": PDF}.items()}
    request = {
        "From": [{"Name": "mjl", "Address": LOGIN}],
        "To": [{"Name": "", "Address": "mjl+to@example.net"}, {"Name": "", "Address": "mjl+to2@example.net"}],
        "CC": [{"Name": "mjl cc", "Address": "mjl+cc@example.net"}],
        "BCC": [{"Name": "mjl bcc", "Address": "mjl+bcc@example.net"}],
        "ReplyTo": [
            {"Name": "mjl reply", "Address": "mjl+reply@example.net"},
            {"Name": "", "Address": "mjl+reply2@example.net"},
        ],
        "MessageID": "<random@localhost>",
        "References": ["<messageid0@localhost>", "<messageid1@localhost>"],
        "Date": "2026-01-02T03:04:05Z",
        "Subject": "¡hello world!",
        "Text": "hi ☺\n",
        "HTML": "<html><body>hi ☺</body></html>",
        "Extra": {"a": "123"},
        "Headers": [["X-custom", "header"]],
        "AlternativeFiles": [{"Name": "x.ics", "ContentType": "text/calendar", "ContentID": "", "Data": data["ics"]}],
        "InlineFiles": [{"Name": "x.png", "ContentType": "image/png", "ContentID": "<img1>", "Data": data["png"]}],
        "AttachedFiles": [{"Name": "x.pdf", "ContentType": "", "ContentID": "", "Data": data["pdf"]}],
        "RequireTLS": True,
        "FutureRelease": "2026-01-02T03:04:05Z",
        "SaveSent": True,
    }
    return request | changes


def sent_copy(client: Client) -> int:
    """Send the request with everything; return the id of its copy."""
    client.good("Send", full())
    (copy,) = client.good("MessageList", {"Mailbox": "Sent"})["Messages"]
    mail: int = copy["MsgID"]
    return mail


def octets(client: Client, method: str, request: object) -> tuple[str, bytes]:
    """Call a method that answers octets; return content type and octets."""
    got = client.raw(method, b"request=" + json.dumps(request).encode(), FORM)
    assert got["statusCode"] == 200, got
    return got["headers"]["Content-Type"], content(got)


# --- HTTP


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/webapi", 303),
        ("GET", "/webapi/", 303),
        ("POST", "/webapi/", 405),
        ("GET", "/webapi/v0/", 200),
        ("GET", "/webapi/other/", 404),
        ("GET", "/webapi/v0/Send", 200),
        ("GET", "/webapi/v0/MessageRawGet", 200),
        ("GET", "/webapi/v0/Bogus", 404),
        ("POST", "/webapi/v0/Bogus", 404),
        ("PUT", "/webapi/v0/Send", 405),
        ("OPTIONS", "/webapi/v0/Send", 405),
        ("POST", "/webapi/v0/Send", 401),
    ],
)
def test_paths_and_verbs(client: Client, method: str, path: str, expected: int) -> None:
    """Pages are HTML; what is not there is 404 before anybody is asked who he is."""
    got = call(client, method, path)

    assert got["statusCode"] == expected
    if expected == 200:
        assert got["headers"]["Content-Type"] == "text/html; charset=utf-8"


def test_requests_without_credentials_are_no_failures(client: Client) -> None:
    """Eleven of them, and a good one is answered."""
    assert [status(client, None) for _ in range(11)] == [401] * 11
    assert status(client, basic(LOGIN, KEY)) == 200


def test_bad_passwords_run_into_the_limiter(client: Client) -> None:
    """401 ten times, then 429. DIFFERS: keys instead of passwords; the right key works from a network at its limit."""
    assert [status(client, basic(LOGIN, "badbadbad")) for _ in range(21)] == [401] * 10 + [429] * 11
    assert status(client, basic(LOGIN, KEY)) == 200


def test_a_disabled_account_is_refused(client: Client, service: Service) -> None:
    """With the right key and with a wrong one."""
    service.settings.put_account(an_account(disabled=True))

    assert [status(client, basic(LOGIN, key)) for key in (KEY, "badbadbad")] == [401, 401]


def test_logins(client: Client, service: Service) -> None:
    """Any address of the account in any case. DIFFERS: a key is for one login address, and also taken as Bearer."""
    service.settings.put_key(ApiKey(key_hash("another"), ACCOUNT, LOGIN, created_at=NOW, last_used_at=NOW))

    for authorization in (basic(LOGIN, KEY), basic(LOGIN.upper(), "another"), f"Bearer {KEY}"):
        assert status(client, authorization) == 200
    for authorization in (basic("unknown@example.com", KEY), basic("x@unknown.example", KEY), "Basic !", "Bearer "):
        assert status(client, authorization) == 401


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", b"{}"),
        ("multipart/form-data", b""),
        ("application/x-www-form-urlencoded", b"&%%"),
        ("application/x-www-form-urlencoded", b""),
        ("application/x-www-form-urlencoded", b"request="),
        ("application/x-www-form-urlencoded", b"request=notjson"),
        ("application/x-www-form-urlencoded", b"request=[]"),
        ("application/x-www-form-urlencoded", b'request={"Unknown":1}'),
        ("", b"request={}"),
    ],
)
def test_bodies_that_are_no_request(client: Client, content_type: str, body: bytes) -> None:
    """400 with the code `protocol`."""
    got = client.raw("Send", body, {"Content-Type": content_type})

    assert (got["statusCode"], json.loads(content(got))["Code"]) == (400, "protocol")


def test_json_as_go_decodes_it(client: Client) -> None:
    """Keys in any case, null for zero, data behind the value."""
    for text in ('{"to":[{"address":"a@example.net"}],"TEXT":"t"}', '{"To":[{"Address":"a@x.example"}],"Text":"t"} x'):
        assert client.post("Send", text)[0] == 200
    assert client.refused("Send", "null") == "missingBody"


# --- Send


def test_send_with_everything(client: Client) -> None:
    """The Message-ID is echoed; four submissions in order with ids in a row. DIFFERS: every login has fromids."""
    result = client.good("Send", full())
    ids = [one["QueueMsgID"] for one in result["Submissions"]]
    names = [one["Address"].partition("@")[0] for one in result["Submissions"]]

    assert result["MessageID"] == "<random@localhost>"
    assert names == ["mjl+to", "mjl+to2", "mjl+cc", "mjl+bcc"]
    assert ids == list(range(ids[0], ids[0] + 4))
    assert all(one["FromID"] for one in result["Submissions"])


def test_send_without_fromids(client: Client, service: Service) -> None:
    """Where they are switched off, FromID is empty, as for the reference's other logins."""
    service.change_account(uses_fromid=False)

    assert [one["FromID"] for one in client.good("Send", full())["Submissions"]] == [""] * 4


def test_send_as_multipart(client: Client) -> None:
    """Files of every kind, an own User-Agent: a Message-ID is made, fromids are used."""
    body = form_data(
        field("request", json.dumps({"To": TO, "Text": "t", "Headers": [["User-Agent", "own"]]}).encode()),
        file("alternativefile", "x.ics", ICS, "Content-Type: text/calendar"),
        file("inlinefile", "1.png", PNG, "Content-Type: image/png", "Content-ID: <one>"),
        file("inlinefile", "2.png", PNG, "Content-Type: image/png", "Content-ID: <two>"),
        file("attachedfile", "x.pdf", PDF),
    )
    got = client.raw("Send", body, {"Content-Type": "multipart/form-data; boundary=xYx"})
    result = json.loads(content(got))

    assert (got["statusCode"], result["MessageID"][:1], result["MessageID"][-1:]) == (200, "<", ">")
    assert result["Submissions"][0]["FromID"] != ""


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        ({"To": TO}, "missingBody"),
        ({"From": [{"Address": "other@example.org"}], "To": TO, "Text": "t"}, "badFrom"),
        ({"From": [{"Address": "x@unknown.example"}], "To": TO, "Text": "t"}, "badFrom"),
        ({"From": [{"Address": LOGIN}] * 2, "To": TO, "Text": "t"}, "multipleFrom"),
        ({"Text": "t"}, "noRecipients"),
        ({"To": TO, "Text": "t", "MessageID": "no-brackets@localhost"}, "malformedMessageID"),
        ({"From": [{"Address": "x@off.example"}], "To": TO, "Text": "t"}, "domainDisabled"),
        ({"To": [{"Address": "bad"}], "Text": "t"}, "badAddress"),
        ({"To": [{"Address": "x@[10.0.0.1]"}], "Text": "t"}, "badAddress"),
    ],
)
def test_refusals_of_send(client: Client, service: Service, request_: object, code: str) -> None:
    """By code, and nothing is queued."""
    assert (client.refused("Send", request_), service.stored_count) == (code, 0)


def test_the_daily_limit(client: Client, service: Service) -> None:
    """30 messages a day: 31 recipients at once are refused. DIFFERS: what this API sends is counted."""
    service.change_account(messages_per_day=30)
    many = [{"Address": f"r{number}@example.net"} for number in range(31)]

    assert client.refused("Send", {"To": many, "Text": "t"}) == "messageLimitReached"
    client.good("Send", {"To": many[:30], "Text": "t"})
    assert client.refused("Send", {"To": TO, "Text": "t"}) == "messageLimitReached"


# --- suppression list


def test_the_suppression_list(client: Client) -> None:
    """Added, found, listed and removed by any variant of the address.

    DIFFERS: a variant is a `+tag` or the case; dots count except where the provider ignores them, `-` always. A domain
    of symbols, such as the reference's, is none (IDNA 2008).
    """

    def present(address: str) -> bool:
        found: bool = client.good("SuppressionPresent", {"EmailAddress": address})["Present"]
        return found

    assert client.good("SuppressionList", {})["Suppressions"] == []
    idn = "Remote.Last+catchall@xn--bcher-kva.localhost"
    assert client.good("SuppressionAdd", {"EmailAddress": idn, "Manual": True, "Reason": "tests"}) == {}
    for duplicate in (idn, "remote.last@bücher.localhost", "REMOTE.last+other@bücher.localhost"):
        assert client.refused("SuppressionAdd", {"EmailAddress": duplicate}) == "error"
    for method in ("SuppressionAdd", "SuppressionPresent", "SuppressionRemove"):
        assert client.refused(method, {"EmailAddress": "bogus"}) == "badAddress"

    (entry,) = client.good("SuppressionList", {})["Suppressions"]
    assert (entry["Account"], entry["Manual"], entry["Reason"]) == ("acme", True, "tests")
    assert (entry["BaseAddress"], entry["OriginalAddress"]) == (
        "remote.last@bücher.localhost",
        "Remote.Last+catchall@bücher.localhost",
    )
    variants = (
        "remote.last@bücher.localhost",
        "remote.LAST+x@bücher.localhost",
        idn,
        "other@bücher.localhost",
        "remotelast@bücher.localhost",
    )
    assert [present(address) for address in variants] == [True, True, True, False, False]
    assert client.good("SuppressionRemove", {"EmailAddress": "remote.last+y@bücher.localhost"}) == {}
    assert client.refused("SuppressionRemove", {"EmailAddress": idn}) == "error"
    assert not present(idn)
    client.good("SuppressionAdd", {"EmailAddress": "a.b+c@gmail.com"})
    assert present("ab@gmail.com")


# --- stored messages


def test_message_get_gives_back_what_was_sent(client: Client) -> None:
    """The Sent copy; HTML gets a newline at its end, the PDF its type."""
    got = client.good("MessageGet", {"MsgID": sent_copy(client)})
    wanted = full()
    keys = ("From", "To", "CC", "BCC", "ReplyTo", "MessageID", "References", "Date", "Subject", "Text")

    assert {key: got["Message"][key] for key in keys} == {key: wanted[key] for key in keys}
    assert got["Message"]["HTML"] == wanted["HTML"] + "\n"
    assert _leaves(got["Structure"])[-1][0] == "application/pdf"
    assert (got["Meta"]["MailboxName"], got["Meta"]["Flags"], got["Meta"]["DSN"]) == (
        "Sent",
        ["$notjunk", r"\seen"],
        False,
    )
    assert client.refused("MessageGet", {"MsgID": 1 << 40}) == "messageNotFound"


def _leaves(part: dict[str, Any], path: tuple[int, ...] = ()) -> list[tuple[str, tuple[int, ...]]]:
    """Return (content type, path) of every part without parts, in order."""
    if not part["Parts"]:
        return [(part["ContentType"], path)]
    return [leaf for at, child in enumerate(part["Parts"]) for leaf in _leaves(child, (*path, at))]


def test_message_get_of_id_0(client: Client) -> None:
    """DIFFERS: the reference answers `server`; it is just no message."""
    assert client.refused("MessageGet", {"MsgID": 0}) == "messageNotFound"


def test_message_raw_get_is_the_same_message(client: Client, service: Service) -> None:
    """Read again it has the same structure."""
    mail = sent_copy(client)
    kind, raw = octets(client, "MessageRawGet", {"MsgID": mail})
    stored = service.store.table.mails[ACCOUNT, mail]

    assert (kind, raw) == ("text/plain", service.blobs.get(stored.blob))
    assert raw.count(b"\n") == raw.count(b"\r\n")
    assert client.refused("MessageRawGet", {"MsgID": 1 << 40}) == "messageNotFound"


def test_message_part_get(client: Client) -> None:
    """By a nested path, by the empty path. DIFFERS: `application/octet-stream`, no type guessed by content."""
    mail = sent_copy(client)
    structure = client.good("MessageGet", {"MsgID": mail})["Structure"]
    by_type = dict(_leaves(structure))

    for kind, expected in {"application/pdf": PDF, "image/png": PNG, "text/calendar": ICS}.items():
        request = {"MsgID": mail, "PartPath": by_type[kind]}
        assert octets(client, "MessagePartGet", request) == ("application/octet-stream", expected)
    whole = octets(client, "MessagePartGet", {"MsgID": mail, "PartPath": []})[1]
    assert octets(client, "MessageRawGet", {"MsgID": mail})[1].endswith(b"\r\n\r\n" + whole)
    for path in ([2], [-1], [0, 0, 0, 9]):
        assert client.refused("MessagePartGet", {"MsgID": mail, "PartPath": path}) == "partNotFound"
    assert client.refused("MessagePartGet", {"MsgID": 1 << 40, "PartPath": []}) == "messageNotFound"


def test_message_flags(client: Client) -> None:
    """System flags, $Forwarded and a keyword; to do it again changes nothing."""
    mail = sent_copy(client)

    def flags() -> list[str]:
        found: list[str] = client.good("MessageGet", {"MsgID": mail})["Meta"]["Flags"]
        return found

    more = {"MsgID": mail, "Flags": [r"\answered", "$Forwarded", "custom"]}
    for _ in range(2):
        assert client.good("MessageFlagsAdd", more) == {}
        assert flags() == ["$forwarded", "$notjunk", r"\answered", r"\seen", "custom"]
    for _ in range(2):
        assert client.good("MessageFlagsRemove", more) == {}
        assert flags() == ["$notjunk", r"\seen"]
    assert client.good("MessageFlagsAdd", {"MsgID": mail, "Flags": None}) == {}
    for method in ("MessageFlagsAdd", "MessageFlagsRemove"):
        assert client.refused(method, {"MsgID": 1 << 40, "Flags": ["a"]}) == "messageNotFound"
        assert client.refused(method, {"MsgID": 0, "Flags": ["a"]}) == "user"
        assert client.refused(method, {"MsgID": mail, "Flags": [r"\bogus"]}) == "user"
        assert client.refused(method, {"MsgID": mail, "Flags": ["a b"]}) == "user"


def test_message_move(client: Client) -> None:
    """From Sent to Inbox with the same id; not to what does not exist, and not to where it is."""
    mail = sent_copy(client)

    assert client.good("MessageMove", {"MsgID": mail, "DestMailboxName": "Inbox"}) == {}
    assert client.good("MessageGet", {"MsgID": mail})["Meta"]["MailboxName"] == "Inbox"
    for name in ("Inbox", "Bogus", ""):
        assert client.refused("MessageMove", {"MsgID": mail, "DestMailboxName": name}) == "user"
    assert client.refused("MessageMove", {"MsgID": 1 << 40, "DestMailboxName": "Inbox"}) == "messageNotFound"
    assert client.refused("MessageMove", {"MsgID": 0, "DestMailboxName": "Inbox"}) == "user"


def test_message_delete(client: Client) -> None:
    """For good; again it is `user`, for reading it was never there."""
    mail = sent_copy(client)

    assert client.good("MessageDelete", {"MsgID": mail}) == {}
    assert client.refused("MessageDelete", {"MsgID": mail}) == "user"
    assert client.refused("MessageFlagsAdd", {"MsgID": mail, "Flags": ["a"]}) == "user"
    for method in ("MessageGet", "MessageRawGet", "MessagePartGet"):
        assert client.refused(method, {"MsgID": mail}) == "messageNotFound"
    assert client.refused("MessageDelete", {"MsgID": 1 << 40}) == "messageNotFound"
    assert client.refused("MessageDelete", {"MsgID": 0}) == "user"


def test_what_the_reference_has_no_method_for(client: Client) -> None:
    """DIFFERS: mailboxes are listed, made and removed; mail is searched and grouped by conversation."""
    mail = sent_copy(client)
    assert client.good("MailboxCreate", {"MailboxName": "Clients"}) == {}
    client.good("MessageMove", {"MsgID": mail, "DestMailboxName": "Clients"})
    names = [one["Name"] for one in client.good("MailboxList", {})["Mailboxes"]]
    found = client.good("MessageList", {"Mailbox": "Clients", "To": "mjl+BCC@", "GroupByThread": True})["Messages"]

    assert names == ["Inbox", "Sent", "Archive", "Trash", "Rejects", "Clients"]
    assert [(one["MsgID"], len(one["ThreadID"])) for one in found] == [(mail, 16)]
    assert client.refused("MailboxDelete", {"MailboxName": "Clients"}) == "user"
    client.good("MessageDelete", {"MsgID": mail})
    assert client.good("MailboxDelete", {"MailboxName": "Clients"}) == {}
