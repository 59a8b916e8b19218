"""The stored form of deliveries and messages: nothing is lost, and little is written."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from egret.aws.mail_items import (
    delivery_item,
    message_item,
    message_item_of_object,
    plan_item,
    read_delivery,
    read_message,
    read_plan,
)
from egret.aws.table import Item
from egret.core.changes import Claim, Record
from egret.core.delivery import Attempt, Delivery, Lease, Message, State
from egret.core.errors import ContractError, InvalidRequest
from egret.core.events import Event, EventKind
from egret.core.ids import MAX_ID, SHARDS
from egret.core.lifecycle import apply
from egret.core.outcome import Bounced, Deferred, Delivered, Outcome, Remote, Unknown
from egret.core.reply import Reply
from egret.core.trace import SessionTrace

NOW = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
ACCOUNT = "k3x7qa2m"
MESSAGE_ID = 4711 << 10

instants = st.datetimes(datetime(2025, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
durations = st.timedeltas(timedelta(0), timedelta(days=400))
texts = st.sampled_from(("", "a", "x@example.org", "5.1.1", "ü \u20ac\U0001f4ee", "line\r\n", "\0")) | st.text(
    max_size=4
)
replies = st.builds(Reply, st.integers(200, 599), st.lists(texts, min_size=1, max_size=3).map(tuple))
remotes = st.builds(Remote, texts, texts)
outcomes: st.SearchStrategy[Outcome] = st.one_of(
    st.builds(Delivered, replies, remotes),
    st.builds(Deferred, texts, st.none() | replies, remotes),
    st.builds(Bounced, texts, st.none() | replies, remotes, st.booleans()),
    st.builds(Unknown, texts, remotes),
)
traces = st.builds(SessionTrace, texts, texts, texts, st.lists(texts, max_size=2).map(tuple), st.booleans())
attempts = st.lists(st.builds(Attempt, st.integers(1, 9), instants, durations, outcomes, traces), max_size=3).map(tuple)
events = st.builds(
    Event,
    seq=st.integers(1, 99),
    kind=st.sampled_from(EventKind),
    at=instants,
    attempt=st.integers(0, 4),
    source=texts,
    dsn=st.booleans(),
    code=st.integers(0, 599),
    enhanced_code=texts,
    error=texts,
    reply=st.lists(texts, max_size=3).map(tuple),
    remote=remotes,
    failure=texts,
    by_message_id=st.booleans(),
)
deliveries = st.builds(
    Delivery,
    account=st.just(ACCOUNT),
    id=st.integers(0, MAX_ID),
    recipient=texts,
    notify=texts,
    orcpt=texts,
    domain=texts,
    reverse_path=texts,
    fromid=texts,
    queued_at=instants,
    not_before=instants,
    expires_at=instants,
    retention=durations,
    due_at=st.none() | instants,
    state=st.sampled_from(State),
    max_attempts=st.integers(1, 20),
    lease=st.none() | st.builds(Lease, st.integers(1, 9), texts, instants),
    attempts=attempts,
    events=st.lists(events, max_size=3).map(tuple),
    rev=st.integers(1, 1000),
    held_at=st.none() | instants,
    is_released=st.booleans(),
    waiting=texts,
    ended_at=st.none() | instants,
)
messages = st.builds(
    Message,
    account=st.just(ACCOUNT),
    id=st.integers(0, MAX_ID),
    message_id=texts,
    subject=texts,
    login=texts,
    header_from=texts,
    recipients=st.lists(texts, max_size=4).map(tuple),
    queued_at=instants,
    size_bytes=st.integers(0, 1 << 30),
    smtputf8=st.booleans(),
    require_tls=st.none() | st.booleans(),
    extra=st.dictionaries(texts, texts, max_size=3),
)


@given(deliveries.filter(lambda delivery: "\0" not in delivery.reverse_path))
def test_delivery_comes_back_as_it_was(delivery: Delivery) -> None:
    """Every field of every delivery survives, to the microsecond."""
    assert delivery == read_delivery(delivery_item(delivery))


@given(messages, st.binary(max_size=2000))
def test_message_comes_back_as_it_was(message: Message, content: bytes) -> None:
    """Facts and content come apart again where they were joined."""
    item = message_item(message, content)

    assert item is not None
    stored = read_message(item)
    assert (message, content) == (stored.message, stored.content)


@given(messages)
def test_message_of_an_object_keeps_its_key(message: Message) -> None:
    """Large content is told by the key of its object."""
    stored = read_message(message_item_of_object(message, "content/key"))

    assert (message, "content/key") == (stored.message, stored.content)


def _delivery(index: int = 0, **changes: Any) -> Delivery:
    token = f"mzxw6ytboi4tcmrtgq2tmnzyhe{index:06d}"
    delivery = Delivery(
        account=ACCOUNT,
        id=MESSAGE_ID | index,
        recipient=f"maria.lindqvist{index}@mailprovider.example",
        domain="mailprovider.example",
        reverse_path=f"{token}@bounces.riverside-clinic.example",
        fromid=token,
        queued_at=NOW,
        not_before=NOW,
        expires_at=NOW + timedelta(hours=72),
        retention=timedelta(days=30),
        due_at=NOW + timedelta(seconds=90),
    )
    return replace(delivery, **changes)


def _message(count: int, **changes: Any) -> Message:
    recipients = tuple(_delivery(index).recipient for index in range(count))
    message = Message(ACCOUNT, MESSAGE_ID, "<a@b.example>", "Hi", "a@b.example", "a@b.example", recipients, NOW, 4000)
    return replace(message, **changes)


def _size_bytes(item: Item) -> int:
    """Return the size by which DynamoDB charges: names and values; a number about a byte for two digits."""
    return sum(len(name) + _value_bytes(kind, raw) for name, value in item.items() for kind, raw in value.items())


def _value_bytes(kind: str, raw: Any) -> int:
    if kind == "N":
        return len(raw) // 2 + 2
    return len(raw.encode()) if kind == "S" else len(raw)


def _tried(delivery: Delivery, outcome: Outcome, number: int) -> Delivery:
    claimed = apply(delivery, Claim("unit-0a1b2c3d", delivery.not_before, delivery.not_before + timedelta(minutes=40)))
    assert isinstance(claimed, Delivery)
    attempt = Attempt(number, delivery.not_before, timedelta(seconds=1.5), outcome)
    recorded = apply(claimed, Record(attempt, delivery.not_before + timedelta(hours=1), delivery.not_before))
    assert isinstance(recorded, Delivery)
    return recorded


def test_fresh_and_delivered_deliveries_take_one_write_unit() -> None:
    """The items that every message writes stay below 1 KB, with room for longer names."""
    queued_as = Reply(250, ("2.0.0 OK  1795347870 ffacd0b85a97d-42b5e3f1f2fsi1234567f8f.123 - gsmtp",))
    delivered = _tried(
        _delivery(), Delivered(queued_as, Remote("gmail-smtp-in.l.google.com", "2a00:1450:4013:c14::1a")), 1
    )

    assert _size_bytes(delivery_item(_delivery())) < 300
    assert _size_bytes(delivery_item(delivered)) < 500


def test_seven_deferrals_still_take_one_write_unit() -> None:
    """A history compresses well, since servers say the same again."""
    delivery = _delivery()
    for number in range(1, 8):
        reply = Reply(451, (f"4.7.1 <{delivery.recipient}>: Recipient address rejected: Greylisted, {number} tries",))
        outcome = Deferred("the server deferred the recipient", reply, Remote("mx1.mailprovider.example", "192.0.2.7"))
        delivery = _tried(delivery, outcome, number)

    assert len(delivery.events) == 7
    assert _size_bytes(delivery_item(delivery)) < 1000


def test_plan_leaves_out_nothing() -> None:
    """A thousand deliveries come back from the plan and the message beside it."""
    message = _message(1000)
    planned = tuple(_delivery(index) for index in range(1000))

    assert planned == read_plan(plan_item(message, planned, NOW), message)


def test_plan_of_a_thousand_fits_into_an_item() -> None:
    """About 30 bytes for each delivery, where an item may have 400 KB."""
    item = plan_item(_message(1000), tuple(_delivery(index) for index in range(1000)), NOW)

    assert _size_bytes(item) < 40_000


def test_plan_keeps_a_recipient_that_the_message_does_not_tell() -> None:
    """What differs from the message's own list is stored."""
    other = _delivery(1, recipient="other@example.org", domain="example.org")

    assert (other,) == read_plan(plan_item(_message(2), (other,), NOW), _message(2))


