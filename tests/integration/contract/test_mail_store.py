"""The contract of `MailStore`, but for its listing: accepting, reading, replacing, reaping."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import msgspec
import pytest

from egret.contracts.records import IdempotencyState
from egret.core.delivery import Delivery, State
from tests.integration.contract.backends import Backend
from tests.samples import (
    CONTENT,
    DAY,
    HOUR,
    MINUTE,
    NOON,
    acceptance,
    busy,
    completed,
    delivery,
    ended,
    message,
    message_number,
    reservation,
)

LARGE = os.urandom(500_000)
"""Too large for an item of the table, compressed or not."""
REPAIR_AT = NOON + 2 * MINUTE


# --- put_message


def test_message_comes_back_as_it_was_put(backend: Backend, account: str) -> None:
    """Every fact survives storage, so does each byte of the content."""
    assert backend.store.put_message(message(account), CONTENT)

    assert message(account) == backend.store.message(account, message_number(1))
    assert backend.store.content(account, message_number(1)) == CONTENT


@pytest.mark.parametrize(
    "content", [b"", b"\x00\xff\r\n", b"a" * 100_000, LARGE], ids=["empty", "binary", "long", "large"]
)
def test_content_of_any_size_and_kind_survives(backend: Backend, account: str, content: bytes) -> None:
    """From nothing to more than an item of the table holds."""
    backend.store.put_message(message(account), content)

    assert content == backend.store.content(account, message_number(1))


@pytest.mark.parametrize("content", [b"another", LARGE], ids=["small", "large"])
def test_taken_id_writes_nothing(backend: Backend, account: str, content: bytes) -> None:
    """The second message of an id is refused; facts and content stay those of the first."""
    backend.store.put_message(message(account), LARGE[::-1])

    assert backend.store.put_message(msgspec.structs.replace(message(account), subject="another"), content) is False
    assert message(account) == backend.store.message(account, message_number(1))
    assert LARGE[::-1] == backend.store.content(account, message_number(1))


def test_same_id_in_another_account_is_free(backend: Backend, account: str, other: str) -> None:
    """Ids are unique within an account only."""
    backend.store.put_message(message(account), CONTENT)

    assert backend.store.put_message(message(other), b"theirs")
    assert [backend.store.content(who, message_number(1)) for who in (account, other)] == [CONTENT, b"theirs"]


def test_one_of_many_writers_gets_an_id(backend: Backend, account: str) -> None:
    """Eight messages want one id at once: one has it, whole."""
    messages = [msgspec.structs.replace(message(account), subject=str(writer)) for writer in range(8)]
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda m: backend.store.put_message(m, m.subject.encode()), messages))

    assert won.count(True) == 1
    winner = messages[won.index(True)]
    assert winner == backend.store.message(account, winner.id)
    assert winner.subject.encode() == backend.store.content(account, winner.id)


# --- accept


def test_accepted_delivery_can_be_read(backend: Backend, account: str) -> None:
    """After the commit the delivery is there, exact to the microsecond."""
    backend.store.put_message(message(account), CONTENT)

    assert backend.store.accept(acceptance(account))
    assert delivery(account) == backend.store.get(account, delivery(account).id, NOON)


def test_put_message_alone_accepts_nothing(backend: Backend, account: str) -> None:
    """Content without its commit is no delivery."""
    backend.store.put_message(message(account), CONTENT)

    assert backend.store.get(account, delivery(account).id, NOON) is None


def test_repeated_accept_leaves_progress_alone(backend: Backend, account: str) -> None:
    """A commit whose answer got lost is asked for again, after the delivery was claimed: True, and the claim stays."""
    backend.store.put_message(message(account), CONTENT)
    backend.store.accept(acceptance(account))
    backend.store.replace(delivery(account), busy(account))

    assert backend.store.accept(acceptance(account))
    assert busy(account) == backend.store.get(account, busy(account).id, NOON)


def test_accept_completes_the_idempotency_record(backend: Backend, account: str) -> None:
    """The response is remembered by the write that accepts."""
    backend.idempotency.reserve(reservation(account), NOON)
    backend.store.put_message(message(account), CONTENT)
    wanted = replace(acceptance(account), idempotency=completed(reservation(account), "the answer"))

    assert backend.store.accept(wanted)
    assert backend.idempotency.reserve(reservation(account, "token-2"), NOON) == (IdempotencyState.DONE, "the answer")


def test_repeated_accept_with_a_key_is_true(backend: Backend, account: str) -> None:
    """The same acceptance with its own completed record is no lost reservation."""
    backend.idempotency.reserve(reservation(account), NOON)
    backend.store.put_message(message(account), CONTENT)
    wanted = replace(acceptance(account), idempotency=completed(reservation(account)))

    assert [backend.store.accept(wanted), backend.store.accept(wanted)] == [True, True]


def _lose_reservation(backend: Backend, account: str) -> None:
    """Let token-1's reservation run out and token-2 take the key."""
    backend.idempotency.reserve(reservation(account, "token-1"), NOON)
    taker = replace(reservation(account, "token-2"), expires_at=NOON + DAY)
    assert backend.idempotency.reserve(taker, NOON + HOUR) == (IdempotencyState.NEW, "")


