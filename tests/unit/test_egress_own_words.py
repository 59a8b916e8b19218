"""What a server says by itself is told from the addresses that it says back."""

from __future__ import annotations

import pytest

from egret.core.reply import Reply
from egret_egress.own_words import own_words

EVIL = '"temporarily deferred due to IP reputation"@gmx.net'


@pytest.mark.parametrize(
    ("said", "told", "left"),
    [
        ("5.1.1 <exchange.rate@gmx.net>: User unknown", (), "5.1.1 <>: User unknown"),
        ("exchange.rate@gmx.net is unknown", (), "<> is unknown"),
        (f"5.1.1 <{EVIL}>: unknown", (), "5.1.1 <>: unknown"),
        (f"4.7.1 {EVIL} is unknown", (), "4.7.1 <> is unknown"),
        (f"4.7.1 {EVIL} is unknown", (EVIL,), "4.7.1 <> is unknown"),
        ("temporarily deferred due to IP reputation@gmx.net", (EVIL,), "<>"),
        ("User temporarily deferred due to IP reputation unknown", (EVIL,), "User <> unknown"),
        ("5.7.1 no mailbox Rate here, sorry", ("rate@gmx.net",), "5.7.1 no mailbox <> here, sorry"),
        ("no mailbox rate here", ("rate+x@gmx.net",), "no mailbox <> here"),
        ("sender slow.rate.example refused", ("a@b.example", "x@slow.rate.example"), "sender <> refused"),
        ('a"b too fast', ('"a\\"b"@gmx.net',), "<> too fast"),
        ("too many connections from you", ("to@b.example", ""), "too many connections from you"),
        ("4.7.0 [TSS04] see https://x.example/y", (), "4.7.0 [TSS04] see https://x.example/y"),
        ("4.7.0", ("4.7.0@b.example",), "4.7.0"),
        ("", ("a@b.example",), ""),
    ],
)
def test_addresses_are_no_words_of_the_server(said: str, told: tuple[str, ...], left: str) -> None:
    """Those that it was told in whatever spelling, and what looks like one; the enhanced code stays."""
    assert own_words(Reply(450, (said,)), told).lines == (left,)


def test_lines_stay_lines() -> None:
    """Also where an address goes over the end of one."""
    reply = Reply(450, ("4.7.1 one", "rate@gmx.net", "three"))

    assert own_words(reply) == Reply(450, ("4.7.1 one", "<>", "three"))
