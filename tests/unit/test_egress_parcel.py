"""The envelope of a parcel: what a submission asked for goes to the MX host, and an ENVID of ours without one."""

from __future__ import annotations

from typing import Any

import pytest

from egret.contracts.handoff import Content as Stored
from egret.contracts.handoff import Leg, Transaction
from egret_egress.content import Content
from egret_egress.parcel import Parcel
from tests.unit.builders import ACCOUNT, NOW


class Nothing:
    """Progress that nobody follows."""

    def begin(self) -> None:
        """Hear of the beginning."""

    def before_dot(self, *_: Any) -> None:
        """Hear of the dot."""

    def decide(self, *_: Any) -> None:
        """Hear of an outcome."""


@pytest.mark.parametrize(("given", "sent"), [("order 17", "order 17"), ("", f"{ACCOUNT}.1024")])
def test_the_envid_of_the_submission_is_passed_on(given: str, sent: str) -> None:
    """RFC 3461 section 5.2.1: unchanged. Ours finds the message that a DSN is about."""
    legs = [Leg(1024, 1, "a@x.example", "NEVER", "rfc822;a@y.example"), Leg(1025, 1, "b@x.example")]
    transaction = Transaction(
        account=ACCOUNT,
        message_id=1024,
        domain="x.example",
        reverse_path="s@example.com",
        legs=legs,
        content=Stored(4, b"x\r\n\r\n"),
        lease_until=NOW,
        ret="FULL",
        envid=given,
    )
    envelope = Parcel(transaction, Content(b"x\r\n\r\n"), Nothing()).envelope([0, 1])

    assert (envelope.envid, envelope.ret) == (sent, "FULL")
    assert (envelope.notify, envelope.orcpts) == (("NEVER", ""), ("rfc822;a@y.example", ""))
