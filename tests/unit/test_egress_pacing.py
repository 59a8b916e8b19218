"""Pacing obeys limits and rules, learns, explains itself, and goes on after a restart."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from functools import reduce
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from egret.core.reply import Reply
from egret.memory.clock import FakeClock
from egret_egress.briefly import short
from egret_egress.governors import Connections, Rate, Turns
from egret_egress.pacing import MAX_DOMAINS, MAX_HOSTS, MAX_LANES, MESSAGE_SLACK_S, Advice, Lane, Pacing
from egret_egress.pacing_file import NAME, PacingFile
from egret_egress.prometheus import PrometheusMetrics
from egret_egress.providers import Providers
from egret_egress.shaping_file import load
from egret_egress.shaping_gauges import watch_pacing

TEN = datetime(2026, 3, 4, 10, 2, tzinfo=UTC)
NOW = TEN.timestamp()
HOUR = 3600.0
TSS04 = Reply(421, ("4.7.0 [TSS04] Messages from 192.0.2.1 temporarily deferred due to unexpected volume",))
BUSY = Reply(421, ("4.7.0 too much",))
YAHOO, GOOGLE, UNKNOWN = "mta5.am0.yahoodns.net", "aspmx.l.google.com", "mx1.example.org"


def pacing(own: str = "") -> Pacing:
    """Return one with the packaged table."""
    return Pacing(Providers(load(own)))


def lane_to(of: Pacing, mx_host: str, source: str = "", now: float = NOW) -> Lane:
    """Return the lane of a provider that is not lifted."""
    lane = of.lane(of.provider(mx_host), source, now)
    assert lane is not None
    return lane


def say(of: Pacing, lane: Lane, reply: Reply, now: float = NOW, recipient: str = "r@example.org") -> bool:
    """Let the provider answer a message that has just begun."""
    return of.heard(lane, reply, recipient, now, now)


# --- rules


def test_yahoo_asks_to_slow_down() -> None:
    """The reason names who, when, and what was said; it ends by itself."""
    paced = pacing()
    lane = lane_to(paced, YAHOO)

    assert say(paced, lane, TSS04)
    hold = lane.hold(NOW + HOUR)
    assert hold is not None
    assert hold.reason == "Yahoo asked us to slow down at 10:02 (421 4.7.0 [TSS04])"
    assert hold.until == NOW + 2 * HOUR
    assert lane.hold(NOW + 2 * HOUR) is None


def test_after_a_suspension_it_begins_gently() -> None:
    """One message a second, to see whether it is over."""
    paced = pacing()
    lane = lane_to(paced, YAHOO)
    say(paced, lane, TSS04)
    lane.hold(NOW + 2 * HOUR)

    assert lane.message_rate(NOW + 2 * HOUR) == 1.0


def test_a_limit_of_one_recipient_does_not_slow_the_domain() -> None:
    """450 4.2.1 at Google: only that mailbox gets nothing for a while."""
    paced = pacing()
    lane = lane_to(paced, GOOGLE)
    before = lane.message_rate(NOW)

    assert not say(paced, lane, Reply(450, ("4.2.1 receiving too fast",)), recipient="R@gmail.com")
    hold = paced.recipient_hold(lane.provider, "r@gmail.com", NOW)
    assert hold is not None
    assert "gets mail too fast at 10:02 (450 4.2.1)" in hold.reason
    assert paced.recipient_hold(lane.provider, "r@gmail.com", NOW + HOUR) is None
    assert paced.recipient_hold(lane.provider, "other@gmail.com", NOW) is None
    assert (lane.hold(NOW), lane.message_rate(NOW)) == (None, before)


def test_a_source_address_that_is_blocked_does_not_stop_another() -> None:
    """S3140 is about one address."""
    paced = pacing()
    host = "x.olc.protection.outlook.com"
    blocked, other = lane_to(paced, host, "192.0.2.1"), lane_to(paced, host, "192.0.2.2")
    say(paced, blocked, Reply(550, ("5.7.1 part of their network is on our block list (S3140).",)))

    assert blocked.hold(NOW) is not None
    assert other.hold(NOW) is None
    assert not list(paced.holds(NOW, ("192.0.2.1", "192.0.2.2")))


@pytest.mark.parametrize("action", ['"suspend"\nduration = "1h"', '"slow"\nconnections = 1\nduration = "1h"'])
def test_what_goes_for_a_provider_goes_for_every_source_address(action: str) -> None:
    """Also for one that is used later."""
    paced = pacing(f'[[rule]]\ncodes = [499]\nscope = "provider"\naction = {action}')
    first, second = lane_to(paced, UNKNOWN, "192.0.2.1"), lane_to(paced, UNKNOWN, "192.0.2.2")
    say(paced, first, Reply(499, ("no",)))

    for lane in (first, second):
        assert lane.hold(NOW) is not None or lane.most_connections(NOW) == 1
    if "suspend" in action:
        assert lane_to(paced, UNKNOWN, "192.0.2.3").hold(NOW) is not None


def test_a_rule_may_resume() -> None:
    """Everything that was asked for is forgotten."""
    paced = pacing('[[rule]]\ncodes = [498]\nscope = "provider"\naction = "resume"')
    lane = lane_to(paced, YAHOO, "192.0.2.1")
    other = lane_to(paced, YAHOO, "192.0.2.2")
    say(paced, lane, TSS04)
    say(paced, other, TSS04)
    say(paced, lane, Reply(498, ("go on",)))

    assert (lane.hold(NOW), other.hold(NOW)) == (None, None)


def test_limits_of_a_rule_end() -> None:
    """Reputation: one connection, one message a minute, for an hour and a half."""
    paced = pacing()
    lane = lane_to(paced, GOOGLE)
    say(paced, lane, Reply(421, ("4.7.0 temporarily deferred due to IP reputation",)))

    assert (lane.most_connections(NOW), lane.message_rate(NOW)) == (1, 1 / 60)
    assert "Google asked us to slow down" in lane.crowd(NOW)
    assert lane.most_connections(NOW + 1.5 * HOUR) == 5
    assert lane.message_rate(NOW + 1.5 * HOUR) > 1


def test_greylisting_changes_nothing() -> None:
    """It is about one message."""
    paced = pacing()
    lane = lane_to(paced, UNKNOWN)

    assert not say(paced, lane, Reply(450, ("4.7.1 Greylisted, come again",)))
    assert lane.message_rate(NOW) == 5.0


def test_a_provider_that_refuses_everything_is_left_alone_for_longer_each_time() -> None:
    """After five refusals in a row, without a message taken between them."""
    paced = pacing()
    lane = lane_to(paced, UNKNOWN)
    now, pauses = NOW, []
    for _ in range(8):
        while (hold := lane.hold(now)) is None:
            now = lane.message_at(now) if lane.message_at(now) > now else now + 2
            say(paced, lane, BUSY, now)
        pauses.append(hold.until - now)
        now = hold.until

    assert pauses == [60, 120, 240, 480, 960, 1800, 1800, 1800]
    lane.accepted(now)
    assert lane.state.refusals == 0


def test_what_was_under_way_when_it_was_refused_counts_once() -> None:
    """Ten refusals of messages that began together are one sign, not ten."""
    paced = pacing()
    lane = lane_to(paced, UNKNOWN)
    for _ in range(10):
        paced.heard(lane, BUSY, "", NOW, NOW + 0.1)

    assert lane.state.refusals == 1
    assert lane.message_rate(NOW) == 5.0 * 0.85


# --- connections


def test_a_connection_too_many_teaches_how_many_there_may_be() -> None:
    """The message goes over one of the others, and the next try to open as many comes later each time."""
    paced = pacing()
    lane = lane_to(paced, GOOGLE)
    for _ in range(3):
        lane.dial(NOW)
        lane.opened()
    lane.dial(NOW)
    advice = lane.turned_down(Reply(421, ("4.7.0 too many connections",)), NOW)
    lane.not_opened()

    assert (advice, lane.most_connections(NOW)) == (Advice.AGAIN, 3)
    assert lane.connection_at(NOW + 10) == math.inf
    lane.wants_connections(NOW + 100)
    assert lane.most_connections(NOW + 100) == 3
    lane.wants_connections(NOW + 400)
    assert lane.most_connections(NOW + 400) == 4
    assert "Google takes no more connections from us since 10:02 (421 4.7.0)" in lane.crowd(NOW)


def test_a_first_connection_that_is_refused_is_a_refusal() -> None:
    """Nobody else is open: it is about us, not about how many."""
    lane = lane_to(pacing(), GOOGLE)
    lane.dial(NOW)

    assert lane.turned_down(BUSY, NOW) is Advice.STOP
    assert lane.state.refusals == 1


def test_a_refusal_that_says_nothing_of_the_pace_leads_to_the_next_host() -> None:
    """554 for a reason of its own."""
    assert lane_to(pacing(), UNKNOWN).turned_down(Reply(554, ("5.7.1 no",)), NOW) is Advice.ELSEWHERE


@given(st.lists(st.tuples(st.sampled_from(["grow", "open", "refuse"]), st.integers(1, 30), st.floats(0, 1e4))))
def test_learned_connections_never_exceed_the_row(steps: list[tuple[str, int, float]]) -> None:
    """Nor fall below one."""
    learned, now = Connections(2), NOW
    for what, count, passed in steps:
        now += passed
        if what == "grow":
            learned.grow(now, 10)
        elif what == "open":
            learned.opened(count)
        else:
            learned.refuse(min(count, 10), now)

        assert 1 <= learned.limit <= 10


# --- rates


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1e4)), max_size=200), st.floats(0.1, 1000))
def test_a_learned_rate_never_exceeds_the_row(steps: list[tuple[bool, float]], most: float) -> None:
    """However it is refused and grows, nor does it come to nothing."""
    rate, now = Rate(min(5.0, most)), NOW
    for is_refused, passed in steps:
        now += passed
        if is_refused:
            rate.refuse(now, now)
        else:
            rate.grow(now, most)

        assert 0 < rate.value <= most


@given(st.lists(st.tuples(st.floats(0, 2), st.floats(0.01, 200)), min_size=1, max_size=100), st.floats(0.001, 10))
def test_no_window_has_more_than_the_rate_allows(steps: list[tuple[float, float]], window_s: float) -> None:
    """In t seconds at most the highest rate x (t + slack) + 1, whatever the rates are meanwhile."""
    turns, now, taken = Turns(), 1000.0, []
    for passed, rate in steps:
        now += passed
        if turns.ready_at(MESSAGE_SLACK_S) <= now:
            turns.take(now, rate)
            taken.append(now)
    most = max(rate for _, rate in steps) * (window_s + MESSAGE_SLACK_S) + 1

    for start in taken:
        assert sum(start <= at < start + window_s for at in taken) <= most + 1e-3


def test_each_try_beyond_a_refused_rate_comes_later() -> None:
    """So that finding out costs few messages."""
    rate, now, last = Rate(5.0), NOW, NOW
    gaps: list[float] = []
    while len(gaps) < 8:
        now += 0.2
        rate.grow(now, 1000.0)
        if rate.value > 20:
            rate.refuse(now, now)
            gaps.append(now - last)
            last = now

    assert gaps[2:] == sorted(gaps[2:])
    assert gaps[-1] > 16 * gaps[2]


# --- warm-up


def test_a_new_address_sends_so_many_a_day() -> None:
    """The rest waits until tomorrow, and reads why."""
    paced = pacing("[provider.google]\nwarmup = { first = 3, last = 300, days = 2 }")
    lane = lane_to(paced, GOOGLE, "192.0.2.1")
    lane.begin(NOW, recipients=3)
    hold = lane.hold(NOW)
    assert hold is not None
    assert hold.reason == "our address 192.0.2.1 is new to Google, which gets at most 3 messages of it today"
    assert datetime.fromtimestamp(hold.until, UTC) == datetime(2026, 3, 5, tzinfo=UTC)
    assert lane.hold(hold.until) is None
    lane.begin(hold.until, recipients=29)
    assert lane.hold(hold.until) is None
    lane.begin(hold.until, recipients=1)
    assert lane.hold(hold.until) is not None
    lane.begin(hold.until + 24 * HOUR, recipients=10_000)
    assert lane.hold(hold.until + 24 * HOUR) is None


def test_many_providers_do_not_end_a_suspension() -> None:
    """Of too many lanes the ones used longest ago go, and a suspended one, which nobody uses, last of all."""
    paced = pacing()
    suspended = lane_to(paced, YAHOO)
    say(paced, suspended, TSS04)
    for number in range(MAX_LANES + 1):
        lane_to(paced, f"mx.provider{number}.example", now=NOW + 1)

    assert len(list(paced.lanes())) <= MAX_LANES
    assert suspended in list(paced.lanes())


# --- what is told, and what is kept


def test_suspensions_name_the_domains_that_want_something() -> None:
    """For the unit's row, so that deliver does not claim in vain."""
    paced = pacing()
    lane = lane_to(paced, YAHOO)
    lane.saw("yahoo.com")
    lane.saw("aol.com")
    say(paced, lane, TSS04)
    suspensions = paced.suspensions(TEN, ("",))

    assert [one.domain for one in suspensions] == ["yahoo.com", "aol.com"]
    assert suspensions[0].reason == "Yahoo asked us to slow down at 10:02 (421 4.7.0 [TSS04])"
    assert suspensions[0].until.timestamp() == NOW + 2 * HOUR


