"""What incoming mail turns out to be."""

from __future__ import annotations

from egret.core.failure import FailureClass
from egret.core.recognise import MailKind, recognise

DSN = b"""From: MAILER-DAEMON@mx.example
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary=b

--b
Content-Type: text/plain

It failed.
--b
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.example

Final-Recipient: rfc822; bob@example.net
Action: failed
Status: 5.1.1
Diagnostic-Code: smtp; 550 5.1.1 no such user
--b
Content-Type: text/rfc822-headers

Message-ID: <1@example.com>
--b--
"""
ARF = b"""From: fbl@isp.example
MIME-Version: 1.0
Content-Type: multipart/report; report-type=feedback-report; boundary=b

--b
Content-Type: text/plain

Somebody complains.
--b
Content-Type: message/feedback-report

Feedback-Type: abuse
User-Agent: Loop/1.0
Version: 1
Original-Rcpt-To: <bob@example.net>
--b
Content-Type: message/rfc822

Message-ID: <1@example.com>

hello
--b--
"""


def test_dsn_is_a_bounce_with_its_recipients() -> None:
    """Action, codes and class of each recipient."""
    found = recognise(DSN)
    assert (found.kind, found.format, found.reporting_mta) == (MailKind.BOUNCE, "dsn", "mx.example")
    (bob,) = found.recipients
    assert (bob.address, bob.action, bob.status, bob.code) == ("bob@example.net", "failed", "5.1.1", 550)
    assert bob.failure is FailureClass.ADDRESS_DEAD


def test_feedback_report_is_a_complaint() -> None:
    """With its type and who complains."""
    found = recognise(ARF)
    assert (found.kind, found.format, found.feedback_type) == (MailKind.COMPLAINT, "arf", "abuse")
    assert [one.address for one in found.recipients] == ["bob@example.net"]


def test_other_mail_is_other() -> None:
    """Ordinary mail says nothing of a delivery."""
    assert recognise(b"Subject: hello\n\nhow are you?\n").kind is MailKind.OTHER
