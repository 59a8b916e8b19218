"""The handoff between deliver and the egress: what was once understood is understood for ever."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from egret.contracts.handoff import (
    Content,
    Earlier,
    Handoff,
    HandoffAnswer,
    Leg,
    Transaction,
    decode_answer,
    decode_handoff,
    encode,
)
from egret.contracts.queues import Call, Hint, decode_call, decode_hint, encode_queue_body

GOLDEN = Path(__file__).parents[1] / "data" / "handoff"
UNTIL = datetime(2026, 3, 4, 5, 46, 7, tzinfo=UTC)
INLINE = Transaction(
    account="abcdefgh",
    message_id=1024,
    domain="example.net",
    reverse_path="x@bounces.example.com",
    legs=[Leg(1024, 1, "ann@example.net"), Leg(1025, 2, "bob@example.net")],
    content=Content(22, b"Subject: x\r\n\r\nhello\r\n", smtputf8=True),
    lease_until=UNTIL,
)
BY_KEY = Transaction(
    account="abcdefgh",
    message_id=2048,
    domain="xn--74h.example",
    reverse_path="",
    legs=[Leg(2048, 1, "c@xn--74h.example")],
    content=Content(9_000_000, key="content/abcdefgh/2048.0badcafe", require_tls=True),
    lease_until=UNTIL,
)
ROUTED = Transaction(
    account="abcdefgh",
    message_id=3072,
    domain="example.net",
    reverse_path="y@bounces.example.com",
    legs=[Leg(3072, 3, "dee@example.net", "SUCCESS,FAILURE", "rfc822;Dee+40example.org")],
    content=Content(22, b"Subject: x\r\n\r\nhello\r\n"),
    lease_until=UNTIL,
    transport="relay",
    ret="HDRS",
    earlier=[Earlier("mx.example.net", "192.0.2.1", 451, "4.7.1"), Earlier("", "", 0, "")],
)
VERSIONS = {1: Handoff("unit-1", [INLINE, BY_KEY], 1), 2: Handoff("unit-1", [INLINE, BY_KEY, ROUTED], 2)}
"""What the golden file of each version says; files may be added, never edited."""


@pytest.mark.parametrize("version", VERSIONS)
def test_every_version_ever_sent_is_understood(version: int) -> None:
    """A unit that is older or newer than deliver takes its handoffs."""
    assert VERSIONS[version] == decode_handoff((GOLDEN / f"v{version}.msgpack").read_bytes())


@pytest.mark.parametrize("version", VERSIONS)
def test_every_version_is_still_sent_as_it_was(version: int) -> None:
    """A change of the form shows here: it needs a version of its own and a file of its own.

    What goes to a unit of an older version is, byte for byte, what its own deliver would have sent.
    """
    assert (GOLDEN / f"v{version}.msgpack").read_bytes() == encode(VERSIONS[version])


texts = st.text(max_size=20)
transactions = st.builds(
    Transaction,
    account=texts,
    message_id=st.integers(0, 2**53 - 1),
    domain=texts,
    reverse_path=texts,
    legs=st.lists(st.builds(Leg, st.integers(0, 2**53 - 1), st.integers(1, 99), texts), max_size=4),
    content=st.builds(Content, st.integers(0, 10**8), st.none() | st.binary(max_size=50), texts),
    lease_until=st.datetimes(timezones=st.just(UTC)),
)


@given(st.builds(Handoff, texts, st.lists(transactions, max_size=3)))
def test_a_handoff_comes_back_as_it_went(handoff: Handoff) -> None:
    """Encoding and decoding are inverse."""
    assert handoff == decode_handoff(encode(handoff))


@given(st.binary(max_size=200))
def test_other_bytes_are_refused_with_one_kind_of_error(body: bytes) -> None:
    """Whatever comes over the network, only errors of the decoder come out."""
    for decode in (decode_handoff, decode_answer, decode_hint, decode_call):
        with pytest.raises(msgspec.MsgspecError):
            decode(body)


def test_a_lease_without_time_zone_is_refused() -> None:
    """It could not be compared with any clock."""
    naive = msgspec.structs.replace(BY_KEY, lease_until=UNTIL.replace(tzinfo=None))

    with pytest.raises(msgspec.ValidationError, match="lease_until"):
        decode_handoff(encode(Handoff("unit-1", [INLINE, naive])))


def test_answers_and_queue_bodies_come_back_as_they_went() -> None:
    """So do the other messages between the parts."""
    answer, hint, call = (
        HandoffAnswer([True, False], 7),
        Hint("abcdefgh", [1, 2]),
        Call("abcdefgh", 1, 2, "now", attempts=3),
    )

    assert answer == decode_answer(encode(answer))
    assert hint == decode_hint(encode_queue_body(hint))
    assert call == decode_call(encode_queue_body(call))
