"""What a message costs: everything that its way through AWS asks for, at list price.

The requests and capacity units are counted (`walk`, `meter`), the rest follows from `assumptions`.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench import assumptions as given
from bench import prices
from bench.installation import Installation, installed
from bench.messages import LARGE_BYTES, SMALL_BYTES, Kind, encoded
from bench.meter import by_operation, total
from bench.report import Bar, figure, table
from bench.walk import DELIVER, SEND, STAGES, WEBHOOK, Footprint, Walker
from egret_local.stack import Names, read_stack

KINDS: Final = tuple(Kind(recipients, size) for recipients in (1, 10) for size in (SMALL_BYTES, LARGE_BYTES))
BATCHES: Final = (10, 1)
MESSAGES: Final = 20
MAX_WRITE_UNITS: Final = 12
MAX_DOLLARS: Final = 15.0
POLLED: Final = (DELIVER, WEBHOOK)
"""Stages that Lambda feeds from a queue."""


@dataclass(frozen=True, slots=True)
class Bill:
    """Dollars for a million messages, by what they are spent on."""

    lines: Mapping[str, float]

    @property
    def total(self) -> float:
        """The sum."""
        return sum(self.lines.values())


def bill(footprint: Footprint) -> Bill:
    """Return what a million such messages cost."""
    lines = {
        "DynamoDB writes": total(footprint.entries).write_units * prices.WRITE_UNIT,
        "DynamoDB reads": total(footprint.entries).read_units * prices.READ_UNIT,
        "Lambda requests": sum(footprint.invocations.values()) * prices.LAMBDA_REQUEST,
        "Lambda time": sum(duration_s(footprint, stage) for stage in footprint.invocations)
        * given.MEMORY_GB
        * prices.LAMBDA_GB_S,
        "SQS": sqs_requests(footprint) * prices.SQS_REQUEST,
        "HTTP API": footprint.messages * prices.HTTP_API_REQUEST,
        "S3": _s3(footprint),
        "logs": _log_gb(footprint) * (prices.LOG_GB + given.KEPT_MONTHS * prices.LOG_GB_MONTH),
        "transfer out": out_bytes(footprint) / prices.GB * prices.OUT_GB,
        "storage": _stored(footprint),
    }
    return Bill({name: dollars / footprint.messages * prices.MILLION for name, dollars in lines.items()})


def duration_s(footprint: Footprint, stage: str) -> float:
    """Return the billed time of a stage's function for all messages."""
    entries = footprint.of_stage(stage)
    waited = sum(given.REQUEST_S[entry.service] for entry in entries)
    count = footprint.messages if stage == SEND else footprint.recipients
    computed = count * given.CPU_S[stage] / given.CPU_SHARE
    invocations = footprint.invocations[stage]
    called = {DELIVER: invocations * given.HANDOFF_S, WEBHOOK: footprint.recipients * given.WEBHOOK_S}.get(stage, 0)
    return waited + computed + called + invocations * given.COLD_STARTS * given.COLD_START_S


def sqs_requests(footprint: Footprint) -> float:
    """Return ours, and Lambda's: for each invocation it receives a batch and deletes it."""
    ours = sum(entry.service == "sqs" for entry in footprint.entries)
    return ours + 2 * sum(footprint.invocations.get(stage, 0) for stage in POLLED)


def out_bytes(footprint: Footprint) -> float:
    """Return what leaves for the internet: mail, webhook calls, answers of the API."""
    sent = footprint.wire_bytes + footprint.webhook_bytes + footprint.answer_bytes
    return sent * given.WIRE_OVERHEAD + footprint.recipients * (given.TRANSACTION_BYTES + given.CALL_BYTES)


def _s3(footprint: Footprint) -> float:
    dear = {"PutObject": prices.S3_PUT, "GetObject": prices.S3_GET, "DeleteObject": 0.0}
    return sum(dear[entry.operation] for entry in footprint.entries if entry.service == "s3")


def _log_gb(footprint: Footprint) -> float:
    return sum(footprint.log_bytes.values()) / prices.GB


def _stored(footprint: Footprint) -> float:
    table_gb_months = footprint.table_bytes * given.KEPT_MONTHS + footprint.call_bytes * given.CALLS_KEPT_MONTHS
    in_table = table_gb_months / prices.GB * (prices.TABLE_GB_MONTH + prices.BACKUP_GB_MONTH)
    return in_table + given.KEPT_MONTHS * footprint.object_bytes / prices.GB * prices.S3_GB_MONTH


@dataclass(frozen=True, slots=True)
class Measured:
    """One column of the table."""

    kind: Kind
    batch: int
    footprint: Footprint

    @property
    def name(self) -> str:
        """Its head."""
        return f"{self.kind.name} /{self.batch}"

    def units(self, stage: str = "") -> float:
        """Return the write units of a message, of one stage or in all."""
        entries = self.footprint.of_stage(stage) if stage else self.footprint.entries
        return total(entries).write_units / self.footprint.messages


def measure(walker: Walker) -> Iterator[Measured]:
    """Walk every kind in every batch size; the first walk of all fills the caches and is not counted."""
    walker.walk([encoded(KINDS[0], seed) for seed in range(2)], 1)
    for kind in KINDS:
        for batch in BATCHES:
            requests = [encoded(kind, seed) for seed in range(MESSAGES)]
            yield Measured(kind, batch, walker.walk(requests, batch))


def stream_pattern(template: Path) -> str:
    """Return the event filter of the webhook function's stream."""
    stack = read_stack(
        template.read_text(), {"Hostname": "mx.example.com"}, Names("http://127.0.0.1", "eu-west-1", str)
    )
    (source,) = stack.functions["WebhookStreamFunction"].sources
    return source.pattern


