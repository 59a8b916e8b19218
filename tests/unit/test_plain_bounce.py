"""Reports in words, in the style of many MTAs."""

from __future__ import annotations

import pytest

from egret.core.recognise import MailKind, Recognised, recognise
from tests.unit.bounce_styles import STYLES, Style


def mail(style: Style, *fields: str) -> bytes:
    """Return the report as it comes in."""
    header = [f"From: {style.sender}", "To: shop@example.com", f"Subject: {style.subject}", *fields]
    return "\n".join([*header, f'Content-Type: {style.content_type}; charset="utf-8"', "", style.body]).encode()


def _told(found: Recognised) -> list[tuple[str, str, str]]:
    return [(one.address, one.status, one.failure.value) for one in found.recipients]


@pytest.mark.parametrize("style", STYLES, ids=lambda style: style.name)
def test_report_in_words_is_understood(style: Style) -> None:
    """Who failed, the code, and why."""
    found = recognise(mail(style))
    assert (found.kind, found.format) == (MailKind.BOUNCE, style.format)
    assert _told(found) == [(address, status, failure.value) for address, status, failure in style.told]
    assert {one.action for one in found.recipients} == {style.action}
