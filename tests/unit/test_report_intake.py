"""Reports of others reach the account of the domain that they are about; what becomes of our own is told quietly."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from egret.contracts.queues import Inbound, InboundRecipient, pack_inbound
from egret.contracts.records import MailFilter, Page
from egret.contracts.reports import ReceivedReport, ReportKind
from egret.contracts.verdicts import Verdicts
from egret.core.dmarc import DmarcRecord
from egret.core.dmarc_report import AggregateReport, PublishedPolicy, compose_xml, compressed
from egret.core.report_mail import Letter, dmarc_mail, tls_mail
from egret.core.report_payload import payloads
from egret.core.tlsrpt_report import PolicyResult, TlsReport, compose_json
from egret.memory.reports import MemoryDmarcEvaluations, MemoryReceivedReports
from egret.usecases import own_reports
from egret.usecases.ingest import IngestPorts, ingest
from egret.usecases.post_webhook import post_webhooks
from egret.usecases.report_intake import MAX_DOMAINS, MAX_ROWS, ReportIntake, take_in
from tests.unit import notifying, test_ingest, test_post_webhook
from tests.unit.builders import ACCOUNT, LATER, NEVER, NOW, OTHER_ACCOUNT, a_delivery, a_message
from tests.unit.reporting import a_row, a_tls_report, an_aggregate
from tests.unit.sending import SECRETS, Service, an_account
from tests.unit.test_report_mail import LETTER

POSTMASTER = "postmast"
RECORD = DmarcRecord("google.com", rua=("mailto:d@google.com",))
VERIFIED = Verdicts(dmarc="pass", header_from="google.com", record=RECORD)
TO_US = InboundRecipient("dmarc@example.com", ACCOUNT)
OWN = {"login": "", "subject": "Report Domain: example.net Submitter: mail.egret.example Report-ID: <1>"}


def a_dmarc_mail(**changes: Any) -> bytes:
    """Return a mail with a report about example.com, with the changes."""
    values = {"policy": PublishedPolicy("example.com", "reject"), "rows": ((a_row(header_from="example.com"), 3),)}
    written = dmarc_mail(LETTER, "a!b!1!2.xml.gz", compressed(compose_xml(an_aggregate(**(values | changes)))))
    return written.headers + b"\r\n" + written.body


def a_tls_mail(*domains: str) -> bytes:
    """Return a mail with a report about these domains."""
    policies = tuple(PolicyResult("sts", domain, failures=1) for domain in domains)
    data = compressed(compose_json(a_tls_report(policies=policies)))
    written = tls_mail(LETTER, domains[0], "google.com", ("a.json.gz", data))
    return written.headers + b"\r\n" + written.body


class World:
    """Two accounts with a domain each, and a postmaster."""

    def __init__(self) -> None:
        self.service = Service()
        self.service.settings.put_account(
            an_account(id=POSTMASTER, name="postmaster", addresses=("p@x.example",), is_postmaster=True)
        )
        self.received = MemoryReceivedReports()
        self.evaluations = MemoryDmarcEvaluations()
        self.intake = ReportIntake(self.received, self.service.settings, self.evaluations)

    def take_in(self, raw: bytes, verdicts: Verdicts | None = VERIFIED, to: InboundRecipient = TO_US) -> int:
        """Take in a mail."""
        envelope = Inbound("in-1", NOW.isoformat(), "x@google.com", [to], "192.0.2.1", verdicts=verdicts)
        return take_in(self.intake, envelope, raw, NOW)

    def of(self, account: str, kind: ReportKind = ReportKind.DMARC) -> list[ReceivedReport]:
        """Return what an account has."""
        return list(self.received.list(account, kind, "", 100, NOW).items)


@pytest.fixture
def world() -> World:
    """An installation."""
    return World()


def test_a_dmarc_report_is_kept_for_the_account_of_its_domain(world: World) -> None:
    """With who vouches for it; whatever address it came to, and once however often it comes."""
    assert world.take_in(a_dmarc_mail(), to=replace_account(OTHER_ACCOUNT)) == 1
    assert world.take_in(a_dmarc_mail()) == 1
    (kept,) = world.of(ACCOUNT)

    assert isinstance(kept.report, AggregateReport)
    assert (kept.report.policy.domain, kept.report.messages) == ("example.com", 3)
    assert (kept.reporter, kept.is_verified, kept.left_out) == ("google.com", True, 0)
    assert world.of(OTHER_ACCOUNT) == []


def replace_account(account: str) -> InboundRecipient:
    """Return a recipient of another account."""
    return InboundRecipient("someone@example.org", account)


@pytest.mark.parametrize("verdicts", [None, msgspec.structs.replace(VERIFIED, dmarc="fail")])
def test_a_report_that_nobody_vouches_for_says_so(world: World, verdicts: Verdicts | None) -> None:
    """Anybody can write one."""
    world.take_in(a_dmarc_mail(), verdicts)

    assert [one.is_verified for one in world.of(ACCOUNT)] == [False]


def test_a_forged_report_does_not_replace_a_genuine_one(world: World) -> None:
    """It lies beside it, whatever name and id it has."""
    forged = a_dmarc_mail(rows=((a_row(header_from="example.com"), 999),))
    world.take_in(a_dmarc_mail())
    world.take_in(forged, msgspec.structs.replace(VERIFIED, dmarc="fail"))

    kept = {one.is_verified: getattr(one.report, "messages", 0) for one in world.of(ACCOUNT)}
    assert kept == {True: 3, False: 999}


@pytest.mark.parametrize(
    ("domain", "author", "owner"),
    [
        ("example.com", "example.com", ACCOUNT),
        ("mail.example.com", "x.example", ACCOUNT),
        ("bounces.example.org", "x.example", OTHER_ACCOUNT),
        ("com", "sub.example.com", ACCOUNT),
        ("parent.example", "x.example", POSTMASTER),
        ("a" * 300, "", POSTMASTER),
    ],
)
def test_whose_a_report_is(world: World, domain: str, author: str, owner: str) -> None:
    """The domain's, or one above it; that of the mail that it is about; else the postmaster's."""
    world.take_in(a_dmarc_mail(policy=PublishedPolicy(domain, "none"), rows=((a_row(header_from=author), 1),)))

    assert [len(world.of(account)) for account in (ACCOUNT, OTHER_ACCOUNT, POSTMASTER)] == [
        int(account == owner) for account in (ACCOUNT, OTHER_ACCOUNT, POSTMASTER)
    ]


def test_a_disabled_postmaster_is_in_charge_of_nothing(world: World) -> None:
    """The oldest of the others is, for reports as for mail to postmaster."""
    made = world.service.settings
    disabled = an_account(id=POSTMASTER, name="a", addresses=("p@x.example",), is_postmaster=True, disabled=True)
    made.put_account(disabled)
    made.put_account(an_account(is_postmaster=True, created_at=NOW))
    rows = ((a_row(header_from="x.example"), 1),)
    world.take_in(a_dmarc_mail(policy=PublishedPolicy("parent.example", "none"), rows=rows))

    assert (len(world.of(POSTMASTER)), len(world.of(ACCOUNT))) == (0, 1)


def test_a_tls_report_is_cut_up_by_account(world: World) -> None:
    """No tenant learns of another's domains."""
    world.take_in(a_tls_mail("example.com", "mail.example.org", "www.example.com", "x.example"))

    def domains(account: str) -> list[str]:
        (kept,) = world.of(account, ReportKind.TLS)
        assert isinstance(kept.report, TlsReport)
        return [policy.policy_domain for policy in kept.report.policies]

    assert domains(ACCOUNT) == ["example.com", "www.example.com"]
    assert domains(OTHER_ACCOUNT) == ["mail.example.org"]
    assert domains(POSTMASTER) == ["x.example"]


