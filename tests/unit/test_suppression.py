"""The rules of suppression, written out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egret.core.failure import FailureClass
from egret.core.suppression import (
    ABOUT_SENDER,
    STRIKE_LIMIT,
    STRIKES_KEPT,
    Strikes,
    SuppressVerdict,
    Voice,
    add,
    clear,
    reaches_limit,
    retract,
    succeed,
    verdict,
    verdict_on,
)

SUPPRESS, STRIKE, IGNORE = SuppressVerdict.SUPPRESS, SuppressVerdict.STRIKE, SuppressVerdict.IGNORE
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)

TABLE = [
    # the address is dead, said by the enhanced code
    (550, "5.1.1", SUPPRESS),
    (550, "5.1.2", SUPPRESS),
    (553, "5.1.3", SUPPRESS),
    (551, "5.1.6", SUPPRESS),
    (556, "5.1.10", SUPPRESS),
    (550, "5.2.1", SUPPRESS),
    (554, "5.1.1", SUPPRESS),
    (500, "5.1.1", SUPPRESS),
    (0, "5.1.1", SUPPRESS),
    (0, "5.1.10", SUPPRESS),
    # the address is dead, said by the reply code alone
    (521, "", SUPPRESS),
    (550, "", SUPPRESS),
    (551, "", SUPPRESS),
    (553, "", SUPPRESS),
    (556, "", SUPPRESS),
    (521, "5.0.0", SUPPRESS),
    (550, "5.0.0", SUPPRESS),
    (551, "5.0.0", SUPPRESS),
    (553, "5.0.0", SUPPRESS),
    (556, "5.0.0", SUPPRESS),
    (550, "nonsense", SUPPRESS),
    (550, "5.1", SUPPRESS),
    # policy, reputation, authentication: the sender's fault
    (550, "5.7.0", IGNORE),
    (550, "5.7.1", IGNORE),
    (550, "5.7.23", IGNORE),
    (550, "5.7.26", IGNORE),
    (554, "5.7.1", IGNORE),
    (554, "5.7.30", IGNORE),
    (553, "5.7.509", IGNORE),
    (0, "5.7.1", IGNORE),
    # the address of the sender is bad (RFC 3463 section 3.2)
    (550, "5.1.7", IGNORE),
    (553, "5.1.8", IGNORE),
    (501, "5.1.7", IGNORE),
    (0, "5.1.8", IGNORE),
    (450, "4.1.8", IGNORE),
    (451, "4.7.1", IGNORE),
    (421, "4.7.28", IGNORE),
    # other failures for good
    (550, "5.1.0", STRIKE),
    (550, "5.1.4", STRIKE),
    (550, "5.1.5", STRIKE),
    (550, "5.1.9", STRIKE),
    (550, "5.1.11", STRIKE),
    (550, "5.2.0", STRIKE),
    (552, "5.2.2", STRIKE),
    (552, "5.2.3", STRIKE),
    (550, "5.2.10", STRIKE),
    (550, "5.3.0", STRIKE),
    (550, "5.4.1", STRIKE),
    (550, "5.5.0", STRIKE),
    (550, "5.6.0", STRIKE),
    (550, "5.17.1", STRIKE),
    (500, "", STRIKE),
    (501, "", STRIKE),
    (552, "", STRIKE),
    (554, "", STRIKE),
    (554, "5.0.0", STRIKE),
    (0, "5.0.0", STRIKE),
    # expired with a temporary reply: never more than a strike
    (450, "4.2.1", STRIKE),
    (450, "4.1.1", STRIKE),
    (450, "5.1.1", STRIKE),
    (451, "", STRIKE),
    (421, "", STRIKE),
    (452, "4.2.2", STRIKE),
    (0, "4.1.1", STRIKE),
    (0, "4.4.7", STRIKE),
    # no server answered, or it was no failure
    (0, "", IGNORE),
    (0, "nonsense", IGNORE),
    (0, "2.1.1", IGNORE),
    (250, "2.1.5", IGNORE),
    (250, "", IGNORE),
    (354, "", IGNORE),
    (999, "5.1.1", IGNORE),
]


@pytest.mark.parametrize(("code", "enhanced_code", "expected"), TABLE)
def test_verdict_follows_the_table(code: int, enhanced_code: str, expected: SuppressVerdict) -> None:
    """Every rule of suppression, row by row."""
    assert verdict(code, enhanced_code) == expected


ABOUT_US = [
    "relaying denied",
    "spam message rejected",
    "sorry, that domain isn't in my list of allowed rcpthosts",
    "Blocked - see https://example.org/lookup",
    "Message content rejected",
    "your IP is listed by zen.example.org",
    "Poor reputation",
    "SMTP AUTH is required",
    "Sender verify failed",
    "rejected due to local policy",
    "too many connections from you",
]
ALIVE = ["mailbox is full", "user is over quota", "message exceeds the size"]
DEAD = [  # real servers' wordings
    "User unknown",
    "<ann@example.net>: Recipient address rejected: User unknown in local recipient table",
    "<relay@spam.example>: User unknown in relay recipient table",
    "No such user here",
    "no such mailbox",
    "sorry, no mailbox here by that name. (#5.1.1)",
    "Requested action not taken: mailbox unavailable",
    "Mailbox not found",
    "The email account that you tried to reach does not exist",
    "This user doesn't have a example.net account (ann@example.net)",
    "ann@example.net... User not known",
    "unknown recipient",
    "Unknown local user",
    "invalid recipient",
    "Invalid mailbox",
    "not a valid mailbox",
    "account disabled",
    "This account has been disabled or discontinued",
    "Unrouteable address",
    "ann@example.net: mailbox no longer in use",
    "User ann (ann@example.net) not listed in the directory: user unknown",
]
UNCLEAR = ["", "rejected", "administrator's orders"]


@pytest.mark.parametrize("code", [550, 553, 554])
@pytest.mark.parametrize("text", ABOUT_US)
@pytest.mark.parametrize("voice", Voice)
def test_words_about_us_or_the_message_are_not_the_recipients_fault(voice: Voice, text: str, code: int) -> None:
    """Nor a strike: with one such rule of a server, three messages would cost the account an address."""
    assert [verdict(code, enhanced, text, voice) for enhanced in ("", "5.0.0")] == [IGNORE, IGNORE]


@pytest.mark.parametrize("text", DEAD)
def test_words_may_say_that_the_address_is_dead(text: str) -> None:
    """As servers do that give no enhanced code; of a smarthost words are not enough."""
    found = {voice: verdict(550, "", text, voice) for voice in Voice}
    assert found == {Voice.SERVER: SUPPRESS, Voice.REPORT: SUPPRESS, Voice.SMARTHOST: IGNORE}


@pytest.mark.parametrize("text", UNCLEAR)
def test_a_bare_code_counts_at_rcpt_only(text: str) -> None:
    """There it answers the address, in a DSN it may have answered anything."""
    found = {voice: verdict(550, "", text, voice) for voice in Voice}
    assert found == {Voice.SERVER: SUPPRESS, Voice.REPORT: STRIKE, Voice.SMARTHOST: IGNORE}


@pytest.mark.parametrize("text", ALIVE)
def test_a_full_mailbox_is_not_dead(text: str) -> None:
    """Whatever the code."""
    assert [verdict(550, "", text, voice) for voice in (Voice.SERVER, Voice.REPORT)] == [STRIKE, STRIKE]


@pytest.mark.parametrize(
    ("enhanced_code", "expected"),
    [
        ("5.1.1", SUPPRESS),
        ("5.1.6", SUPPRESS),
        ("5.1.10", SUPPRESS),
        ("5.2.1", SUPPRESS),
        ("5.1.2", STRIKE),
        ("5.1.3", STRIKE),
        ("5.2.2", STRIKE),
        ("5.7.1", IGNORE),
        ("5.1.8", IGNORE),
    ],
)
def test_a_smarthost_is_believed_by_its_enhanced_code(enhanced_code: str, expected: SuppressVerdict) -> None:
    """What it says of the recipient's mailbox; what it finds in the DNS may be its own trouble."""
    assert verdict(550, enhanced_code, "relaying denied", Voice.SMARTHOST) == expected


