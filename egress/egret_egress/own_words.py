"""What of a reply the server said by itself: addresses in it are words that somebody else chose.

A server that refuses an address says it back as a rule, and a local part may be any text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from msgspec.structs import replace

from egret.core.reply import Reply

_ADDRESS = re.compile(
    r'"(?:[^"\\]|\\.){0,256}"@[^\s<>]{0,255}'
    r"|<[^<>@]{0,256}@[^<>]{0,256}>"
    r"|[^\s<>\"@]{1,256}@[^\s<>]{0,255}"
)
"""Quoted local part, angle brackets, bare. Every repetition has a bound, so that no words of a server cost time."""
_PAIR = re.compile(r"\\(.)")
BLANK = "<>"


def own_words(reply: Reply, addresses: Iterable[str] = ()) -> Reply:
    """Return the reply with everything blanked that is, or looks like, an address.

    addresses: those that the server was told, in wire form; their local parts and domains are blanked where they stand
    alone, too.
    """
    code = reply.enhanced_code
    text = "\n".join(reply.lines)[len(code) :]
    for told in _spellings(addresses):
        text = re.sub(rf"(?<!\w){re.escape(told)}(?!\w)", BLANK, text, flags=re.IGNORECASE)
    if "@" in text:
        text = _ADDRESS.sub(BLANK, text)
    return replace(reply, lines=tuple((code + text).split("\n")))


def _spellings(addresses: Iterable[str]) -> list[str]:
    """Return how a server may write what it was told, the longest first."""
    found: set[str] = set()
    for address in addresses:
        local_part, _, domain = address.rpartition("@")
        bare = _PAIR.sub(r"\1", local_part[1:-1]) if local_part.startswith('"') else local_part
        found |= {address, f"{bare}@{domain}", local_part, bare, bare.partition("+")[0], domain}
    return sorted(found - {"", "@"}, key=len, reverse=True)
