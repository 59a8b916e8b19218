"""What a message costs beside a full queue: requests and items read, with none and with many deliveries waiting.

Time is not looked at: an emulator's depends on how much it holds, DynamoDB's does not.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from bench.cost import stream_pattern
from bench.installation import Installation, installed
from bench.messages import SMALL_BYTES, Kind, encoded
from bench.meter import Entry, total
from bench.report import Bar, figure, table
from bench.walk import Walker
from egret.aws.mail_items import delivery_item
from egret.core.delivery import Delivery
from egret.core.ids import delivery_id, message_id_number
from egret.usecases.sweep import sweep
from functions.sweep import handler as sweep_handler

QUEUED: Final = 100_000
MESSAGES: Final = 20
BATCH: Final = 10
MAX_GROWTH: Final = 1.05
PUT_AT_ONCE: Final = 25
"""Items of one BatchWriteItem."""
WRITERS: Final = 4


def waiting(account: str, count: int, now: datetime) -> Iterator[Delivery]:
    """Yield deliveries of an account that wait for tomorrow, one for each submission, an eighth of a second apart."""
    dice = random.Random(count)
    for number in range(count):
        queued_at = now - timedelta(milliseconds=125) * (number + 1)
        id_ = delivery_id(message_id_number(queued_at, dice.getrandbits(9)), 0)
        due_at = now + timedelta(days=1, milliseconds=number)
        yield Delivery(
            account=account,
            id=id_,
            recipient=f"customer-{number}@customer{number % 1000}.example.org",
            domain=f"customer{number % 1000}.example.org",
            reverse_path="bounces@shop.example.com",
            fromid="",
            queued_at=queued_at,
            not_before=due_at,
            expires_at=due_at + timedelta(days=3),
            retention=timedelta(days=30),
            due_at=due_at,
        )


def fill(installation: Installation, count: int) -> None:
    """Put so many waiting deliveries of the account into the mail table."""
    items = [delivery_item(one) for one in waiting(installation.account, count, installation.app.clock.now())]
    parts = [items[start : start + PUT_AT_ONCE] for start in range(0, len(items), PUT_AT_ONCE)]
    name = installation.resources.mail_table

    def put(part: Sequence[Any]) -> None:
        requests = {name: [{"PutRequest": {"Item": item}} for item in part]}
        while requests:
            requests = installation.aws.dynamodb.batch_write_item(RequestItems=requests).get("UnprocessedItems", {})

    with ThreadPoolExecutor(WRITERS) as pool:
        for _ in pool.map(put, parts):
            pass


def measure(installation: Installation, walker: Walker, seed: int) -> list[Entry]:
    """Return every request of some messages, from the API to the end of their retention, and of a sweep."""
    walker.walk([encoded(Kind(1, SMALL_BYTES), seed - 1)], 1)  # fills the caches of settings
    entries = walker.walk([encoded(Kind(1, SMALL_BYTES), seed + number) for number in range(MESSAGES)], BATCH).entries
    with installation.meter.stage("sweep"):
        sweep(sweep_handler.ports_of(installation.app))
    return entries + installation.meter.take()


def report(root: Path) -> list[Bar]:
    """Measure, print, and return the bars."""
    with installed() as installation:
        walker = Walker(installation, stream_pattern(root / "template.yaml"))
        empty = measure(installation, walker, 1000)
        fill(installation, QUEUED)
        full = measure(installation, walker, 2000)
    sums = total(empty), total(full)
    rows = [
        ["requests", *(figure(one.requests / MESSAGES) for one in sums)],
        ["items read", *(figure(one.items / MESSAGES) for one in sums)],
        ["read units", *(figure(one.read_units / MESSAGES) for one in sums)],
        ["write units", *(figure(one.write_units / MESSAGES) for one in sums)],
    ]
    print(table(["per message, with a sweep", "0 queued", f"{QUEUED:,} queued"], rows))
    return [
        Bar(f"growth of requests with {QUEUED:,} queued", sums[1].requests / sums[0].requests, MAX_GROWTH),
        Bar(f"growth of items read with {QUEUED:,} queued", sums[1].items / sums[0].items, MAX_GROWTH),
    ]


def main(arguments: list[str] | None = None) -> int:
    """Print the growth; 1 when a bar is missed."""
    argparse.ArgumentParser(description=__doc__).parse_args(arguments)
    found = report(Path(__file__).parent.parent)
    print("\n" + "\n".join(map(str, found)))
    return int(not all(bar.is_kept for bar in found))


if __name__ == "__main__":
    sys.exit(main())
