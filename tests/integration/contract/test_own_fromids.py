"""The contract of `OwnFromIds`: what a submitter chose leads to one delivery, from its acceptance on."""

from __future__ import annotations

from dataclasses import replace

import pytest
from msgspec import structs

from egret.contracts.records import Acceptance, OwnFromId
from egret.core.errors import Conflict
from tests.integration.contract.backends import Backend
from tests.samples import CONTENT, DAY, MINUTE, NOON, acceptance, completed, delivery, message, reservation


def _accepted(backend: Backend, account: str, number: int = 1, **changes: object) -> bool:
    """Accept a message whose delivery the fromid `order-17` leads to."""
    backend.store.put_message(message(account, number), CONTENT)
    return backend.store.accept(_acceptance(account, number, **changes))


def _acceptance(account: str, number: int = 1, **changes: object) -> Acceptance:
    own = OwnFromId(account, "order-17", delivery(account, number).id, NOON + DAY)
    return replace(acceptance(account, number), own_fromid=own, **changes)  # type: ignore[arg-type]


def test_a_fromid_leads_to_its_delivery(backend: Backend, account: str) -> None:
    """From the acceptance on, until it is forgotten; a text that nobody chose leads nowhere."""
    before = backend.own_fromids.find(account, "order-17", NOON)
    assert _accepted(backend, account)

    assert before == 0
    assert backend.own_fromids.find(account, "order-17", NOON) == delivery(account).id
    assert backend.own_fromids.find(account, "order-17", NOON + DAY) == 0
    assert backend.own_fromids.find(account, "order-18", NOON) == 0
    assert backend.own_fromids.find("another", "order-17", NOON) == 0


def test_a_fromid_that_was_used_commits_nothing(backend: Backend, account: str) -> None:
    """Neither the delivery nor the answer under the Idempotency-Key; the first stays as it was."""
    _accepted(backend, account)
    backend.idempotency.reserve(reservation(account), NOON)
    with pytest.raises(Conflict):
        _accepted(backend, account, 2, idempotency=completed(reservation(account)))

    assert backend.store.get(account, delivery(account, 2).id, NOON) is None
    assert backend.own_fromids.find(account, "order-17", NOON) == delivery(account).id
    assert backend.idempotency.reserve(reservation(account), NOON)[1] == ""


def test_a_repeated_acceptance_is_no_conflict(backend: Backend, account: str) -> None:
    """Its fromid leads to its own delivery already."""
    _accepted(backend, account)

    assert backend.store.accept(_acceptance(account))


def test_a_forgotten_fromid_is_free(backend: Backend, account: str) -> None:
    """Storage may drop it late; until then it does not stand in the way."""
    _accepted(backend, account)
    late = delivery(account, 2)
    queued_at = NOON + DAY + MINUTE
    own = OwnFromId(account, "order-17", late.id, queued_at + DAY)
    facts = structs.replace(message(account, 2), queued_at=queued_at)
    backend.store.put_message(facts, CONTENT)

    assert backend.store.accept(Acceptance(facts, (late,), own_fromid=own))
    assert backend.own_fromids.find(account, "order-17", queued_at) == late.id
