"""What comes back for mail that the local sink took, where an address asks for it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from email.message import EmailMessage, Message
from email.parser import BytesHeaderParser
from email.utils import format_datetime, parseaddr
from typing import assert_never

from egret.core.compose_dsn import RecipientReport, Report, compose_dsn, reply_lines
from egret_local.script import Afterwards

HOST = "sink.localhost"


@dataclass(frozen=True, slots=True)
class Taken:
    """A message that the sink took for one recipient. id: of the sink's own. Addresses without <>."""

    id: str
    reverse_path: str
    forward_path: str
    content: bytes
    at: datetime

    @property
    def header(self) -> Message:
        """Its header."""
        return BytesHeaderParser().parsebytes(self.content)


@dataclass(frozen=True, slots=True)
class Return:
    """A mail on its way back: the envelope, and the message with CRLF line ends."""

    mail_from: str
    rcpt_to: str
    raw: bytes


def coming_back(what: Afterwards, taken: Taken) -> Return:
    """Return what an address asks to come back for its message."""
    match what:
        case Afterwards.BOUNCE:
            return Return("", taken.reverse_path, _bounce(taken))
        case Afterwards.COMPLAINT:
            return Return(f"feedback@{HOST}", taken.reverse_path, _complaint(taken))
        case Afterwards.REPLY:
            sender = parseaddr(taken.header["Reply-To"] or taken.header["From"] or "")[1]
            return Return(taken.forward_path, sender, _reply(taken, sender))
        case _:
            assert_never(what)


def _bounce(taken: Taken) -> bytes:
    gone = RecipientReport(
        taken.forward_path,
        "failed",
        "5.1.1",
        "scripted bounce",
        reply_lines(550, ("5.1.1 No such user here any more",)),
        last_attempt_at=taken.at,
    )
    report = Report(
        HOST,
        taken.reverse_path,
        f"<{taken.id}@{HOST}>",
        taken.at,
        (gone,),
        taken.at,
        original_message_id=str(taken.header["Message-ID"] or ""),
        original=taken.content,
    )
    return compose_dsn(report).raw(b"")


def _complaint(taken: Taken) -> bytes:
    fields = {
        "Feedback-Type": "abuse",
        "User-Agent": "egret-sink/1",
        "Version": "1",
        "Original-Rcpt-To": taken.forward_path,
        "Arrival-Date": format_datetime(taken.at),
    }
    header = taken.content.partition(b"\r\n\r\n")[0]
    parts = [
        ("text/plain", b"A recipient says that this is spam.\r\n"),
        ("message/feedback-report", "".join(f"{name}: {value}\r\n" for name, value in fields.items()).encode()),
        ("text/rfc822-headers", header + b"\r\n"),
    ]
    head = (
        f"From: <feedback@{HOST}>\r\nTo: <{taken.reverse_path}>\r\nSubject: Complaint\r\n"
        f"Message-ID: <{taken.id}@{HOST}>\r\nDate: {format_datetime(taken.at)}\r\nMIME-Version: 1.0\r\n"
        'Content-Type: multipart/report; report-type=feedback-report; boundary="sink"\r\n\r\n'
    ).encode()
    body = b"".join(f"--sink\r\nContent-Type: {name}\r\n\r\n".encode() + part + b"\r\n" for name, part in parts)
    return head + body + b"--sink--\r\n"


def _reply(taken: Taken, sender: str) -> bytes:
    reply = EmailMessage()
    reply["From"], reply["To"] = taken.forward_path, sender
    reply["Subject"] = f"Re: {taken.header['Subject'] or ''}"
    reply["Date"], reply["Message-ID"] = format_datetime(taken.at), f"<{taken.id}@{HOST}>"
    if message_id := taken.header["Message-ID"]:
        reply["In-Reply-To"] = reply["References"] = str(message_id)
    reply.set_content("Thank you for your mail.\n")
    return reply.as_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