def month(alarm_metrics: int, secrets: int) -> dict[str, float]:
    """Return what the installation costs in a month without sending anything."""
    polls = given.QUEUES * given.POLLERS * given.MONTH_S / 20
    sweeps = given.MONTH_S / 60
    announcements = given.MONTH_S / 10
    return {
        "EC2 t4g.micro": prices.T4G_MICRO_MONTH,
        "public IPv4 address": prices.PUBLIC_IPV4_MONTH,
        "disks (30 GB root, 2 GB journal)": 32 * prices.EBS_GB_MONTH,
        "KMS key": prices.KMS_KEY_MONTH,
        f"secrets ({secrets})": secrets * prices.SECRET_MONTH,
        f"alarms ({alarm_metrics} metrics)": alarm_metrics * prices.ALARM_MONTH,
        f"metrics of our own ({given.LEVELS})": given.LEVELS * prices.METRIC_MONTH,
        "idle polls of queues": polls * prices.SQS_REQUEST,
        "sweep": sweeps * (prices.LAMBDA_REQUEST + 0.2 * given.MEMORY_GB * prices.LAMBDA_GB_S + 14 * prices.READ_UNIT),
        "announcements of the unit": announcements * prices.WRITE_UNIT,
    }


# --- what is printed


def _rows(columns: list[Measured]) -> Iterator[list[str]]:
    yield ["write units"] + [figure(column.units()) for column in columns]
    for stage in STAGES:
        yield [f"  {stage}"] + [figure(column.units(stage)) for column in columns]
    footprints = [column.footprint for column in columns]
    yield ["read units"] + [figure(total(one.entries).read_units / one.messages) for one in footprints]
    yield ["requests to AWS"] + [figure(len(one.entries) / one.messages) for one in footprints]
    yield ["Lambda invocations"] + [figure(sum(one.invocations.values()) / one.messages) for one in footprints]
    yield ["Lambda ms"] + [
        figure(1000 * sum(duration_s(one, stage) for stage in one.invocations) / one.messages) for one in footprints
    ]
    yield ["log bytes"] + [figure(sum(one.log_bytes.values()) / one.messages) for one in footprints]
    yield ["message bytes on the wire"] + [figure(one.message_bytes / one.messages) for one in footprints]
    yield []
    bills = [bill(one) for one in footprints]
    for name in bills[0].lines:
        yield [f"$ {name}"] + [figure(one.lines[name]) for one in bills]
    yield ["$ a million messages"] + [figure(one.total) for one in bills]
    yield ["$ a thousand recipients"] + [
        f"{one.total / 1000 / column.kind.recipients:.4f}" for one, column in zip(bills, columns, strict=True)
    ]


def _details(column: Measured) -> str:
    rows = [
        [f"{stage} {service} {operation}", *(figure(value / column.footprint.messages) for value in values)]
        for (stage, service, operation), one in by_operation(column.footprint.entries).items()
        for values in [(one.requests, one.write_units, one.read_units, one.items)]
    ]
    return table([f"each request, {column.name}", "requests", "write units", "read units", "items read"], rows)


def _comparison(ours: float, fixed: float) -> Iterator[str]:
    """Compare dollars for a thousand messages to one recipient with SES, which keeps nothing for its price."""
    for plan, theirs in (("Essentials", prices.SES_ESSENTIALS_1000), ("a la carte", prices.SES_A_LA_CARTE_1000)):
        even = fixed / (theirs - ours) * 1000
        prices_said = f"SES {plan}: ${theirs:.2f} a thousand, ours ${ours:.4f}"
        yield f"{prices_said}; even, the month included, at {even:,.0f} a month"


def bars(columns: list[Measured]) -> list[Bar]:
    """Return the promises about cost: of a message of 2 KB to one recipient, whose webhook hears of it."""
    simple = [column for column in columns if column.kind == KINDS[0]]
    batched = next(column for column in simple if column.batch == BATCHES[0])
    dollars = bill(batched.footprint).total
    return [
        *(Bar(f"write units of a message, {column.name}", column.units(), MAX_WRITE_UNITS) for column in simple),
        Bar(f"$ a million messages, {batched.name}", dollars, MAX_DOLLARS),
    ]


def _walker(installation: Installation, root: Path) -> Walker:
    return Walker(installation, stream_pattern(root / "template.yaml"), weighs=True)


def _template_counts(template: Path) -> tuple[int, int]:
    """Return the metrics that alarms watch, which are what is paid, and the secrets of every installation."""
    text = template.read_text()
    _, *alarms = text.split("Type: AWS::CloudWatch::Alarm")
    own = [re.split(r"\n  \w", alarm, maxsplit=1)[0] for alarm in alarms]
    return sum(max(1, alarm.count("MetricStat:")) for alarm in own), text.count("Type: AWS::SecretsManager::Secret")


def report(root: Path) -> list[Bar]:
    """Measure, print, and return the bars."""
    with installed() as installation:
        columns = list(measure(_walker(installation, root)))
    print(table(["per message, N x size /batch", *(column.name for column in columns)], list(_rows(columns))))
    print()
    print(_details(columns[0]))
    print()
    fixed = month(*_template_counts(root / "template.yaml"))
    print(table(["a month, without any mail", "$"], [[name, figure(value)] for name, value in fixed.items()]))
    print(f"in all: ${figure(sum(fixed.values()))} a month")
    print()
    print("\n".join(_comparison(bill(columns[0].footprint).total / 1000, sum(fixed.values()))))
    return bars(columns)


def main(arguments: list[str] | None = None) -> int:
    """Print the cost; 1 when a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.parse_args(arguments)
    found = report(Path(__file__).parent.parent)
    print("\n" + "\n".join(map(str, found)))
    return int(not all(bar.is_kept for bar in found))


if __name__ == "__main__":
    sys.exit(main())