def test_of_a_tls_report_about_many_domains_the_first_are_looked_up(world: World) -> None:
    """Each costs questions to the settings; a stranger could ask thousands."""
    world.take_in(a_tls_mail(*(f"{at}.x.example" for at in range(3 * MAX_DOMAINS))))

    (kept,) = world.of(POSTMASTER, ReportKind.TLS)
    assert isinstance(kept.report, TlsReport)
    assert len(kept.report.policies) == MAX_DOMAINS


def test_ordinary_mail_has_no_report_but_an_evaluation(world: World) -> None:
    """DMARC is told of every mail; a report alone is not worth a report."""
    assert world.take_in(b"From: a@google.com\r\n\r\nHello.\r\n") == 0
    assert [one.is_optional for one in evaluations(world)] == [False]
    assert world.take_in(a_dmarc_mail()) == 1
    assert [one.is_optional for one in evaluations(world)] == [True]


def evaluations(world: World) -> tuple[Any, ...]:
    """Return what DMARC said today."""
    page: Page[Any] = world.evaluations.list(NOW.date(), 24, "", 10, NOW)
    return page.items


def test_what_only_looks_like_a_report_does_no_harm(world: World) -> None:
    """It stays a mail."""
    for raw in (a_dmarc_mail(policy=PublishedPolicy("", "")), b"Content-Type: application/zip\r\n\r\nPK\x03\x04", b"<"):
        assert world.take_in(raw) == 0
    assert world.of(ACCOUNT) == world.of(POSTMASTER) == []