def test_the_row_stays_small() -> None:
    """However many domains a provider has."""
    paced = pacing()
    lane = lane_to(paced, YAHOO)
    for number in range(1000):
        lane.saw(f"{number}.example")
    say(paced, lane, TSS04)

    assert len(paced.suspensions(TEN, ("",))) <= MAX_DOMAINS
    assert paced.suspensions(TEN, ("",))[-1].domain == "999.example"


def test_hosts_of_routes_are_remembered_up_to_a_bound() -> None:
    """A suspension names those that were used last."""
    paced = pacing()
    lane = lane_to(paced, YAHOO)
    for number in range(1000):
        lane.saw_routed(f"relay{number}.example")
    say(paced, lane, TSS04)

    assert [one.host for one in paced.suspensions(TEN, ("",))][-1] == "relay999.example"
    assert len(paced.suspensions(TEN, ("",))) == MAX_HOSTS


def test_a_lifted_provider_has_no_lane() -> None:
    """Nothing is counted of it."""
    paced = pacing("lift_all = true")

    assert paced.lane(paced.provider(GOOGLE), "", NOW) is None
    assert not list(paced.lanes())


def test_lanes_that_nobody_uses_are_forgotten() -> None:
    """Ten thousand domains that were sent to once cost nothing a day later."""
    paced = pacing()
    for number in range(10_000):
        lane_to(paced, f"mx.d{number}.example")
    assert len(list(paced.lanes())) <= 5000
    paced.forget(NOW + 25 * HOUR)

    assert not list(paced.lanes())