@pytest.mark.parametrize(
    ("code", "enhanced_code", "text", "expected"),
    [
        (550, "5.1.1", "192.0.2.7 has sent to too many recipients this hour", IGNORE),
        (550, "5.1.1", "refused due to recipient preferences", STRIKE),
        (550, "5.1.1", "mailbox full", STRIKE),
        (553, "5.1.3", "see http://www.spamhaus.org/query/bl?ip=192.0.2.7", IGNORE),
        (550, "5.4.1", "Recipient address rejected: Access denied. AS(201806281)", SUPPRESS),
        (550, "5.5.0", "Requested action not taken: mailbox unavailable", SUPPRESS),
        (550, "5.2.0", "Unknown user", STRIKE),
        (550, "5.2.1", "The email account that you tried to reach is disabled", SUPPRESS),
        (550, "5.2.1", "This mailbox is temporarily disabled", STRIKE),
        (550, "", "account temporarily suspended", STRIKE),
        (550, "5.1.1", "undeliverable address: host mx.example.net said: 451 4.3.0 user unknown", STRIKE),
        (550, "5.1.2", "Domain not found (temporary DNS failure)", STRIKE),
        (550, "5.1.1", "User unknown, greylisted", STRIKE),
        (550, "", "user unknown (in reply to end of DATA command)", STRIKE),
        (452, "4.7.1", "greylisted", IGNORE),
        (421, "", "too many connections", IGNORE),
        (451, "4.2.0", "rate limit exceeded", IGNORE),
        (550, "5.4.4", "invalid domain", SUPPRESS),
    ],
)
def test_words_beside_a_code_may_speak_against_it(
    code: int, enhanced_code: str, text: str, expected: SuppressVerdict
) -> None:
    """Or say of the address what the code leaves open; what is about the sender is not even a strike."""
    assert verdict(code, enhanced_code, text) == expected


