"""Open connections by MX host and policy: reused, limited as the provider takes them, closed when idle.

Whoever wants to send takes a turn: leave to send one message now, over an idle session if there is one, else over a
connection to be opened. Then the turn is given back. All that go to the same provider from the same source address wait
in one line, which is fair between accounts and domains; where a provider's limits are lifted, all that go to one host.
A host without connections costs nothing.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from itertools import islice

from egret.contracts.handoff import Transaction
from egret.core.outcome import Bounced, Deferred, Delivered, Outcome
from egret.core.reply import Reply
from egret_egress.idle import IdleSessions
from egret_egress.own_words import own_words
from egret_egress.pacing import Advice, Lane, Pacing
from egret_egress.session import Session
from egret_egress.turns import Group, Host, Turn, Waiter, Wish

RUN = 20
"""Messages in a row over the connections of one host while others of the same provider wait for a connection."""
HEADS = 64
"""So many in the line are asked whether they can go, before it waits for something to change."""


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """How many connections there may be, and for how long, beside what the shaping table says of a provider.

    per_host: open to one MX host at a time, and messages: transactions on one connection, where the provider's limits
    are lifted. idle_s: seconds that such a connection waits for the next message. idle_total: over all hosts.
    waiting: callers that may wait for one provider, a part of the engine's workers, and patience_s: for how long.
    """

    per_host: int = 20
    messages: int = 100
    idle_s: float = 15.0
    idle_total: int = 500
    waiting: int = 300
    patience_s: float = 60.0


class NoTurn(Exception):
    """The unit drains: nobody waits for a connection any more."""


class NotNow(Exception):
    """It has to wait for longer than a unit waits. until: Unix seconds; reason: one sentence without its end."""

    def __init__(self, until: float, reason: str) -> None:
        super().__init__(reason)
        self.until = until
        self.reason = reason


class Pool:
    """Turns and idle sessions of every host that is in use. now: Unix seconds."""

    def __init__(
        self,
        limits: PoolLimits | None = None,
        pacing: Pacing | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._limits = limits or PoolLimits()
        self._pacing = pacing or Pacing()
        self._now = now
        self._hosts: dict[Hashable, Host] = {}
        self._groups: dict[Hashable, Group] = {}
        self._idle = IdleSessions(self._limits.idle_total, self._was_closed)
        self._is_closing = False
        self._turns_away = False

    @property
    def open_connections(self) -> int:
        """Connections in use and idle ones."""
        return sum(host.busy for host in self._hosts.values()) + len(self._idle)

    @property
    def waiting(self) -> int:
        """Callers that wait for their turn."""
        return sum(len(group.line) for group in self._groups.values())

    # --- turns

    async def take(self, wish: Wish) -> Turn:
        """Wait for leave to send one message; then `give` it back.

        Raises NotNow when that would take longer than a unit waits, NoTurn when the pool turns away.
        """
        host = self._hosts.get(wish.key) or self._new_host(wish)
        lane = host.group.lane
        if lane is not None:
            if wish.is_own_way:
                lane.saw(wish.domain)
            else:
                lane.saw_routed(wish.mx_host)
        if not host.group.line:
            granted = self._grant(host, wish)
            if isinstance(granted, Turn):
                return granted
        return await self._wait(host, wish)

    def give(self, turn: Turn) -> None:
        """Give a turn back; its session is kept for the next message or closed."""
        host, session = turn.host, turn.session
        turn.session = None
        group = host.group
        host.busy -= 1
        if turn.is_dialing:
            host.dialing -= 1
            if group.lane is not None:
                group.lane.not_opened()
        if session is not None:
            if not self._may_be_kept(session, group.lane):
                self._idle.part(host, session)
            elif group.lane is None and group.line:
                self._hand_on(group, session)  # what most of a busy, unlimited unit does
                return
            else:
                self._idle.keep(host, session, self._limits.idle_s if group.lane is None else group.lane.limits.idle_s)
        elif turn.is_counted and group.lane is not None:
            group.lane.closed()
        if group.line:
            self._serve(group)
        self._tidy(host)

    def _hand_on(self, group: Group, session: Session) -> None:
        waiter = group.line.first()
        group.line.take(waiter)
        waiter.host.waiting -= 1
        waiter.host.busy += 1
        waiter.future.set_result(Turn(waiter.host, session))

    def _may_be_kept(self, session: Session, lane: Lane | None) -> bool:
        most = self._limits.messages if lane is None else lane.messages_per_connection(self._now())
        return session.is_usable and session.transactions < most and not self._is_closing

    # --- the next message behind the final dot of this one

    def may_go_on(self, turn: Turn) -> bool:
        """Whether another message may begin now over the session of a turn, while nobody waits for it."""
        session, group = turn.session, turn.host.group
        if session is None or group.line or self._is_closing or self._turns_away:
            return False
        lane, now = group.lane, self._now()
        most = self._limits.messages if lane is None else lane.messages_per_connection(now)
        return session.transactions < most and (lane is None or self._lane_at(lane, now) <= now)

    def go_on(self, turn: Turn, recipients: int) -> Turn:
        """Return a turn for the next message, which has the session from now on; both are to be given back."""
        host, now = turn.host, self._now()
        if host.group.lane is not None:
            host.group.lane.begin(now, recipients)
        following = Turn(host, turn.session, now)
        host.busy += 1
        turn.session, turn.is_counted = None, False
        return following

    def is_held(self, turn: Turn) -> bool:
        """Whether the provider has asked us to stop since the turn was taken."""
        lane = turn.host.group.lane
        return lane is not None and lane.hold(self._now()) is not None

    # --- what the connections tell

    def opened(self, turn: Turn, session: Session) -> None:
        """A connection stands; the turn has it from now on."""
        host = turn.host
        turn.session = session
        host.is_failing = False
        if turn.is_dialing:
            turn.is_dialing = False
            host.dialing -= 1
            if host.group.lane is not None:
                host.group.lane.opened()
            if host.group.line:
                self._serve(host.group)
        turn.is_counted = True

    def lost(self, turn: Turn) -> None:
        """The session of the turn was closed; another connection may be opened in its place."""
        turn.session = None
        if turn.is_counted:
            turn.is_counted = False
            turn.is_dialing = True
            turn.host.dialing += 1
            if (lane := turn.host.group.lane) is not None:
                lane.closed()
                lane.dial(self._now())

    def turned_down(self, turn: Turn, reply: Reply) -> Advice:
        """A connection was refused with a reply."""
        lane = turn.host.group.lane
        return Advice.ELSEWHERE if lane is None else lane.turned_down(reply, self._now())

    def unreachable(self, turn: Turn) -> Advice:
        """No address of the host could be connected to."""
        host = turn.host
        host.is_failing = True
        lane = host.group.lane
        if lane is None or not (host.idle or host.busy > host.dialing):
            return Advice.ELSEWHERE
        lane.too_many(None, self._now())
        return Advice.AGAIN

    def heard(
        self, turn: Turn, transaction: Transaction, recipients: Sequence[int], outcomes: Sequence[Outcome | None]
    ) -> Advice:
        """Learn from the outcomes of some recipients of a transaction, which are named by their positions in it.

        STOP: the provider has asked us to slow down. AGAIN is never the answer.
        """
        lane = turn.host.group.lane
        if lane is None:
            return Advice.ELSEWHERE
        now, advice = self._now(), Advice.ELSEWHERE
        for index, outcome in zip(recipients, outcomes, strict=True):
            if isinstance(outcome, Delivered):
                lane.accepted(now)
            elif isinstance(outcome, Deferred | Bounced) and outcome.reply is not None:
                # What one account has written must not slow down everybody's mail.
                forward_path = transaction.legs[index].forward_path
                reply = own_words(outcome.reply, (forward_path, transaction.reverse_path))
                if self._pacing.heard(lane, reply, forward_path, turn.began_at, now):
                    advice = Advice.STOP
        return advice

    @property
    def holds_recipients(self) -> bool:
        """Whether `recipient_hold` may have anything to say."""
        return self._pacing.holds_recipients

    def recipient_hold(self, mx_host: str, forward_path: str) -> NotNow | None:
        """Return why a recipient gets nothing for now, None when it may be sent to."""
        hold = self._pacing.recipient_hold(self._pacing.provider(mx_host), forward_path, self._now())
        return NotNow(hold.until, hold.reason) if hold is not None else None

    # --- who may go

    def _new_host(self, wish: Wish) -> Host:
        provider = self._pacing.provider(wish.mx_host)
        lane = self._pacing.lane(provider, wish.source, self._now())
        key: Hashable = wish.key if lane is None else (provider.name, wish.source)
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = Group(key, lane)
        host = self._hosts[wish.key] = Host(wish.key, group)
        group.hosts[host] = None
        return host

    def _grant(self, host: Host, wish: Wish) -> Turn | float:
        """Return a turn, or when it may be asked for again (Unix seconds; infinity: when something is given back)."""
        lane = host.group.lane
        if lane is not None:
            return self._grant_paced(lane, host, wish)
        if host.busy >= self._limits.per_host:
            return math.inf
        host.busy += 1
        turn = Turn(host, self._idle.take(host))
        turn.is_dialing = turn.session is None
        host.dialing += turn.is_dialing
        return turn

    def _grant_paced(self, lane: Lane, host: Host, wish: Wish) -> Turn | float:
        now = self._now()
        if (at := self._lane_at(lane, now)) > now:
            return at
        session = self._idle.take(host)
        if session is None and (at := self._connection_at(lane, host, now)) > now:
            return at
        turn = Turn(host, session, now)
        host.busy += 1
        lane.begin(now, wish.recipients)
        if session is None:
            turn.is_dialing = True
            host.dialing += 1
            lane.dial(now)
        return turn

    @staticmethod
    def _lane_at(lane: Lane, now: float) -> float:
        hold = lane.hold(now)
        if hold is not None:
            return hold.until
        at = lane.message_at(now)
        if at > now:
            lane.wants_messages(now)
        return at

    def _connection_at(self, lane: Lane, host: Host, now: float) -> float:
        if host.is_failing and host.dialing:
            return math.inf  # one at a time finds out whether it is back
        at = lane.connection_at(now)
        if at > now and host.group.idle and self._is_at_limit(lane, now) and self._make_room(host.group, host):
            return math.inf
        return at if at <= now else self._room_at(lane, now)

    def _room_at(self, lane: Lane, now: float) -> float:
        """Return when one connection more may be opened; the lane learns that it would be of use."""
        at = lane.connection_at(now)
        if at > now and self._is_at_limit(lane, now):
            lane.wants_connections(now)
            at = lane.connection_at(now)
        return at

    @staticmethod
    def _is_at_limit(lane: Lane, now: float) -> bool:
        return lane.open + lane.opening >= lane.most_connections(now)

    def _make_room(self, group: Group, host: Host) -> bool:
        """Close an idle connection to another host of the provider, that this one may have its place."""
        if group.closing:
            return True
        for other in group.hosts:
            may_go_on = other.waiting and not (other is group.favourite and group.run >= RUN)
            if other is not host and other.idle and not may_go_on:
                self._idle.retire(other.idle[0])
                return True
        return False

    # --- the line

    async def _wait(self, host: Host, wish: Wish) -> Turn:
        group = host.group
        try:
            if self._turns_away:
                raise NoTurn
            if group.lane is not None:
                self._check_patience(group.lane, group)
        except (NoTurn, NotNow):
            self._tidy(host)
            raise
        loop = asyncio.get_running_loop()
        waiter = Waiter(wish, host, loop.create_future())
        group.line.add(waiter)
        host.waiting += 1
        self._schedule(group)
        timer = loop.call_later(self._limits.patience_s, self._expire, waiter) if group.lane is not None else None
        try:
            # Shielded, since a canceled future would stand in the line until this task runs again.
            return await asyncio.shield(waiter.future)
        except asyncio.CancelledError:
            self._leave(waiter)
            raise
        finally:
            if timer is not None:
                timer.cancel()

    def _check_patience(self, lane: Lane, group: Group) -> None:
        """Raise NotNow for what could not go soon enough."""
        now, patience_s = self._now(), self._limits.patience_s
        hold = lane.hold(now)
        if hold is not None and hold.until > now + patience_s:
            raise NotNow(hold.until, hold.reason)
        at = max(now, lane.message_at(now)) + len(group.line) / lane.message_rate(now)
        if at > now + patience_s or len(group.line) >= self._limits.waiting:
            raise NotNow(max(at, now + patience_s), lane.crowd(now))

    def _expire(self, waiter: Waiter) -> None:
        lane = waiter.host.group.lane
        if not waiter.future.done() and lane is not None:
            self._remove(waiter)
            waiter.future.set_exception(self._not_now(lane))
            self._tidy(waiter.host)

    def _not_now(self, lane: Lane) -> NotNow:
        now = self._now()
        hold = lane.hold(now)
        return NotNow(hold.until, hold.reason) if hold else NotNow(now + self._limits.patience_s, lane.crowd(now))

    def wait_of(self, turn: Turn) -> NotNow | None:
        """Return until when, and why, the provider of a turn is to be left alone, where it has been heard."""
        lane = turn.host.group.lane
        return None if lane is None else self._not_now(lane)

    def _leave(self, waiter: Waiter) -> None:
        """Somebody who waits is canceled."""
        future = waiter.future
        if not future.done():
            self._remove(waiter)
            self._tidy(waiter.host)
        elif future.exception() is None:
            self.give(future.result())  # it came at the moment of the cancellation

    def _remove(self, waiter: Waiter) -> None:
        waiter.host.group.line.remove(waiter)
        waiter.host.waiting -= 1

    def turn_away(self) -> None:
        """Let nobody wait: those who do are told now, others when they come and cannot go at once."""
        self._turns_away = True
        for group in list(self._groups.values()):
            for waiter in group.line.clear():
                waiter.host.waiting -= 1
                waiter.future.set_exception(NoTurn())
            for host in list(group.hosts):
                self._tidy(host)

    def _serve(self, group: Group) -> None:
        """Let go who may go now, and see to it that it is looked at again when the next one may."""
        while group.line:
            waiter, granted = self._pick(group)
            if not isinstance(granted, Turn):
                if not self._send_away(group):
                    self._look_again(group, granted)
                return
            host = waiter.host
            group.line.take(waiter)
            host.waiting -= 1
            group.run = group.run + 1 if host is group.favourite else 1
            group.favourite = host
            waiter.future.set_result(granted)

    def _send_away(self, group: Group) -> bool:
        """Tell the whole line at once when nothing may begin for longer than anybody waits; False: it is not so."""
        lane, now = group.lane, self._now()
        hold = lane.hold(now) if lane is not None else None
        if hold is None or hold.until <= now + self._limits.patience_s:
            return False
        for waiter in group.line.clear():
            waiter.host.waiting -= 1
            if not waiter.future.done():
                waiter.future.set_exception(NotNow(hold.until, hold.reason))
        for host in list(group.hosts):
            self._tidy(host)
        return True

    def _pick(self, group: Group) -> tuple[Waiter, Turn | float]:
        """Return who may go, with the turn; else when it is worth to ask again."""
        if group.lane is None:
            first = group.line.first()
            return first, self._grant(first.host, first.wish)
        now, first = self._now(), group.line.first()
        if (at := self._lane_at(group.lane, now)) > now:
            return first, at
        favourite = group.favourite
        if favourite is not None and favourite.idle and favourite.waiting and group.run < RUN:
            first = next((head for head in islice(group.line.heads(), HEADS) if head.host is favourite), first)
            granted = self._grant(first.host, first.wish)
            if isinstance(granted, Turn):
                return first, granted
        if not group.idle and (at := self._room_at(group.lane, now)) > now:
            return first, at
        soonest = math.inf
        for waiter in islice(group.line.heads(), HEADS):
            granted = self._grant(waiter.host, waiter.wish)
            if isinstance(granted, Turn):
                return waiter, granted
            soonest = min(soonest, granted)
        return first, soonest

    def _schedule(self, group: Group) -> None:
        """Somebody came to the line: look when the first may go, unless that is looked at already."""
        if group.lane is not None and group.timer is None:
            self._look_again(group, self._now())

    def _look_again(self, group: Group, at: float) -> None:
        if group.timer is not None:
            group.timer.cancel()
            group.timer = None
        if group.lane is None:
            return
        # Never idle for ever: limits grow with time, and a hold may end early.
        delay_s = min(1.0, max(0.0, at - self._now()))
        group.timer = asyncio.get_running_loop().call_later(delay_s, self._ring, group)

    def _ring(self, group: Group) -> None:
        group.timer = None
        self._serve(group)

    def _was_closed(self, host: Host) -> None:
        group = host.group
        if group.lane is not None:
            group.lane.closed()
        if group.line:
            self._serve(group)
        self._tidy(host)

    def _tidy(self, host: Host) -> None:
        group = host.group
        if host in group.hosts and not (host.busy or host.idle or host.waiting):
            del group.hosts[host], self._hosts[host.key]
            if group.favourite is host:
                group.favourite = None
        if not group.hosts and not group.closing and self._groups.get(group.key) is group:
            del self._groups[group.key]
            if group.timer is not None:
                group.timer.cancel()

    async def close(self) -> None:
        """Close idle connections politely and keep none from now on; those in use close when they are given back."""
        self._is_closing = True
        await self._idle.close()
