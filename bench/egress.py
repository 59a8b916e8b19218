"""`make bench-egress`: messages per second of the egress engine on one core, beside others, into the same smtp-sink.

Five rounds, in each of which all are measured in turns, and medians over them: smtp-source straight, Postfix as a
relay, aiosmtplib with uvloop, our unit with 2 KB messages for one domain, and for 10,000 domains on 20 MX hosts. Then
our unit with 100 KB messages, its memory over 200,000 messages, and outcomes written to DynamoDB as an emulator plays
it. Needs Debian's postfix, and root.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
STRAIGHT: Final = "smtp-source, straight"
POSTFIX: Final = "Postfix, as a relay"
LIBRARY: Final = "aiosmtplib, uvloop"
EGRET: Final = "Egret"
MANY: Final = f"Egret, {DOMAINS:,} domains on {HOSTS} hosts"


def small() -> list[Letter]:
    """Return the messages of one domain."""
    return letters(MADE, SMALL_BYTES, ["d0.example"])


def one_round(count: int, mail: Sequence[Letter], many: Sequence[Letter]) -> dict[str, Speed]:
    """Measure, one right after the other, what is compared."""
    slow = max(1000, count // 10)
    return {
        STRAIGHT: Speed(count, peers.source(count, SMALL_BYTES, (peers.SINK, peers.SINK_PORT))),
        POSTFIX: Speed(slow, peers.through_postfix(slow, SMALL_BYTES)),
        LIBRARY: Speed(len(mail), peers.aiosmtplib(mail)),
        EGRET: own(mail, count),
        MANY: own(many, count, HOSTS),
    }


def own(mail: Sequence[Letter], count: int, hosts: int = 1) -> Speed:
    """Measure our unit, a fresh one."""
    with unit(hosts) as one:
        one.send(mail, min(1000, count // 5))
        return one.send(mail, count)


def large(count: int) -> Speed:
    """Measure our unit with large messages."""
    return own(letters(500, LARGE_BYTES, ["d0.example"]), max(500, count // 10))


@dataclass(frozen=True, slots=True)
class Rounds:
    """What several rounds came to. A machine that changes its speed changes it for all of a round, or nearly so."""

    rounds: Sequence[Mapping[str, Speed]]

    def rate(self, name: str) -> float:
        """Return the median of messages per second."""
        return statistics.median(one[name].rate for one in self.rounds)

    def times(self, name: str) -> float:
        """Return how many times faster ours is: the median over the rounds."""
        return statistics.median(one[EGRET].rate / one[name].rate for one in self.rounds)

    def row(self, name: str) -> list[str]:
        """Return a row of the table."""
        rates = [one[name].rate for one in self.rounds]
        times = [one[EGRET].rate / one[name].rate for one in self.rounds]
        cpu_us = statistics.median(one[name].cpu_us for one in self.rounds)
        return [
            name,
            figure(self.rate(name)),
            f"{figure(min(rates))} - {figure(max(rates))}",
            figure(self.times(name)),
            f"{figure(min(times))} - {figure(max(times))}",
            figure(cpu_us) if cpu_us else "-",
        ]


def memory(mail: Sequence[Letter]) -> tuple[int, int]:
    """Return the resident bytes of a unit after 20,000 and after 200,000 more messages."""
    with unit() as one:
        one.send(mail, 20_000)
        before = resident_bytes(one.pid)
        for _ in range(10):
            one.send(mail, 20_000)
        return before, resident_bytes(one.pid)


def bars(found: Rounds, of_large: Speed, grown: tuple[int, int]) -> list[Bar]:
    """Return what was promised. Rates are turned round, since a bar is the most that may be."""
    return [
        Bar("Postfix / Egret, messages/s", 1 / found.times(POSTFIX), 1 / TIMES_POSTFIX, is_counted=False),
        Bar(
            "aiosmtplib / Egret, messages per second", 1 / found.times(LIBRARY), 1 / TIMES_AIOSMTPLIB, is_counted=False
        ),
        Bar("cost of 10,000 domains / of one", found.times(MANY), MOST_FOR_DOMAINS, is_counted=False),
        Bar("ms for a message of 100 KB", 1000 / of_large.rate, 1000 / LEAST_LARGE, is_counted=False),
        Bar("memory after 200,000 messages / before", grown[1] / grown[0], MOST_GROWTH, is_counted=False),
    ]


def show(found: Rounds, of_large: Speed, grown: tuple[int, int]) -> None:
    """Print the table: medians, and from where to where the rounds went."""
    what = "into smtp-sink, 20 connections"
    head = [what, "messages/s", "from - to", "Egret is x times", "from - to", "CPU us each"]
    print(table(head, [found.row(name) for name in (STRAIGHT, POSTFIX, LIBRARY, EGRET, MANY)]))
    print(f"\n100 KB messages: {figure(of_large.rate)}/s")
    print(f"memory: {grown[0] / 1e6:.1f} MB after 20,000 messages, {grown[1] / 1e6:.1f} MB after 200,000 more")


def main(arguments: list[str] | None = None) -> int:
    """Print the figures; they are measured, so that a missed bar is no fault."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=40_000, help="messages in a measurement (default 40000)")
    parser.add_argument("--rounds", type=int, default=5, help="how often all are measured in turns (default 5)")
    parser.add_argument("--only", choices=["egret", "memory"], help="one of our own measurements")
    wanted = parser.parse_args(arguments)
    mail = small()
    with peers.sink():
        if wanted.only is not None:
            return _only(wanted.only, wanted.count, mail)
        many = letters(MADE, SMALL_BYTES, [f"d{number}.example" for number in range(DOMAINS)])
        found = Rounds([one_round(wanted.count, mail, many) for _ in range(wanted.rounds)])
        of_large = large(wanted.count)
        grown = memory(mail)
        recorded = egress_outcomes.measure(mail)
    show(found, of_large, grown)
    print()
    recorded.show(found.rounds[-1][EGRET])
    print("\n" + "\n".join(map(str, [*bars(found, of_large, grown), *recorded.bars()])))
    return 0


def _only(what: str, count: int, mail: Sequence[Letter]) -> int:
    if what == "memory":
        before, after = memory(mail)
        print(f"{before / 1e6:.1f} MB, then {after / 1e6:.1f} MB: x {after / before:.3f}")
        return 0
    speed = own(mail, count)
    print(f"{speed.rate:,.0f}/s, {speed.cpu_us:.1f} us of CPU each")
    return 0


if __name__ == "__main__":
    sys.exit(main())
