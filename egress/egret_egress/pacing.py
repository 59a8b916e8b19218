"""How much may go to a provider from a source address, when, and why not now: a state machine without clock and I/O.

It learns from what the provider answers, under the ceilings of the shaping table, and obeys the table's rules about
replies. Instants are Unix seconds. Its state survives a restart as a few kilobytes of JSON.
"""

from __future__ import annotations

import enum
import logging
import math
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice

import msgspec

from egret.contracts.records import Suspension
from egret.core.reply import Reply
from egret_egress.briefly import clock, short
from egret_egress.governors import Connections, Rate, Turns
from egret_egress.pacing_state import LaneState, Saved, Trouble, decode, encode
from egret_egress.providers import Provider, Providers
from egret_egress.shaping import UNLIMITED, Action, Limits, Rule, Scope
from egret_egress.warmup import DAY_S, DayCount, tomorrow

log = logging.getLogger(__name__)

MESSAGE_SLACK_S = 0.03
CONNECTION_SLACK_S = 5.0
"""How much earlier than evenly spaced: timers are coarse, and the first connections may come together."""
REFUSALS_IN_A_ROW = 5
FIRST_PAUSE_S = 60.0
LONGEST_PAUSE_S = 1800.0
RESTART_RATE = 1.0
RECENT_S = 3600.0
MAX_RECIPIENTS = 10_000
MAX_LANES = 5_000
MAX_DOMAINS = 100
MAX_HOSTS = 10
MAX_SUSPENSIONS = 100
FORGOTTEN_AFTER_S = 24 * 3600.0
CLOCK_SLACK_S = 2.0
"""A clock that is corrected by less is not worth a thought."""


class Advice(enum.Enum):
    """What to do with a message that was not taken."""

    ELSEWHERE = "ask the next address or host"
    AGAIN = "go over another connection to the same provider"
    STOP = "ask nobody of this provider now"


@dataclass(frozen=True, slots=True)
class Hold:
    """Nothing may begin until then. reason: one sentence without its end, for people."""

    until: float
    reason: str


