"""Keep what DMARC said of mail that came in, for the reports to the domains that ask for them."""

from __future__ import annotations

import ipaddress
from datetime import datetime

from egret.contracts.queues import Inbound
from egret.contracts.reports import DmarcEvaluation, DmarcEvaluations
from egret.contracts.verdicts import DkimVerdict, Verdicts
from egret.core.address import AddressError, canonical_domain
from egret.core.dmarc import DmarcRecord
from egret.core.dmarc_report import DkimAuth, Override, PublishedPolicy, Row, SpfAuth, interval_hours

MAX_DKIM = 20
"""Signatures of a mail that are reported; no honest mail has as many."""
MAX_TEXT = 200
"""Characters of a selector or a reason, which the sender of the mail chose."""
MAX_URI = 500
"""Characters of an address that reports are wanted at. All that is stored was chosen by a stranger, for each mail."""


def evaluate(port: DmarcEvaluations, envelope: Inbound, at: datetime, *, is_report: bool = False) -> bool:
    """Store what DMARC said of a mail that came at this instant; False when nobody asks for it.

    is_report: it is a report itself: alone, it is not worth another. Neither is one that was refused: anybody could
    make us send reports by writing to us in the name of others.
    """
    evaluation = evaluation_of(envelope, at, is_report=is_report)
    if evaluation is None:
        return False
    port.put(evaluation)
    return True


def evaluation_of(envelope: Inbound, at: datetime, *, is_report: bool = False) -> DmarcEvaluation | None:
    """Return what there is to report of a mail, None when no report is asked for, or DMARC could not be evaluated."""
    verdicts = envelope.verdicts
    if verdicts is None or verdicts.record is None or not verdicts.header_from:
        return None
    rua = tuple(uri for uri in verdicts.record.rua if len(uri) <= MAX_URI)
    if not rua or verdicts.dmarc not in ("pass", "fail"):
        return None
    try:
        source = str(ipaddress.ip_address(envelope.remote_ip))
        domain = canonical_domain(verdicts.record.domain)
    except (ValueError, AddressError):
        return None
    return DmarcEvaluation(
        id=envelope.id,
        at=at,
        hours=interval_hours(verdicts.record.interval_s),
        policy=_policy(domain, verdicts.record),
        row=_row(source, envelope, verdicts),
        rua=rua,
        is_optional=is_report or verdicts.disposition == "reject",
    )


def _policy(domain: str, record: DmarcRecord) -> PublishedPolicy:
    return PublishedPolicy(
        domain=domain,
        p=record.p,
        sp=record.sp or record.p,
        np=record.np or record.sp or record.p,
        adkim=record.adkim,
        aspf=record.aspf,
        fo=record.fo[:MAX_TEXT],
        testing="y" if record.testing else "n",
        discovery_method="treewalk",
    )


def _row(source: str, envelope: Inbound, verdicts: Verdicts) -> Row:
    spf = SpfAuth(verdicts.spf_domain[:MAX_TEXT], verdicts.spf, "mfrom") if verdicts.spf_domain else None
    return Row(
        source_ip=source,
        disposition=_disposition(verdicts),
        dkim="pass" if verdicts.dkim_aligned else "fail",
        spf="pass" if verdicts.spf_aligned else "fail",
        header_from=verdicts.header_from,
        envelope_from=envelope.mail_from.rpartition("@")[2].lower()[:MAX_TEXT],
        reasons=_reasons(verdicts),
        dkim_results=_dkim(verdicts),
        spf_results=(spf,) if spf else (),
    )


def _disposition(verdicts: Verdicts) -> str:
    """Return what was done, in the words of RFC 9990 section 3.1.1.7."""
    if verdicts.disposition == "reject":
        return "reject"
    return "pass" if verdicts.dmarc == "pass" and verdicts.policy != "none" else "none"


def _reasons(verdicts: Verdicts) -> tuple[Override, ...]:
    """Return why a mail that failed got something else than its domain asks for."""
    if verdicts.dmarc == "pass" or verdicts.policy == verdicts.disposition:
        return ()
    if verdicts.record is not None and verdicts.record.testing:
        return (Override("policy_test_mode"),)
    return (Override("local_policy", "mail that fails is marked"),)


def _dkim(verdicts: Verdicts) -> tuple[DkimAuth, ...]:
    """Return the signatures, those that count most first (RFC 9990 section 3.1.3)."""
    author = verdicts.header_from

    def rank(one: DkimVerdict) -> int:
        if one.result != "pass":
            return 3
        if one.domain == author:
            return 0
        return 1 if f".{author}".endswith(f".{one.domain}") or one.domain.endswith(f".{author}") else 2

    ranked = sorted(verdicts.dkim, key=rank)[:MAX_DKIM]
    return tuple(
        DkimAuth(one.domain[:MAX_TEXT], one.selector[:MAX_TEXT], one.result, one.reason[:MAX_TEXT]) for one in ranked
    )
