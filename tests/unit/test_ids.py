"""Ids stay exact in JavaScript, sort by time, and lead from a delivery to its message."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from egret.core import ids
from egret.core.ids import EPOCH, MAX_ID, MAX_RECIPIENTS, SHARDS, TICK

instants = st.datetimes(min_value=datetime(2025, 1, 2), max_value=datetime(2090, 1, 1)).map(  # noqa: DTZ001
    lambda naive: naive.replace(tzinfo=EPOCH.tzinfo)
)


@given(instants, st.integers(0, 1 << 64), st.integers(0, MAX_RECIPIENTS - 1))
def test_an_id_stays_below_2_to_the_53(now: datetime, random_bits: int, index: int) -> None:
    """JavaScript reads every id exactly."""
    assert 0 < ids.delivery_id(ids.message_id_number(now, random_bits), index) <= MAX_ID


@given(instants, st.integers(0, 1 << 64), st.integers(0, MAX_RECIPIENTS - 1))
def test_a_delivery_leads_to_its_message(now: datetime, random_bits: int, index: int) -> None:
    """Message, index and shard can be computed from a delivery id."""
    message = ids.message_id_number(now, random_bits)
    delivery = ids.delivery_id(message, index)

    assert (message, index) == (ids.message_of(delivery), ids.index_of(delivery))
    assert ids.shard_of(message) == ids.shard_of(delivery) < SHARDS


@given(instants, st.integers(0, 511), st.integers(0, 511))
def test_a_later_id_is_greater(now: datetime, first: int, second: int) -> None:
    """Ids sort by time, whatever the dice say."""
    assert ids.message_id_number(now, first) < ids.message_id_number(now + 2 * TICK, second)


@given(instants, st.integers(0, 511))
def test_the_time_of_an_id_is_exact_to_a_tick(now: datetime, random_bits: int) -> None:
    """An id tells when it was made, and a search by time starts at the right place."""
    message = ids.message_id_number(now, random_bits)

    assert ids.first_id_at(now) <= message
    assert ids.delivery_id(message, ids.MAX_RECIPIENTS - 1) <= ids.last_id_at(now)
    assert ids.last_id_at(now - TICK) < message < ids.first_id_at(now + TICK)


def test_bounds_stay_in_range_for_any_instant() -> None:
    """Whoever asks for mail of the year 1 or 9999 is answered."""
    past, future = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
    assert (ids.first_id_at(past), ids.first_id_at(future), ids.last_id_at(future)) == (0, MAX_ID, MAX_ID)
