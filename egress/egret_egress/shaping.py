"""What providers take, and what their replies mean for how much is sent: the values of `shaping.toml`."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass

from egret.core.reply import Reply
from egret.core.tls_policy import TlsKind

SLOW_DOWN = "{title} asked us to slow down"


@dataclass(frozen=True, slots=True)
class Limits:
    """What is asked at most. Rates in events per second; idle_s in seconds. start_…: where learning begins."""

    connections: int = 10
    messages_per_connection: int = 100
    connection_rate: float = 100 / 60
    message_rate: float = 100.0
    idle_s: float = 60.0
    start_connections: int = 10
    start_message_rate: float = 100.0


@dataclass(frozen=True, slots=True)
class Warmup:
    """How many messages a day a new source address sends: `first` on day 0, growing evenly to `last` on day `days`."""

    first: int
    last: int
    days: int

    def ceiling(self, day: int) -> int | None:
        """Return the messages of a day, counted from 0; None when the address is warm."""
        if day >= self.days:
            return None
        ratio: float = (self.last / self.first) ** (max(0, day) / self.days)
        return int(self.first * ratio)


class Action(enum.StrEnum):
    """What a reply leads to."""

    SLOW = "slow"
    SUSPEND = "suspend"
    RESUME = "resume"
    IGNORE = "ignore"


class Scope(enum.StrEnum):
    """What it concerns: mail to the provider from one source address or from all, or to one recipient."""

    SOURCE = "source"
    PROVIDER = "provider"
    RECIPIENT = "recipient"


@dataclass(frozen=True, slots=True)
class Rule:
    """What a reply means. codes, enhanced, text: all that are given must fit; provider: "" = any.

    text: is searched in the server's own words; of a reply about one address (RFC 3463: x.1.y, x.2.y) only where the
    rule names its enhanced code or concerns one recipient.
    connections, message_rate, connection_rate, messages_per_connection: limits for duration_s, None = unchanged.
    reason: sentence without its end; "{title}" is the provider's.
    """

    action: Action
    provider: str = ""
    codes: frozenset[int] = frozenset()
    enhanced: re.Pattern[str] | None = None
    text: re.Pattern[str] | None = None
    scope: Scope = Scope.SOURCE
    duration_s: float = 0.0
    connections: int | None = None
    message_rate: float | None = None
    connection_rate: float | None = None
    messages_per_connection: int | None = None
    reason: str = SLOW_DOWN

    def fits(self, reply: Reply) -> bool:
        """Say whether the reply, without the addresses in it (`own_words`), is one of those that the rule is about."""
        if self.codes and reply.code not in self.codes:
            return False
        if self.enhanced is not None and not self.enhanced.fullmatch(reply.enhanced_code):
            return False
        if self.text is None:
            return True
        if _is_about_an_address(reply) and self.enhanced is None and self.scope is not Scope.RECIPIENT:
            return False
        return self.text.search("\n".join(reply.lines)) is not None

    @property
    def is_learned(self) -> bool:
        """Only says "less": how much less is found out."""
        limits = (self.connections, self.message_rate, self.connection_rate, self.messages_per_connection)
        return all(limit is None for limit in limits)


def _is_about_an_address(reply: Reply) -> bool:
    return reply.enhanced_code[1:4] in (".1.", ".2.")


@dataclass(frozen=True, slots=True)
class Row:
    """One provider. title: as people call it. hosts: names of MX hosts, each with all names below it.

    limits: None = lifted. tls: least protection, None = as the recipient's policy says.
    """

    name: str
    title: str
    hosts: tuple[str, ...] = ()
    limits: Limits | None = None
    tls: TlsKind | None = None
    warmup: Warmup | None = None
    idle_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Shaping:
    """The whole table. default: of a provider without a row. separate: names below which every host is its own."""

    rows: tuple[Row, ...]
    default: Row
    rules: tuple[Rule, ...]
    separate: frozenset[str] = frozenset()


UNLIMITED = Shaping((), Row("", "", limits=None), ())
"""Nobody is limited and no reply means anything: for parts that are used without a table."""