def test_only_a_write_that_brings_an_event_is_news() -> None:
    """The stream's filter lets through what has an event to tell, and nothing twice."""
    queued = _delivery()
    ended = _tried(queued, Bounced("refused", Reply(550, ("5.1.1 unknown",))), 1)

    assert "news" not in delivery_item(queued)
    assert delivery_item(ended, queued.event_seq)["news"] == {"S": "1"}
    assert "news" not in delivery_item(replace(ended, rev=9), ended.event_seq)


def test_due_entry_lies_in_the_shard_of_the_id() -> None:
    """The due index spreads as the account's partitions do; a delivery that is never due is not in it."""
    shards = {delivery_item(_delivery(id=block << 10))["due_shard"]["S"] for block in range(SHARDS)}

    assert shards == {f"delivery#{shard}" for shard in range(SHARDS)}
    assert "due_shard" not in delivery_item(_delivery(due_at=None))


def test_facts_that_fit_into_no_item_are_the_callers_fault() -> None:
    """Extra data beyond the limit is refused before anything is written."""
    with pytest.raises(InvalidRequest):
        message_item_of_object(_message(1, extra={"x": os.urandom(400_000).hex()}), "content/key")


def test_damaged_item_is_a_contract_error() -> None:
    """Bytes of another kind are not taken for a delivery."""
    item = delivery_item(_delivery()) | {"d": {"B": b"\x00\x93\x01\x02\x03"}}

    with pytest.raises(ContractError):
        read_delivery(item)
