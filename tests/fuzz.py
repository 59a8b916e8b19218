"""Random input for every parser: `make fuzz N=1000000`.

Valid inputs are cut, joined, repeated and spoiled at random; each parser must answer with a value or with an error of
its own, within a bounded time for its size. A failing input goes to `fuzz-failure.bin`; `--replay` tries it again.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import logging
import random
import sys
import time
import tracemalloc
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import msgspec

from egret.api.decode import decode as decode_request
from egret.api.forms import read_form
from egret.api.http import Headers, Request
from egret.aws.codec import decode as decode_content
from egret.aws.codec import encode as encode_content
from egret.contracts import handoff
from egret.contracts.queues import Inbound, InboundRecipient, decode_call, decode_hint, pack_inbound, unpack_inbound
from egret.contracts.records import StoredMail
from egret.contracts.webapi import SendRequest
from egret.core.address import Address, AddressError, Mailbox
from egret.core.compose import Draft, File, compose
from egret.core.diagnostic import status_code
from egret.core.dmarc_reading import read_dmarc
from egret.core.dmarc_report import AggregateReport, PublishedPolicy, Row, compose_xml, compressed
from egret.core.dsn import read_dsn
from egret.core.errors import EgretError
from egret.core.mimescan import read_mail
from egret.core.netguard import UrlPolicy, check_url
from egret.core.parse import MAX_TEXT_OCTETS, NotConforming, Structure, parse_message, part_content
from egret.core.recognise import MailKind, recognise
from egret.core.reply import Reply
from egret.core.report_destinations import agreed, destinations
from egret.core.report_payload import Room, payloads, unpacked
from egret.core.tlsrpt_reading import read_tls
from egret.core.tlsrpt_report import PolicyResult, TlsReport, compose_json
from egret.usecases.incoming_call import incoming_payload
from egret_egress import records
from egret_egress.auth import LoggedIn, Login, Refused
from egret_egress.envelope import Envelope
from egret_egress.exchange import Exchange, Step
from egret_egress.transcript import MAX_BYTES, transcript
from egret_egress.wire import Peer, ReplyReader, peer_of, printable, stuffed
from tests.unit.bounce_styles import STYLES
from tests.unit.test_plain_bounce import mail as plain_mail

MAX_S_PER_MB = 2.0
"""Far above what is measured (tens of milliseconds): a parser that needs this is not slow, it is stuck."""
MAX_RECOGNISER_S_PER_MB = 0.05
MAX_BYTES_PER_BYTE = 20
"""Of memory that the recogniser may need; a megabyte at least."""
MEMORY_EVERY = 50
"""Tracing memory is slow: one input in so many."""
FAILURE = Path("fuzz-failure.bin")


@dataclass(frozen=True, slots=True)
class Target:
    """A parser under test. seeds: valid inputs. own: the errors it may raise."""

    name: str
    parse: Callable[[bytes], object]
    seeds: Sequence[bytes]
    own: tuple[type[Exception], ...] = ()
    max_s_per_mb: float = MAX_S_PER_MB


def _mail() -> bytes:
    numbers = count()
    draft = Draft(
        from_=(Mailbox("Ann Ünger", Address("ann", "example.com")),),
        message_id="<1@example.com>",
        date=datetime(2026, 1, 2, tzinfo=UTC),
        to=(Mailbox("", Address("bob", "example.net")),),
        subject="Grüße und mehr " * 8,
        text="line\n" * 20,
        html="<p>line</p>",
        references=("<0@example.com>",),
        attached_files=(File("ö.pdf", "", "", b"%PDF-1.4 " + bytes(300)),),
    )
    return compose(draft, lambda: f"b{next(numbers)}").raw()


DSN = b"""From: MAILER-DAEMON@mx.example\r
To: x@bounces.example.com\r
Subject: Undelivered\r
MIME-Version: 1.0\r
Content-Type: multipart/report; report-type=delivery-status; boundary="b"\r
\r
--b\r
Content-Type: text/plain\r
\r
It failed.\r
--b\r
Content-Type: message/delivery-status\r
\r
Reporting-MTA: dns; mx.example\r
Arrival-Date: Fri, 2 Jan 2026 10:00:00 +0000 (UTC)\r
\r
Final-Recipient: rfc822; bob@example.net\r
Action: failed\r
Status: 5.1.1\r
Diagnostic-Code: smtp; 550-5.1.1 no such\r
 550 5.1.1 user\r
