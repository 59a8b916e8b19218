"""The mails that carry our reports. The same arguments give the same octets, so that a repetition is one.

Implements: RFC 9990 section 3.5.2 (DMARC), RFC 8460 section 5.3 (TLS), RFC 6522 (multipart/report), RFC 8689 section 5
(`TLS-Required: No`: a report about a broken policy must not wait for that policy).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime

from egret.core import header
from egret.core.address import Address, Mailbox
from egret.core.compose import Draft, File, compose
from egret.core.transfer_encoding import base64_lines

GZIP = "application/gzip"
TLSRPT_GZIP = "application/tlsrpt+gzip"


@dataclass(frozen=True, slots=True)
class Letter:
    """What the mails have in common. report_id: without <>; it is the Message-ID as well. text: ASCII, LF line ends."""

    from_: Address
    to: tuple[Address, ...]
    subject: str
    date: datetime
    report_id: str
    text: str
    user_agent: str = ""


@dataclass(frozen=True, slots=True)
class Written:
    """A mail: headers and body as `core.dkim.sign` takes them."""

    headers: bytes
    body: bytes

    @property
    def size_bytes(self) -> int:
        """Of the whole message, without what the queue puts before it."""
        return len(self.headers) + 2 + len(self.body)


def dmarc_mail(letter: Letter, name: str = "", data: bytes = b"") -> Written:
    """Return a mail with a gzipped report, or, without a name, one of text alone."""
    draft = Draft(
        from_=(Mailbox("", letter.from_),),
        message_id=f"<{letter.report_id}>",
        date=letter.date,
        to=tuple(Mailbox("", address) for address in letter.to),
        subject=letter.subject,
        text=letter.text,
        headers=(("Auto-Submitted", "auto-generated"),),
        attached_files=(File(name, GZIP, "", data),) if name else (),
        user_agent=letter.user_agent,
    )
    composed = compose(draft, lambda: _boundary(letter))
    return Written(composed.headers, composed.body)


def tls_mail(letter: Letter, domain: str, submitter: str, attachment: tuple[str, bytes]) -> Written:
    """Return a mail with a report; attachment: its file name and the gzipped JSON."""
    boundary = _boundary(letter)
    name, data = attachment
    fields = [
        header.mailboxes("From", (Mailbox("", letter.from_),), smtputf8=False),
        header.mailboxes("To", [Mailbox("", address) for address in letter.to], smtputf8=False),
        header.unstructured("Subject", letter.subject),
        f"Message-Id: <{letter.report_id}>\r\n",
        f"Date: {header.date_time(letter.date)}\r\n",
        f"TLS-Report-Domain: {domain}\r\n",
        f"TLS-Report-Submitter: {submitter}\r\n",
        "TLS-Required: No\r\n",
        "Auto-Submitted: auto-generated\r\n",
        f"User-Agent: {letter.user_agent}\r\n" if letter.user_agent else "",
        "MIME-Version: 1.0\r\n",
        header.parameters("Content-Type", "multipart/report", (("report-type", "tlsrpt"), ("boundary", boundary))),
    ]
    text = letter.text.replace("\n", "\r\n")
    attached = header.parameters("Content-Disposition", "attachment", (("filename", name),))
    lines = (
        f"--{boundary}\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n{text}\r\n"
        f"--{boundary}\r\nContent-Type: {TLSRPT_GZIP}\r\nContent-Transfer-Encoding: base64\r\n{attached}\r\n"
    )
    body = b"".join((lines.encode(), base64_lines(data), f"--{boundary}--\r\n".encode()))
    return Written("".join(fields).encode(), body)


def _boundary(letter: Letter) -> str:
    return f"report-{hashlib.sha256(letter.report_id.encode()).hexdigest()[:30]}"