class Lane:
    """One provider and one source address.

    limits: the table's. open, opening: connections. domains: recipient domains that wanted something, hosts: those that
    routes sent something to, newest last.
    """

    def __init__(self, provider: Provider, limits: Limits, source: str, now: float) -> None:
        self.provider = provider
        self.source = source
        self.limits = limits
        self.open = 0
        self.opening = 0
        self.domains: OrderedDict[str, None] = OrderedDict()
        self.hosts: OrderedDict[str, None] = OrderedDict()
        self._short_at = -math.inf
        self.state = LaneState(
            rate=Rate(limits.start_message_rate),
            connections=Connections(limits.start_connections, proved=limits.start_connections),
            messages=Turns(),
            openings=Turns(),
            days=DayCount(),
            used_at=now,
        )

    # --- questions

    def hold(self, now: float) -> Hold | None:
        """Return why nothing may begin at all, None when it may."""
        state = self.state
        if state.stop is not None:
            if now < state.stop.until:
                return Hold(state.stop.until, state.stop.reason)
            self._go_on()
        warmup = self.provider.warmup
        if warmup is not None and state.days.is_reached(warmup, now):
            ours = f"our address {self.source}" if self.source else "our address"
            most = state.days.ceiling(warmup, now)
            words = f"{ours} is new to {self.provider.title}, which gets at most {most} messages of it today"
            return Hold(tomorrow(now), words)
        return None

    def message_at(self, now: float) -> float:
        """Return when the next message may begin; not later than now: now."""
        state = self.state
        return max(state.messages.ready_at(MESSAGE_SLACK_S), state.rate.quiet_until)

    def connection_at(self, now: float) -> float:
        """Return when the next connection may be opened; infinity: when another one has been closed."""
        learned = self.state.connections
        if self.open + self.opening >= self.most_connections(now):
            return math.inf
        if self.opening and self.open + self.opening >= learned.proved:
            return math.inf  # beyond what is proved only one at a time
        return max(self.state.openings.ready_at(CONNECTION_SLACK_S), learned.quiet_until)

    def most_connections(self, now: float) -> int:
        """Return how many connections there may be now."""
        slow = self._slow(now)
        asked = slow.connections if slow is not None and slow.connections is not None else self.limits.connections
        return max(1, min(asked, self.limits.connections, self.state.connections.limit))

    def message_rate(self, now: float) -> float:
        """Return the messages per second that may go now."""
        slow = self._slow(now)
        asked = slow.message_rate if slow is not None and slow.message_rate is not None else math.inf
        return min(self.state.rate.value, asked, self.limits.message_rate)

    def messages_per_connection(self, now: float) -> int:
        """Return after how many messages a connection is to be closed."""
        slow = self._slow(now)
        asked = slow.messages_per_connection if slow is not None else None
        return min(self.limits.messages_per_connection, asked or self.limits.messages_per_connection)

    def crowd(self, now: float) -> str:
        """Return why messages have to wait for their turn though nothing is suspended."""
        slow = self._slow(now)
        if slow is not None:
            return slow.reason
        if self.state.complaint and now < self.state.complained_at + RECENT_S:
            return self.state.complaint
        return f"more mail waits for {self.provider.title} than it takes from us at a time"

    def _slow(self, now: float) -> Trouble | None:
        slow = self.state.slow
        return slow if slow is not None and now < slow.until else None

    # --- what happens

    def saw(self, domain: str) -> None:
        """Mail for this domain wants to go here."""
        self.domains[domain] = None
        self.domains.move_to_end(domain)
        if len(self.domains) > MAX_DOMAINS:
            self.domains.popitem(last=False)

    def saw_routed(self, host: str) -> None:
        """Mail that a route sends to this host wants to go here."""
        self.hosts[host] = None
        self.hosts.move_to_end(host)
        if len(self.hosts) > MAX_HOSTS:
            self.hosts.popitem(last=False)

    def begin(self, now: float, recipients: int = 1) -> None:
        """A message begins now."""
        self.state.messages.take(now, self.message_rate(now))
        self.state.days.add(now, recipients)
        self.state.used_at = now

    def dial(self, now: float) -> None:
        """A connection is being opened: `opened` or `not_opened` follows."""
        slow = self._slow(now)
        asked = slow.connection_rate if slow is not None else None
        self.state.openings.take(now, min(asked or math.inf, self.limits.connection_rate))
        self.opening += 1

    def opened(self) -> None:
        """It stands: `closed` follows."""
        self.opening -= 1
        self.open += 1
        self.state.connections.opened(self.open)

    def not_opened(self) -> None:
        """It does not."""
        self.opening -= 1

    def closed(self) -> None:
        """One connection is gone."""
        self.open -= 1

    def wants_messages(self, now: float) -> None:
        """Messages wait only for the rate."""
        self._short_at = now

    def wants_connections(self, now: float) -> None:
        """Messages wait for a connection, and all there may be are busy."""
        if not self.state.refusals and self.state.rate.quiet_until <= now:
            self.state.connections.grow(now, self.limits.connections)

    def accepted(self, now: float) -> None:
        """The provider took a message."""
        state = self.state
        state.refusals = state.pauses = 0
        if now - self._short_at < 1.0:
            state.rate.grow(now, self.limits.message_rate)

    def turned_down(self, reply: Reply, now: float) -> Advice:
        """Learn from a connection that was refused with a reply."""
        rule = self._rule(reply)
        if rule is None or rule.action is Action.IGNORE:
            return Advice.ELSEWHERE
        if rule.is_learned and (self.open or self.opening > 1):
            self.too_many(reply, now)
            return Advice.AGAIN
        self._obey(rule, reply, began_at=now, now=now)
        return Advice.STOP

    def too_many(self, reply: Reply | None, now: float) -> None:
        """One connection more was refused while others are open."""
        self.state.connections.refuse(max(1, self.open), now)
        words = f" ({short(reply)})" if reply is not None else ""
        self.state.complaint = f"{self.provider.title} takes no more connections from us since {clock(now)}{words}"
        self.state.complained_at = now

    def heard(self, reply: Reply, began_at: float, now: float) -> Rule | None:
        """Learn from a reply other than 2yz to a message that began then; return the rule about it."""
        rule = self._rule(reply)
        if rule is not None and rule.scope is not Scope.RECIPIENT:
            self._obey(rule, reply, began_at, now)
        return rule

    def _rule(self, reply: Reply) -> Rule | None:
        return next((rule for rule in self.provider.rules if rule.fits(reply)), None)

    def _obey(self, rule: Rule, reply: Reply | None, began_at: float, now: float) -> None:
        match rule.action:
            case Action.IGNORE:
                return
            case Action.RESUME:
                self.resume()
            case Action.SUSPEND:
                self.suspend(Trouble(now + rule.duration_s, self.reason(rule, reply, now), is_stop=True))
            case Action.SLOW if rule.is_learned:
                self._learn(rule, reply, began_at, now)
            case Action.SLOW:
                self.state.slow = Trouble(
                    now + rule.duration_s,
                    self.reason(rule, reply, now),
                    connections=rule.connections,
                    message_rate=rule.message_rate,
                    connection_rate=rule.connection_rate,
                    messages_per_connection=rule.messages_per_connection,
                )
                self.state.rate.refuse(began_at, now)

    def _learn(self, rule: Rule, reply: Reply | None, began_at: float, now: float) -> None:
        state = self.state
        if not state.rate.refuse(began_at, now):
            return
        state.refusals += 1
        state.complaint, state.complained_at = self.reason(rule, reply, now), now
        if state.refusals >= REFUSALS_IN_A_ROW:
            pause_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2**state.pauses)
            state.pauses = min(state.pauses + 1, 10)
            self.suspend(Trouble(now + pause_s, state.complaint, is_stop=True))

    def reason(self, rule: Rule, reply: Reply | None, now: float) -> str:
        """Return why, when, and what was said: "Yahoo asked us to slow down at 10:02 (421 4.7.0 [TSS04])"."""
        words = rule.reason.replace("{title}", self.provider.title)
        return f"{words} at {clock(now)}" + (f" ({short(reply)})" if reply is not None else "")

    def suspend(self, trouble: Trouble) -> None:
        """Begin nothing until then, unless it is suspended for longer already."""
        if self.state.stop is None or self.state.stop.until < trouble.until:
            self.state.stop = trouble

    def resume(self) -> None:
        """Forget what was asked for, not what was learned."""
        self.state.stop = self.state.slow = None
        self.state.refusals = self.state.pauses = 0

    def _go_on(self) -> None:
        """A suspension has ended: begin gently."""
        self.state.stop = None
        self.state.rate.restart(RESTART_RATE)

    def move(self, by_s: float, now: float) -> None:
        """Move every instant: the clock was set back to now."""
        state, today = self.state, int(now // DAY_S)
        self._short_at = -math.inf
        for learned in (state.rate, state.connections):
            learned.quiet_until += by_s
            learned.probe_at += by_s
            learned.grown_at += by_s
        state.messages.next_at += by_s
        state.openings.next_at += by_s
        state.complained_at += by_s
        state.used_at = min(now, state.used_at)
        state.stop, state.slow = _moved(state.stop, by_s), _moved(state.slow, by_s)
        state.days.day, state.days.first_day = min(today, state.days.day), min(today, state.days.first_day)

    def is_forgettable(self, now: float) -> bool:
        """Say whether nothing is lost by forgetting it."""
        state = self.state
        is_busy = self.open or self.opening or self.hold(now) or self._slow(now)
        return not is_busy and self.provider.warmup is None and now > state.used_at + FORGOTTEN_AFTER_S


def _moved(trouble: Trouble | None, by_s: float) -> Trouble | None:
    return None if trouble is None else msgspec.structs.replace(trouble, until=trouble.until + by_s)


def _suspended(lane: Lane, hold: Hold) -> Iterator[Suspension]:
    """Give what waits: what routes send to hosts, and domains; a domain that only routes lead here may go elsewhere."""
    until = datetime.fromtimestamp(hold.until, UTC)
    yield from (Suspension("", until, hold.reason, host=host) for host in lane.hosts if host)
    yield from (Suspension(domain, until, hold.reason, only_direct=True) for domain in lane.domains if domain)


class Pacing:
    """All lanes, and the recipients that get nothing for a while."""

    def __init__(self, providers: Providers | None = None) -> None:
        self._providers = providers or Providers(UNLIMITED)
        self._lanes: OrderedDict[tuple[str, str], Lane] = OrderedDict()
        self._everywhere: dict[str, Trouble] = {}
        self._recipients: OrderedDict[tuple[str, str], Hold] = OrderedDict()

    def provider(self, mx_host: str) -> Provider:
        """Return whose host it is."""
        return self._providers.of(mx_host)

    def lane(self, provider: Provider, source: str, now: float) -> Lane | None:
        """Return the lane to a provider from a source address ("" = the system's), None when it is lifted."""
        if provider.limits is None:
            return None
        key = (provider.name, source)
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = Lane(provider, provider.limits, source, now)
            if (trouble := self._everywhere.get(provider.name)) is not None:
                lane.suspend(trouble)
            if len(self._lanes) > MAX_LANES:
                self.forget(now)
        return lane

    def lanes(self) -> Iterator[Lane]:
        """Give every lane there is."""
        yield from self._lanes.values()

    def heard(self, lane: Lane, reply: Reply, recipient: str, began_at: float, now: float) -> bool:
        """Learn from a reply other than 2yz about a recipient; True: the provider has asked us to slow down.

        reply: the server's own words.
        """
        rule = lane.heard(reply, began_at, now)
        if rule is None:
            return False
        if rule.scope is Scope.RECIPIENT:
            self._put_off(lane, rule, reply, recipient, now)
            return False
        if rule.scope is Scope.PROVIDER:
            self._tell_all(lane, rule, now)
        return rule.action in (Action.SLOW, Action.SUSPEND)

    def _put_off(self, lane: Lane, rule: Rule, reply: Reply, recipient: str, now: float) -> None:
        key = (lane.provider.name, recipient.lower())
        self._recipients.pop(key, None)
        if rule.action is Action.SUSPEND:
            self._recipients[key] = Hold(now + rule.duration_s, lane.reason(rule, reply, now))
            if len(self._recipients) > MAX_RECIPIENTS:
                self._recipients.popitem(last=False)

    def _tell_all(self, lane: Lane, rule: Rule, now: float) -> None:
        """What one source address was told goes for all of them."""
        stop = lane.state.stop
        if rule.action is Action.SUSPEND and stop is not None:
            self._everywhere[lane.provider.name] = stop
        elif rule.action is Action.RESUME:
            self._everywhere.pop(lane.provider.name, None)
        for other in self._lanes.values():
            if other is not lane and other.provider.name == lane.provider.name:
                if rule.action is Action.RESUME:
                    other.resume()
                elif rule.action is Action.SUSPEND and stop is not None:
                    other.suspend(stop)
                elif rule.action is Action.SLOW:
                    other.state.slow = lane.state.slow
                    other.state.rate.refuse(now, now)

    @property
    def holds_recipients(self) -> bool:
        """Some recipient somewhere may have to wait."""
        return bool(self._recipients)

    def recipient_hold(self, provider: Provider, recipient: str, now: float) -> Hold | None:
        """Return why nothing goes to this recipient now; None when something may."""
        hold = self._recipients.get((provider.name, recipient.lower()))
        return hold if hold is not None and now < hold.until else None

    def holds(self, now: float, sources: Sequence[str]) -> Iterator[tuple[Lane, Hold]]:
        """Give the lanes of providers that nothing goes to from any of the source addresses, and until when and why."""
        held: dict[str, list[tuple[Lane, Hold]]] = {}
        for lane in self._lanes.values():
            if lane.source in sources and (hold := lane.hold(now)) is not None:
                held.setdefault(lane.provider.name, []).append((lane, hold))
        for those in held.values():
            if len(those) == len(set(sources)):
                first = min((hold for _, hold in those), key=lambda hold: hold.until)
                yield from ((lane, first) for lane, _ in those)

    def suspensions(self, at: datetime, sources: Sequence[str]) -> tuple[Suspension, ...]:
        """Return what deliver need not claim for, at most MAX_SUSPENSIONS: it is written every 10 seconds."""
        found = (one for lane, hold in self.holds(at.timestamp(), sources) for one in _suspended(lane, hold))
        return tuple(islice(found, MAX_SUSPENSIONS))

    def forget(self, now: float) -> None:
        """Drop what has run out, and lanes that nobody has used for a day; of too many the ones used longest ago.

        Suspended ones go last: meeting thousands of providers must not end what one of them has asked for.
        """
        self._notice_clock(now)
        for key in [key for key, lane in self._lanes.items() if lane.is_forgettable(now)]:
            del self._lanes[key]
        for name in [name for name, trouble in self._everywhere.items() if trouble.until <= now]:
            del self._everywhere[name]
        for recipient in [recipient for recipient, hold in self._recipients.items() if hold.until <= now]:
            del self._recipients[recipient]
        idle = sorted(
            (one.hold(now) is not None, one.state.used_at, key)
            for key, one in self._lanes.items()
            if not (one.open or one.opening)
        )
        for _, _, key in idle[: max(0, len(self._lanes) - MAX_LANES * 9 // 10)]:
            del self._lanes[key]

    def _notice_clock(self, now: float) -> None:
        """Begin nothing later than asked because the clock was set back: what was used in the future tells of it."""
        by_s = now - max((lane.state.used_at for lane in self._lanes.values()), default=now)
        if by_s > -CLOCK_SLACK_S:
            return
        log.warning("the clock was set back; what providers asked for ends as much earlier", extra={"by_s": -by_s})
        for lane in self._lanes.values():
            lane.move(by_s, now)
        for trouble in self._everywhere.values():
            trouble.until += by_s
        for key, hold in self._recipients.items():
            self._recipients[key] = replace(hold, until=hold.until + by_s)

    # --- across restarts

    def dump(self) -> bytes:
        """Return what is to be remembered, as JSON."""
        lanes: dict[str, dict[str, LaneState]] = {}
        for lane in self._lanes.values():
            lanes.setdefault(lane.provider.name, {})[lane.source] = lane.state
        recipients = [(*key, hold.until, hold.reason) for key, hold in self._recipients.items()]
        return encode(Saved(lanes, self._everywhere, recipients))

    def load(self, saved: bytes, now: float) -> None:
        """Go on from what `dump` gave; limits are those of today's table. Raises ValueError, and has done nothing then.

        Nothing is held for longer than the table can ask for, whatever was kept.
        """
        state = decode(saved)
        for name, sources in state.lanes.items():
            for source, lane_state in sources.items():
                lane = self.lane(self._providers.named(name), source, now)
                if lane is not None:
                    lane.state = lane_state
        self._everywhere.update(state.everywhere)
        for provider, recipient, until, reason in state.recipients:
            self._recipients[provider, recipient] = Hold(until, reason)
        self._notice_clock(now)
        self._settle(now)

    def _settle(self, now: float) -> None:
        for lane in self._lanes.values():
            lane.state.settle(now, _longest_s(lane.provider))
        for name, trouble in self._everywhere.items():
            trouble.end_by(now + _longest_s(self._providers.named(name)))
        for key, hold in self._recipients.items():
            latest = now + _longest_s(self._providers.named(key[0]))
            self._recipients[key] = replace(hold, until=min(hold.until, latest))


def _longest_s(provider: Provider) -> float:
    """Return for how long a provider can be left alone at most."""
    return max(LONGEST_PAUSE_S, max((rule.duration_s for rule in provider.rules), default=0.0))
