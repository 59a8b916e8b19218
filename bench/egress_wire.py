"""What session, exchange and connection cost by themselves: messages into smtp-sink, no journal, nothing recorded.

`python -m bench.egress_wire` prints messages per second and CPU for each, without and with the next envelope behind the
final dot.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Final

from bench import egress_peers as peers
from bench.egress_mail import Letter, letters
from egret.core.tls_policy import PLAIN
from egret.posix import loop_factory
from egret_egress.content import Content
from egret_egress.envelope import Envelope
from egret_egress.exchange import Exchange
from egret_egress.opening import Dialing, NoSession, open_session
from egret_egress.session import Endpoint, Session

CONNECTIONS: Final = 20
SIZE_BYTES: Final = 2048
MADE: Final = 5000
ATTEMPT_S: Final = 600.0


class Sender:
    """One connection's loop. source: letters, shared by all senders."""

    def __init__(self, session: Session, source: Iterator[Letter], *, ahead: bool) -> None:
        self._session = session
        self._source = source
        self._ahead = ahead
        self._next: tuple[Exchange, Content] | None = None
        self._deadline = asyncio.get_running_loop().time() + ATTEMPT_S

    async def run(self) -> None:
        """Send until the source is empty. Raises RuntimeError when a message is not delivered."""
        session = self._session
        while (pair := self._next or self._begin(ahead=False)) is not None:
            exchange, content = pair
            self._next = None
            await session.transact(exchange, content, self, self._deadline)
            if exchange.must_close or exchange.host_failure is not None:
                raise RuntimeError(str(exchange.outcomes[0]))
        await session.quit()

    def _begin(self, *, ahead: bool) -> tuple[Exchange, Content] | None:
        letter = next(self._source, None)
        if letter is None:
            return None
        content = Content(letter.content)
        envelope = Envelope(letter.reverse_path, (letter.forward_path,), content.size_bytes, content.is_8bit)
        exchange = self._session.exchange_ahead(envelope) if ahead else self._session.exchange(envelope)
        return None if exchange is None else (exchange, content)

    def before_dot(self) -> None:
        """Note nothing."""

    def following(self) -> Exchange | None:
        """Return the next transaction."""
        self._next = self._begin(ahead=True) if self._ahead else None
        return self._next and self._next[0]


async def send(mail: Sequence[Letter], count: int, *, ahead: bool) -> tuple[float, float]:
    """Send so many messages over all connections; return the seconds it took and the CPU seconds of this process."""
    source = (mail[index % len(mail)] for index in range(count))
    loop = asyncio.get_running_loop()
    endpoint, dialing = Endpoint("sink", peers.SINK, peers.SINK_PORT, PLAIN), Dialing("mx.egret.example")
    sessions = [await open_session(endpoint, dialing, loop.time() + 10) for _ in range(CONNECTIONS)]
    cpu, started = time.process_time(), time.monotonic()
    opened = [one.session for one in sessions if not isinstance(one, NoSession)]
    await asyncio.gather(*(Sender(session, source, ahead=ahead).run() for session in opened))
    return time.monotonic() - started, time.process_time() - cpu


def main(arguments: list[str] | None = None) -> int:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=40_000, help="messages in a measurement (default 40000)")
    wanted = parser.parse_args(arguments)
    mail = letters(MADE, SIZE_BYTES, ["d0.example"])
    with peers.sink(), asyncio.Runner(loop_factory=loop_factory()) as runner:
        for ahead in (False, True, False, True):
            elapsed_s, cpu_s = runner.run(send(mail, wanted.count, ahead=ahead))
            words = "the next envelope behind the dot" if ahead else "one transaction after the other"
            print(f"{words}: {wanted.count / elapsed_s:,.0f}/s, {cpu_s / wanted.count * 1e6:.1f} us of CPU each")
    return 0


if __name__ == "__main__":
    sys.exit(main())
