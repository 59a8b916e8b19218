"""What can go wrong at a port: the process dies, the dependency fails, somebody else gets in between."""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from random import Random
from typing import Any, Final, TypeVar, cast

from egret.contracts.handoff import Handoff, HandoffAnswer
from egret.contracts.records import HandoffRefused, Unit
from egret.core.errors import Unavailable
from egret.memory.clock import FakeClock

T = TypeVar("T")

CALL_TAKES: Final = timedelta(milliseconds=7)
MAX_DEPTH: Final = 2
ONE_BY_ONE: Final = frozenset({"expand", "replace_many", "put"})
"""Calls that write several items: each is a write of its own, and a fault may come between them."""


class Build(enum.StrEnum):
    """What is simulated: the product, or the product with a guard taken out, to show that the simulator bites."""

    SOUND = "sound"
    NO_LEASE = "no lease"
    """deliver claims what is claimed already, so that a second unit gets the same attempt."""
    NO_JOURNAL = "no journal"
    """Nothing is noted; a restarted unit remembers nothing."""
    SAME_UNIT = "same unit"
    """A unit whose host went down goes on with what is left of its journal, as if that were all."""
    NO_OUTBOX = "no outbox"
    """Events are told on the side: a crash between the outcome and its telling loses them."""
    EARLY_ANSWER = "early answer"
    """send answers 200 before the acceptance is written."""
    HASTY_RELEASE = "hasty release"
    """An unanswered handoff counts as refused."""
    OLD_AGE = "old age"
    """Content is removed by an age rule alone."""
    NO_TENANTS = "no tenants"
    """The suppression list is one for all accounts."""
    EARLY_250 = "early 250"
    """Port 25 answers 250 before the mail is stored."""
    NO_REPEATS = "no repeats"
    """Mail that is sent again, since its 250 was lost, counts as other mail."""


class Crash(BaseException):
    """The process that runs the use case dies here. Not an Exception: no handler of the product may see it."""


class Violation(Exception):
    """A promise was broken."""


@dataclass(frozen=True, slots=True)
class Odds:
    """Probabilities, before and after each call of a port."""

    crash: float
    unavailable: float
    interleave: float


class Faults:
    """Decides by the dice what happens around each call. interleave: lets somebody else do a step."""

    def __init__(self, rng: Random, clock: FakeClock, odds: Odds) -> None:
        self.enabled = True
        self.depth = 0
        self.interleave: Callable[[], None] = lambda: None
        self.note: Callable[[str], None] = lambda _: None
        self._rng = rng
        self._clock = clock
        self._odds = odds

    def around(self, name: str, call: Callable[[], Any]) -> Any:
        """Make a call with what the dice add before and after it; after it, its effect is there."""
        self._clock.advance(CALL_TAKES)
        if not self.enabled:
            return call()
        self.strike(f"before {name}")
        result = call()
        self.strike(f"after {name}")
        return result

    def strike(self, where: str) -> None:
        """Go on, or raise Crash or Unavailable, or let others get in between."""
        if not self.enabled:
            return
        dice, odds = self._rng.random(), self._odds
        if dice < odds.crash:
            self.note(f"CRASH {where}")
            raise Crash(where)
        dice -= odds.crash
        if dice < odds.unavailable:
            self.note(f"UNAVAILABLE {where}")
            raise Unavailable(detail=where)
        dice -= odds.unavailable
        if dice < odds.interleave and self.depth < MAX_DEPTH:
            self.depth += 1
            self.note(f"MEANWHILE, {where}:")
            try:
                self.interleave()
            finally:
                self.depth -= 1
                self.note(f"BACK {where}")


class _Faulty:
    """A port around which faults happen."""

    def __init__(self, port: object, name: str, faults: Faults) -> None:
        self._port = port
        self._name = name
        self._faults = faults

    def __getattr__(self, method: str) -> Any:
        inner = getattr(self._port, method)
        name = f"{self._name}.{method}"

        def call(*arguments: Any, **named: Any) -> Any:
            return self._faults.around(name, lambda: inner(*arguments, **named))

        def call_each(items: Any, *rest: Any) -> Any:
            if not isinstance(items, (list, tuple)):
                return call(items, *rest)
            results = [call([item], *rest) for item in items]
            return [part[0] for part in results] if method == "replace_many" else None

        made = call_each if method in ONE_BY_ONE else call
        setattr(self, method, made)
        return made


def faulty(port: T, name: str, faults: Faults) -> T:
    """Return the port with faults around each of its calls."""
    return cast("T", _Faulty(port, name, faults))


class HastyEgress:
    """A way to the units that takes silence for a refusal: a broken build."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def hand(self, unit: Unit, handoff: Handoff) -> HandoffAnswer:
        """Hand over; what is not answered counts as not taken."""
        try:
            answer: HandoffAnswer = self._inner.hand(unit, handoff)
        except Unavailable as error:
            raise HandoffRefused from error
        return answer


def pick(rng: Random, items: Sequence[T]) -> T:
    """Return one of the items; cheaper than `Random.choice`."""
    return items[int(rng.random() * len(items))]
