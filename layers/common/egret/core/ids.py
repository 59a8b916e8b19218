"""Identifiers that stay below 2^53, so that JavaScript reads them exactly.

An id is `block << 10 | index`. A submission owns one block: its message has index 0, its deliveries have the indexes
0, 1, 2 … in the order To, CC, BCC (a message and a delivery may share a number; they are different kinds of item).
A block is `tick << 9 | random`, a tick being 125 ms since 2025-01-01 UTC: ids sort by time, and nobody counts.
That a block is unique within its account is ensured where it is stored, by a conditional put of the message.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

EPOCH = datetime(2025, 1, 1, tzinfo=UTC)
TICK = timedelta(milliseconds=125)
INDEX_BITS = 10
RANDOM_BITS = 9
MAX_RECIPIENTS = 1000
"""Deliveries of one submission; must stay below 2^INDEX_BITS."""
SENT_INDEX = (1 << INDEX_BITS) - 1
"""Of the copy that a submission leaves in its account's mailbox; incoming mail has the indexes below."""
MAX_ID = (1 << 53) - 1
SHARDS = 4
"""Partitions of one account: each takes about 1,000 write units a second."""


def message_id_number(now: datetime, random_bits: int) -> int:
    """Return the id of a new message: now is an aware instant after 2025-01-01, random_bits any integer."""
    block = _tick_at(now) << RANDOM_BITS | (random_bits & ((1 << RANDOM_BITS) - 1))
    return (block << INDEX_BITS) & MAX_ID


def delivery_id(message_id: int, index: int) -> int:
    """Return the id of delivery `index` (0-based) of the message."""
    return message_id | index


def message_of(delivery_id: int) -> int:
    """Return the id of the message that a delivery carries."""
    return delivery_id >> INDEX_BITS << INDEX_BITS


def index_of(delivery_id: int) -> int:
    """Return the position of a delivery within its submission."""
    return delivery_id & ((1 << INDEX_BITS) - 1)


def shard_of(any_id: int) -> int:
    """Return the shard (0 … SHARDS-1) of a message or a delivery; both have the same."""
    return (any_id >> INDEX_BITS) % SHARDS


def first_id_at(instant: datetime) -> int:
    """Return the smallest id that could be made at the instant: the lower bound of a search by time."""
    return min(MAX_ID, _tick_at(instant) << RANDOM_BITS + INDEX_BITS)


def last_id_at(instant: datetime) -> int:
    """Return the largest id that could be made at the instant: the upper bound of a search by time."""
    return min(MAX_ID, (_tick_at(instant) + 1 << RANDOM_BITS + INDEX_BITS) - 1)


def _tick_at(instant: datetime) -> int:
    return max(0, (instant - EPOCH) // TICK)
