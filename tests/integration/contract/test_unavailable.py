"""The contract of every port when what stands behind it does not answer as it should: Unavailable, nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from egret.contracts.queues import Call, Hint
from egret.contracts.records import Breaker, CallRecord, DeliveryFilter, DueKind, MailFilter, StsPolicy, Unit
from egret.contracts.reports import DmarcEvaluation, ReceivedReport, ReportKind, ReportSuppression
from egret.contracts.settings import Account, ApiKey, Direct, HoldRule, SendingDomain, Suppression, Transport
from egret.contracts.tls import TlsSupport
from egret.core.dmarc_report import PublishedPolicy
from egret.core.errors import Unavailable
from egret.core.mtasts import StsMode
from egret.core.routing import Route
from egret.core.suppression import Strike, Strikes
from egret.core.tlsrpt import AppliedPolicy, PolicyType, ResultKey, Tally, TlsResult
from tests.integration.contract.backends import Backend, memory_backend
from tests.samples import (
    CONTENT,
    DAY,
    NOON,
    acceptance,
    busy,
    completed,
    delivery,
    mail,
    message,
    message_number,
    reservation,
)
from tests.unit.reporting import a_row, an_aggregate

A = "abcdefgh"
KEY = (A, message_number(1))
CALL = Call(A, message_number(1), 1, "2031-03-01T12:00:00Z")
SUPPRESSION = Suppression(A, 1, "bob@example.net", "bob@example.net", NOON)
STRUCK = Strikes((Strike(NOON, "e"),))
STS_POLICY = StsPolicy("example.net", "1", StsMode.ENFORCE, ("mx.example.net",), DAY, NOON, NOON + DAY, NOON)
UNDER_NO_POLICY = ResultKey("example.net", NOON.date(), "example.net", AppliedPolicy(PolicyType.NONE))
TLS_RESULT = TlsResult(UNDER_NO_POLICY, Tally(1))
EVALUATION = DmarcEvaluation("in-1", NOON, 24, PublishedPolicy("example.net", "none"), a_row(), ())
NO_REPORTS = ReportSuppression(ReportKind.TLS, "t@example.net", NOON)
WITH_KEY = replace(acceptance(A), idempotency=completed(reservation(A)))

REQUESTS: dict[str, Callable[[Backend], object]] = {
    "put_message": lambda on: on.store.put_message(message(A), CONTENT),
    "put_message, large": lambda on: on.store.put_message(message(A), bytes(range(256)) * 2000),
    "accept": lambda on: on.store.accept(acceptance(A)),
    "accept with a key": lambda on: on.store.accept(WITH_KEY),
    "accept_several": lambda on: on.store.accept_several(acceptance(A, recipients=2), CONTENT, NOON),
    "expand": lambda on: on.store.expand([delivery(A)]),
    "expand many": lambda on: on.store.expand([delivery(A, index=index) for index in range(20)]),
    "close": lambda on: on.store.close(*KEY),
    "planned": lambda on: on.store.planned(*KEY),
    "message": lambda on: on.store.message(*KEY),
    "messages": lambda on: on.store.messages([KEY, (A, 2)]),
    "content": lambda on: on.store.content(*KEY),
    "contents": lambda on: on.store.contents([KEY, (A, 2)]),
    "get": lambda on: on.store.get(*KEY, NOON),
    "get_many": lambda on: on.store.get_many([KEY, (A, 2)], NOON),
    "replace": lambda on: on.store.replace(delivery(A), busy(A)),
    "replace_many": lambda on: on.store.replace_many([(delivery(A), busy(A))] * 3),
    "list": lambda on: on.store.list(A, DeliveryFilter(), "", 10, NOON),
    "reap": lambda on: on.store.reap(*KEY, NOON),
    "due": lambda on: on.due.due(DueKind.DELIVERY, NOON, 10),
    "count": lambda on: on.due.count(DueKind.DELIVERY, NOON),
    "reserve": lambda on: on.idempotency.reserve(reservation(A), NOON),
    "release": lambda on: on.idempotency.release(reservation(A)),
    "counters.add": lambda on: on.counters.add(A, "2031-03-01", 1, 10),
    "counters.used": lambda on: on.counters.used(A, "2031-03-01"),
    "suppressions.find": lambda on: on.suppressions.find([(A, "bob@example.net")]),
    "suppressions.put_new": lambda on: on.suppressions.put_new(SUPPRESSION),
    "suppressions.remove": lambda on: on.suppressions.remove(A, "bob@example.net", NOON),
    "suppressions.list": lambda on: on.suppressions.list(A, NOON),
    "find_strikes": lambda on: on.suppressions.find_strikes([(A, "bob@example.net")]),
    "put_strikes": lambda on: on.suppressions.put_strikes(A, "bob@example.net", Strikes(), STRUCK),
    "put_strikes, changed": lambda on: on.suppressions.put_strikes(A, "bob@example.net", STRUCK, Strikes((), NOON)),
    "calls.put": lambda on: on.calls.put(CallRecord(CALL, "https://a.example/", "failed", "failed", (), NOON)),
    "calls.get": lambda on: on.calls.get(*KEY, 1, NOON),
    "breaker": lambda on: on.calls.breaker(A, "https://a.example/"),
    "put_breaker": lambda on: on.calls.put_breaker(A, "https://a.example/", Breaker(1)),
    "put_breaker, closed": lambda on: on.calls.put_breaker(A, "https://a.example/", Breaker()),
    "hints": lambda on: on.hints.put([Hint(A, [1])]),
    "call queue": lambda on: on.call_queue.put([CALL]),
    "units.put": lambda on: on.units.put(Unit("u", "http://u", "h", (), True, 1, NOON)),
    "units.list": lambda on: on.units.list(),
    "units.get": lambda on: on.units.get("u"),
    "units.remove": lambda on: on.units.remove("u"),
    "blobs.put": lambda on: on.blobs.put("k", b"x"),
    "blobs.get": lambda on: on.blobs.get("k"),
    "blobs.beginning": lambda on: on.blobs.beginning("k", 1),
    "blobs.delete": lambda on: on.blobs.delete("k"),
    "mailboxes.put": lambda on: on.mailboxes.put(mail(A)),
    "mailboxes.get": lambda on: on.mailboxes.get(*KEY, NOON),
    "mailboxes.was_removed": lambda on: on.mailboxes.was_removed(*KEY),
    "mailboxes.replace": lambda on: on.mailboxes.replace(mail(A), replace(mail(A), rev=2)),
    "mailboxes.replace, moved": lambda on: on.mailboxes.replace(mail(A), replace(mail(A), mailbox="Trash", rev=2)),
    "mailboxes.remove": lambda on: on.mailboxes.remove(mail(A), NOON),
    "mailboxes.holds": lambda on: on.mailboxes.holds(A, "inbound-1", "a@example.com", NOON),
    "mailboxes.threads": lambda on: on.mailboxes.threads(A, ["<1@example.net>"]),
    "mailboxes.join": lambda on: on.mailboxes.join(A, "<1@example.net>", "thread", NOON),
    "mailboxes.own": lambda on: on.mailboxes.own(A),
    "mailboxes.create": lambda on: on.mailboxes.create(A, "Clients"),
    "mailboxes.drop": lambda on: on.mailboxes.drop(A, "Clients", NOON),
    "mailboxes.list": lambda on: on.mailboxes.list(A, MailFilter(), "", 10, NOON),
    "sts_policies.get": lambda on: on.sts_policies.get("example.net", NOON),
    "sts_policies.put": lambda on: on.sts_policies.put(STS_POLICY),
    "sts_policies.stale": lambda on: on.sts_policies.stale(NOON),
    "domain_tls.get": lambda on: on.domain_tls.get(A, "example.net", NOON),
    "domain_tls.put": lambda on: on.domain_tls.put([TlsSupport(A, "example.net", True, False, NOON)]),
    "tls_results.add": lambda on: on.tls_results.add(TLS_RESULT),
    "tls_results.list": lambda on: on.tls_results.list(NOON.date(), "", 10, NOON),
    "dmarc_evaluations.put": lambda on: on.dmarc_evaluations.put(EVALUATION),
    "dmarc_evaluations.list": lambda on: on.dmarc_evaluations.list(NOON.date(), 24, "", 10, NOON),
    "report_suppressions.put": lambda on: on.report_suppressions.put(NO_REPORTS),
    "report_suppressions.remove": lambda on: on.report_suppressions.remove(ReportKind.TLS, "t@example.net"),
    "report_suppressions.list": lambda on: on.report_suppressions.list(NOON),
    "received_reports.put": lambda on: on.received_reports.put(ReceivedReport(A, NOON, an_aggregate())),
    "received_reports.list": lambda on: on.received_reports.list(A, ReportKind.TLS, "", 10, NOON),
    "account": lambda on: on.reader.account(A),
    "account_of_address": lambda on: on.reader.account_of_address("a@example.com"),
    "key": lambda on: on.reader.key("0" * 64),
    "domain": lambda on: on.reader.domain("example.com"),
    "domain_of_return_path": lambda on: on.reader.domain_of_return_path("example.com"),
    "hold_rules": lambda on: on.reader.hold_rules(),
    "put_account": lambda on: on.writer.put_account(Account(A, "a", addresses=("a@example.com",))),
    "accounts": lambda on: on.writer.accounts(),
    "account_by_name": lambda on: on.writer.account_by_name("a"),
    "put_key": lambda on: on.writer.put_key(ApiKey("0" * 64, A, "a@example.com")),
    "keys": lambda on: on.writer.keys(A),
    "remove_key": lambda on: on.writer.remove_key("0" * 64),
    "touch_key": lambda on: on.writer.touch_key(ApiKey("0" * 64, A, "a@example.com"), NOON),
    "put_domain": lambda on: on.writer.put_domain(SendingDomain("example.com", A, "bounces.example.com")),
    "domains": lambda on: on.writer.domains(A),
    "remove_domain": lambda on: on.writer.remove_domain("example.com"),
    "put_hold_rule": lambda on: on.writer.put_hold_rule(HoldRule("r")),
    "remove_hold_rule": lambda on: on.writer.remove_hold_rule("r"),
    "routes": lambda on: on.reader.routes(),
    "put_route": lambda on: on.writer.put_route(Route("r", "t")),
    "remove_route": lambda on: on.writer.remove_route("r"),
    "transports": lambda on: on.reader.transports(),
    "put_transport": lambda on: on.writer.put_transport(Transport("t", Direct())),
    "remove_transport": lambda on: on.writer.remove_transport("t"),
    "wrap": lambda on: on.wrapper.wrap(b"x", "example.com"),
    "auth_failures": lambda on: on.auth_failures.record("192.0.2.7", NOON),
}


def _outcome(request: Callable[[Backend], object], backend: Backend) -> str:
    try:
        return f"answered {request(backend)!r}"
    except Unavailable:
        return "Unavailable"
    except Exception as error:  # noqa: BLE001 (that is what must not be)
        return repr(error)


@pytest.mark.emulator
@pytest.mark.parametrize("emulator", ["moto", "ministack"])
def test_missing_resources_are_unavailable(emulator: str, request: pytest.FixtureRequest) -> None:
    """Every method of every port, over tables, a bucket, queues and a key that do not exist."""
    from tests.integration.contract.aws_backend import adapters, names  # noqa: PLC0415 (memory needs no boto3)

    backend = adapters(emulator, request.getfixturevalue(f"{emulator}_endpoint"), names())

    assert dict.fromkeys(REQUESTS, "Unavailable") == {name: _outcome(make, backend) for name, make in REQUESTS.items()}


def test_every_request_is_one_that_a_port_answers() -> None:
    """The list above is not made of mistakes: in memory each of them is answered."""
    answers = {name: _outcome(make, memory_backend()).partition(" ")[0] for name, make in REQUESTS.items()}

    assert dict.fromkeys(REQUESTS, "answered") == answers