events = st.lists(
    st.tuples(
        st.sampled_from([YAHOO, GOOGLE, UNKNOWN]),
        st.sampled_from(["192.0.2.1", ""]),
        st.sampled_from(["begin", "accept", "want", TSS04, BUSY, Reply(450, ("4.2.1 too fast",))]),
        st.floats(0, 1000),
    ),
    max_size=40,
)


@given(events)
def test_what_was_kept_is_what_was_known(happened: list[tuple[str, str, str | Reply, float]]) -> None:
    """After a restart the same is held, at the same rates, for the same reasons."""
    paced, now = pacing(), NOW
    for mx_host, source, what, passed in happened:
        now += passed
        lane = lane_to(paced, mx_host, source, now)
        if what == "begin":
            lane.begin(now)
        elif what == "accept":
            lane.accepted(now)
        elif what == "want":
            lane.wants_messages(now)
        elif isinstance(what, Reply):
            say(paced, lane, what, now)
    again = pacing()
    again.load(paced.dump(), now)

    assert again.dump() == paced.dump()
    for lane in paced.lanes():
        other = lane_to(again, {"yahoo": YAHOO, "google": GOOGLE}.get(lane.provider.name, UNKNOWN), lane.source, now)
        assert (other.hold(now), other.message_at(now)) == (lane.hold(now), lane.message_at(now))
    assert again.recipient_hold(again.provider(GOOGLE), "r@example.org", now) == paced.recipient_hold(
        paced.provider(GOOGLE), "r@example.org", now
    )


