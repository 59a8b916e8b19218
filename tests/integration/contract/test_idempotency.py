"""The contract of `Idempotency`: one request at a time, one answer for ever after."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from egret.contracts.records import IdempotencyState
from tests.integration.contract.backends import Backend
from tests.samples import CONTENT, DAY, MINUTE, NOON, acceptance, completed, message, reservation

NEW, DONE = IdempotencyState.NEW, IdempotencyState.DONE
CONFLICT, IN_FLIGHT = IdempotencyState.CONFLICT, IdempotencyState.IN_FLIGHT


def _complete(backend: Backend, account: str, response: str = "the answer") -> None:
    """Reserve key-1 with body-1 and accept a message under it."""
    backend.idempotency.reserve(reservation(account), NOON)
    backend.store.put_message(message(account), CONTENT)
    assert backend.store.accept(replace(acceptance(account), idempotency=completed(reservation(account), response)))


def test_first_request_reserves_the_key(backend: Backend, account: str) -> None:
    """The second, of the same body, finds it in flight."""
    assert backend.idempotency.reserve(reservation(account, "token-1"), NOON) == (NEW, "")
    assert backend.idempotency.reserve(reservation(account, "token-2"), NOON) == (IN_FLIGHT, "")


def test_own_reservation_is_still_new(backend: Backend, account: str) -> None:
    """A reservation whose answer got lost may be asked for again with its token."""
    answers = [backend.idempotency.reserve(reservation(account), NOON) for _ in range(2)]

    assert answers == [(NEW, ""), (NEW, "")]


def test_other_body_is_a_conflict_in_flight_and_later(backend: Backend, account: str) -> None:
    """One key, one request."""
    another = reservation(account, "token-2", "body-2")
    backend.idempotency.reserve(reservation(account), NOON)
    in_flight = backend.idempotency.reserve(another, NOON)
    _complete(backend, account)

    assert in_flight == (CONFLICT, "")
    assert backend.idempotency.reserve(another, NOON) == (CONFLICT, "")


def test_completed_request_gives_its_response_again(backend: Backend, account: str) -> None:
    """The very text, whoever asks, until the record expires."""
    response = '{"MessageID":"<ü@example.com>","Submissions":[]}'
    _complete(backend, account, response)

    for token in ("token-1", "token-2"):
        asked = reservation(account, token)
        assert backend.idempotency.reserve(asked, NOON + DAY - MINUTE) == (DONE, response)


def test_expired_reservation_is_free(backend: Backend, account: str) -> None:
    """A request that died leaves its key after a while, to a body of any kind; expiry counts by `now`."""
    backend.idempotency.reserve(reservation(account, "token-1"), NOON)
    almost = backend.idempotency.reserve(reservation(account, "token-2"), NOON + MINUTE - MINUTE / 60)
    taker = replace(reservation(account, "token-2", "body-2"), expires_at=NOON + 2 * MINUTE)

    assert almost == (IN_FLIGHT, "")
    assert backend.idempotency.reserve(taker, NOON + MINUTE) == (NEW, "")
    assert backend.idempotency.reserve(reservation(account, "token-3", "body-2"), NOON + MINUTE) == (IN_FLIGHT, "")


def test_expired_response_is_forgotten(backend: Backend, account: str) -> None:
    """After the account's window the key is as good as new."""
    _complete(backend, account)
    again = replace(reservation(account, "token-2"), expires_at=NOON + 2 * DAY)

    assert backend.idempotency.reserve(again, NOON + DAY) == (NEW, "")


def test_released_key_is_free(backend: Backend, account: str) -> None:
    """A refused request frees its key at once; releasing twice is no error."""
    backend.idempotency.reserve(reservation(account), NOON)
    for _ in range(2):
        backend.idempotency.release(reservation(account))

    assert backend.idempotency.reserve(reservation(account, "token-2", "body-2"), NOON) == (NEW, "")


def test_release_of_anothers_reservation_changes_nothing(backend: Backend, account: str) -> None:
    """Who lost the reservation cannot free the key of who has it now."""
    backend.idempotency.reserve(reservation(account, "token-1"), NOON)
    backend.idempotency.release(reservation(account, "token-2"))

    assert backend.idempotency.reserve(reservation(account, "token-3"), NOON) == (IN_FLIGHT, "")


def test_release_after_completion_changes_nothing(backend: Backend, account: str) -> None:
    """What was accepted stays remembered."""
    _complete(backend, account)
    backend.idempotency.release(reservation(account))

    assert backend.idempotency.reserve(reservation(account, "token-2"), NOON) == (DONE, "the answer")


def test_one_of_many_requests_gets_the_key(backend: Backend, account: str) -> None:
    """Eight at once: one is new, seven wait."""
    wanted = [reservation(account, f"token-{number}") for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda record: backend.idempotency.reserve(record, NOON), wanted))

    assert [answers.count((NEW, "")), answers.count((IN_FLIGHT, ""))] == [1, 7]


def test_keys_are_of_one_account(backend: Backend, account: str, other: str) -> None:
    """The same key of another account is new, and its release harms nobody."""
    _complete(backend, account)

    assert backend.idempotency.reserve(reservation(other, "token-1", "body-2"), NOON) == (NEW, "")
    backend.idempotency.release(reservation(other, "token-1", "body-2"))
    assert backend.idempotency.reserve(reservation(account, "token-2"), NOON) == (DONE, "the answer")


def test_keys_are_kept_apart(backend: Backend, account: str) -> None:
    """Another key of the same account is another request."""
    _complete(backend, account)

    assert backend.idempotency.reserve(reservation(account, "token-2", key="key-2"), NOON) == (NEW, "")
