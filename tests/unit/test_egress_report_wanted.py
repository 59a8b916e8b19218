"""Which results of TLS sessions are worth a write: those that somebody wants a report of."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from egret.core.tlsrpt import AppliedPolicy, PolicyType, ResultKey, Tally, TlsResult
from egret.memory.clock import FakeClock
from egret_egress.destinations import Answer, DnsTrouble
from egret_egress.report_wanted import AT_A_TIME, DOUBT_HOLDS, HOLDS, Wanted
from tests.unit.builders import NOW

RECORD = "v=TLSRPTv1; rua=mailto:tls@example.net"


class Dns:
    """TXT records by name; asked: every question, in order. most: questions under way at a time."""

    def __init__(self, **records: str) -> None:
        self.records = {f"_smtp._tls.{name}.example": text for name, text in records.items()}
        self.broken: set[str] = set()
        self.asked: list[str] = []
        self.under_way = 0
        self.most = 0

    async def txt(self, name: str) -> Answer[str]:
        self.asked.append(name)
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        await asyncio.sleep(0)
        self.under_way -= 1
        if name in self.broken:
            raise DnsTrouble("the name servers fail")
        return Answer((self.records[name],) if name in self.records else ())


def _result(recipient: str, policy: str = "") -> TlsResult:
    name = f"{recipient}.example"
    key = ResultKey(f"{policy or recipient}.example", NOW.date(), name, AppliedPolicy(PolicyType.NONE))
    return TlsResult(key, Tally(1))


def _sift(wanted: Wanted, *results: TlsResult) -> list[TlsResult]:
    return asyncio.run(wanted.sift(results))


def test_results_of_domains_with_a_record_are_kept() -> None:
    """A domain without one, or with one that is no use, is not told anything."""
    dns = Dns(a=RECORD, c="v=TLSRPTv1; rua=ftp:nowhere")
    results = [_result(name) for name in "abc"]

    assert _sift(Wanted(dns, FakeClock(NOW)), *results) == results[:1]


def test_the_domain_of_the_mx_host_may_want_to_hear_too() -> None:
    """One of the two is enough (RFC 8460 section 3: the policy domain's record; the recipient domain's as well)."""
    results = [_result("a", "mx"), _result("b", "mx"), _result("a", "other"), _result("b", "other")]

    assert _sift(Wanted(Dns(a=RECORD), FakeClock(NOW)), *results) == [results[0], results[2]]
    assert _sift(Wanted(Dns(mx=RECORD), FakeClock(NOW)), *results) == results[:2]


def test_a_name_is_asked_for_once_an_hour() -> None:
    """However many results it has."""
    dns, clock = Dns(a=RECORD), FakeClock(NOW)
    wanted = Wanted(dns, clock)
    for _ in range(2):
        assert len(_sift(wanted, _result("a"), _result("a", "b"))) == 2
    assert dns.asked == ["_smtp._tls.a.example", "_smtp._tls.b.example"]
    dns.records.clear()
    clock.advance(HOLDS - timedelta(seconds=1))
    assert len(_sift(wanted, _result("a"))) == 1
    clock.advance(timedelta(seconds=1))
    assert _sift(wanted, _result("a")) == []


def test_in_doubt_a_result_is_kept() -> None:
    """While DNS fails; it is asked again soon."""
    dns, clock = Dns(), FakeClock(NOW)
    dns.broken = {"_smtp._tls.a.example"}
    wanted = Wanted(dns, clock)

    assert len(_sift(wanted, _result("a"))) == 1
    dns.broken.clear()
    clock.advance(DOUBT_HOLDS)
    assert _sift(wanted, _result("a")) == []


def test_memory_and_questions_are_bounded() -> None:
    """Ten thousand domains are asked about a few at a time, and few are remembered."""
    dns = Dns()
    wanted = Wanted(dns, FakeClock(NOW), known=10)
    results = [_result(f"d{index}") for index in range(1000)]

    assert _sift(wanted, *results) == []
    assert dns.most <= AT_A_TIME
    assert len(wanted._known) == 10