def test_a_unit_goes_on_from_its_file(tmp_path: Path) -> None:
    """Written at drain, read at the start."""
    paced, clock = pacing(), FakeClock(TEN)
    say(paced, lane_to(paced, YAHOO), TSS04)
    PacingFile(tmp_path, paced, clock).save()
    again = pacing()
    PacingFile(tmp_path, again, clock).load()

    assert lane_to(again, YAHOO).hold(NOW) is not None


@pytest.mark.parametrize("is_restarted", [False, True])
def test_a_clock_that_is_set_back_stops_nothing(is_restarted: bool) -> None:
    """Messages go on at their pace, and a suspension lasts as long as it was asked for."""
    paced = pacing()
    google, yahoo = lane_to(paced, GOOGLE), lane_to(paced, YAHOO)
    google.begin(NOW)
    yahoo.begin(NOW)
    say(paced, yahoo, TSS04)
    before, hour_ago = yahoo.hold(NOW), NOW - 3600
    if is_restarted:
        saved = paced.dump()
        paced = pacing()
        paced.load(saved, hour_ago)
        google, yahoo = lane_to(paced, GOOGLE), lane_to(paced, YAHOO)
    paced.forget(hour_ago)
    after = yahoo.hold(hour_ago)

    assert before is not None
    assert after is not None
    assert before.until - 3600 == after.until
    assert google.message_at(hour_ago) < hour_ago + 1
    assert google.connection_at(hour_ago) <= hour_ago


