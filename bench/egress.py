"""`make bench-egress`: messages per second of the egress engine on one core, beside others, into the same smtp-sink.

One run: smtp-source straight, Postfix as a relay, aiosmtplib with uvloop, then our unit: 2 KB messages for one domain,
for 10,000 domains on 20 MX hosts, 100 KB messages, memory over 200,000 messages, and outcomes written to DynamoDB as an
emulator plays it. Needs Debian's postfix, and root.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Final

from bench import egress_outcomes
from bench import egress_peers as peers
from bench.egress_drive import Speed, unit
from bench.egress_mail import Letter, letters
from bench.processes import resident_bytes
from bench.report import Bar, figure, table

SMALL_BYTES: Final = 2 * 1024
LARGE_BYTES: Final = 100 * 1024
DOMAINS: Final = 10_000
HOSTS: Final = 20
MADE: Final = 20_000
TIMES_POSTFIX: Final = 10.0
TIMES_AIOSMTPLIB: Final = 1.5
MOST_FOR_DOMAINS: Final = 1.3
LEAST_LARGE: Final = 750.0
MOST_GROWTH: Final = 1.05


def small() -> list[Letter]:
    """Return the messages of one domain."""
    return letters(MADE, SMALL_BYTES, ["d0.example"])


def compare(count: int, mail: Sequence[Letter]) -> dict[str, Speed]:
    """Measure the peers."""
    slow = max(1000, count // 10)
    return {
        "smtp-source, straight": Speed(count, peers.source(count, SMALL_BYTES, (peers.SINK, peers.SINK_PORT))),
        "Postfix, as a relay": Speed(slow, peers.through_postfix(slow, SMALL_BYTES)),
        "aiosmtplib, uvloop": Speed(len(mail), peers.aiosmtplib(mail)),
    }


def own(count: int, mail: Sequence[Letter]) -> dict[str, Speed]:
    """Measure our unit."""
    found: dict[str, Speed] = {}
    with unit() as one:
        one.send(mail, 1000)
        found["Egret"] = one.send(mail, count)
    many = letters(MADE, SMALL_BYTES, [f"d{number}.example" for number in range(DOMAINS)])
    with unit(HOSTS) as one:
        one.send(many, 1000)
        found[f"Egret, {DOMAINS:,} domains on {HOSTS} hosts"] = one.send(many, count)
    large = letters(500, LARGE_BYTES, ["d0.example"])
    with unit() as one:
        one.send(large, 100)
        found["Egret, 100 KB"] = one.send(large, max(500, count // 10))
    return found


def memory(mail: Sequence[Letter]) -> tuple[int, int]:
    """Return the resident bytes of a unit after 20,000 and after 200,000 more messages."""
    with unit() as one:
        one.send(mail, 20_000)
        before = resident_bytes(one.pid)
        for _ in range(10):
            one.send(mail, 20_000)
        return before, resident_bytes(one.pid)


def bars(found: dict[str, Speed], grown: tuple[int, int] | None) -> list[Bar]:
    """Return what was promised. Rates are turned round, since a bar is the most that may be."""
    egret, many = found["Egret"].rate, found[f"Egret, {DOMAINS:,} domains on {HOSTS} hosts"].rate
    postfix, library = found["Postfix, as a relay"].rate, found["aiosmtplib, uvloop"].rate
    kept = [
        Bar("Postfix / Egret, messages per second", postfix / egret, 1 / TIMES_POSTFIX, is_counted=False),
        Bar("aiosmtplib / Egret, messages per second", library / egret, 1 / TIMES_AIOSMTPLIB, is_counted=False),
        Bar("cost of 10,000 domains / of one", egret / many, MOST_FOR_DOMAINS, is_counted=False),
        Bar("ms for a message of 100 KB", 1000 / found["Egret, 100 KB"].rate, 1000 / LEAST_LARGE, is_counted=False),
    ]
    if grown is not None:
        kept.append(Bar("memory after 200,000 messages / before", grown[1] / grown[0], MOST_GROWTH, is_counted=False))
    return kept


def show(found: dict[str, Speed], grown: tuple[int, int] | None) -> None:
    """Print the table."""
    egret = found["Egret"].rate
    rows = [
        [name, figure(one.rate), figure(egret / one.rate), figure(one.cpu_us) if one.cpu_us else "-"]
        for name, one in found.items()
    ]
    print(table(["into smtp-sink, 20 connections", "messages/s", "Egret is x times", "CPU us each"], rows))
    if grown is not None:
        print(f"\nmemory: {grown[0] / 1e6:.1f} MB after 20,000 messages, {grown[1] / 1e6:.1f} MB after 200,000 more")


def main(arguments: list[str] | None = None) -> int:
    """Print the figures; they are measured, so that a missed bar is no fault."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=40_000, help="messages in a measurement (default 40000)")
    parser.add_argument("--only", choices=["egret", "memory"], help="one of our own measurements")
    wanted = parser.parse_args(arguments)
    mail = small()
    with peers.sink():
        if wanted.only is not None:
            return _only(wanted.only, wanted.count, mail)
        found = {**compare(wanted.count, mail), **own(wanted.count, mail)}
        grown = memory(mail)
        recorded = egress_outcomes.measure(mail)
    show(found, grown)
    print()
    recorded.show(found["Egret"])
    print("\n" + "\n".join(map(str, [*bars(found, grown), *recorded.bars()])))
    return 0


def _only(what: str, count: int, mail: Sequence[Letter]) -> int:
    if what == "memory":
        before, after = memory(mail)
        print(f"{before / 1e6:.1f} MB, then {after / 1e6:.1f} MB: x {after / before:.3f}")
        return 0
    with unit() as one:
        one.send(mail, 1000)
        speed = one.send(mail, count)
    print(f"{speed.rate:,.0f}/s, {speed.cpu_us:.1f} us of CPU each")
    return 0


if __name__ == "__main__":
    sys.exit(main())