def test_accept_without_its_reservation_writes_nothing(backend: Backend, account: str) -> None:
    """Who lost the reservation accepts no delivery and does not complete the other's record."""
    _lose_reservation(backend, account)
    backend.store.put_message(message(account), CONTENT)
    wanted = replace(acceptance(account), idempotency=completed(reservation(account, "token-1")))

    assert backend.store.accept(wanted) is False
    assert backend.store.get(account, delivery(account).id, NOON) is None
    state, _ = backend.idempotency.reserve(reservation(account, "token-3"), NOON + HOUR)
    assert state is IdempotencyState.IN_FLIGHT


def test_accept_with_a_key_never_reserved_is_false(backend: Backend, account: str) -> None:
    """A completed record comes only after a reservation."""
    backend.store.put_message(message(account), CONTENT)

    assert not backend.store.accept(replace(acceptance(account), idempotency=completed(reservation(account))))


# --- accept_several, expand, planned, close


def test_several_are_committed_as_planned(backend: Backend, account: str) -> None:
    """Message, content and all deliveries are there after one commit; the deliveries wait to be expanded."""
    wanted = acceptance(account, recipients=3)

    assert backend.store.accept_several(wanted, CONTENT, REPAIR_AT) is True
    assert wanted.message == backend.store.message(account, wanted.message.id)
    assert backend.store.content(account, wanted.message.id) == CONTENT
    assert wanted.deliveries == backend.store.planned(account, wanted.message.id)
    assert backend.store.get_many([(account, d.id) for d in wanted.deliveries], NOON) == {}


def test_a_thousand_recipients_are_one_commit(backend: Backend, account: str) -> None:
    """The most that a submission may have, with a content that is large as well."""
    wanted = acceptance(account, recipients=1000)

    assert backend.store.accept_several(wanted, LARGE, REPAIR_AT) is True
    backend.store.expand(wanted.deliveries)
    assert wanted.deliveries == backend.store.planned(account, wanted.message.id)
    keys = [(account, d.id) for d in wanted.deliveries]
    assert dict(zip(keys, wanted.deliveries, strict=True)) == backend.store.get_many(keys, NOON)
    assert backend.store.content(account, wanted.message.id) == LARGE


def test_several_with_a_taken_id_write_nothing(backend: Backend, account: str) -> None:
    """None: another message has the id, and keeps it; the reservation stays open for the next id."""
    backend.idempotency.reserve(reservation(account), NOON)
    backend.store.put_message(message(account), CONTENT)
    wanted = replace(acceptance(account, recipients=2), idempotency=completed(reservation(account)))

    assert backend.store.accept_several(wanted, b"another", REPAIR_AT) is None
    assert message(account) == backend.store.message(account, message_number(1))
    assert backend.store.content(account, message_number(1)) == CONTENT
    assert backend.store.planned(account, message_number(1)) == ()
    assert backend.idempotency.reserve(reservation(account, "token-2"), NOON) == (IdempotencyState.IN_FLIGHT, "")


def test_several_without_their_reservation_write_nothing(backend: Backend, account: str) -> None:
    """False: somebody else owns the key by now."""
    _lose_reservation(backend, account)
    wanted = replace(acceptance(account, recipients=2), idempotency=completed(reservation(account, "token-1")))

    assert backend.store.accept_several(wanted, CONTENT, REPAIR_AT) is False
    assert backend.store.message(account, wanted.message.id) is None
    assert backend.store.planned(account, wanted.message.id) == ()