\r
--b\r
Content-Type: text/rfc822-headers\r
\r
Message-ID: <1@example.com>\r
\r
--b--\r
"""
MIXED = (
    b"From a@b Fri Jan  2 03:04:05 2026\r\nFROM: =?utf-8?q?=C3=84?= (c) <@r:a@b>, g: x@y;\nDate: 2 Jan 26 03:04 GMT\r\n"
    b"In-Reply-To: <1@x> <2@x>\r\nReferences: <0@x>\r\n <1@x>\r\nContent-type: Multipart/Related; boundary=b\r\n\r\n"
    b'preamble\r\n--b\r\nContent-Type: multipart/alternative; boundary="b b"\r\n\r\n--b b\r\n\r\nplain\r\n--b b\r\n'
    b'Content-Type: text/html; charset="utf-7"\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n<p>=3D+AOk-\r\n'
    b"--b b--\r\n--b\r\nContent-ID: <i@x>\r\nContent-Disposition: inline; filename*0*=utf-8''%C3%A4"
    b"; filename*1=.png\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    b"iVBORw0K\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: x\r\n\r\n"
    b"y\r\n--b--"
)
SEND = (
    b'{"To":[{"Name":"A","Address":"a@example.net"}],"Subject":"s","Text":"t",'
    b'"Extra":{"k":"v"},"Date":"2026-01-02T03:04:05Z"}'
)
MULTIPART = (
    b'--b\r\nContent-Disposition: form-data; name="request"\r\n\r\n{}\r\n--b\r\nContent-Disposition: form-data; '
    b'name="attachedfile"; filename="a.txt"\r\nContent-Type: text/plain\r\n\r\nhello\r\n--b--\r\n'
)


def _form(kind: str) -> Callable[[bytes], object]:
    return lambda body: read_form(Request("POST", "/webapi/v0/Send", Headers({"content-type": kind}), body))


def _replies(data: bytes) -> object:
    """Read replies whole and cut into single bytes; the events must be the same."""
    whole = ReplyReader().feed(data)
    reader = ReplyReader()
    cut = [event for i in range(len(data)) for event in reader.feed(data[i : i + 1])]
    assert whole == cut
    return whole


def _conversation(data: bytes) -> object:
    """Run a transaction against these replies: whatever they are, everybody ends with an outcome or is put back."""
    replies = [event for event in ReplyReader().feed(data) if isinstance(event, Reply)]
    peer = peer_of(replies[0]) if replies else Peer("mx", {"PIPELINING": ""})
    exchange = Exchange(Envelope("s@x", ("a@x", "b@y", "c@x"), 10), peer)
    step: bytes | Step = exchange.start()
    for reply in replies[1:]:
        if step is Step.DONE:
            break
        if step is Step.CONTENT:
            exchange.dot_goes()
        step = exchange.take(reply)
    if step is not Step.DONE:
        exchange.fail("the connection was lost")
    assert all((outcome is None) == (index in exchange.put_back) for index, outcome in enumerate(exchange.outcomes))
    assert sum(len(line.encode()) for line in transcript(exchange.talk)) <= MAX_BYTES
    return exchange.outcomes


def _login(data: bytes) -> object:
    """Log in to a server that says this; only a proof of the password could succeed."""
    login = Login("ann", "secret", "SCRAM-SHA-256", b"fuzz")
    step: bytes | LoggedIn | Refused = login.start()
    for line in data.split(b"\r\n"):
        if isinstance(step, bytes):
            step = login.take(Reply(334, (printable(line),)))
    assert not isinstance(step, LoggedIn)
    return step


def _aggregate() -> bytes:
    row = Row("192.0.2.1", "none", "pass", "fail", "example.com", "x.example")
    at = datetime(2026, 1, 2, tzinfo=UTC)
    policy = PublishedPolicy("example.com", "none")
    return compose_xml(AggregateReport("mx.example", "p@mx.example", "1@x", at, at, policy, ((row, 3),) * 3)).encode()


def _tls_report() -> bytes:
    at = datetime(2026, 1, 2, tzinfo=UTC)
    policy = PolicyResult("sts", "example.com", ("version: STSv1",), ("mx.example.com",), 1, 2)
    return compose_json(TlsReport("mx.example", "p@mx.example", "1@x", at, at, (policy, policy))).encode()


def _zipped(*contents: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, content in enumerate(contents):
            archive.writestr(f"{number}.xml", content)
    return buffer.getvalue()


def _report_mail(data: bytes) -> bytes:
    return (
        b"From: a@example.net\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n"
        b"Content-Type: application/gzip\r\nContent-Transfer-Encoding: base64\r\n\r\n"
        + base64.encodebytes(data)
        + b"--b--\r\n"
    )


def _read_reports(raw: bytes) -> object:
    """Read every report of a mail."""
    return [read_tls(each.data) if each.is_json else read_dmarc(each.data) for each in payloads(raw)]


def _destinations(data: bytes) -> object:
    """Find out who gets reports, in a world where everybody's records are these octets."""
    text = data.decode("utf-8", "replace")
    return agreed("example.com", destinations(text.split(",")), lambda _: (text,))


