"""Idempotency-Keys: the same request again gets the same answer and sends nothing.

The key is reserved before the work and completed in the same transaction as the acceptance. A reservation in flight
ends by itself after a while, so that a process that died does not block its caller's retries.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, assert_never

from egret.contracts.caller import Caller
from egret.contracts.ports import Idempotency
from egret.contracts.records import IdempotencyRecord, IdempotencyState
from egret.contracts.webapi import ErrorCode
from egret.core.errors import InvalidRequest, Unavailable

log = logging.getLogger(__name__)

IN_FLIGHT: Final = timedelta(minutes=2)
"""Longer than any request runs (the gateway gives up after 30 s)."""
_KEY = re.compile(r"[!-~]{1,255}")


@dataclass(frozen=True, slots=True)
class Reservation:
    """An Idempotency-Key that is ours while we work. completed_until: how long its answer is remembered."""

    record: IdempotencyRecord
    completed_until: datetime

    def completed(self, response: str) -> IdempotencyRecord:
        """Return the record that goes with the acceptance."""
        return replace(self.record, response=response, expires_at=self.completed_until)


def once(idempotency: Idempotency, reservation: Reservation, now: datetime, work: Callable[[Reservation], str]) -> str:
    """Do the work unless it was done before; return its answer either way.

    work: commits `reservation.completed(answer)` together with what it does, and returns the answer. When it raises,
    the key is free again (unless it had committed, then releasing does nothing).
    Raises InvalidRequest: `idempotencyConflict`, `idempotencyInFlight`, and whatever `work` raises.
    """
    state, response = idempotency.reserve(reservation.record, now)
    match state:
        case IdempotencyState.DONE:
            return response
        case IdempotencyState.CONFLICT:
            raise InvalidRequest(
                ErrorCode.IDEMPOTENCY_CONFLICT, "The Idempotency-Key was used before with a different request."
            )
        case IdempotencyState.IN_FLIGHT:
            raise in_flight()
        case IdempotencyState.NEW:
            try:
                return work(reservation)
            except Exception:
                _release(idempotency, reservation.record)
                raise
        case _:
            assert_never(state)


def reserve_for(caller: Caller, key: str, body: bytes, token: str, now: datetime) -> Reservation:
    """Return the reservation to ask for.

    key: 1 to 255 printable ASCII characters. body: the canonical request. token: random, unguessable.
    The login belongs to the request: it decides the default From. Raises InvalidRequest `user` for a malformed key.
    """
    if not _KEY.fullmatch(key):
        raise InvalidRequest(
            ErrorCode.USER, "An Idempotency-Key has 1 to 255 printable ASCII characters without spaces."
        )
    record = IdempotencyRecord(
        account=caller.account.id,
        key_hash=hashlib.sha256(key.encode()).hexdigest(),
        body_hash=hashlib.sha256(caller.login.encode() + b"\n" + body).hexdigest(),
        expires_at=now + IN_FLIGHT,
        token=token,
    )
    return Reservation(record, now + caller.account.idempotency_window)


def in_flight() -> InvalidRequest:
    """Return the error for a key whose request is still being worked on, or was taken over by another."""
    return InvalidRequest(
        ErrorCode.IDEMPOTENCY_IN_FLIGHT, "A request with this Idempotency-Key is still being worked on."
    )


def _release(idempotency: Idempotency, record: IdempotencyRecord) -> None:
    try:
        idempotency.release(record)
    except Unavailable as error:
        log.warning("idempotency key not released", extra={"account": record.account, "error": str(error)})