def test_several_complete_the_idempotency_record(backend: Backend, account: str) -> None:
    """The response is remembered by the write that accepts."""
    backend.idempotency.reserve(reservation(account), NOON)
    wanted = replace(acceptance(account, recipients=2), idempotency=completed(reservation(account), "the answer"))

    assert backend.store.accept_several(wanted, CONTENT, REPAIR_AT) is True
    assert backend.idempotency.reserve(reservation(account, "token-2"), NOON) == (IdempotencyState.DONE, "the answer")


@pytest.mark.parametrize("has_key", [False, True])
def test_repeated_acceptance_of_several_is_true(backend: Backend, account: str, has_key: bool) -> None:
    """A commit whose answer got lost does not look like a taken id: the caller would send it all again."""
    backend.idempotency.reserve(reservation(account), NOON)
    record = completed(reservation(account)) if has_key else None
    wanted = replace(acceptance(account, recipients=2), idempotency=record)

    answers = [backend.store.accept_several(wanted, CONTENT, REPAIR_AT) for _ in range(2)]
    assert answers == [True, True]
    assert backend.store.planned(account, wanted.message.id) == wanted.deliveries


def test_expand_is_idempotent(backend: Backend, account: str) -> None:
    """Expanding again, wholly or in part, neither fails nor takes back what deliveries went through meanwhile."""
    wanted = acceptance(account, recipients=60)
    backend.store.accept_several(wanted, CONTENT, REPAIR_AT)
    backend.store.expand(wanted.deliveries[:30])
    claimed = msgspec.structs.replace(wanted.deliveries[7], state=State.CANCELED, rev=2, due_at=None, ended_at=NOON)
    assert backend.store.replace(wanted.deliveries[7], claimed)

    backend.store.expand(wanted.deliveries)
    backend.store.expand(iter(wanted.deliveries))

    found = backend.store.get_many([(account, d.id) for d in wanted.deliveries], NOON)
    expected = [claimed if d.id == claimed.id else d for d in wanted.deliveries]
    assert expected == [found.get((account, d.id)) for d in wanted.deliveries]


def test_expanding_nothing_is_allowed(backend: Backend, account: str) -> None:
    """No deliveries, no request, no error."""
    backend.store.expand([])

    assert backend.store.get_many([], NOON) == {}


def test_plan_stays_as_committed_until_closed(backend: Backend, account: str) -> None:
    """Progress of a delivery does not show in the plan; closing drops the plan, and closing again is no error."""
    wanted = acceptance(account, recipients=2)
    backend.store.accept_several(wanted, CONTENT, REPAIR_AT)
    backend.store.expand(wanted.deliveries)
    backend.store.replace(wanted.deliveries[0], msgspec.structs.replace(wanted.deliveries[0], rev=2))
    before = backend.store.planned(account, wanted.message.id)
    for _ in range(2):
        backend.store.close(account, wanted.message.id)

    assert before == wanted.deliveries
    assert backend.store.planned(account, wanted.message.id) == ()
    assert backend.store.message(account, wanted.message.id) == wanted.message
    assert backend.store.content(account, wanted.message.id) == CONTENT
    assert backend.store.get(account, wanted.deliveries[1].id, NOON) == wanted.deliveries[1]


def test_closing_what_is_not_there_changes_nothing(backend: Backend, account: str) -> None:
    """Neither an unknown id nor the message of a single recipient is harmed."""
    backend.store.put_message(message(account), CONTENT)
    backend.store.close(account, message_number(1))
    backend.store.close(account, message_number(2))

    assert backend.store.message(account, message_number(1)) == message(account)
    assert backend.store.message(account, message_number(2)) is None
    assert backend.store.planned(account, message_number(2)) == ()


# --- reading


def test_absent_things_are_none(backend: Backend, account: str) -> None:
    """Message, content and delivery of an id that was never used."""
    key = (account, message_number(9))

    assert backend.store.message(*key) is None
    assert backend.store.content(*key) is None
    assert backend.store.get(*key, NOON) is None
    assert backend.store.messages([key]) == {}
    assert backend.store.contents([key]) == {}
    assert backend.store.get_many([key], NOON) == {}


