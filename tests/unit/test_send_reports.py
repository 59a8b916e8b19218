"""Reports are sent to those who ask, each once, whoever runs how often."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from egret.contracts.records import IdempotencyState
from egret.contracts.reports import DmarcEvaluation, DnsSilent, ReportKind, ReportSuppression
from egret.contracts.settings import Installation
from egret.contracts.webapi import SuppressionAddRequest
from egret.core.delivery import Delivery, Message
from egret.core.dmarc_reading import read_dmarc
from egret.core.dmarc_report import AggregateReport, PublishedPolicy
from egret.core.parse import ParsedMessage, parse_message
from egret.core.report_payload import payloads
from egret.core.tlsrpt import AppliedPolicy, FailureDetail, PolicyType, ResultKey, ResultType, Tally, TlsResult
from egret.core.tlsrpt_reading import read_tls
from egret.core.tlsrpt_report import TlsReport
from egret.memory.reports import MemoryDmarcEvaluations, MemoryReportSuppressions
from egret.memory.tls import MemoryTlsResults
from egret.usecases.dmarc_reports import send_dmarc_reports
from egret.usecases.report_sending import ReportPorts, reporter_of
from egret.usecases.suppressions import suppression_add
from egret.usecases.tls_reports import TlsReporting, send_tls_reports
from tests.unit.builders import ACCOUNT
from tests.unit.reporting import MIDNIGHT, a_row
from tests.unit.sending import Service, a_domain, an_account, dkim_keys

YESTERDAY = (MIDNIGHT - timedelta(hours=1)).date()
NOON = MIDNIGHT - timedelta(hours=12)
REQUEST = ("v=DMARC1",)
EXPIRED = FailureDetail(ResultType.CERTIFICATE_EXPIRED, receiving_mx="mx.example.net")
NO_POLICY = AppliedPolicy(PolicyType.NONE)
STS = AppliedPolicy(PolicyType.STS, ("version: STSv1",), ("mx.hosting.example",))
OF_HOST = AppliedPolicy(PolicyType.TLSA, (), ("mx.hosting.example",))


def an_evaluation(**changes: Any) -> DmarcEvaluation:
    """Return an evaluation of yesterday noon, with the changes."""
    values: dict[str, Any] = {
        "id": "in-1",
        "at": NOON,
        "hours": 24,
        "policy": PublishedPolicy("example.net", "reject"),
        "row": a_row(),
        "rua": ("mailto:dmarc@example.net",),
    }
    return DmarcEvaluation(**(values | changes))


@dataclass(frozen=True)
class Queued:
    """A report that was queued."""

    message: Message
    content: bytes
    deliveries: tuple[Delivery, ...]

    @property
    def parsed(self) -> ParsedMessage:
        """The mail, read."""
        return parse_message(self.content)

    @property
    def to(self) -> list[str]:
        """Who gets it."""
        return list(self.message.recipients)

    @property
    def dmarc(self) -> AggregateReport:
        """The report in it."""
        (payload,) = payloads(self.content)
        report = read_dmarc(payload.data)
        assert isinstance(report, AggregateReport)
        return report

    @property
    def tls(self) -> TlsReport:
        """The report in it."""
        (payload,) = payloads(self.content)
        report = read_tls(payload.data)
        assert isinstance(report, TlsReport)
        return report


@dataclass
class World:
    """An installation named mail.egret.example; its postmaster has the domain egret.example."""

    zone: dict[str, tuple[str, ...]] = field(default_factory=dict)
    silent: dict[str, int] = field(default_factory=dict)
    """Names at which DNS does not answer so many times."""
    slow: dict[str, timedelta] = field(default_factory=dict)
    """How long DNS takes below these domains; at once elsewhere."""
    asked: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.service = Service()
        self.service.installation = Installation("mail.egret.example")
        self.service.clock.advance(MIDNIGHT + timedelta(minutes=10) - self.service.clock.now())
        self.service.settings.put_account(an_account(is_postmaster=True))
        keys = dkim_keys("egret.example")
        self.service.settings.put_domain(
            a_domain(domain="egret.example", return_path_domain="bounces.egret.example", dkim_keys=keys)
        )
        self.evaluations = MemoryDmarcEvaluations()
        self.tls_results = MemoryTlsResults()
        self.suppressions = MemoryReportSuppressions()

    @property
    def ports(self) -> ReportPorts:
        """The ports of reporting."""
        return ReportPorts(self.service.sending, self.evaluations, self.tls_results, self.suppressions, self.dns)

    @property
    def until(self) -> datetime:
        """When a run that begins now begins no more reports."""
        return self.service.clock.now() + timedelta(minutes=13)

    def dns(self, name: str) -> tuple[str, ...]:
        """Answer from the zone."""
        self.asked.append(name)
        self.service.clock.advance(sum((self.slow[end] for end in self.slow if name.endswith(end)), timedelta()))
        if self.silent.get(name, 0):
            self.silent[name] -= 1
            raise DnsSilent(detail=name)
        return self.zone.get(name, ())

    def evaluate(self, count: int = 1, **changes: Any) -> None:
        """Keep evaluations of so many mails."""
        for at in range(count):
            one = an_evaluation(**({"id": f"in-{len(self.evaluations._all)}-{at}"} | changes))
            self.evaluations.put(one)

    def dmarc(self, end: datetime = MIDNIGHT) -> list[Queued]:
        """Send what is due, and return all that was queued so far."""
        send_dmarc_reports(self.ports, end, self.until)
        return self.queued()

    def tls(self, which: TlsReporting = TlsReporting.FAILURES) -> list[Queued]:
        """Send yesterday's, and return all that was queued so far."""
        send_tls_reports(self.ports, YESTERDAY, self.until, which)
        return self.queued()

    def queued(self) -> list[Queued]:
        """Return every report in the queue, by subject."""
        table = self.service.store.table
        found = []
        for account, number in table.messages:
            message, content = self.service.store.message(account, number), self.service.store.content(account, number)
            assert message is not None
            assert content is not None
            own = tuple(one for one in table.deliveries.values() if one.message_id == number)
            found.append(Queued(message, content, own))
        return sorted(found, key=lambda one: one.message.subject)

    def suppress(self, kind: ReportKind, address: str, until: datetime | None = None) -> None:
        """Send an address no reports of a kind."""
        self.suppressions.put(ReportSuppression(kind, address, NOON, until))


