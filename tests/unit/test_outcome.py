"""Replies and outcomes say what the remote said, and nothing it did not say."""

from __future__ import annotations

import pytest

from egret.core.events import EventKind, event_id, is_wanted, webhook_number
from egret.core.ids import MAX_ID
from egret.core.outcome import Bounced, Deferred, Outcome, Remote, error_of, name_of
from egret.core.reply import Reply
from tests.unit.builders import LATER, NEVER, NOBODY_KNOWS, OK


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (Reply(250, ("2.1.5 ok",)), "2.1.5"),
        (Reply(550, ("5.1.1",)), "5.1.1"),
        (Reply(550, ("5.7.26 more", "5.1.1 x")), "5.7.26"),
        (Reply(550, ("4.2.2 class differs",)), ""),
        (Reply(550, ("5.1.1x not a code",)), ""),
        (Reply(550, ("host 5.1.1.7 said",)), ""),
        (Reply(421, ("192.0.2.1 busy",)), ""),
        (Reply(250, ("",)), ""),
    ],
)
def test_an_enhanced_code_stands_at_the_start_and_agrees(reply: Reply, expected: str) -> None:
    """Only a code at the start of the text, of the reply's class, counts (RFC 2034 section 4)."""
    assert expected == reply.enhanced_code


@pytest.mark.parametrize(
    ("outcome", "name", "error"),
    [
        (OK, "delivered", ""),
        (LATER, "deferred", "the server put the recipient off, transient: 451 4.3.0 try later"),
        (NEVER, "bounced", "the server refused the recipient, permanent: 550 5.1.1 no such user"),
        (NOBODY_KNOWS, "unknown", "the connection died after the final dot"),
        (Deferred("no answer"), "deferred", "no answer"),
        (Bounced("null MX"), "bounced", "null MX"),
    ],
)
def test_each_outcome_has_a_name_and_a_sentence(outcome: Outcome, name: str, error: str) -> None:
    """The API shows a word and a sentence for every outcome."""
    assert (name, error) == (name_of(outcome), error_of(outcome))


def test_a_reply_knows_its_severity() -> None:
    """The first digit decides (RFC 5321 section 4.2.1)."""
    severities = [(r.is_positive, r.is_transient, r.is_permanent) for r in map(Reply, (250, 354, 421, 554))]

    assert severities == [(True, False, False), (True, False, False), (False, True, False), (False, False, True)]


def test_a_remote_reads_as_name_and_address() -> None:
    """Logs and DSNs show both."""
    assert [
        str(Remote("mx.example", "192.0.2.1")),
        str(Remote("mx.example")),
        str(Remote()),
    ] == ["mx.example [192.0.2.1]", "mx.example", ""]


def test_event_ids_are_deterministic_and_their_numbers_exact() -> None:
    """A repeated event has the same id, and the number fits JavaScript."""
    first, again, other = event_id("abcdefgh", 7, 1), event_id("abcdefgh", 7, 1), event_id("abcdefgh", 7, 2)

    assert first == again != other
    assert 0 < webhook_number(first) <= MAX_ID


@pytest.mark.parametrize(
    ("kind", "events", "expected"),
    [
        (EventKind.DELIVERED, frozenset[str](), True),
        (EventKind.COMPLAINED, frozenset[str](), False),
        (EventKind.COMPLAINED, frozenset({"complained"}), True),
        (EventKind.DELIVERED, frozenset({"failed"}), False),
        (EventKind.FAILED, frozenset({"failed"}), True),
    ],
)
def test_an_account_hears_what_it_asked_for(kind: EventKind, events: frozenset[str], expected: bool) -> None:
    """No list means all events of the reference; the added ones only by name."""
    assert expected == is_wanted(kind, events)
