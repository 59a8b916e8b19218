"""Send: check, compose, sign, and take into the queue. Nothing is kept of a request that is refused."""

from __future__ import annotations

from collections import Counter

import msgspec

from egret.contracts.caller import Caller
from egret.contracts.webapi import SendRequest, SendResult
from egret.usecases.accept import Ready, SendPorts, accept, charge, decode_result, encode_result
from egret.usecases.idempotency import Reservation, once, reserve_for
from egret.usecases.prepare import job_of, prepare


def send(
    ports: SendPorts,
    caller: Caller,
    request: SendRequest,
    idempotency_key: str = "",
    facts: dict[str, object] | None = None,
) -> SendResult:
    """Accept a message for all its recipients, or refuse it for all.

    idempotency_key: "" for none. With a key, the same request again gives the same result and sends nothing.
    facts: for the caller's log, gets what is known of the message when this call accepted it, not an earlier one.
    Raises InvalidRequest with a code of the API; Unavailable when storage does not answer, and then it is not known
    whether the message was accepted: ask again, with the same key.
    """

    def work(reservation: Reservation | None) -> SendResult:
        ready = _send(ports, caller, request, reservation)
        if facts is not None:
            facts.update(_facts(ready))
        return ready.result

    if not idempotency_key:
        return work(None)
    now = ports.clock.now()
    body = msgspec.json.encode(request, order="sorted")
    reservation = reserve_for(caller, idempotency_key, body, ports.dice.octets(16).hex(), now)
    answer = once(ports.idempotency, reservation, now, lambda reservation: encode_result(work(reservation)))
    return decode_result(answer)


def _send(ports: SendPorts, caller: Caller, request: SendRequest, reservation: Reservation | None) -> Ready:
    job = job_of(ports, caller, request)
    ready = prepare(ports, job)
    charge(ports, caller.account, job.now, len(job.suppressed))
    return accept(ports, ready, lambda: prepare(ports, job), reservation)


def _facts(ready: Ready) -> dict[str, object]:
    """Return what the log tells of an accepted message beside its result."""
    return {
        "submission": ready.message.id,
        "size_bytes": ready.message.size_bytes,
        "states": dict(Counter(delivery.state.value for delivery in ready.deliveries)),
    }
