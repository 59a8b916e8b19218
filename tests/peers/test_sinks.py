"""smtp-sink with its failure modes, and several of them at several addresses, as next hops of an engine or a unit."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from egret.contracts.handoff import Content
from egret.core.delivery import Attempt
from egret.core.outcome import error_of, name_of
from egret.core.tls_policy import PLAIN
from egret_egress.__main__ import resolver_of
from egret_egress.config import from_environment
from egret_egress.destinations import Answer, Hops, Host
from egret_egress.unit import serving
from tests.integration.egress_rig import Wishes, handoff, rig_for, transaction
from tests.integration.test_egress_unit import World, replace_unit
from tests.peers.nameserver import nameserver
from tests.peers.postfix import is_possible
from tests.peers.sinks import free_port, smtp_sink

pytestmark = [pytest.mark.peers, pytest.mark.skipif(not is_possible(), reason="needs smtp-sink, and root")]

BAD, GOOD = "127.0.0.71", "127.0.0.72"


class Hosts:
    """A router that knows the mail server of each domain."""

    def __init__(self, sinks: Mapping[str, tuple[str, int]]) -> None:
        self._sinks = sinks

    async def next_hops(self, domain: str) -> Hops:
        """Return the one host of a domain."""
        address, port = self._sinks[domain]
        host = Host(f"mx.{domain}", port, PLAIN, addresses=(address,))
        return Hops(domain, domain, is_authentic=False, hosts=(host,))

    async def addresses(self, host: Host) -> Answer[str]:
        """Return what it has."""
        return Answer(host.addresses, host.name)


@dataclass(frozen=True)
class Seen:
    """What came of three messages. failing: of the one to the failing sink; taken: by that sink, afterwards.

    healed: of one to the same host once it is well; good: of one to another host. left: open connections at last.
    """

    failing: Attempt
    taken: list[str]
    healed: Attempt | None
    good: Attempt
    left: int


def see(options: list[str], body: bytes = b"Subject: x\r\n\r\nhello\r\n") -> Seen:
    """Send to a failing sink, then by the same engine to the same host without its fault, and to a good one."""
    port = free_port(BAD)
    with smtp_sink(GOOD, free_port(GOOD)) as well:
        sinks = {"bad.example": (BAD, port), "good.example": (GOOD, well.port)}

        async def run() -> Seen:
            async with rig_for(0, Wishes(router=Hosts(sinks))) as rig:
                content = Content(len(body), body)

                async def send(number: int, domain: str) -> Attempt | None:
                    rig.engine.take(handoff(transaction(1024 * number, domain=domain, content=content)))
                    await rig.settle()
                    return rig.book.outcomes.get((1024 * number, 1))

                with smtp_sink(BAD, port, options) as failing:
                    first = await send(1, "bad.example")
                    taken = failing.said("X-Rcpt-Args")
                with smtp_sink(BAD, port):
                    healed = await send(2, "bad.example")
                good = await send(3, "good.example")
                assert first is not None
                assert good is not None
                return Seen(first, taken, healed, good, rig.pool.open_connections)

        return asyncio.run(run())


CLOSED = "421 4.0.0 Server closing connection"
SOFT = "450 4.3.0 Error: command failed"
HARD = "500 5.3.0 Error: command failed"
TAKEN = "250 2.0.0 Ok"
NO_ANSWER = "did not answer"

# Options, what the attempt comes to, the server's reply (or words of the reason, where it gave none), mails it took.
MODES = [
    *((f"-q {command}", "deferred", "closed the connection", 0) for command in ("CONNECT", "EHLO", "MAIL", "RCPT")),
    ("-q DATA", "deferred", "closed the connection", 0),
    ("-q .", "unknown", "whether the message arrived cannot be known", 1),
    ("-q QUIT", "delivered", TAKEN, 1),
    *((f"-Q {command}", "deferred", CLOSED, 0) for command in ("CONNECT", "EHLO", "MAIL", "RCPT", "DATA")),
    ("-Q .", "deferred", CLOSED, 1),
    ("-Q QUIT", "delivered", TAKEN, 1),
    *((f"-r {command}", "deferred", SOFT, 0) for command in ("CONNECT", "EHLO", "EHLO,HELO", "MAIL", "RCPT", "DATA")),
    ("-r .", "deferred", SOFT, 1),
    *((f"-f {command}", "bounced", HARD, 0) for command in ("CONNECT", "EHLO,HELO", "MAIL", "RCPT", "DATA")),
    ("-f .", "bounced", HARD, 1),
    ("-f EHLO", "delivered", TAKEN, 1),  # HELO does
    ("-f RSET,NOOP,QUIT", "delivered", TAKEN, 1),
    ("-r RCPT -b|451 4.7.1 Greylisted, come again", "deferred", "451 4.7.1 Greylisted, come again", 0),
    ("-f RCPT -B|550 5.1.1 No such user", "bounced", "550 5.1.1 No such user", 0),
    ("-f . -B|554 5.7.1 We do not want this", "bounced", "554 5.7.1 We do not want this", 1),
    ("-A 0", "bounced", "550 This violates SMTP", 0),
    *((f"-{letter}", "delivered", TAKEN, 1) for letter in ("8", "e", "E", "N", "p", "P", "a")),
    ("-w 1", "deferred", NO_ANSWER, 0),
    *((f"-W {command}:1 -p", "deferred", NO_ANSWER, 0) for command in ("CONNECT", "EHLO", "MAIL", "RCPT", "DATA")),
    ("-W .:1", "unknown", NO_ANSWER, 1),
    ("-W QUIT:1", "delivered", TAKEN, 1),
    ("-H 1", "unknown", NO_ANSWER, 0),
]


def split(options: str) -> list[str]:
    """Return the words of options; what stands behind `|` is one."""
    plain, _, whole = options.partition("|")
    return [*plain.split(), *([whole] if whole else [])]


@pytest.mark.parametrize(("options", "outcome", "words", "taken"), MODES, ids=[mode[0] for mode in MODES])
def test_each_way_to_fail_has_its_outcome_and_spoils_no_other_mail(
    options: str, outcome: str, words: str, taken: int
) -> None:
    """The reply is kept; the same engine goes on to deliver, to that host too as soon as it is well."""
    seen = see(split(options))

    failing = seen.failing.outcome
    assert outcome == name_of(failing)
    if words[:3].isdigit():
        assert failing.reply is not None
        assert words == failing.reply.first_line
    else:
        assert failing.reply is None
        assert words in error_of(failing)
    assert taken == len(seen.taken)
    assert seen.healed is not None
    assert [name_of(attempt.outcome) for attempt in (seen.healed, seen.good)] == ["delivered", "delivered"]
    assert seen.left == 1


def test_letters_beyond_ascii_go_where_8bitmime_is_not_announced_too() -> None:
    """Without the parameter, as they are: the alternative, to rewrite the message, would break its signatures."""
    seen = see(["-8"], "Subject: x\r\n\r\nGrüße\r\n".encode())

    assert (name_of(seen.failing.outcome), len(seen.taken)) == ("delivered", 1)


SOURCES = ("127.0.0.61", "127.0.0.62")
SINKS = {f"d{number}.example": f"127.0.0.{80 + number}" for number in range(1, 4)}


def test_mail_to_several_servers_comes_from_the_first_source_address(tmp_path: Path) -> None:
    """Three servers with addresses of their own, a unit with two: all see the first, which its EHLO name stands for."""
    zone = {(domain, "A"): address for domain, address in SINKS.items()}
    environ = {
        "EGRET_EGRESS_BIND": "127.0.0.1:0",
        "EGRET_JOURNAL_DIR": str(tmp_path),
        "EGRET_HOSTNAME": "unit.example",
        "EGRET_HANDOFF_SECRET": "secret",
        "EGRET_LOCAL": "1",
        "EGRET_SOURCE_ADDRESSES": ", ".join(SOURCES),
    }

    async def run(resolver: str) -> list[str]:
        config = from_environment({**environ, "EGRET_RESOLVER": resolver})
        world = World()
        async with serving(config, replace(world.ports(), resolver=resolver_of(config))) as unit:
            letters = [transaction(1024 * n, domain=domain) for n, domain in enumerate(SINKS, 1)]
            unit.engine.take(replace_unit(handoff(*letters), unit.unit_id))
            async with asyncio.timeout(20):
                while len(world.book.outcomes) < len(SINKS):  # noqa: ASYNC110 (the book has no event)
                    await asyncio.sleep(0.01)
        return [name_of(attempt.outcome) for attempt in world.book.outcomes.values()]

    with ExitStack() as stack:
        sinks = [stack.enter_context(smtp_sink(address, 25)) for address in SINKS.values()]
        outcomes = asyncio.run(run(stack.enter_context(nameserver(zone))))

        assert outcomes == ["delivered"] * len(SINKS)
        assert [sink.said("X-Client-Addr") for sink in sinks] == [[SOURCES[0]]] * len(SINKS)
        assert {name for sink in sinks for name in sink.said("X-Helo-Args")} == {"unit.example"}
