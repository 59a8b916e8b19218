"""Mail programs submit, and a real Postfix is what it goes to: Python's smtplib with every extension, and swaks."""

from __future__ import annotations

import re
import smtplib
import ssl
import subprocess
from collections.abc import Callable, Sequence
from email.parser import BytesParser
from typing import Any

import pytest

from tests.e2e.installation import wait_until
from tests.peers.conftest import Peers
from tests.peers.postfix import DOMAIN

pytestmark = pytest.mark.peers

Found = dict[str, Any]


def unverified() -> ssl.SSLContext:
    """Return a context for the certificate that local mode makes itself."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def content(peers: Peers, subject: str, *fields: str) -> bytes:
    """Return a message from the account, in UTF-8."""
    head = "".join(f"{field}\r\n" for field in (f"From: {peers.login.address}", f"Subject: {subject}", *fields))
    return f"{head}\r\nGrüße.\r\n".encode()


def starttls(peers: Peers) -> smtplib.SMTP:
    """Return a client on the port with STARTTLS."""
    client = smtplib.SMTP("127.0.0.1", peers.installation.ports["SUBMISSION_PORT"], timeout=30)
    client.starttls(context=unverified())
    return client


def implicit(peers: Peers) -> smtplib.SMTP:
    """Return a client on the port with TLS from the start."""
    port = peers.installation.ports["SUBMISSIONS_PORT"]
    return smtplib.SMTP_SSL("127.0.0.1", port, timeout=30, context=unverified())


def submit(
    peers: Peers,
    recipient: str,
    raw: bytes,
    options: Sequence[str] = (),
    rcpt_options: Sequence[str] = (),
    connect: Callable[[Peers], smtplib.SMTP] = starttls,
) -> int:
    """Submit; return the id of the delivery."""
    with connect(peers) as client:
        client.login(peers.login.address, peers.login.key)
        code, text = client.mail(peers.login.address, options)
        assert code == 250, text
        code, text = client.rcpt(recipient, rcpt_options)
        assert code == 250, text
        code, text = client.data(raw)
        assert code == 250, text
        return int(text.split()[-1])


@pytest.mark.rfc("3461", "4")
def test_smtplib_submits_with_parameters_for_dsns(peers: Peers) -> None:
    """NOTIFY, ORCPT, RET and ENVID reach Postfix, whose report of success leads back to the delivery."""
    raw = content(peers, "DSN", "Bcc: hidden@example.org", "X-Mox-Extra-Order: 17")
    recipient = f"submitted@{DOMAIN}"
    options = [f"SIZE={len(raw)}", "BODY=8BITMIME", "RET=HDRS", "ENVID=QQ+2B1"]
    queue_msg_id = submit(peers, recipient, raw, options, ["NOTIFY=SUCCESS,FAILURE,DELAY", f"ORCPT=rfc822;{recipient}"])

    def was_told_by_postfix(found: Found) -> bool:
        return any(event["DSN"] for event in found["Events"])

    delivery = peers.installation.await_delivery(queue_msg_id, was_told_by_postfix, peers.login)
    assert [(event["Event"], event["DSN"]) for event in delivery["Events"]] == [
        ("delivered", False),
        ("delivered", True),
    ]
    assert delivery["Extra"] == {"Order": "17"}

    (mail,) = wait_until(lambda: peers.postfix.mails("submitted"), "in the mailbox")
    arrived = BytesParser().parsebytes(mail.content)
    assert (arrived["Bcc"], arrived["X-Mox-Extra-Order"]) == (None, None)
    assert arrived["Message-ID"]
    assert arrived["Date"]
    assert len(arrived.get_all("DKIM-Signature", [])) == 2
    assert "Grüße.".encode() in mail.content

    def has_come_back() -> bool:
        listed = peers.installation.ask("MessageList", {"DSN": True}, peers.login)["Messages"]
        raws = (peers.installation.raw(one["MsgID"], peers.login) for one in listed)
        return any(b"Original-Envelope-Id: QQ+1\r\n" in raw for raw in raws)

    wait_until(has_come_back, "in the Inbox, with its ENVID")


@pytest.mark.rfc("4865", "4")
def test_smtplib_submits_for_later(peers: Peers) -> None:
    """HOLDFOR: it waits, and then goes."""
    queue_msg_id = submit(
        peers, f"held@{DOMAIN}", content(peers, "later").replace(b"\xc3\xbc\xc3\x9f", b"ss"), ["HOLDFOR=3"], []
    )
    delivery = peers.installation.await_end(queue_msg_id, peers.login)

    assert delivery["State"] == "delivered"
    (mail,) = wait_until(lambda: peers.postfix.mails("held"), "in the mailbox")
    assert b"Subject: later\r\n" in mail.content


@pytest.mark.rfc("8689", "4.2.1")
def test_smtplib_requires_tls_on_the_way(peers: Peers) -> None:
    """Nobody vouches for Postfix's certificate, so that it goes back at once; with `TLS-Required: No` it goes there."""
    raw = content(peers, "secret").replace(b"\xc3\xbc\xc3\x9f", b"ss")
    queue_msg_id = submit(peers, f"submitted@{DOMAIN}", raw, ["REQUIRETLS"], [])
    delivery = peers.installation.await_end(queue_msg_id, peers.login)

    assert delivery["State"] == "failed"
    assert delivery["Attempts"][-1]["EnhancedCode"] == "5.7.30"
    open_ = submit(peers, f"plain@{DOMAIN}", b"TLS-Required: No\r\n" + raw, [], [])
    assert peers.installation.await_end(open_, peers.login)["State"] == "delivered"


@pytest.mark.rfc("6531", "3.4")
def test_smtplib_submits_an_address_beyond_ascii(peers: Peers) -> None:
    """SMTPUTF8 from the program to Postfix."""
    raw = content(peers, "Grüße")
    queue_msg_id = submit(peers, f"jörg@{DOMAIN}", raw, ["SMTPUTF8", "BODY=8BITMIME"], connect=implicit)

    assert peers.installation.await_end(queue_msg_id, peers.login)["State"] == "delivered"


@pytest.mark.parametrize(
    "way", [("-tls", "-a", "PLAIN"), ("-tls", "-a", "LOGIN", "--pipeline"), ("-tlsc", "-a", "LOGIN")], ids="-".join
)
def test_swaks_submits(peers: Peers, way: tuple[str, ...]) -> None:
    """Both ports, both mechanisms, with pipelining; the same Egret-Idempotency-Key again sends nothing."""
    name = "SUBMISSIONS_PORT" if "-tlsc" in way else "SUBMISSION_PORT"
    command = [
        *("swaks", "-s", "127.0.0.1", "-p", str(peers.installation.ports[name]), *way),
        *("-au", peers.login.address, "-ap", peers.login.key, "-f", peers.login.address, "-t", f"swaks@{DOMAIN}"),
        *(
            "--header",
            f"Egret-Idempotency-Key: {'-'.join(way)}",
            "--header",
            "Subject: swaks",
            "--header",
            "Date: Sun, 29 Nov 2026 10:00:00 +0000",
        ),
        *("--header", "Message-Id: <swaks@sender.example>"),
    ]
    ids = []
    for _ in range(2):
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stdout
        ids.append(re.findall(r"Queued as (\d+)", done.stdout)[0])

    assert ids[0] == ids[1]
    assert peers.installation.await_end(int(ids[0]), peers.login)["State"] == "delivered"
