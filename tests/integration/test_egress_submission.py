"""Submission as mail programs use it: smtplib and aiosmtplib over TLS, the use case behind it, everything in memory."""

from __future__ import annotations

import asyncio
import base64
import logging
import smtplib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from pathlib import Path

import aiosmtplib
import pytest

from egret.contracts.settings import ApiKey, Scope
from egret.contracts.submission import Submission, Submitted, decode_submission, decode_submitted, encode
from egret.core.apikey import key_hash
from egret.core.delivery import Delivery, Message
from egret.core.errors import Unavailable
from egret.core.ids import message_of
from egret.usecases.answer_submission import AnswerPorts, answer_submission
from egret_egress.smtp_server import SmtpServer
from egret_egress.submission import LIMITS, SubmissionPorts, failed_logins, submission_service
from tests.certificates import Certificate
from tests.unit.builders import ACCOUNT, NOW
from tests.unit.sending import LOGIN, Service

KEY = "egret_a-key-of-the-account"
TEXT = b"From: app@example.com\r\nSubject: Hi\r\n\r\nHello.\r\n"


@dataclass
class InProcess:
    """A `Submitter` that asks the use case, in the forms that go over the wire."""

    service: Service
    is_down: bool = False
    seen: list[Submission] = field(default_factory=list)

    def submit(self, submission: Submission) -> Submitted:
        """Answer, unless it is down."""
        if self.is_down:
            raise Unavailable(detail="down")
        self.seen.append(submission)
        ports = AnswerPorts(self.service.sending, self.service.settings)
        return decode_submitted(encode(answer_submission(ports, decode_submission(encode(submission)))))


@dataclass
class Listening:
    """A listener on both ports, and what is behind it."""

    service: Service
    submitter: InProcess
    certificate: Certificate
    starttls_port: int = 0
    tls_port: int = 0

    def smtp(self) -> smtplib.SMTP:
        """Return a client that is logged in, by STARTTLS."""
        client = self.connected()
        client.login(LOGIN, KEY)
        return client

    def connected(self) -> smtplib.SMTP:
        """Return a client behind STARTTLS, not logged in."""
        client = smtplib.SMTP("127.0.0.1", self.starttls_port, timeout=5)
        client.starttls(context=self.certificate.trusting())
        client.ehlo()
        return client

    def first(self) -> tuple[Delivery, Message, bytes]:
        """Return the one delivery that was accepted, its message and its content."""
        ((account, id_),) = self.service.store.table.deliveries
        message = self.service.store.message(account, message_of(id_))
        content = self.service.store.content(account, message_of(id_))
        assert message is not None
        assert content is not None
        return self.service.delivery(id_), message, content


@contextmanager
def listening(certificate: Certificate) -> Iterator[Listening]:
    """Run a listener in a thread of its own."""
    service = Service()
    service.settings.put_key(ApiKey(key_hash(KEY), ACCOUNT, LOGIN))
    submitter = InProcess(service)
    found = Listening(service, submitter, certificate)
    loop = asyncio.new_event_loop()
    with ThreadPoolExecutor(4) as executor:
        ports = SubmissionPorts(service.settings, submitter, failed_logins(service.clock), service.clock, executor)
        tls = certificate.server()
        servers = [
            SmtpServer(submission_service(ports, "mail.egret.example", tls, is_implicit=is_implicit), LIMITS)
            for is_implicit in (False, True)
        ]
        found.starttls_port, found.tls_port = (
            loop.run_until_complete(server.start("127.0.0.1", 0)) for server in servers
        )
        thread = threading.Thread(target=loop.run_forever)
        thread.start()
        try:
            yield found
        finally:
            for server in servers:
                asyncio.run_coroutine_threadsafe(server.stop(0.1), loop).result(5)
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """Return one for 127.0.0.1."""
    return Certificate(Path(tmp_path_factory.mktemp("tls")))


@pytest.fixture
def listener(certificate: Certificate) -> Iterator[Listening]:
    """Return a listener."""
    with listening(certificate) as found:
        yield found


@pytest.mark.rfc("4954", "4")
@pytest.mark.rfc("8689", "3")
def test_what_is_offered_depends_on_tls(listener: Listening) -> None:
    """A password is never asked for in the clear."""
    with smtplib.SMTP("127.0.0.1", listener.starttls_port, timeout=5) as client:
        client.ehlo()
        before = dict(client.esmtp_features)
        client.starttls(context=listener.certificate.trusting())
        client.ehlo()
        after = dict(client.esmtp_features)

    both = {
        "size": str(LIMITS.message_bytes),
        "8bitmime": "",
        "smtputf8": "",
        "pipelining": "",
        "enhancedstatuscodes": "",
        "dsn": "",
        "futurerelease": "5184000 2026-05-03T05:06:07Z",
        "limits": "RCPTMAX=1000",
    }
    assert before == {**both, "starttls": ""}
    assert {**after, "auth": after["auth"].strip()} == {**both, "auth": "PLAIN LOGIN", "requiretls": ""}


