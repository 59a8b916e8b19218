"""Others read our DSNs: Postfix and Exim know them, OpenSMTPD passes them on, flufl.bounce finds who failed."""

from __future__ import annotations

import json
import smtplib
import subprocess
from email.parser import BytesParser
from pathlib import Path

import pytest

from egret.core.recognise import recognise
from tests.e2e.installation import wait_until
from tests.peers import exim, opensmtpd
from tests.peers.conftest import Peers
from tests.peers.postfix import DOMAIN, REPORTS, SEEN
from tests.unit.dsn_samples import samples

pytestmark = pytest.mark.peers

ROOT = Path(__file__).parent.parent.parent
JUDGES = ROOT / ".venv-judges" / "bin" / "python"
OURS = samples()
PLAIN = {name: raw for name, raw in OURS.items() if raw.isascii()}
"""Those that need no SMTPUTF8 on the way."""


def send(address: str, recipient: str, raw: bytes) -> None:
    """Bring a DSN as any server does: with the null reverse-path."""
    with smtplib.SMTP(address, 25, timeout=30) as client:
        options = ["BODY=8BITMIME", "SMTPUTF8"] if not raw.isascii() else []
        client.ehlo("mail.egret.example")
        client.mail("", options)
        client.rcpt(recipient)
        assert client.data(raw)[0] == 250


def what_it_says(raw: bytes) -> list[tuple[str, str, str, str]]:
    """Return what a reader makes of the recipients."""
    return [(one.address, one.action, one.status, one.diagnostic) for one in recognise(raw).recipients]


@pytest.mark.rfc("3464", "2")
def test_postfix_sees_the_report_within_and_keeps_it_as_it_is(peers: Peers) -> None:
    """Its MIME parser finds the delivery-status part of each, and what lies in the mailbox says the same."""
    for raw in OURS.values():
        send(peers.postfix.address, f"{REPORTS}@{DOMAIN}", raw)
    wait_until(lambda: len(peers.postfix.mails(REPORTS)) == len(OURS), "all in the mailbox")
    mails = peers.postfix.mails(REPORTS)

    def seen() -> list[str]:
        return [line for line in peers.postfix.log if SEEN in line]

    wait_until(lambda: len(seen()) == len(OURS), "seen by the checks of MIME headers")
    assert sorted(what_it_says(mail.content) for mail in mails) == sorted(map(what_it_says, OURS.values()))
    assert all(BytesParser().parsebytes(mail.content)["Return-Path"] == "<>" for mail in mails)


def test_exim_knows_them_for_reports(the_exim: exim.Exim) -> None:
    """A router for bounces takes them: null sender, and a Content-Type of a report."""
    for raw in PLAIN.values():
        send(exim.ADDRESS, f"ann@{exim.DOMAIN}", raw)
    wait_until(lambda: len(the_exim.mails("reports")) == len(PLAIN), "all in the mailbox")
    mails = the_exim.mails("reports")

    assert sorted(map(what_it_says, mails)) == sorted(map(what_it_says, PLAIN.values()))


def test_opensmtpd_passes_them_on_as_they_are(the_opensmtpd: opensmtpd.OpenSmtpd) -> None:
    """To the server behind it, where they say the same."""
    for raw in PLAIN.values():
        send(opensmtpd.ADDRESS, f"reports@{opensmtpd.DOMAIN}", raw)

    def passed_on() -> list[bytes]:
        return [mail for mail in the_opensmtpd.behind.mails if b"multipart/report" in mail]

    wait_until(lambda: len(passed_on()) == len(PLAIN), "behind it")
    assert sorted(map(what_it_says, passed_on())) == sorted(map(what_it_says, PLAIN.values()))


@pytest.mark.skipif(not JUDGES.exists(), reason="the judges' environment is not installed (make peers)")
def test_flufl_bounce_finds_who_failed(tmp_path: Path) -> None:
    """For good what failed for good, for now what is delayed, nobody in what arrived."""
    paths = {name: tmp_path / f"{name}.eml" for name in PLAIN}
    for name, path in paths.items():
        path.write_bytes(PLAIN[name])
    script = Path(__file__).parent / "bounce_judge.py"
    command = [str(JUDGES), str(script), *map(str, paths.values())]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr

    found = dict(zip(paths, map(json.loads, done.stdout.splitlines()), strict=True))
    for name, raw in PLAIN.items():
        said = recognise(raw).recipients
        failed = sorted(one.original_address or one.address for one in said if one.action == "failed")
        delayed = sorted(one.address for one in said if one.action == "delayed")
        if not any("utf-8" in value for one in said for field, value in one.fields if field == "Final-Recipient"):
            assert found[name] == {"permanent": failed, "temporary": delayed}, name