@pytest.fixture
def world() -> World:
    """An installation."""
    return World()


# --- DMARC -----------------------------------------------------------------------------------------------------------


def test_a_report_of_a_day(world: World) -> None:
    """Equal mail is one row with a count; the report says who made it about what time."""
    world.evaluate(3)
    world.evaluate(row=a_row(source_ip="192.0.2.7"))
    (queued,) = world.dmarc()
    report = queued.dmarc

    assert (queued.to, report.policy.domain, report.org_name) == (
        ["dmarc@example.net"],
        "example.net",
        "mail.egret.example",
    )
    assert sorted((row.source_ip, count) for row, count in report.rows) == [("192.0.2.1", 3), ("192.0.2.7", 1)]
    assert (report.begin, report.end) == (MIDNIGHT - timedelta(days=1), MIDNIGHT - timedelta(seconds=1))
    assert (report.report_id, report.generator) == ("dmarc.2026030400.24.example.net@egret.example", "egret/test")
    name = queued.parsed.structure.parts[1].filename
    assert name == f"mail.egret.example!example.net!{report.begin.timestamp():.0f}!{report.end.timestamp():.0f}.xml.gz"
    assert queued.parsed.subject == (
        f"Report Domain: example.net Submitter: mail.egret.example Report-ID: <{report.report_id}>"
    )


def test_a_report_is_signed_and_its_bounces_are_known(world: World) -> None:
    """By the postmaster's domain that is closest above the hostname, in alignment with its From."""
    world.evaluate()
    (queued,) = world.dmarc()
    (delivery,) = queued.deliveries

    assert queued.content.count(b"d=egret.example;") == 2
    assert queued.message.header_from == "postmaster@egret.example"
    assert (delivery.account, delivery.max_attempts) == (ACCOUNT, 5)
    assert delivery.reverse_path == f"{delivery.fromid}@bounces.egret.example"


def test_optional_evaluations_alone_are_no_report(world: World) -> None:
    """With another one they are in it."""
    world.evaluate(2, is_optional=True)
    assert world.dmarc() == []

    world.evaluate()
    (queued,) = world.dmarc()
    assert queued.dmarc.messages == 3