def test_many_are_read_at_once_over_accounts(backend: Backend, account: str, other: str) -> None:
    """More than a hundred keys of two accounts, repeated and absent ones among them."""
    for number in range(60):
        for who in (account, other):
            backend.store.put_message(message(who, number), b"%d" % number)
            backend.store.accept(acceptance(who, number))
    keys = [(who, message_number(number)) for who in (account, other) for number in range(61)]
    keys.append(keys[0])

    messages, contents = backend.store.messages(keys), backend.store.contents(keys)
    expected = {(who, message_number(n)): message(who, n) for who in (account, other) for n in range(60)}
    assert expected == messages
    assert expected == {key: facts for key, (facts, _) in contents.items()}
    deliveries = {(who, message_number(n)): delivery(who, n) for who in (account, other) for n in range(60)}
    assert deliveries == backend.store.get_many(keys, NOON)
    assert backend.content(contents[account, message_number(17)][1]) == b"17"


def test_large_content_is_given_by_its_blob(backend: Backend, account: str) -> None:
    """`contents` tells where a large content is; a small one it has with it."""
    backend.store.put_message(message(account, 1), CONTENT)
    backend.store.put_message(message(account, 2), LARGE)
    keys = [(account, message_number(1)), (account, message_number(2))]
    found = backend.store.contents(keys)

    assert found[keys[0]] == (message(account, 1), CONTENT)
    facts, blob = found[keys[1]]
    assert facts == message(account, 2)
    assert isinstance(blob, str)
    assert blob.startswith(f"content/{account}/")
    assert backend.blobs.get(blob) == LARGE


@pytest.mark.parametrize("make", [delivery, busy, ended])
def test_deliveries_of_every_kind_survive_storage(
    backend: Backend, account: str, make: Callable[[str], Delivery]
) -> None:
    """Attempts with their replies, events, lease and instants come back exactly."""
    stored = make(account)
    backend.store.expand([stored])

    assert stored == backend.store.get(account, stored.id, NOON)


@pytest.mark.parametrize(("retention_days", "seen_days"), [(30, 30), (0, 7)])
def test_forgotten_delivery_is_absent(backend: Backend, account: str, retention_days: int, seen_days: int) -> None:
    """After its retention, and at least 7 days after its end, a delivery is not there, dropped by storage or not."""
    gone = ended(account, retention=retention_days * DAY)
    backend.store.expand([gone])
    forget_at = NOON + seen_days * DAY
    key = (account, gone.id)

    assert backend.store.get(*key, forget_at - MINUTE) == gone
    assert backend.store.get(*key, forget_at) is None
    assert backend.store.get_many([key], forget_at) == {}


def test_nothing_of_another_account_can_be_read(backend: Backend, account: str, other: str) -> None:
    """With the very ids of somebody else's message, planned submission and deliveries."""
    backend.store.put_message(message(account, 1), CONTENT)
    backend.store.accept(acceptance(account, 1))
    backend.store.accept_several(acceptance(account, 2, recipients=2), CONTENT, REPAIR_AT)
    keys = [(other, message_number(number)) for number in (1, 2)]

    assert backend.store.messages(keys) == {}
    assert backend.store.contents(keys) == {}
    assert backend.store.get_many(keys, NOON) == {}
    for key in keys:
        assert backend.store.message(*key) is None
        assert backend.store.content(*key) is None
        assert backend.store.get(*key, NOON) is None
        assert backend.store.planned(*key) == ()


# --- replace


def test_replace_writes_the_new_delivery(backend: Backend, account: str) -> None:
    """On the condition that it is still as it was read."""
    old = delivery(account)
    backend.store.expand([old])

    assert backend.store.replace(old, busy(account))
    assert busy(account) == backend.store.get(account, old.id, NOON)


def test_replace_from_a_stale_read_is_refused(backend: Backend, account: str) -> None:
    """Two writers read the same: the second finds that the first was faster, and changes nothing."""
    old = delivery(account)
    backend.store.expand([old])
    first, second = (
        msgspec.structs.replace(old, rev=2, reverse_path="first"),
        msgspec.structs.replace(old, rev=2, reverse_path="second"),
    )

    assert [backend.store.replace(old, first), backend.store.replace(old, second)] == [True, False]
    assert first == backend.store.get(account, old.id, NOON)


