"""Exim and OpenSMTPD take a message, bounce it later, and their DSNs come in over the real port."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.installation import wait_until
from tests.peers import exim, opensmtpd
from tests.peers.conftest import Peers

pytestmark = pytest.mark.peers

Found = dict[str, Any]


@pytest.mark.usefixtures("the_exim")
def test_exim_bounces_a_message_that_it_had_taken(peers: Peers) -> None:
    """Its Status says nothing (5.0.0) and it writes no Diagnostic-Code: the reply stands in the text alone."""
    bounces_later(peers, exim.GONE)


@pytest.mark.usefixtures("the_opensmtpd")
def test_opensmtpd_bounces_a_message_that_it_had_taken(peers: Peers) -> None:
    """Its report is not even multipart/report, and its Status says nothing."""
    bounces_later(peers, opensmtpd.GONE)


def bounces_later(peers: Peers, address: str) -> None:
    """Send to an address; it is delivered, then failed by the DSN, and suppressed."""
    queue_msg_id = peers.installation.send(address, login=peers.login)["QueueMsgID"]

    def has_failed(found: Found) -> bool:
        return bool(found["State"] == "failed")

    delivery = peers.installation.await_delivery(queue_msg_id, has_failed, peers.login)

    assert [(attempt["Outcome"], attempt["Code"]) for attempt in delivery["Attempts"]] == [("delivered", 250)]
    assert [(e["Event"], e["DSN"]) for e in delivery["Events"]] == [("delivered", False), ("failed", True)]
    failed = delivery["Events"][-1]
    assert (failed["SMTPCode"], failed["SMTPEnhancedCode"]) == (550, "5.1.1")

    def is_suppressed() -> bool:
        present = peers.installation.ask("SuppressionPresent", {"EmailAddress": address}, peers.login)
        return bool(present["Present"])

    wait_until(is_suppressed, "suppressed")


def test_exim_delivers_other_mail(peers: Peers, the_exim: exim.Exim) -> None:
    """It is a whole server, not one that refuses everything."""
    queue_msg_id = peers.installation.send(f"ann@{exim.DOMAIN}", login=peers.login)["QueueMsgID"]
    assert peers.installation.await_end(queue_msg_id, peers.login)["State"] == "delivered"
    wait_until(lambda: the_exim.mails("mailbox"), "in the mailbox")


def test_opensmtpd_delivers_other_mail(peers: Peers, the_opensmtpd: opensmtpd.OpenSmtpd) -> None:
    """It is a whole server, not one that refuses everything."""
    queue_msg_id = peers.installation.send(f"ann@{opensmtpd.DOMAIN}", login=peers.login)["QueueMsgID"]
    assert peers.installation.await_end(queue_msg_id, peers.login)["State"] == "delivered"
    wait_until(lambda: the_opensmtpd.behind.mails, "behind it")