def test_a_run_that_is_repeated_sends_nothing_twice(world: World) -> None:
    """Nor do several at once: the id of a report follows from domain and interval."""
    world.evaluate()
    world.evaluate(policy=PublishedPolicy("example.com", "none"), rua=("mailto:d@example.com",))
    assert len(world.dmarc()) == 2
    world.service.clock.advance(timedelta(minutes=1))

    assert len(world.dmarc()) == 2
    again = World()
    again.evaluate(5)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: send_dmarc_reports(again.ports, MIDNIGHT, again.until), range(4)))
    assert len(again.queued()) == 1


def test_each_evaluation_is_in_one_report(world: World) -> None:
    """Whatever intervals a domain asked for meanwhile, over all hours of two days."""
    for at in range(40):
        world.evaluate(at=MIDNIGHT - timedelta(minutes=35 * at + 1), hours=(24, 12, 8, 6, 4, 3, 2, 1)[at % 8])
    for hour in range(-24, 26):
        world.service.clock.advance(MIDNIGHT + timedelta(hours=hour, minutes=10) - world.service.clock.now())
        world.dmarc(MIDNIGHT + timedelta(hours=hour))

    assert sum(queued.dmarc.messages for queued in world.queued()) == 40
    assert len({queued.dmarc.report_id for queued in world.queued()}) == len(world.queued())


@pytest.mark.parametrize(
    ("until", "sent"),
    [(None, 0), (MIDNIGHT + timedelta(minutes=11), 0), (MIDNIGHT + timedelta(minutes=9), 1)],
)
def test_a_suppressed_address_gets_none_until_it_runs_out(world: World, until: datetime | None, sent: int) -> None:
    """Whatever its letter case; the list of the other kind does not count."""
    world.suppress(ReportKind.DMARC, "dmarc@example.net", until)
    world.suppress(ReportKind.TLS, "other@example.net")
    world.evaluate(rua=("mailto:DMARC@example.net",))

    assert len(world.dmarc()) == sent


def test_size_limits(world: World) -> None:
    """Who takes less than the message gets none of it; when all do, they are told that there is one."""
    world.evaluate(rua=("mailto:a@example.net!1k", "mailto:b@example.net!1m"))
    world.evaluate(
        rua=("mailto:a@example.com!1k", "mailto:b@example.com!2k"), policy=PublishedPolicy("example.com", "none")
    )
    small, whole = world.dmarc()

    assert whole.to == ["b@example.net"]
    assert whole.dmarc.messages == 1
    assert small.to == ["a@example.com", "b@example.com"]
    assert small.parsed.structure.content_type == "text/plain"
    for line in ("Report-Domain: example.com", "Submitting-URI: mailto:a@example.com!1024", "Report-Size: "):
        assert line in small.parsed.text
    assert list(payloads(small.content)) == []


def test_destinations_elsewhere_must_agree_and_may_move(world: World) -> None:
    """One hop within the same host; no report to somebody who has not asked."""
    wanted = ("mailto:x@victim.example", "mailto:x@yes.example", "mailto:x@moves.example", "mailto:x@leads.example")
    world.zone = {
        "example.net._report._dmarc.yes.example": REQUEST,
        "example.net._report._dmarc.moves.example": ("v=DMARC1; rua=mailto:new@moves.example",),
        "example.net._report._dmarc.leads.example": ("v=DMARC1; rua=mailto:x@victim.example",),
    }
    world.evaluate(rua=wanted)

    assert [queued.to for queued in world.dmarc()] == [["x@yes.example", "new@moves.example"]]
    assert len(world.asked) == len(set(world.asked))


@pytest.mark.parametrize("rua", [(), ("https://example.net/",), ("mailto:",), ("mailto:x@victim.example",)])
def test_without_a_usable_address_there_is_no_report(world: World, rua: tuple[str, ...]) -> None:
    """Nor is it a failure."""
    world.evaluate(rua=rua)
    tally = send_dmarc_reports(world.ports, MIDNIGHT, world.until)

    assert (tally.queued, tally.not_wanted, tally.failed) == (0, 1, 0)