@pytest.mark.rfc("3461", "4")
@pytest.mark.rfc("4865", "4")
@pytest.mark.rfc("6531", "3.4")
def test_a_message_with_everything_is_queued_as_asked(listener: Listening) -> None:
    """Each extension ends where it belongs."""
    content = "From: app@example.com\r\nSubject: Grüße\r\nX-Mox-Extra-Order: 17\r\n\r\nGrüße.\r\n".encode()
    mail = ["BODY=8BITMIME", "SMTPUTF8", "RET=HDRS", "ENVID=order+2017", "HOLDFOR=3600", "REQUIRETLS"]
    rcpt = ["NOTIFY=SUCCESS,DELAY", "ORCPT=rfc822;Ann+40example.org"]
    with listener.smtp() as client:
        code, line = client.mail(LOGIN, [*mail, f"SIZE={len(content)}"])
        assert (code, line) == (250, b"2.1.0 OK")
        assert client.rcpt("ann@example.net", rcpt)[0] == 250
        code, line = client.data(content)
    delivery, message, stored = listener.first()

    assert (code, line) == (250, f"2.0.0 Queued as {delivery.id}".encode())
    assert (message.ret, message.envid, message.future_release) == ("HDRS", "order 17", "for;3600")
    assert (message.require_tls, message.smtputf8, message.extra) == (True, True, {"Order": "17"})
    assert (delivery.notify, delivery.orcpt) == ("SUCCESS,DELAY", "rfc822;Ann+40example.org")
    assert (delivery.not_before - NOW).total_seconds() == 3600
    assert b" with UTF8SMTPSA id" in stored
    assert stored.count(b"DKIM-Signature:") == 2
    assert stored.endswith("\r\n\r\nGrüße.\r\n".encode())


@pytest.mark.rfc("6533", "3")
def test_an_original_recipient_goes_on_in_ascii(listener: Listening) -> None:
    """Or the mail would come back from a server that takes DSN: there it cannot be written as it was given."""
    with listener.smtp() as client:
        client.send(f"MAIL FROM:<{LOGIN}> SMTPUTF8\r\nRCPT TO:<ann@example.net> ORCPT=utf-8;jü@b.example\r\n".encode())
        assert [client.getreply()[0] for _ in range(2)] == [250, 250]
        assert client.data(TEXT)[0] == 250
    delivery, _, _ = listener.first()

    assert delivery.orcpt == r"utf-8;j\x{FC}@b.example"


@pytest.mark.rfc("8314", "3.3")
def test_a_client_of_another_make_over_implicit_tls(listener: Listening) -> None:
    """RFC 8314: TLS from the first byte; several recipients, one of them hidden."""
    message = EmailMessage()
    message["From"], message["To"], message["Bcc"] = LOGIN, "ann@example.net", "bob@example.org"
    message["Subject"] = "Hello"
    message.set_content(".\n..dots\n")

    asyncio.run(
        aiosmtplib.send(
            message,
            hostname="127.0.0.1",
            port=listener.tls_port,
            use_tls=True,
            tls_context=listener.certificate.trusting(),
            username=LOGIN,
            password=KEY,
        )
    )
    (submission,) = listener.submitter.seen
    deliveries = listener.service.store.table.deliveries.values()

    assert sorted(delivery.recipient for delivery in deliveries) == ["ann@example.net", "bob@example.org"]
    assert submission.content.endswith(b"\r\n\r\n.\r\n..dots\r\n")


@pytest.mark.rfc("4865", "4")
def test_until_an_instant(listener: Listening) -> None:
    """HOLDUNTIL is the other form of FUTURERELEASE."""
    with listener.smtp() as client:
        client.sendmail(LOGIN, "ann@example.net", TEXT, ["HOLDUNTIL=2026-03-05T05:06:07Z"])
    delivery, message, _ = listener.first()

    assert message.future_release == "until;2026-03-05T05:06:07Z"
    assert (delivery.not_before - NOW).days == 1


@pytest.mark.rfc("4865", "4")
@pytest.mark.rfc("1870", "6.1")
@pytest.mark.parametrize(
    ("parameters", "reply"),
    [
        ("HOLDFOR=5184001", "501 5.5.4"),
        ("HOLDUNTIL=2026-05-04T00:00:00Z", "501 5.5.4"),
        ("HOLDFOR=60 HOLDUNTIL=2026-03-05T00:00:00Z", "501 5.5.4"),
        ("SIZE=26214401", "552 5.3.4"),
        ("BODY=BINARYMIME", "501 5.5.4"),
        ("DELIVERBY=60;R", "555 5.5.4"),
    ],
)
def test_parameters_beyond_what_is_offered(listener: Listening, parameters: str, reply: str) -> None:
    """Are refused at MAIL, before the client sends anything large."""
    with listener.smtp() as client:
        code, line = client.docmd("MAIL", f"FROM:<{LOGIN}> {parameters}")

    assert f"{code} {line.decode()}".startswith(reply)


