"""The function that sends reports: what is due when, and what its line of log says."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import timedelta
from typing import Any, cast

import pytest

from egret.contracts.ports import Idempotency
from egret.core.dmarc_report import PublishedPolicy
from egret.core.errors import Unavailable
from egret.usecases.tls_reports import TlsReporting
from functions.reports import handler as reports_function
from tests.unit.reporting import MIDNIGHT
from tests.unit.test_send_reports import FAILED, STS, World, tell, wants

TIME = timedelta(minutes=13)


@pytest.fixture(autouse=True)
def _namespace(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the template sets it."""
    monkeypatch.setenv("POWERTOOLS_METRICS_NAMESPACE", "Egret/test")


@pytest.fixture
def world() -> World:
    """An installation with a report of each kind that is due at midnight."""
    world = World()
    world.evaluate()
    wants(world, "example.net", "mailto:tls@example.net")
    tell(world, {("example.net", "example.net", STS): FAILED})
    return world


def run(
    world: World, event: dict[str, Any], *, dmarc: bool = True, tls: TlsReporting = TlsReporting.FAILURES
) -> list[str]:
    """Run the function; return who is written to."""
    reports_function.run(world.ports, event, dmarc=dmarc, tls=tls, time=TIME)
    return sorted(address for queued in world.queued() for address in queued.to)


def test_after_midnight_both_kinds_are_sent(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """And counted."""
    caplog.set_level(logging.INFO)
    assert run(world, {}) == ["dmarc@example.net", "tls@example.net"]
    lines = [vars(record) for record in caplog.records if record.getMessage() == "reports"]
    assert [(line["kind"], line["queued"], line["failed"]) for line in lines] == [("dmarc", 1, 0), ("tls", 1, 0)]
    assert [line.get("DmarcReports", line.get("TlsReports")) for line in lines] == [[1.0], [1.0]]


@pytest.mark.parametrize(
    ("dmarc", "tls", "expected"),
    [
        (True, TlsReporting.OFF, ["dmarc@example.net"]),
        (False, TlsReporting.ALL, ["tls@example.net"]),
        (False, TlsReporting.OFF, []),
    ],
)
def test_each_kind_has_a_switch(world: World, dmarc: bool, tls: TlsReporting, expected: list[str]) -> None:
    """Of the installation."""
    assert run(world, {}, dmarc=dmarc, tls=tls) == expected


def test_the_hour_is_that_of_the_schedule(world: World) -> None:
    """A run that comes late makes the reports that it was meant to; without a word of it, those of now."""
    world.service.clock.advance(timedelta(hours=2))
    assert run(world, {}) == []
    assert run(world, {"time": "nonsense"}) == []
    at = MIDNIGHT + timedelta(minutes=10)
    assert run(world, {"time": f"{at:%Y-%m-%dT%H:%M:%SZ}"}) == ["dmarc@example.net", "tls@example.net"]


def test_at_other_hours_no_tls_reports_are_due(world: World) -> None:
    """They are about days."""
    assert run(world, {"time": (MIDNIGHT + timedelta(hours=12)).isoformat()}) == []


def test_what_was_not_queued_makes_the_run_come_again(world: World) -> None:
    """Lambda repeats an invocation that fails; what was queued is not queued again."""

    class Down:
        def reserve(self, *_: object) -> Any:
            raise Unavailable(detail="the table does not answer")

    sending: Any = replace(world.service.sending, idempotency=cast("Idempotency", Down()))
    with pytest.raises(Unavailable):
        reports_function.run(
            replace(world.ports, sending=sending), {}, dmarc=True, tls=TlsReporting.FAILURES, time=TIME
        )

    assert world.queued() == []
    assert run(world, {}) == ["dmarc@example.net", "tls@example.net"]


def test_what_was_left_makes_the_run_come_again(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """TLS reports have their half of the time, however slow the DNS of those who want DMARC reports."""
    caplog.set_level(logging.INFO)
    for at in range(3):
        world.evaluate(policy=PublishedPolicy(f"d{at}.slow", "none"), rua=(f"mailto:x@d{at}x.slow",))
    world.slow[".slow"] = TIME / 2
    with pytest.raises(Unavailable, match="reports were not queued"):
        run(world, {})

    assert "tls@example.net" in [address for queued in world.queued() for address in queued.to]
    lines = [vars(record) for record in caplog.records if record.getMessage() == "reports"]
    assert [(line["kind"], line["left"] > 0) for line in lines] == [("dmarc", True), ("tls", False)]
