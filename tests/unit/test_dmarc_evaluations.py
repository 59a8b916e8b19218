"""What DMARC said of mail that came in is kept for the domains that ask."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from egret.contracts.queues import Inbound, InboundRecipient
from egret.contracts.reports import DmarcEvaluation
from egret.contracts.verdicts import DkimVerdict, Verdicts
from egret.core.dmarc import DmarcRecord
from egret.core.dmarc_report import DkimAuth, Override, PublishedPolicy, SpfAuth
from egret.memory.reports import MemoryDmarcEvaluations
from egret.usecases.dmarc_evaluations import MAX_DKIM, MAX_TEXT, evaluate, evaluation_of
from tests.unit.builders import ACCOUNT, NOW

RECORD = DmarcRecord("example.net", p="reject", rua=("mailto:d@example.net",), interval_s=3600)
PASSED = Verdicts(
    spf="pass",
    spf_domain="bounces.example.net",
    dkim=(DkimVerdict("example.net", "s1", "pass"),),
    dmarc="pass",
    header_from="mail.example.net",
    record=RECORD,
    policy="reject",
    spf_aligned=True,
    dkim_aligned=True,
)
FAILED = msgspec.structs.replace(PASSED, dmarc="fail", spf_aligned=False, dkim_aligned=False)


def a_mail(verdicts: Verdicts | None = PASSED, **changes: Any) -> Inbound:
    """Return the envelope of a mail with these verdicts."""
    values: dict[str, Any] = {"mail_from": "x@Bounces.example.net", "remote_ip": "192.0.2.9"} | changes
    recipients = [InboundRecipient("ann@example.com", ACCOUNT)]
    return Inbound("in-1", NOW.isoformat(), recipients=recipients, verdicts=verdicts, **values)


def evaluated(verdicts: Verdicts = PASSED, **changes: Any) -> DmarcEvaluation:
    """Return what is kept."""
    found = evaluation_of(a_mail(verdicts, **changes), NOW)
    assert found is not None
    return found


def test_what_is_kept_of_a_mail() -> None:
    """The record with its defaults, the identifiers, the results; no address of a person."""
    found = evaluated()

    policy = PublishedPolicy("example.net", "reject", "reject", "reject", "r", "r", "0", "n", "treewalk")
    assert (found.policy, found.hours, found.rua) == (policy, 1, ("mailto:d@example.net",))
    assert (found.row.disposition, found.row.dkim, found.row.spf, found.row.reasons) == ("pass", "pass", "pass", ())
    assert (found.row.header_from, found.row.envelope_from) == ("mail.example.net", "bounces.example.net")
    assert found.row.dkim_results == (DkimAuth("example.net", "s1", "pass"),)
    assert found.row.spf_results == (SpfAuth("bounces.example.net", "pass", "mfrom"),)
    assert not found.is_optional


@pytest.mark.parametrize(
    ("verdicts", "disposition", "reasons"),
    [
        (msgspec.structs.replace(PASSED, policy="none"), "none", ()),
        (FAILED, "none", (Override("local_policy", "mail that fails is marked"),)),
        (msgspec.structs.replace(FAILED, disposition="reject"), "reject", ()),
        (msgspec.structs.replace(FAILED, policy="none"), "none", ()),
        (
            msgspec.structs.replace(FAILED, record=msgspec.structs.replace(RECORD, testing=True)),
            "none",
            (Override("policy_test_mode"),),
        ),
    ],
)
@pytest.mark.rfc("9990", "3.1.1.7")
def test_what_was_done_and_why_not_what_was_asked(
    verdicts: Verdicts, disposition: str, reasons: tuple[Override, ...]
) -> None:
    """A failure that was not treated as the domain asks has a reason."""
    assert (evaluated(verdicts).row.disposition, evaluated(verdicts).row.reasons) == (disposition, reasons)


@pytest.mark.parametrize(
    "mail",
    [
        a_mail(None),
        a_mail(msgspec.structs.replace(PASSED, record=None)),
        a_mail(msgspec.structs.replace(PASSED, record=msgspec.structs.replace(RECORD, rua=()))),
        a_mail(msgspec.structs.replace(PASSED, header_from="")),
        a_mail(msgspec.structs.replace(PASSED, dmarc="temperror")),
        a_mail(msgspec.structs.replace(PASSED, dmarc="permerror")),
        a_mail(remote_ip=""),
        a_mail(remote_ip="not an address"),
        a_mail(msgspec.structs.replace(PASSED, record=msgspec.structs.replace(RECORD, domain="a#b"))),
    ],
)
def test_mail_that_nobody_asks_about(mail: Inbound) -> None:
    """No record, no rua, no author, no result: nothing is kept."""
    port = MemoryDmarcEvaluations()

    assert not evaluate(port, mail, NOW)
    assert port.list(NOW.date(), 1, "", 10, NOW).items == ()


def test_reports_and_refused_mail_are_not_worth_a_report_alone() -> None:
    """Else two installations would report to each other for ever, and anybody could make us write to others."""
    found = evaluation_of(a_mail(), NOW, is_report=True)

    assert found == replace(evaluated(), is_optional=True)
    assert evaluated(msgspec.structs.replace(FAILED, disposition="reject")).is_optional


def test_signatures_that_count_come_first() -> None:
    """Aligned strictly, aligned, other valid ones, the rest; bounded in number and length."""
    ranked = ["fail:mail.example.net", "pass:esp.example", "pass:example.net", "pass:mail.example.net"]
    dkim = tuple(DkimVerdict(text[5:], "s", text[:4]) for text in ranked)
    found = evaluated(msgspec.structs.replace(PASSED, dkim=dkim))

    assert [f"{one.result}:{one.domain}" for one in found.row.dkim_results] == ranked[::-1]
    many = evaluated(msgspec.structs.replace(PASSED, dkim=(DkimVerdict("a", "s" * 999, "fail", "r" * 999),) * 99))
    assert len(many.row.dkim_results) == MAX_DKIM
    assert (len(many.row.dkim_results[0].selector), len(many.row.dkim_results[0].human_result)) == (MAX_TEXT, MAX_TEXT)


def test_a_mail_that_is_taken_in_again_counts_once() -> None:
    """Ingest may be repeated."""
    port = MemoryDmarcEvaluations()
    assert evaluate(port, a_mail(), NOW)
    assert evaluate(port, a_mail(), NOW)

    assert port.list(NOW.date(), 1, "", 10, NOW).items == (evaluated(),)


def test_a_record_of_any_length_makes_a_small_evaluation() -> None:
    """Its author may send any number of mails, each of which is stored."""
    long = "mailto:" + "d" * 60_000 + "@example.net"
    record = msgspec.structs.replace(RECORD, rua=(long, *RECORD.rua), fo="1" * 60_000)
    found = evaluated(msgspec.structs.replace(PASSED, record=record))

    assert (found.rua, len(found.policy.fo)) == (RECORD.rua, MAX_TEXT)
    only_long = msgspec.structs.replace(PASSED, record=msgspec.structs.replace(RECORD, rua=(long,)))
    assert evaluation_of(a_mail(only_long), NOW) is None