@pytest.mark.rfc("6409", "4.3")
@pytest.mark.rfc("4954", "4")
def test_nothing_goes_without_a_login(listener: Listening) -> None:
    """Neither mail before AUTH, nor AUTH before TLS."""
    with smtplib.SMTP("127.0.0.1", listener.starttls_port, timeout=5) as client:
        client.ehlo()
        assert client.docmd("AUTH", "PLAIN AGEAYg==") == (538, b"5.7.11 TLS is needed for this")
        assert client.docmd("MAIL", f"FROM:<{LOGIN}>")[0] == 530
        assert client.docmd("MAIL", f"FROM:<{LOGIN}> REQUIRETLS")[0] == 555
    with listener.connected() as client:
        code, line = client.docmd("MAIL", f"FROM:<{LOGIN}>")
        assert (code, line[:5]) == (530, b"5.7.0")


@pytest.mark.rfc("4616", "2")
@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_each_mechanism_logs_in(listener: Listening, mechanism: str) -> None:
    """With the login address and the API key, in one step or asked for."""
    for initial in (True, False):
        with listener.connected() as client:
            client.esmtp_features["auth"] = mechanism
            client.login(LOGIN, KEY, initial_response_ok=initial)
            assert client.sendmail(LOGIN, "ann@example.net", TEXT) == {}


@pytest.mark.parametrize(
    ("user", "key"), [(LOGIN, "egret_another"), ("app@example.org", KEY), ("nobody", KEY), (LOGIN, "ключ")]
)
def test_a_failed_login_is_told_nothing(listener: Listening, user: str, key: str) -> None:
    """Whether name or key is wrong."""
    with listener.connected() as client:
        client.esmtp_features["auth"] = "PLAIN"
        client.user, client.password = user, key
        code, line = client.docmd("AUTH", "PLAIN " + _base64(f"\0{user}\0{key}"))

    assert (code, line) == (535, b"5.7.8 Unknown address or API key")


def test_a_failed_login_is_one_line_that_names_it(listener: Listening, caplog: pytest.LogCaptureFixture) -> None:
    """The login as it was given, at most 255 characters of it, and never the key."""
    caplog.set_level(logging.INFO, "egret_egress")
    tries = [("app@example.com\r\n", "egret_wrong"), ("a" * 1000, "egret_other")]
    with listener.connected() as client:
        for user, key in tries:
            assert client.docmd("AUTH", "PLAIN " + _base64(f"\0{user}\0{key}"))[0] == 535
        assert client.docmd("AUTH", "PLAIN %%%")[0] == 501
    lines = [vars(record) for record in caplog.records if "peer" in vars(record)]

    assert [(line["message"], line.get("login"), line["reply"][:3]) for line in lines] == [
        ("login failed", "app@example.com\r\n", "535"),
        ("login failed", "a" * 255, "535"),
        ("login failed", None, "501"),
    ]
    assert "egret_" not in repr([{name: line.get(name) for name in ("message", "login", "reply")} for line in lines])


def test_credentials_that_are_none(listener: Listening) -> None:
    """Two parts, an identity to act for, no UTF-8, no base64, given up."""
    with listener.connected() as client:
        for response in (_base64("a\0b"), _base64("root\0a\0b"), "AP8A/w==", "%%%"):
            assert client.docmd("AUTH", f"PLAIN {response}")[0] == 501
        client.docmd("AUTH", "LOGIN")
        assert client.docmd("*")[0] == 501
        assert client.docmd("AUTH", "CRAM-MD5")[0] == 504


def test_too_many_failed_logins_of_a_network(listener: Listening) -> None:
    """Are cut off; who has the key still comes in."""
    wrong = _base64(f"\0{LOGIN}\0wrong")
    for _ in range(10):
        with listener.connected() as client:
            assert client.docmd("AUTH", f"PLAIN {wrong}")[0] == 535
    client = listener.connected()
    assert client.docmd("AUTH", f"PLAIN {wrong}")[0] == 421
    client.close()

    with listener.smtp() as client:
        assert client.sendmail(LOGIN, "ann@example.net", TEXT) == {}


