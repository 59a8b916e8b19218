"""Bounces that Postfix, Exim and OpenSMTPD wrote (`make peers`): each says that there is no such recipient."""

from __future__ import annotations

from pathlib import Path

import pytest

from egret.core.failure import FailureClass
from egret.core.recognise import MailKind, recognise

MAILS = sorted((Path(__file__).parents[1] / "data" / "bounces" / "emails").glob("*.eml"))
ADDRESSES = {"postfix": "gone@remote.example", "exim": "gone@exim.example", "opensmtpd": "gone@osmtpd.example"}


@pytest.mark.parametrize("line_end", [b"\r\n", b"\n", b"\r"], ids=["CRLF", "LF", "CR"])
@pytest.mark.parametrize("path", MAILS, ids=lambda path: path.stem)
def test_a_real_bounce_is_understood(path: Path, line_end: bytes) -> None:
    """Whatever its line ends."""
    found = recognise(path.read_bytes().replace(b"\r\n", line_end))
    (one,) = found.recipients

    assert (found.kind, one.action, one.status, one.failure) == (
        MailKind.BOUNCE,
        "failed",
        "5.1.1",
        FailureClass.ADDRESS_DEAD,
    )
    assert ADDRESSES[path.stem] in (one.address, one.original_address)
    assert dict(found.original)["Return-Path" if path.stem == "postfix" else "Subject"]
