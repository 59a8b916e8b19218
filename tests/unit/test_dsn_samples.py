"""Samples and page show notifications as Egret writes them."""

from __future__ import annotations

import email

import pytest

from tests.template import ROOT
from tests.unit.builders import dsn_in
from tests.unit.dsn_samples import samples

ACTIONS = {
    "delayed": ["delayed"],
    "several": ["failed", "delayed"],
    "smtp-relayed": ["relayed"],
    "smtp-delivered": ["delivered"],
}
"""Of those that do not tell one failure."""


@pytest.mark.parametrize("name", samples())
def test_every_sample_can_be_read(name: str) -> None:
    """By our own reader, as what its name says; those that go by SMTP have no trace of a mailbox."""
    raw = samples()[name]
    report = dsn_in(raw)

    assert report is not None
    assert [one.action for one in report.recipients] == ACTIONS.get(name, ["failed"])
    assert (email.message_from_bytes(raw)["Return-Path"] is None) == name.startswith("smtp-")


def test_the_page_shows_one() -> None:
    """Byte for byte, but for line ends."""
    page = (ROOT / "docs" / "dsn.md").read_text()

    assert f"```\n{samples()['many-lines'].decode()}```\n".replace("\r\n", "\n") in page