def test_replace_of_what_is_absent_is_refused(backend: Backend, account: str, other: str) -> None:
    """Neither an unknown delivery nor somebody else's of that id is created or changed."""
    backend.store.expand([delivery(account)])

    assert not backend.store.replace(delivery(other), msgspec.structs.replace(delivery(other), rev=2))
    assert backend.store.get(other, delivery(other).id, NOON) is None
    assert backend.store.get(account, delivery(account).id, NOON) == delivery(account)


def test_one_of_eight_writers_wins(backend: Backend, account: str) -> None:
    """Eight threads replace one delivery at once, four times over: each time one wins, and its write is there."""
    current = delivery(account)
    backend.store.expand([current])
    for _ in range(4):
        wanted = [msgspec.structs.replace(current, rev=current.rev + 1, reverse_path=f"writer-{n}") for n in range(8)]
        with ThreadPoolExecutor(8) as pool:
            won = list(pool.map(backend.store.replace, [current] * 8, wanted))
        assert won.count(True) == 1
        current = wanted[won.index(True)]
        assert backend.store.get(account, current.id, NOON) == current


def test_many_are_replaced_each_on_its_own_condition(backend: Backend, account: str) -> None:
    """The answers stand in the order of the pairs; one that lost holds up no other."""
    old = [delivery(account, number) for number in range(20)]
    backend.store.expand(old[:19])
    backend.store.replace(old[3], msgspec.structs.replace(old[3], rev=2))
    pairs = [(d, msgspec.structs.replace(d, rev=2, reverse_path="many")) for d in old]

    won = list(backend.store.replace_many(pairs))
    assert [number not in (3, 19) for number in range(20)] == won
    found = backend.store.get_many([(account, d.id) for d in old], NOON)
    assert {d.id: d for won_, (_, d) in zip(won, pairs, strict=True) if won_} == {
        d.id: d for d in found.values() if d.reverse_path == "many"
    }
    assert list(backend.store.replace_many([])) == []


# --- reap


def test_message_without_deliveries_is_reaped(backend: Backend, account: str) -> None:
    """Facts and content go, wherever the content lay; the second time there is nothing to do."""
    backend.store.put_message(message(account), LARGE)
    _, blob = backend.store.contents([(account, message_number(1))])[account, message_number(1)]
    answers = [backend.store.reap(account, message_number(1), NOON) for _ in range(2)]

    assert answers == [True, False]
    assert backend.store.message(account, message_number(1)) is None
    assert backend.store.content(account, message_number(1)) is None
    assert backend.content(blob) is None


def test_message_with_one_delivery_left_is_kept(backend: Backend, account: str) -> None:
    """Content stays until every delivery is terminal and its retention is over."""
    backend.store.put_message(message(account), CONTENT)
    backend.store.expand([ended(account), delivery(account, index=700)])

    assert not backend.store.reap(account, message_number(1), NOON + 365 * DAY)
    assert backend.store.content(account, message_number(1)) == CONTENT


def test_forgotten_deliveries_do_not_keep_a_message(backend: Backend, account: str) -> None:
    """Storage may drop them late: past their time they count as absent."""
    backend.store.put_message(message(account), CONTENT)
    backend.store.expand([ended(account)])
    answers = [backend.store.reap(account, message_number(1), NOON + days * DAY) for days in (29, 30)]

    assert answers == [False, True]
    assert backend.store.message(account, message_number(1)) is None


def test_unclosed_submission_is_not_reaped(backend: Backend, account: str) -> None:
    """Its deliveries are still to come."""
    wanted = acceptance(account, recipients=2)
    backend.store.accept_several(wanted, CONTENT, REPAIR_AT)

    assert not backend.store.reap(account, wanted.message.id, NOON)
    assert backend.store.planned(account, wanted.message.id) == wanted.deliveries


def test_reaping_spares_neighbours(backend: Backend, account: str, other: str) -> None:
    """Deliveries of the next id and of another account neither keep a message nor lose theirs."""
    for who, number in ((account, 1), (account, 2), (other, 1)):
        backend.store.put_message(message(who, number), CONTENT)
    backend.store.expand([delivery(account, 2), delivery(other, 1)])

    assert backend.store.reap(account, message_number(1), NOON)
    assert backend.store.content(account, message_number(2)) == CONTENT
    assert backend.store.content(other, message_number(1)) == CONTENT