def test_silent_dns_is_asked_again_and_holds_up_nobody(world: World) -> None:
    """Once, at the end of the run."""
    name = "example.com._report._dmarc.yes.example"
    world.zone[name] = REQUEST
    world.silent[name] = 1
    world.evaluate(policy=PublishedPolicy("example.com", "none"), rua=("mailto:x@yes.example",))
    world.evaluate()
    assert [queued.to for queued in world.dmarc()] == [["x@yes.example"], ["dmarc@example.net"]]

    deaf = World(silent={name: 2})
    deaf.evaluate(policy=PublishedPolicy("example.com", "none"), rua=("mailto:x@yes.example",))
    assert send_dmarc_reports(deaf.ports, MIDNIGHT, deaf.until).unanswered == 1


def test_a_report_that_cannot_be_queued_holds_up_no_other(world: World) -> None:
    """It is counted, so that the run is repeated."""

    class Busy:
        def reserve(self, *_: Any) -> tuple[IdempotencyState, str]:
            return IdempotencyState.IN_FLIGHT, ""

    world.evaluate()
    busy = replace(world.service.sending, idempotency=Busy())  # type: ignore[arg-type]
    tally = send_dmarc_reports(replace(world.ports, sending=busy), MIDNIGHT, world.until)

    assert (tally.queued, tally.failed) == (0, 1)


def test_domains_of_much_mail_come_first(world: World) -> None:
    """Whatever their names: made-up ones with a mail each, and a DNS that takes its time, come last."""
    for number in range(3):
        name = f"a{number}.example"
        world.evaluate(policy=PublishedPolicy(name, "none"), rua=(f"mailto:d@{name}",))
    world.evaluate(4, policy=PublishedPolicy("zz.example", "none"), rua=("mailto:d@zz.example",))

    assert send_dmarc_reports(world.ports, MIDNIGHT, world.until).domains[0] == "zz.example"


def crowd(world: World, count: int) -> None:
    """Let so many domains, each with more mail than example.net, have reports wanted where DNS is slow and silent."""
    world.evaluate()
    for at in range(count):
        name = f"d{at}.example"
        world.evaluate(2, policy=PublishedPolicy(name, "none"), rua=(f"mailto:x@{name}.slow",))
        world.silent[f"{name}._report._dmarc.{name}.slow"] = 99
    world.slow[".slow"] = timedelta(seconds=5)


def test_a_run_ends_in_time_and_says_how_many_it_left(world: World) -> None:
    """What it did not look at is neither wanted nor unwanted."""
    crowd(world, 200)
    until = world.until
    tally = send_dmarc_reports(world.ports, MIDNIGHT, until)

    assert world.service.clock.now() - until < timedelta(seconds=15)
    assert tally.left > 0
    assert tally.queued + tally.not_wanted + tally.unanswered + tally.left == 201


def test_runs_that_are_repeated_reach_everybody(world: World) -> None:
    """However many domains with slow DNS have more mail, and fill the time of a run."""
    crowd(world, 200)
    queued = [len(world.dmarc()) for _ in range(20)]

    assert (queued[0], queued[-1]) == (0, 1)


def test_one_domain_takes_little_of_the_time_of_all(world: World) -> None:
    """Though its record names ten domains, each with name servers that answer late; what it learned is not lost."""
    hosts = [f"{letter}.slow" for letter in "abcdefghij"]
    world.slow[".slow"] = timedelta(seconds=4)
    world.zone = {f"example.net._report._dmarc.{host}": REQUEST for host in hosts[:2]}
    world.evaluate(rua=tuple(f"mailto:x@{host}" for host in hosts))
    began = world.service.clock.now()
    tally = send_dmarc_reports(world.ports, MIDNIGHT, world.until)

    assert world.service.clock.now() - began <= timedelta(seconds=28)
    assert (tally.unanswered, tally.left) == (1, 0)
    assert len(world.asked) == len(set(world.asked))


def test_domains_are_waited_for_side_by_side(world: World) -> None:
    """Each waits for DNS in a thread; here they all ask before one is answered."""
    together = threading.Barrier(4)

    def dns(name: str) -> tuple[str, ...]:
        together.wait(timeout=30)
        return (f"v=TLSRPTv1; rua=mailto:tls@{name.removeprefix('_smtp._tls.')}",)

    tell(world, {(f"d{at}.example", f"d{at}.example", STS): FAILED for at in range(4)})
    with ThreadPoolExecutor(4) as pool:
        ports = replace(world.ports, dns=dns, side_by_side=pool.map)
        tally = send_tls_reports(ports, YESTERDAY, world.until)

    assert (tally.queued, len(world.queued())) == (4, 4)


