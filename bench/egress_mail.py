"""The mail of the egress benchmark: distinct messages, DKIM-signed, made ahead, and the handoffs that carry them."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from bench.messages import Kind, request
from egret.aws.dkim_keys import make_dkim_key
from egret.contracts.handoff import Content, Handoff, Leg, Transaction, encode
from egret.core.dkim import DkimKey, sign

DOMAIN: Final = "shop.example.com"
ACCOUNTS: Final = ("aaaaaaaa", "bbbbbbbb", "cccccccc", "dddddddd")
LEASE: Final = timedelta(minutes=40)
PER_HANDOFF: Final = 100
HEADERS_BYTES: Final = 1100
"""What headers and signature take of a message."""


@dataclass(frozen=True, slots=True)
class Letter:
    """One message with its envelope; content has CRLF line ends."""

    reverse_path: str
    forward_path: str
    domain: str
    content: bytes


def letters(count: int, size_bytes: int, domains: Sequence[str]) -> list[Letter]:
    """Return distinct signed messages of about `size_bytes` octets, to the domains in turns."""
    key = DkimKey(DOMAIN, "bench", "rsa-sha256", make_dkim_key("rsa-sha256"))
    now = datetime.now(UTC)
    kind = Kind(1, 9_000)
    bodies = [str(request(kind, seed)["Text"]).replace("\n", "\r\n").encode("ascii", "replace") for seed in range(50)]
    dice = random.Random(7)
    return [
        _letter(index, _body(bodies, size_bytes, dice), domains[index % len(domains)], key, now)
        for index in range(count)
    ]


def _body(bodies: Sequence[bytes], size_bytes: int, dice: random.Random) -> bytes:
    """Return text of the wanted size that no other message has."""
    wanted = max(200, size_bytes - HEADERS_BYTES)
    text = f"Order {dice.getrandbits(80):x}\r\n".encode()
    while len(text) < wanted:
        text += bodies[dice.randrange(len(bodies))]
    return text[: wanted - 2].rsplit(b"\r\n", 1)[0] + b"\r\n"


def _letter(index: int, body: bytes, domain: str, key: DkimKey, now: datetime) -> Letter:
    recipient = f"customer{index}@{domain}"
    headers = (
        f"From: Harbour & Loom <orders@{DOMAIN}>\r\nTo: {recipient}\r\nSubject: Your order {index}\r\n"
        f"Date: {now:%a, %d %b %Y %H:%M:%S} +0000\r\nMessage-Id: <{index}.bench@{DOMAIN}>\r\nMIME-Version: 1.0\r\n"
        "Content-Type: text/plain; charset=us-ascii\r\n"
    ).encode()
    signature = sign(headers, body, [key], signed_at=now)
    return Letter(f"{index:032x}@bounces.{DOMAIN}", recipient, domain, signature + headers + b"\r\n" + body)


def transactions(mail: Sequence[Letter], first: int, count: int) -> Iterator[Transaction]:
    """Yield transactions number `first` and following, over the messages in turns; every one has an id of its own."""
    until = datetime.now(UTC) + LEASE
    for index in range(first, first + count):
        letter = mail[index % len(mail)]
        id_ = (index + 1) << 10
        leg = Leg(id_, 1, letter.forward_path)
        content = Content(len(letter.content), letter.content)
        account = ACCOUNTS[index % len(ACCOUNTS)]
        yield Transaction(account, id_, letter.domain, letter.reverse_path, [leg], content, until)


def handoffs(unit: str, mail: Sequence[Letter], first: int, count: int) -> Iterator[tuple[int, bytes]]:
    """Yield encoded handoffs of as many transactions as deliver would put into one, each with their number."""
    waiting = list(transactions(mail, first, count))
    size = max(1, min(PER_HANDOFF, 2_000_000 // len(mail[0].content)))
    for start in range(0, count, size):
        part = waiting[start : start + size]
        yield len(part), encode(Handoff(unit, part))