@given(st.sampled_from(FailureClass), st.integers(0, 600), st.integers(0, 30), st.integers(0, 30))
def test_only_a_dead_or_disabled_mailbox_is_suppressed(
    failure: FailureClass, code: int, subject: int, detail: int
) -> None:
    """Of a class that is known; an unknown one only where a server was asked for the recipient and said no more."""
    enhanced_code = f"5.{subject}.{detail}"
    if verdict_on(failure, code, enhanced_code, Voice.REPORT) is SUPPRESS:
        assert failure in (FailureClass.ADDRESS_DEAD, FailureClass.MAILBOX_DISABLED)
    if failure in ABOUT_SENDER:
        assert {verdict_on(failure, code, enhanced_code, voice) for voice in Voice} == {IGNORE}


@given(code=st.integers(0, 600), detail=st.integers(0, 999))
def test_policy_never_touches_an_address(code: int, detail: int) -> None:
    """Whatever the reply code is, x.7.x says nothing of the recipient."""
    assert {verdict(code, f"{digit}.7.{detail}") for digit in (2, 4, 5)} == {IGNORE}


@given(code=st.integers(400, 499), enhanced_code=st.from_regex(r"[245]\.[0-9]{1,3}\.[0-9]{1,3}", fullmatch=True))
def test_temporary_reply_never_suppresses_at_once(code: int, enhanced_code: str) -> None:
    """A 4yz is at most a strike, whatever enhanced code came with it."""
    assert verdict(code, enhanced_code) in (STRIKE, IGNORE)


@given(code=st.integers(), enhanced_code=st.text(max_size=20), text=st.text(), voice=st.sampled_from(Voice))
def test_verdict_is_total(code: int, enhanced_code: str, text: str, voice: Voice) -> None:
    """Any number and any text has a verdict."""
    assert verdict(code, enhanced_code, text, voice) in SuppressVerdict


def _after(*minutes: int) -> Strikes:
    strikes = Strikes()
    for minute in minutes:
        strikes = add(strikes, f"event-{minute}", NOON + timedelta(minutes=minute))
    return strikes


def test_third_failure_in_a_row_reaches_the_limit() -> None:
    """Two failures do not suppress, three do."""
    assert [reaches_limit(_after(*range(n))) for n in (0, 1, 2, 3, 4)] == [False, False, False, True, True]