def kept(lane_state: str) -> bytes:
    """Return a file with one suspended lane, part of whose state is written over."""
    paced = pacing()
    say(paced, lane_to(paced, YAHOO), TSS04)
    state = msgspec.json.decode(paced.dump())
    for path, value in msgspec.json.decode(lane_state).items():
        *parents, last = path.split(".")
        reduce(lambda inner, key: inner[key], parents, state["lanes"]["yahoo"][""])[last] = value
    return msgspec.json.encode(state)


NONSENSE = [
    b'{"rate.value": 0.0}', b'{"rate.value": -1}', b'{"rate.value": null}', b'{"rate.value": 1e-320}',
    b'{"stop.until": 1e300}', b'{"stop.until": -1e300}', b'{"used_at": 1e300}', b'{"messages.next_at": 1e300}',
    b'{"stop.message_rate": 0}', b'{"stop.connections": 0}', b'{"pauses": 4000000000}', b'{"days.day": 1e15}',
]  # fmt: skip


@pytest.mark.parametrize("content", [b"", b"{", b'{"lanes": 3}', *(kept(part.decode()) for part in NONSENSE)])
def test_a_file_that_cannot_be_read_does_no_harm(tmp_path: Path, content: bytes) -> None:
    """Everything is learned anew."""
    (tmp_path / NAME).write_bytes(content)
    paced = pacing()
    PacingFile(tmp_path, paced, FakeClock(TEN)).load()

    assert not list(paced.lanes())


def test_nothing_that_was_kept_lasts_longer_than_can_be_asked_for() -> None:
    """The table's longest suspension at Yahoo is 4 hours; days to come have not been counted."""
    far = NOW + 1e9
    whole = {"until": far, "reason": "x"}
    instants = ("rate.quiet_until", "connections.quiet_until", "messages.next_at", "openings.next_at", "complained_at")
    days = {"days.day": 90_000, "days.first_day": 90_000, "days.sent": 10**6}
    state = msgspec.json.decode(kept(msgspec.json.encode(dict.fromkeys(instants, far) | days).decode()))
    state["lanes"]["yahoo"][""]["stop"] = state["everywhere"]["yahoo"] = whole
    state["recipients"] = [["yahoo", "r@example.org", far, "x"]]
    paced = pacing()
    paced.load(msgspec.json.encode(state), NOW)
    lane, other = lane_to(paced, YAHOO), lane_to(paced, YAHOO, "192.0.2.1")

    holds = [lane.hold(NOW), other.hold(NOW), paced.recipient_hold(paced.provider(YAHOO), "r@example.org", NOW)]
    assert [hold.until - NOW for hold in holds if hold is not None] == [4 * HOUR] * 3
    assert max(lane.message_at(NOW), lane.connection_at(NOW)) <= NOW + 4 * HOUR
    assert lane.hold(NOW + 24 * HOUR) is None, "the next day is counted from 0"
    lane.begin(NOW)


def test_metrics_show_what_a_provider_is_given() -> None:
    """Rate and connections, and how long a suspension lasts yet."""
    paced, metrics = pacing(), PrometheusMetrics()
    watch_pacing(metrics, paced, lambda: NOW + 60)
    lane_to(paced, GOOGLE)
    say(paced, lane_to(paced, YAHOO), TSS04)
    lines = metrics.text().decode().splitlines()

    assert 'egret_shaping_messages_per_second{provider="google",source=""} 100.0' in lines
    assert 'egret_shaping_connections{provider="google",source=""} 5.0' in lines
    assert [line for line in lines if line.startswith("egret_shaping_suspended_seconds{")] == [
        'egret_shaping_suspended_seconds{provider="yahoo",source=""} 7140.0'
    ]


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (TSS04, "421 4.7.0 [TSS04]"),
        (Reply(451, ("4.7.652 The mail server [192.0.2.1] has exceeded (S3115)",)), "451 4.7.652 S3115"),
        (Reply(421, ("try later",)), "421"),
        (Reply(421, ("4.7.0 too much mail to ann@example.net from example.com",)), "421 4.7.0"),
        (Reply(421, ("",)), "421"),
    ],
)
def test_a_reply_is_told_in_few_words(reply: Reply, words: str) -> None:
    """Codes, and the provider's own tag, by which its help pages are searched; nothing that is about one account."""
    assert short(reply) == words
