"""Peak memory of an egress process with many open TLS connections: `python -m bench.memory_egress PORT COUNT`.

Everything that the container imports is imported; pool, sessions and exchanges are the real ones. Each connection
carries a message of 2 KB, which the sink holds until all are open. Prints figures as JSON.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import egret_egress.__main__  # noqa: F401 (what the container imports takes memory, too)
from bench.messages import SMALL_BYTES, Kind, request
from bench.processes import peak_bytes
from egret import posix
from egret.contracts.handoff import Content as ContentReference
from egret.contracts.handoff import Leg, Transaction
from egret.core.outcome import Delivered, Outcome, Remote
from egret.core.trace import SessionTrace
from egret_egress.content import Content
from egret_egress.courier import Courier
from egret_egress.destinations import Fixed, Host
from egret_egress.dns import DnsResolver
from egret_egress.opening import Dialing
from egret_egress.parcel import Parcel
from egret_egress.pool import Pool, PoolLimits


@dataclass
class Witness:
    """Notes outcomes."""

    outcomes: list[Outcome] = field(default_factory=list)

    def begin(self) -> None:
        """A connection is about to be used."""

    def before_dot(self, recipients: Sequence[int], remote: Remote) -> None:
        """The final dot is about to go out."""

    def decide(self, recipient: int, outcome: Outcome, trace: SessionTrace) -> None:
        """An outcome."""
        self.outcomes.append(outcome)


async def deliver(port: int, count: int) -> dict[str, int]:
    """Deliver so many messages at once, each over a connection of its own; return the figures."""
    before = peak_bytes()
    pool = Pool(PoolLimits(per_host=count, idle_total=count))
    courier = Courier(Fixed(Host("127.0.0.1", port), DnsResolver()), pool, Dialing("egress.example"))
    witness = Witness()
    async with asyncio.timeout(240):
        await asyncio.gather(*(courier.deliver(parcel(number, witness)) for number in range(count)))
    figures = {
        "delivered": sum(isinstance(outcome, Delivered) for outcome in witness.outcomes),
        "open": pool.open_connections,
        "before_bytes": before,
        "peak_bytes": peak_bytes(),
    }
    await pool.close()
    return figures


def parcel(number: int, witness: Witness) -> Parcel:
    """Return a message of its own to one recipient."""
    text = str(request(Kind(1, SMALL_BYTES), number)["Text"])
    raw = f"From: orders@shop.example.com\nSubject: your order {number}\n\n{text}".encode().replace(b"\n", b"\r\n")
    until = datetime.now(UTC) + timedelta(minutes=40)
    legs = [Leg(number, 1, f"customer-{random.Random(number).randrange(10**6)}@customer{number}.example.org")]
    content = ContentReference(len(raw), raw)
    transaction = Transaction(
        "shopshop", number, f"customer{number}.example.org", "b@shop.example.com", legs, content, until
    )
    return Parcel(transaction, Content(raw), witness)


def main() -> None:
    """Run under the loop that the container uses."""
    port, count = map(int, sys.argv[1:])
    with asyncio.Runner(loop_factory=posix.loop_factory()) as runner:
        print(json.dumps(runner.run(deliver(port, count))))


if __name__ == "__main__":
    main()