def test_the_newest_policy_is_reported_and_asked(world: World) -> None:
    """When a domain changed its record during the interval."""
    world.evaluate(rua=("mailto:old@example.net",))
    newer = PublishedPolicy("example.net", "none")
    world.evaluate(at=NOON + timedelta(hours=1), policy=newer, rua=("mailto:new@example.net",))
    (queued,) = world.dmarc()

    assert queued.to == ["new@example.net"]
    assert queued.dmarc.policy == newer


def test_an_address_that_bounced_is_dead_for_reports_too(world: World) -> None:
    """The postmaster's own suppression list counts."""
    suppression_add(world.service.suppressing, ACCOUNT, SuppressionAddRequest(email_address="dmarc@example.net"))
    world.evaluate()
    (queued,) = world.dmarc()

    assert [delivery.state for delivery in queued.deliveries] == ["suppressed"]


def test_only_a_domain_of_the_postmaster_above_the_hostname_reports(world: World) -> None:
    """The closest one that has keys; without one there are no reports, since nobody would believe them."""
    settings = world.service.settings

    def found(hostname: str) -> str:
        reporter = reporter_of(settings, hostname)
        return str(reporter.address) if reporter else ""

    settings.put_domain(a_domain(domain="a.egret.example", return_path_domain="b.a.egret.example", dkim_keys=()))
    assert found("mail.egret.example") == found("egret.example") == "postmaster@egret.example"
    assert found("x.a.egret.example") == "postmaster@egret.example"
    assert found("mail.example.org") == found("localhost") == ""

    settings.put_account(an_account(is_postmaster=False))
    world.evaluate()
    assert world.dmarc() == []


# --- TLS -------------------------------------------------------------------------------------------------------------


def tell(world: World, results: Mapping[tuple[str, str, AppliedPolicy], Tally]) -> None:
    """Count sessions of yesterday."""
    for (policy_domain, recipient, policy), tally in results.items():
        world.tls_results.add(TlsResult(ResultKey(policy_domain, YESTERDAY, recipient, policy), tally))


def wants(world: World, domain: str, *uris: str) -> None:
    """Let a domain ask for TLS reports."""
    world.zone[f"_smtp._tls.{domain}"] = (f"v=TLSRPTv1; rua={','.join(uris)}",)


FAILED = Tally(4, 2, {EXPIRED: 2})


def test_a_tls_report_of_a_day(world: World) -> None:
    """With the header fields that name it, signed with them, from nobody who wants to hear of it."""
    wants(world, "example.net", "mailto:tls@example.net")
    tell(world, {("example.net", "example.net", STS): FAILED})
    (queued,) = world.tls()
    (delivery,) = queued.deliveries
    report = queued.tls

    assert (queued.to, report.report_id) == (["tls@example.net"], "tls.20260304.example.net@egret.example")
    assert (report.organization, report.contact) == ("mail.egret.example", "postmaster@egret.example")
    assert [(each.policy_domain, each.successes, each.failures) for each in report.policies] == [("example.net", 4, 2)]
    assert (delivery.reverse_path, delivery.max_attempts, queued.message.require_tls) == ("", 5, False)
    signed = queued.content.partition(b"\r\n\r\n")[0]
    signed = signed[: signed.index(b"From: ")]
    assert signed.count(b"TLS-Report-Submitter") == 2 * 2
    assert b"TLS-Required: No\r\n" in queued.content


def test_equal_results_are_merged_and_hosts_stand_with_their_domain(world: World) -> None:
    """A recipient domain hears of all sessions for its mail, and nothing of those of others."""
    wants(world, "example.net", "mailto:tls@example.net")
    tell(
        world,
        {
            ("example.net", "example.net", STS): FAILED,
            ("mx.hosting.example", "example.net", OF_HOST): Tally(3),
            ("mx.hosting.example", "example.org", OF_HOST): Tally(0, 1, {EXPIRED: 1}),
        },
    )
    (queued,) = world.tls()

    assert [(each.policy_type, each.policy_domain, each.successes) for each in queued.tls.policies] == [
        ("sts", "example.net", 4),
        ("tlsa", "example.net", 3),
    ]