def test_failures_far_apart_are_not_in_a_row() -> None:
    """Whatever the order in which they are heard of: what lies further back than the newest one's time goes."""
    instants = [NOON, NOON + timedelta(days=1), NOON + timedelta(days=90)]
    for order in permutations(enumerate(instants)):
        strikes = Strikes()
        for number, at in order:
            strikes = add(strikes, f"event-{number}", at)
        assert [strike.event_id for strike in strikes.kept] == ["event-1", "event-2"]


def test_strikes_are_over_90_days_after_the_newest_of_them() -> None:
    """Or after the last success; nothing is over already."""
    struck = _after(1, 3)
    assert struck.over_at == NOON + timedelta(minutes=3, days=90)
    assert clear(struck, NOON + timedelta(minutes=9)).over_at == NOON + timedelta(minutes=9, days=90)
    assert Strikes().over_at < NOON


def test_repeated_event_is_one_strike() -> None:
    """The same event processed three times does not suppress."""
    assert _after(1, 1, 1) == _after(1)


def test_success_between_failures_starts_anew() -> None:
    """Two failures, a success, two failures: not three in a row."""
    strikes = clear(_after(1, 2), NOON + timedelta(minutes=3))
    for minute in (4, 5):
        strikes = add(strikes, f"event-{minute}", NOON + timedelta(minutes=minute))
    assert not reaches_limit(strikes)
    assert reaches_limit(add(strikes, "event-6", NOON + timedelta(minutes=6)))


def test_replay_after_clearing_counts_nothing() -> None:
    """Old events processed again do not bring back what a success or the user has cleared."""
    cleared = clear(_after(1, 2, 3), NOON + timedelta(minutes=10))
    replayed = cleared
    for minute in (1, 2, 3):
        replayed = add(replayed, f"event-{minute}", NOON + timedelta(minutes=minute))
    assert replayed == cleared


def test_late_news_of_an_old_success_keeps_newer_strikes() -> None:
    """A success that is processed late clears only what came before it."""
    strikes = clear(_after(1, 2, 5, 6, 7), NOON + timedelta(minutes=3))
    assert [strike.event_id for strike in strikes.kept] == ["event-5", "event-6", "event-7"]
    assert reaches_limit(strikes)


def test_clearing_never_goes_back_in_time() -> None:
    """An older success processed after a newer one changes nothing."""
    newer = clear(_after(1, 2), NOON + timedelta(minutes=5))
    assert clear(newer, NOON + timedelta(minutes=1)) == newer


@given(st.lists(st.integers(0, 40), max_size=6), st.integers(0, 40))
def test_a_success_that_was_none_changes_nothing(minutes: list[int], taken: int) -> None:
    """What counted before it counts again; what it cleared does not come back by a replay."""
    struck, at = _after(*minutes), NOON + timedelta(minutes=taken)
    succeeded = succeed(struck, at)

    assert [strike for strike in struck.kept if strike.at > at] == list(succeeded.counted)
    assert retract(succeeded, at).counted == struck.counted
    assert retract(succeeded, at + timedelta(minutes=1)) == succeeded
    assert add(succeeded, "late", at) == succeeded
    assert succeed(succeeded, at) == succeeded


def test_two_successes_forget() -> None:
    """What lies before both never counts again."""
    first, second = NOON + timedelta(minutes=3), NOON + timedelta(minutes=4)
    assert retract(succeed(succeed(_after(1, 2), first), second), second).counted == ()


def test_order_of_processing_does_not_matter() -> None:
    """Every order of the same three failures gives the same value."""
    assert {_after(*order) for order in permutations((1, 2, 3))} == {_after(1, 2, 3)}


@given(st.lists(st.integers(0, 40), max_size=60))
def test_strikes_are_idempotent_and_bounded(minutes: list[int]) -> None:
    """However many events come, the value stays small, and coming again changes nothing."""
    once = _after(*minutes)
    again = once
    for minute in minutes:
        again = add(again, f"event-{minute}", NOON + timedelta(minutes=minute))
    assert again == once
    assert len(once.kept) == min(STRIKES_KEPT, len(set(minutes)))
    assert reaches_limit(once) == (len(set(minutes)) >= STRIKE_LIMIT)