def _message(data: bytes) -> object:
    """Read a message, each of its parts, and what a webhook would tell of it: JSON, whatever the octets are."""
    mail = StoredMail("abcdefgh", 1, "Inbox", "", len(data), datetime(2026, 1, 2, tzinfo=UTC))
    message = parse_message(data)
    assert json.loads(incoming_payload(mail, data, "msg_1"))["Text"] == message.text
    assert len(message.text.encode()) <= MAX_TEXT_OCTETS
    assert part_content(data, [len(message.structure.parts)]) is None
    for path in _paths(message.structure):
        assert part_content(data, path) is not None
    return message


def _paths(part: Structure) -> list[list[int]]:
    """Return the way to each part, of a few."""
    return [[], *([at, *path] for at, child in enumerate(part.parts[:5]) for path in _paths(child))][:20]


def _stuffing(data: bytes) -> object:
    """No dot-stuffed content may hold an end of data of its own (RFC 5321 section 4.5.2)."""
    sent = stuffed(data)
    assert b"\r\n.\r\n" not in sent[:-5]
    return sent


def _recognise(data: bytes) -> object:
    """Recognise a mail; what it says must be of its kind, in bounded memory."""
    is_traced = data.count(b"e") % MEMORY_EVERY == 0
    if is_traced:
        tracemalloc.start()
    found = recognise(data)
    if is_traced:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < MAX_BYTES_PER_BYTE * max(len(data), 1 << 20), f"{peak} bytes of memory"
    assert not found.recipients or found.kind in (MailKind.BOUNCE, MailKind.COMPLAINT)
    assert bool(found.feedback_type) == (found.kind is MailKind.COMPLAINT)
    assert all(one.status == status_code(one.status) for one in found.recipients)
    return found


def _reports() -> list[bytes]:
    """Return reports of many kinds, those of the unit tests and a complaint."""
    complaint = DSN.replace(b"delivery-status", b"feedback-report").replace(b"Action:", b"Feedback-Type:")
    return [DSN, complaint, *(plain_mail(style) for style in STYLES)]


def targets() -> list[Target]:
    """Return every parser with valid inputs for it."""
    mail = _mail()
    leg = handoff.Leg(1024, 1, "bob@example.net")
    until = datetime(2026, 1, 2, tzinfo=UTC)
    transaction = handoff.Transaction(
        "abcdefgh", 1024, "example.net", "x@example.com", [leg], handoff.Content(5, b"a\r\n\r\n"), until
    )
    inbound = pack_inbound(Inbound("1", "2026-01-02T00:00:00+00:00", "", [InboundRecipient("a@b", "abcdefgh")]), mail)
    msgspec_errors = (msgspec.MsgspecError, EgretError)
    return [
        Target("parse_message", _message, [mail, DSN, MIXED]),
        Target(
            "pedantic parse_message", lambda b: parse_message(b, pedantic=True), [mail, DSN, MIXED], (NotConforming,)
        ),
        Target("read_dsn", lambda b: read_dsn(read_mail(b).parts), [DSN, mail]),
        Target("recognise", _recognise, [mail, *_reports()], max_s_per_mb=MAX_RECOGNISER_S_PER_MB),
        Target(
            "Address.parse",
            lambda b: Address.parse(b.decode("utf-8", "replace")),
            [b"a.b+c@xn--74h.example", b'"a b"@x'],
            (AddressError,),
        ),
        Target("Send JSON", lambda b: decode_request(b, SendRequest), [SEND], (EgretError,)),
        Target("urlencoded form", _form("application/x-www-form-urlencoded"), [b"request=%7B%7D&x=1"], (EgretError,)),
        Target("multipart form", _form("multipart/form-data; boundary=b"), [MULTIPART], (EgretError,)),
        Target("SMTP replies", _replies, [b"250-a\r\n250 2.0.0 b\r\n", b"220 x\r\n421 4.3.2 bye\r\n"]),
        Target(
            "SMTP conversation",
            _conversation,
            [
                b"250-mx\r\n250-PIPELINING\r\n250 LIMITS RCPTMAX=2\r\n250 a\r\n250 b\r\n452 c\r\n354 d\r\n250 e\r\n",
                b"250 mx\r\n250 ok\r\n550 5.1.1 no\r\n250 ok\r\n421 4.3.2 bye\r\n",
            ],
        ),
        Target(
            "SCRAM challenges",
            _login,
            [base64.b64encode(b"r=ZnV6eg==xyz,s=c2FsdA==,i=4096") + b"\r\n" + base64.b64encode(b"v=" + b"A" * 44)],
        ),
        Target("DMARC report", read_dmarc, [_aggregate()]),
        Target("TLS report", read_tls, [_tls_report()]),
        Target(
            "mail with reports",
            _read_reports,
            [_report_mail(compressed(_aggregate().decode())), _report_mail(_zipped(b"{}"))],
        ),
        Target(
            "report file",
            lambda b: list(unpacked(b, Room())),
            [compressed(_tls_report().decode()), _zipped(_aggregate()), _zipped(_aggregate(), b"x", _tls_report())],
        ),
        Target(
            "report addresses",
            _destinations,
            [b"mailto:a@example.net!10m,mailto:b@x.example", b"v=DMARC1; p=none; psd=y"],
        ),
        Target("dot-stuffing", _stuffing, [b"a\r\n.\r\nb\r\n", b"..\n.\r", mail]),
        Target(
            "handoff", handoff.decode_handoff, [handoff.encode(handoff.Handoff("u", [transaction]))], msgspec_errors
        ),
        Target("journal records", records.decode, [b"\x82"], (EgretError,)),
        Target("inbound object", unpack_inbound, [inbound], msgspec_errors),
        Target("hint", decode_hint, [b'{"account":"abcdefgh","ids":[1024]}'], msgspec_errors),
        Target("call", decode_call, [b'{"account":"a","delivery_id":1,"seq":1,"queued_at":""}'], msgspec_errors),
        Target("stored content", decode_content, [encode_content(mail), encode_content(b"")], (EgretError,)),
        Target(
            "webhook URL",
            lambda b: check_url(b.decode("utf-8", "replace"), UrlPolicy()),
            [b"https://u:p@[::1]:8443/x?y#z"],
        ),
    ]