@pytest.mark.parametrize(("scope", "disabled", "reply"), [(Scope.READ, False, "5.7.8"), (Scope.FULL, True, "5.7.13")])
def test_a_login_that_may_not_send(listener: Listening, scope: Scope, disabled: bool, reply: str) -> None:
    """Is told so: it is the owner's own."""
    listener.service.change_account(disabled=disabled)
    listener.service.settings.put_key(ApiKey(key_hash(KEY), ACCOUNT, LOGIN, scope))
    with listener.connected() as client, pytest.raises(smtplib.SMTPAuthenticationError) as caught:
        client.login(LOGIN, KEY)

    assert (caught.value.smtp_code, said(caught.value).split()[0]) == (535, reply)


@pytest.mark.rfc("6409", "6.1")
@pytest.mark.parametrize(
    ("content", "mail_from", "reply"),
    [
        (TEXT.replace(b"app@example.com", b"ceo@bank.example"), LOGIN, "550 5.7.1 The From address is not"),
        (TEXT, "ceo@bank.example", "550 5.7.1 The reverse-path (MAIL FROM)"),
        (TEXT.replace(b"Hi", b"H\xc3\xad"), LOGIN, "554 5.6.7 The header or an address is not ASCII"),
        (b"Hello.\r\n", LOGIN, "554 5.6.0 The header has a line that is no field: 'Hello.'"),
    ],
)
def test_a_refusal_says_what_to_mend(listener: Listening, content: bytes, mail_from: str, reply: str) -> None:
    """In one line, with an enhanced code; the connection is good for the next message."""
    with listener.smtp() as client:
        with pytest.raises(smtplib.SMTPDataError) as caught:
            client.sendmail(mail_from, "ann@example.net", content)
        assert client.sendmail(LOGIN, "ann@example.net", TEXT) == {}

    assert f"{caught.value.smtp_code} {said(caught.value)}".startswith(reply)


def test_the_daily_limit_asks_to_come_again(listener: Listening) -> None:
    """Tomorrow it may go."""
    listener.service.change_account(messages_per_day=0)
    with listener.smtp() as client, pytest.raises(smtplib.SMTPDataError) as caught:
        client.sendmail(LOGIN, "ann@example.net", TEXT)

    assert caught.value.smtp_code == 452


def test_nothing_is_acknowledged_that_is_not_committed(listener: Listening) -> None:
    """A function or storage that does not answer: 451, and the client keeps the message."""
    listener.submitter.is_down = True
    with listener.smtp() as client:
        with pytest.raises(smtplib.SMTPDataError) as caught:
            client.sendmail(LOGIN, "ann@example.net", TEXT)
        listener.submitter.is_down = False
        client.sendmail(LOGIN, "ann@example.net", TEXT)

    assert (caught.value.smtp_code, caught.value.smtp_error[:5]) == (451, b"4.3.0")


def test_the_same_key_is_the_same_message(listener: Listening) -> None:
    """A client that did not hear the 250 may send again."""
    keyed = b"Egret-Idempotency-Key: order-17\r\n" + TEXT
    replies = []
    for _ in range(2):
        with listener.smtp() as client:
            client.mail(LOGIN)
            client.rcpt("ann@example.net")
            replies.append(client.data(keyed))

    assert replies[0] == replies[1]
    assert len(listener.service.store.table.deliveries) == 1


@pytest.mark.rfc("9422", "4")
@pytest.mark.rfc("5321", "4.5.3.1.10")
def test_recipients_end_at_the_limit(listener: Listening) -> None:
    """The 1001st is to come in a transaction of its own; what is no address never comes in."""
    with listener.smtp() as client:
        client.mail(LOGIN)
        assert client.docmd("RCPT", "TO:<ann@-.example>")[0] == 553
        client.send("".join(f"RCPT TO:<a{number}@example.net>\r\n" for number in range(1001)))
        codes = [client.getreply()[0] for _ in range(1001)]
        client.rset()

    assert codes == [250] * 1000 + [452]


def test_logs_have_no_secrets(listener: Listening, caplog: pytest.LogCaptureFixture) -> None:
    """Neither the key nor the content, whether the login fails or not."""
    with caplog.at_level("DEBUG"), listener.connected() as client:
        client.docmd("AUTH", "PLAIN " + _base64(f"\0{LOGIN}\0another-key"))
        client.login(LOGIN, KEY)
        client.sendmail(LOGIN, "ann@example.net", TEXT)
    told = "\n".join(str(vars(record)) for record in caplog.records if record.name.startswith("egret"))

    assert "logged in" in told
    assert not [secret for secret in (KEY, "another-key", _base64(f"\0{LOGIN}\0{KEY}"), "Hello.") if secret in told]


def said(error: smtplib.SMTPResponseException) -> str:
    """Return the text of a reply."""
    text = error.smtp_error
    return text if isinstance(text, str) else text.decode()


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