def test_domains_of_hosts_hear_after_recipient_domains(world: World) -> None:
    """Of all whose mail the host took, unless the same addresses have heard of it."""
    wants(world, "mx.hosting.example", "mailto:tls@hosting.example")
    wants(world, "example.com", "mailto:TLS@hosting.example")
    wants(world, "example.net", "mailto:tls@example.net")
    failed = Tally(0, 1, {EXPIRED: 1})
    tell(world, {("mx.hosting.example", f"example.{end}", OF_HOST): failed for end in ("com", "net", "org")})
    queued = {one.parsed.subject.split()[2]: one for one in world.tls()}

    assert list(queued) == ["example.com", "example.net", "mx.hosting.example"]
    domains = [each.policy_domain for each in queued["mx.hosting.example"].tls.policies]
    assert domains == ["example.net", "example.org"]


def test_a_host_whose_addresses_heard_everything_gets_no_report(world: World) -> None:
    """The same party would get it twice."""
    for domain in ("mx.hosting.example", "example.com"):
        wants(world, domain, "mailto:tls@hosting.example")
    tell(world, {("mx.hosting.example", "example.com", OF_HOST): FAILED})

    assert [one.parsed.subject.split()[2] for one in world.tls()] == ["example.com"]


def test_an_address_that_is_named_twice_gets_one(world: World) -> None:
    """Case does not make another one; servers to post to are left alone."""
    wants(world, "example.net", "mailto:tls@example.net", "https://example.net/tls", "mailto:TLS@EXAMPLE.NET")
    tell(world, {("example.net", "example.net", STS): FAILED})

    assert [queued.to for queued in world.tls()] == [["tls@example.net"]]


@pytest.mark.parametrize(
    ("until", "sent"),
    [(None, 0), (MIDNIGHT + timedelta(minutes=11), 0), (MIDNIGHT + timedelta(minutes=9), 1)],
)
def test_a_suppressed_address_gets_no_tls_report(world: World, until: datetime | None, sent: int) -> None:
    """Until it runs out."""
    world.suppress(ReportKind.TLS, "tls@example.net", until)
    wants(world, "example.net", "mailto:tls@example.net")
    tell(world, {("example.net", "example.net", STS): FAILED})

    assert len(world.tls()) == sent


@pytest.mark.parametrize(("which", "sent"), [(TlsReporting.FAILURES, 0), (TlsReporting.ALL, 1), (TlsReporting.OFF, 0)])
def test_a_day_without_failures_is_told_to_those_who_ask_us_to(world: World, which: TlsReporting, sent: int) -> None:
    """The switch of the installation."""
    wants(world, "example.net", "mailto:tls@example.net")
    tell(world, {("example.net", "example.net", STS): Tally(7)})

    assert len(world.tls(which)) == sent


def test_tls_reports_are_sent_once(world: World) -> None:
    """However often the run is repeated; a domain without a record gets none."""
    wants(world, "example.net", "mailto:tls@example.net")
    tell(world, {("example.net", "example.net", STS): FAILED, ("example.org", "example.org", NO_POLICY): FAILED})

    assert len(world.tls()) == len(world.tls()) == 1


def test_many_results_are_read_in_pages(world: World) -> None:
    """Nothing is lost between two of them."""
    world.zone = {f"_smtp._tls.d{at}.example": (f"v=TLSRPTv1; rua=mailto:t@d{at}.example",) for at in range(5)}
    tell(world, {(f"d{at}.example", f"d{at}.example", STS): FAILED for at in range(5)})

    send_tls_reports(replace(world.ports, page=1), YESTERDAY, world.until)

    assert len(world.queued()) == 5


def test_tls_reports_end_in_time_too(world: World) -> None:
    """Those about hosts, which come last, are left as well."""
    tell(world, {(f"d{at}.slow", f"d{at}.slow", STS): FAILED for at in range(9)})
    tell(world, {("mx.hosting.example", "d1.slow", OF_HOST): FAILED})
    world.slow[".slow"] = timedelta(seconds=5)
    tally = send_tls_reports(world.ports, YESTERDAY, world.service.clock.now() + timedelta(seconds=20))

    assert (tally.not_wanted, tally.left) == (3, 7)