TOKENS = [
    b"\r\n",
    b"\n",
    b"\r",
    b"\x00",
    b"--b",
    b"--b--",
    b"<!DOCTYPE x>",
    b"<record>",
    b"{",
    b"[",
    b"PK\x01\x02",
    b"=?utf-8?q?",
    b"\xff\xfe",
    b'"',
    b"\\",
    b"(",
    b";",
    b":",
    b".",
]


def mutate(dice: random.Random, seed: bytes) -> bytes:
    """Spoil a valid input in one to six ways."""
    data = bytearray(seed)
    for _ in range(dice.randint(1, 6)):
        start, end = sorted((dice.randint(0, len(data)), dice.randint(0, len(data))))
        match dice.randrange(6):
            case 0:
                del data[start:end]
            case 1:
                data[start:start] = dice.choice(TOKENS) * dice.choice((1, 1, 2, 50))
            case 2 if data:
                data[dice.randrange(len(data))] = dice.randrange(256)
            case 3:
                data[start:start] = data[start : min(end, start + 2000)]
            case 4:
                data[end:end] = dice.randbytes(dice.randint(0, 40))
            case _:
                data[start:end] = data[start:end].swapcase()
    return bytes(data[: 1 << 17])


def attempt(target: Target, data: bytes) -> str:
    """Return what is wrong with the answer to an input, "" when nothing is."""
    started = time.process_time()
    try:
        target.parse(data)
    except target.own:
        pass
    except Exception as error:  # noqa: BLE001 (the point of it all)
        return f"{type(error).__name__}: {error}"
    took = time.process_time() - started
    return f"took {took:.1f} s" if took > target.max_s_per_mb * max(1.0, len(data) / (1 << 20)) else ""


def fuzz(inputs: int, seed: int) -> str:
    """Try that many inputs over all parsers; return the first failure, "" when there is none."""
    dice, known = random.Random(seed), targets()
    for _ in range(inputs):
        target = dice.choice(known)
        data = mutate(dice, dice.choice(target.seeds))
        wrong = attempt(target, data)
        if wrong:
            FAILURE.write_bytes(target.name.encode() + b"\n" + data)
            return f"{target.name}: {wrong} (input in {FAILURE})"
    return ""


def replay() -> str:
    """Try the failing input again."""
    name, _, data = FAILURE.read_bytes().partition(b"\n")
    return attempt(next(target for target in targets() if target.name == name.decode()), data)


def main() -> int:
    """Run; 1 on a failure."""
    parser = argparse.ArgumentParser(description="Random input for every parser.")
    parser.add_argument("--n", type=int, default=20000, help="inputs")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--replay", action="store_true", help="try fuzz-failure.bin again")
    options = parser.parse_args()
    logging.disable()
    wrong = replay() if options.replay else fuzz(options.n, options.seed)
    print(wrong or f"{options.n} inputs, {len(targets())} parsers, seed {options.seed}: nothing wrong")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