def test_mail_to_a_reverse_path_is_searched_for_no_reports(world: World) -> None:
    """It is about a delivery."""
    assert world.take_in(a_dmarc_mail(), to=InboundRecipient("x@bounces.example.com", ACCOUNT, 1024)) == 0


def test_of_a_large_report_the_largest_rows_are_kept(world: World) -> None:
    """In number and in size."""
    rows = tuple((a_row(header_from="example.com", source_ip=f"2001:db8::{at:x}"), at) for at in range(MAX_ROWS + 50))
    world.take_in(a_dmarc_mail(rows=rows))
    (kept,) = world.of(ACCOUNT)

    assert isinstance(kept.report, AggregateReport)
    assert len(kept.report.rows) + kept.left_out == MAX_ROWS + 50
    assert len(kept.report.rows) > MAX_ROWS / 2
    assert kept.report.rows[0][1] == MAX_ROWS + 49
    assert len(msgspec.msgpack.encode(kept.report)) < 300_000


def test_ingest_takes_reports_in_and_keeps_the_mail() -> None:
    """Beside all that it does."""
    world, own = World(), test_ingest.World()
    ports = IngestPorts(own.store, own.blobs, own.mailboxes, own.clock, own.settings, SECRETS, reports=world.intake)
    own.receive(a_dmarc_mail(), TO_US)
    ingest(ports, test_ingest.KEY)

    assert len(world.of(ACCOUNT)) == 1
    assert len(own.inbox()) == 1
    assert [payload.trouble for payload in payloads(a_dmarc_mail())] == [""]


def test_a_report_that_cannot_be_taken_in_keeps_no_mail_from_its_reader() -> None:
    """It is tried again, and ends among the dead letters; the mail itself is where it belongs."""

    class Broken(MemoryReceivedReports):
        def put(self, report: ReceivedReport) -> None:
            raise RuntimeError

    world, own = World(), test_ingest.World()
    reports = replace(world.intake, received=Broken())
    ports = IngestPorts(own.store, own.blobs, own.mailboxes, own.clock, own.settings, SECRETS, reports=reports)
    own.blobs.put(test_ingest.KEY, pack_inbound(Inbound("in1", NOW.isoformat(), "", [TO_US]), a_dmarc_mail()))
    with pytest.raises(RuntimeError):
        ingest(ports, test_ingest.KEY)

    assert len(own.inbox()) == 1


# --- what becomes of our own -----------------------------------------------------------------------------------------


def test_a_dsn_of_an_own_report_lies_aside_as_read() -> None:
    """In the mailbox `dmarc`; that of any other mail in the Inbox."""
    own = test_ingest.World()
    own.store.table.messages.clear()
    own.store.put_message(a_message(**OWN), b"content")
    own.receive(test_ingest.dsn(test_ingest.block()))

    assert own.inbox() == []
    (kept,) = own.mailboxes.list(ACCOUNT, MailFilter(own_reports.MAILBOX), "", 10, NOW).items
    assert (kept.flags, kept.is_dsn) == (frozenset({r"\seen"}), True)


def test_a_reply_to_an_own_report_is_a_mail() -> None:
    """Somebody may have written it."""
    own = test_ingest.World()
    own.store.table.messages.clear()
    own.store.put_message(a_message(**OWN), b"content")
    own.receive(test_ingest.PLAIN)

    assert len(own.inbox()) == 1


def test_a_failed_report_is_told_aside_and_a_delay_not_at_all() -> None:
    """To the postmaster, who need not look."""
    own = notifying.World()
    own.accept(login=OWN["login"], subject=OWN["subject"])
    failed = notifying.attempted(a_delivery(), NEVER)
    late = notifying.attempted(a_delivery(), *[LATER] * 5)

    assert own.notify(notifying.newest(late)) == 0
    assert own.notify(notifying.newest(failed)) == 1
    assert own.inbox() == []
    (kept,) = own.mailboxes.list(ACCOUNT, MailFilter(own_reports.MAILBOX), "", 10, NOW).items
    assert kept.flags == own_reports.FLAGS


def test_webhooks_hear_nothing_of_own_reports() -> None:
    """They are no mail of the account's programs."""
    own = test_post_webhook.World()
    calls = own.happen(test_post_webhook.DELIVERED)
    own.store.table.messages.clear()
    own.store.put_message(a_message(**OWN), b"content")

    assert post_webhooks(own.ports(), calls) == []
    assert own.poster.posted == []


def test_only_mail_of_our_own_is_an_own_report() -> None:
    """A customer may write any subject."""
    assert own_reports.is_own_report(a_message(**OWN))
    assert not own_reports.is_own_report(a_message(**(OWN | {"login": "app@example.com"})))
    assert not own_reports.is_own_report(a_message(login="", subject="Undelivered"))
    assert isinstance(replace(LETTER, text="x"), Letter)
