"""Reporting in DynamoDB: evaluations of a day, addresses that get no reports, reports that came in."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from itertools import islice

import msgspec

from egret.aws.codec import decode, encode
from egret.aws.keys import account_partition, digest, instant, micros, ttl
from egret.aws.table import Condition, Item, Key, Range, Table, b, key_of, n, s
from egret.contracts.records import Page
from egret.contracts.reports import DmarcEvaluation, ReceivedReport, ReportKind, ReportSuppression
from egret.core.dmarc_report import AggregateReport
from egret.core.errors import ContractError
from egret.core.tlsrpt_report import TlsReport

SHARDS = "0123"
SUPPRESSED = "RSUP"
PRESENT = Condition("attribute_exists(pk)")
_encode = msgspec.msgpack.Encoder(order="deterministic").encode
_decode_evaluation = msgspec.msgpack.Decoder(DmarcEvaluation).decode
_decode_suppression = msgspec.msgpack.Decoder(ReportSuppression).decode


class _Received(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What is stored of a report, beside its keys. report: packed."""

    received_at: int
    reporter: str
    is_verified: bool
    left_out: int
    report: bytes


_decode_received = msgspec.msgpack.Decoder(_Received).decode
_decode_dmarc = msgspec.msgpack.Decoder(AggregateReport).decode
_decode_tls = msgspec.msgpack.Decoder(TlsReport).decode


class DynamoDmarcEvaluations:
    """The `DmarcEvaluations` port. `d`: the evaluation packed.

    A day lies in several partitions for each length of interval: an hourly run reads the day so far of those lengths
    that end then, and nothing of the others.
    """

    def __init__(self, table: Table) -> None:
        self._table = table

    def put(self, evaluation: DmarcEvaluation) -> None:
        """Store; one of the same id, domain and instant is the same."""
        domain = evaluation.policy.domain
        pk = _partition(evaluation.at.astimezone(UTC).date(), evaluation.hours, _shard(domain))
        sk = f"{domain}#{micros(evaluation.at):020d}#{digest(evaluation.id)[:16]}"
        expiry = n(ttl(evaluation.forget_at))
        self._table.put({"pk": s(pk), "sk": s(sk), "d": b(_encode(evaluation)), "ttl": expiry})

    def list(self, day: date, hours: int, cursor: str, limit: int, now: datetime) -> Page[DmarcEvaluation]:
        """Return those of a UTC day whose interval has this length. The cursor: shard and sort key of the last one."""
        first, last = cursor[:1] or SHARDS[0], cursor[1:]
        found: list[tuple[str, Item]] = []
        for shard in SHARDS[SHARDS.index(first) :]:
            pk, room = _partition(day, hours, shard), limit + 1 - len(found)
            wanted = Range(pk, f"{last}\0", "\U0010ffff") if last else Range(pk)
            found += [(shard, item) for item in islice(self._table.query(wanted, room), room)]
            last = ""
            if len(found) > limit:
                break
        read = (_evaluation(item) for _, item in found[:limit])
        more = f"{found[limit - 1][0]}{key_of(found[limit - 1][1])[1]}" if len(found) > limit else ""
        return Page(tuple(one for one in read if now < one.forget_at), more)


def _shard(domain: str) -> str:
    return SHARDS[int(digest(domain)[0], 16) % len(SHARDS)]


def _partition(day: date, hours: int, shard: str) -> str:
    return f"DMARC#{day.isoformat()}#{hours}#{shard}"


def _evaluation(item: Item) -> DmarcEvaluation:
    try:
        return _decode_evaluation(item["d"]["B"])
    except msgspec.MsgspecError as error:
        raise ContractError(detail=f"evaluation {key_of(item)} cannot be read: {error}") from error


class DynamoReportSuppressions:
    """The `ReportSuppressions` port: one small partition, read whole. `d`: the entry packed."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def put(self, entry: ReportSuppression) -> None:
        """Add, replacing what stands there for the address and kind."""
        pk, sk = _suppression_key(entry.kind, entry.address)
        expiry = {"ttl": n(ttl(entry.until))} if entry.until else {}
        self._table.put({"pk": s(pk), "sk": s(sk), "d": b(_encode(entry)), **expiry})

    def remove(self, kind: ReportKind, address: str) -> bool:
        """Take off; False when it is not there."""
        return self._table.delete_if(_suppression_key(kind, address), PRESENT)

    def list(self, now: datetime) -> Sequence[ReportSuppression]:
        """Return those that have not run out, by kind and address."""
        entries = map(_suppression, self._table.query(Range(SUPPRESSED)))
        return [entry for entry in entries if entry.is_active(now)]


def _suppression_key(kind: ReportKind, address: str) -> Key:
    return SUPPRESSED, f"{kind.value}#{address}"


def _suppression(item: Item) -> ReportSuppression:
    try:
        return _decode_suppression(item["d"]["B"])
    except msgspec.MsgspecError as error:
        raise ContractError(detail=f"{key_of(item)} cannot be read: {error}") from error


class DynamoReceivedReports:
    """The `ReceivedReports` port. `d`: packed and compressed."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def put(self, report: ReceivedReport) -> None:
        """Store, replacing an earlier copy of the same report."""
        name = digest("\0".join(report.identity))[:16]
        sk = f"{_prefix(report.kind)}{micros(report.report.end):020d}#{name}"
        packed = _Received(
            micros(report.received_at),
            report.reporter,
            report.is_verified,
            report.left_out,
            _encode(report.report),
        )
        pk, expiry = account_partition(report.account), n(ttl(report.forget_at))
        self._table.put({"pk": s(pk), "sk": s(sk), "d": b(encode(_encode(packed))), "ttl": expiry})

    def list(self, account: str, kind: ReportKind, cursor: str, limit: int, now: datetime) -> Page[ReceivedReport]:
        """Return an account's, the latest first. The cursor is the end of the last one's sort key."""
        prefix = _prefix(kind)
        # Just below the last one given: its name is hexadecimal, and no sort key lies between.
        last = f"{prefix}{cursor[:-1]}{chr(ord(cursor[-1]) - 1)}\U0010ffff" if cursor else f"{prefix}\U0010ffff"
        wanted = Range(account_partition(account), prefix, last, newest_first=True)
        items = [*islice(self._table.query(wanted, limit + 1), limit + 1)]
        read = [_received(account, kind, item) for item in items[:limit]]
        more = key_of(items[limit - 1])[1].removeprefix(prefix) if len(items) > limit else ""
        return Page(tuple(one for one in read if now < one.forget_at), more)


def _prefix(kind: ReportKind) -> str:
    return f"Q#{kind.value}#"


def _received(account: str, kind: ReportKind, item: Item) -> ReceivedReport:
    try:
        packed = _decode_received(decode(item["d"]["B"]))
        report = _decode_dmarc(packed.report) if kind is ReportKind.DMARC else _decode_tls(packed.report)
    except msgspec.MsgspecError as error:
        raise ContractError(detail=f"report {key_of(item)} cannot be read: {error}") from error
    return ReceivedReport(
        account, instant(packed.received_at), report, packed.reporter, packed.is_verified, packed.left_out
    )
