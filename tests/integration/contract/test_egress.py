"""The contract of `Egress`: taken, refused, or nobody knows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace

import pytest

from egret.contracts.handoff import (
    PATH,
    Content,
    Handoff,
    HandoffAnswer,
    Leg,
    Transaction,
    decode_handoff,
    encode,
)
from egret.contracts.ports import Egress
from egret.contracts.records import HandoffRefused, Unit
from egret.core.errors import Unavailable
from egret.memory.units import MemoryEgress
from tests.integration.contract.loopback import Answer, Asked, closed_url, serving
from tests.samples import EXACT, MINUTE, NOON, message_number

SECRET = "handoff secret"
UNIT = Unit("unit-a", "http://127.0.0.1:1", "mail.example.com", ("192.0.2.25",), True, 10, NOON)
Engine = Callable[[Handoff], HandoffAnswer]
Start = Callable[[Engine], tuple[Egress, Unit]]


def _handoff() -> Handoff:
    inline = Content(3, b"\x00\xff\n", smtputf8=True, require_tls=False)
    legs = [Leg(message_number(1) + index, 2, f"rcpt{index}@example.net") for index in range(3)]
    return Handoff(
        "unit-a",
        [
            Transaction("abcdefgh", message_number(1), "example.net", "", legs, inline, NOON + MINUTE + EXACT),
            Transaction(
                "abcdefgh", message_number(2), "[192.0.2.1]", "x@y", legs[:1], Content(9, key="content/a/1"), NOON
            ),
        ],
    )


def _answer(engine: Engine, asked: Asked) -> Answer:
    """Answer as a unit does: 409 when the engine refuses, silence when it dies."""
    assert (asked.path, asked.headers["authorization"]) == (PATH, f"Bearer {SECRET}")
    try:
        return Answer(202, encode(engine(decode_handoff(asked.body))))
    except HandoffRefused:
        return Answer(409, b"not mine")
    except Unavailable:
        return Answer(0)


@pytest.fixture(params=["memory", "http"])
def start(request: pytest.FixtureRequest) -> Iterator[Start]:
    """Start a unit around an engine; returns the way to it and its announcement."""
    with ExitStack() as stack:

        def in_memory(engine: Engine) -> tuple[Egress, Unit]:
            return MemoryEgress(lambda _, handoff: engine(handoff)), UNIT

        def over_http(engine: Engine) -> tuple[Egress, Unit]:
            from egret.aws.egress_client import HttpEgress  # noqa: PLC0415 (memory needs no HTTP)

            unit = replace(UNIT, url=stack.enter_context(serving(lambda asked: _answer(engine, asked))))
            egress = HttpEgress(SECRET)
            stack.callback(egress._forget, unit)
            return egress, unit

        yield in_memory if request.param == "memory" else over_http


def test_unit_gets_what_was_handed_over(start: Start) -> None:
    """Every field of every transaction; its answer comes back, one flag each."""
    seen: list[Handoff] = []

    def engine(handoff: Handoff) -> HandoffAnswer:
        seen.append(handoff)
        return HandoffAnswer([True, False], 7)

    egress, unit = start(engine)
    answers = [egress.hand(unit, _handoff()) for _ in range(2)]

    assert [_handoff()] * 2 == seen
    assert answers == [HandoffAnswer([True, False], 7)] * 2


def _refuse(_: Handoff) -> HandoffAnswer:
    raise HandoffRefused("draining")


def _die(_: Handoff) -> HandoffAnswer:
    raise Unavailable(detail="died while taking it")


def test_refusal_says_that_nothing_was_taken(start: Start) -> None:
    """So the claims can be given back."""
    egress, unit = start(_refuse)

    with pytest.raises(HandoffRefused):
        egress.hand(unit, _handoff())


def test_death_of_the_unit_leaves_it_open(start: Start) -> None:
    """It may have taken the transactions: only the leases tell."""
    egress, unit = start(_die)

    with pytest.raises(Unavailable):
        egress.hand(unit, _handoff())


def test_no_connection_is_a_refusal() -> None:
    """Nobody listens, so nobody took anything."""
    from egret.aws.egress_client import HttpEgress  # noqa: PLC0415 (as above)

    with pytest.raises(HandoffRefused):
        HttpEgress(SECRET).hand(replace(UNIT, url=closed_url()), _handoff())


@pytest.mark.parametrize(
    "answer", [Answer(202, b"junk"), Answer(202, encode(HandoffAnswer([True], 1))), Answer(500), Answer(200)]
)
def test_answer_that_says_nothing_leaves_it_open(answer: Answer) -> None:
    """Unreadable, for another number of transactions, or of a status that a unit never gives."""
    from egret.aws.egress_client import HttpEgress  # noqa: PLC0415 (as above)

    with serving(lambda _: answer) as url:
        egress, unit = HttpEgress(SECRET), replace(UNIT, url=url)
        with pytest.raises(Unavailable):
            egress.hand(unit, _handoff())
        egress._forget(unit)
