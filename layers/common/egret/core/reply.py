"""An SMTP reply: code, enhanced status code and text.

Implements: RFC 5321 section 4.2, RFC 2034, RFC 3463 section 2.
"""

from __future__ import annotations

import re

import msgspec

_ENHANCED = {first: re.compile(rf"{first}\.\d{{1,3}}\.\d{{1,3}}(?=\s|$)") for first in (2, 4, 5)}


class Reply(msgspec.Struct, frozen=True, gc=False):
    """What a server answered to one command.

    code: 200 … 599. lines: the text of each line without code and separator, at least one, printable.
    """

    code: int
    lines: tuple[str, ...] = ("",)

    @property
    def is_positive(self) -> bool:
        """2yz or 3yz."""
        return 200 <= self.code < 400

    @property
    def is_transient(self) -> bool:
        """4yz: the same may succeed later."""
        return 400 <= self.code < 500

    @property
    def is_permanent(self) -> bool:
        """5yz: do not try again in this form."""
        return 500 <= self.code < 600

    @property
    def enhanced_code(self) -> str:
        """The enhanced status code ("5.1.1") at the start of the first line, or "".

        Only a code whose class agrees with the reply's first digit counts (RFC 2034 section 4).
        """
        pattern = _ENHANCED.get(self.code // 100)
        match = pattern.match(self.lines[0]) if pattern is not None else None
        return match[0] if match is not None else ""

    @property
    def speaks_of_recipient(self) -> bool:
        """Its enhanced code is about an address or a mailbox (RFC 3463 sections 3.2 and 3.3)."""
        return self.enhanced_code[2:4] in ("1.", "2.")

    @property
    def first_line(self) -> str:
        """Code and text of the first line, as it stood on the wire (without a continuation dash)."""
        return f"{self.code} {self.lines[0]}".rstrip()
