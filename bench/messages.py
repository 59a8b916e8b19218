"""What the benchmarks send: mail as shops write it, made from a seed, with names, numbers and links that differ."""

from __future__ import annotations

import base64
import json
import random
from dataclasses import dataclass
from typing import Any, Final

SMALL_BYTES: Final = 2 * 1024
LARGE_BYTES: Final = 20 * 1024

_FIRST: Final = ("Ann", "Björn", "Chloé", "Dmitri", "Elif", "Farah", "Goran", "Hana", "Imre", "Jun", "Kwame", "Lucía")
_LAST: Final = ("Archer", "Baptiste", "Castellano", "Dvořák", "Eriksen", "Fujimoto", "Grünwald", "Haddad", "Ivanov")
_NOUNS: Final = (
    *("kettle", "lantern", "hammock", "notebook", "spanner", "teapot", "raincoat", "bicycle bell", "compass", "flask"),
    *("whistle", "blanket", "mortar and pestle", "garden hose", "headlamp", "sleeping bag", "cork screw"),
)
_MATERIALS: Final = ("enamel", "walnut", "brushed steel", "canvas", "felt", "recycled paper", "copper", "bamboo")
_REMARKS: Final = (
    "leaves our warehouse as soon as the glaze has dried",
    "comes with a spare gasket, taped to the inside of the lid",
    "is on back order; the workshop in Porto promised the next lot for the week after Easter",
    "must be rinsed twice before you cook anything sour in it",
    "fits racks from 8 to 16 mm, and the longer screw is for wooden ones",
    "may lose a little dye in the first wash, so keep it away from white shirts",
    "was packed by Joris, who also answers when you call about it",
)


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of message: how many recipients, each in a domain of its own, and how much text."""

    recipients: int
    size_bytes: int

    @property
    def name(self) -> str:
        """How a table names it."""
        return f"{self.recipients} x {self.size_bytes // 1024} KB"


def request(kind: Kind, seed: int) -> dict[str, Any]:
    """Return a request of Send; the text (or, from 10 KB on, the HTML) has the size of the kind."""
    dice = random.Random(f"{kind}/{seed}")
    to = [
        {"Name": _person(dice), "Address": f"{_token(dice, 5).lower()}.a@customer{index}.example.org"}
        for index in range(kind.recipients)
    ]
    is_small = kind.size_bytes < 10_000
    content = {"Text": _text(dice, kind.size_bytes)} if is_small else {"HTML": _html(dice, kind.size_bytes)}
    return {"To": to, "Subject": f"Your order {dice.randrange(10**7)} at Harbour & Loom", **content}


def encoded(kind: Kind, seed: int) -> str:
    """Return the JSON text of a request."""
    return json.dumps(request(kind, seed), ensure_ascii=False)


def _token(dice: random.Random, octets: int) -> str:
    return base64.b32encode(dice.randbytes(octets)).decode().rstrip("=")


def _person(dice: random.Random) -> str:
    return f"{dice.choice(_FIRST)} {dice.choice(_LAST)}"


def _line(dice: random.Random) -> str:
    thing = f"{dice.choice(_MATERIALS)} {dice.choice(_NOUNS)}"
    price = f"{dice.randrange(3, 240)}.{dice.randrange(100):02d} EUR"
    return f"{dice.randrange(1, 9)} x {thing} ({_token(dice, 4)}), {price}: it {dice.choice(_REMARKS)}."


def _text(dice: random.Random, size_bytes: int) -> str:
    link = f"https://harbour-and-loom.example/orders/{_token(dice, 15)}?sig={_token(dice, 20)}"
    head = f"Dear {_person(dice)},\n\nyour order is being packed. Follow it here:\n{link}\n\n"
    tail = f"\nYours,\n{_person(dice)}, Harbour & Loom, Kade {dice.randrange(1, 99)}, 8400 Oostende\n"
    lines: list[str] = []
    while len((head + "\n".join(lines) + tail).encode()) < size_bytes:
        lines.append(_line(dice))
    return (head + "\n".join(lines)).encode()[: size_bytes - len(tail.encode())].decode(errors="ignore") + tail


def _html(dice: random.Random, size_bytes: int) -> str:
    head = (
        "<!doctype html><html lang=en><head><meta charset=utf-8>"
        "<style>td{padding:6px 12px;border-bottom:1px solid #dde}"
        f"h1{{font:600 22px Georgia,serif}}</style></head><body><h1>Hello {_person(dice)}</h1><table role=presentation>"
    )
    tail = "</table><p>Harbour &amp; Loom, 8400 Oostende</p></body></html>\n"
    rows: list[str] = []
    while len((head + "".join(rows) + tail).encode()) < size_bytes:
        picture = f"https://img.harbour-and-loom.example/{_token(dice, 10)}.jpg"
        link = f"https://harbour-and-loom.example/p/{_token(dice, 15)}"
        rows.append(
            f'<tr><td><a href="{link}"><img src="{picture}" width=96 height=96 alt="{dice.choice(_NOUNS)}"></a></td>'
            f'<td style="vertical-align:top">{_line(dice)}</td></tr>\n'
        )
    return head + "".join(rows) + tail
