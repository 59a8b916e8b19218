"""The functions' lines of log carry their metrics, and can be read as CloudWatch reads them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from aws_lambda_powertools import Logger

from egret.aws.emf import metric_fields
from egret.contracts.handoff import HandoffAnswer
from egret.contracts.queues import encode_queue_body
from egret.contracts.records import PostAnswer, Suspension
from egret.contracts.settings import Suppression
from egret.core.errors import Unavailable
from egret.memory.calls import MemoryPoster
from egret.memory.due import MemoryDueIndex
from egret.memory.units import MemoryEgress
from functions.deliver import handler as deliver_function
from functions.dsn_ingest import handler as ingest_function
from functions.send import handler as send_function
from functions.sweep import handler as sweep_function
from functions.webhook import handler as webhook_function
from tests.api_service import Client, api_of_service
from tests.aws_events import event_file, failed, s3_notification, sqs_event
from tests.functions_world import World, delivered, mail_of
from tests.unit.builders import ACCOUNT, NOW, a_delivery, a_unit
from tests.unit.sending import Service

NAMESPACE = "Egret/test"
LOGGERS: dict[str, Logger] = {
    "deliver": deliver_function._logger,
    "sweep": sweep_function._logger,
    "calls": webhook_function._logger,
    "ingest": ingest_function._logger,
    "request": send_function._logger,
}
"""By the line that each writes once for each invocation."""


@pytest.fixture(autouse=True)
def _namespace(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the template sets it."""
    monkeypatch.setenv("POWERTOOLS_METRICS_NAMESPACE", NAMESPACE)


def line_of(caplog: pytest.LogCaptureFixture, message: str) -> dict[str, Any]:
    """Return the one line with that message, as it goes to the log."""
    formatter = LOGGERS[message].registered_formatter
    (text,) = [formatter.format(record) for record in caplog.records if record.getMessage() == message]
    assert text.count('"_aws"') <= 1
    line: dict[str, Any] = json.loads(text)
    return line


def metrics_in(line: dict[str, Any]) -> dict[str, float]:
    """Return the values in a line, read as CloudWatch reads them."""
    (directive,) = line["_aws"]["CloudWatchMetrics"]
    assert (directive["Namespace"], directive["Dimensions"]) == (NAMESPACE, [["service"]])
    assert isinstance(line["service"], str)
    assert line["_aws"]["Timestamp"] > 10**12  # milliseconds
    names = [metric["Name"] for metric in directive["Metrics"]]
    assert len(set(names)) == len(names)
    return {name: sum(line[name]) for name in names}


def test_deliver_counts_what_became_of_hints(caplog: pytest.LogCaptureFixture) -> None:
    """What was handed over and what found no room; what did not happen is not written."""
    world = World()
    world.units.put(a_unit(room=1))
    event = sqs_event(encode_queue_body(world.accept(0)), encode_queue_body(world.accept(1)))
    deliver_function.run(world.delivering, event)
    line = line_of(caplog, "deliver")

    assert metrics_in(line) == {"Hints": 2, "Leased": 1, "NoRoom": 1}
    assert line["service"] == "deliver"
    assert line["deliveries"] == {"claim": 1, "leased": 1, "no room": 1}


def _suspend(world: World) -> None:
    suspension = Suspension("*", NOW + timedelta(hours=2), "slow down")
    world.units.put(a_unit(suspensions=(suspension,)))


def _suppress(world: World) -> None:
    address = a_delivery().recipient
    world.suppressions.put_new(Suppression(ACCOUNT, 1, address, address, NOW))


def _lose_the_unit(world: World) -> None:
    leased = world.accept(0)
    deliver_function.run(world.delivering, sqs_event(encode_queue_body(leased)))
    world.units.remove("unit-1")


@pytest.mark.parametrize(
    ("happens", "metric"), [(_suspend, "Postponed"), (_suppress, "Suppressed"), (_lose_the_unit, "Unknown")]
)
def test_deliver_counts_what_is_not_handed_over(
    caplog: pytest.LogCaptureFixture, happens: Callable[[World], None], metric: str
) -> None:
    """Each word of the tally has its metric."""
    world = World()
    happens(world)
    caplog.clear()
    deliver_function.run(world.delivering, sqs_event(encode_queue_body(world.accept(0))))

    assert metrics_in(line_of(caplog, "deliver")) == {"Hints": 1, metric: 1}


def test_deliver_counts_what_a_unit_does_not_take(caplog: pytest.LogCaptureFixture) -> None:
    """The lease is given back."""
    world = World()
    egress = MemoryEgress(lambda _, handoff: HandoffAnswer([False] * len(handoff.transactions), 0))
    ports = replace(world.delivering, egress=egress)
    deliver_function.run(ports, sqs_event(encode_queue_body(world.accept(0))))

    assert metrics_in(line_of(caplog, "deliver")) == {"Hints": 1, "Released": 1}


def test_deliver_counts_what_is_too_old(caplog: pytest.LogCaptureFixture) -> None:
    """It ended without an attempt."""
    world = World()
    world.clock.advance(timedelta(days=30))
    deliver_function.run(world.delivering, sqs_event(encode_queue_body(world.accept(0))))

    assert metrics_in(line_of(caplog, "deliver")) == {"Hints": 1, "Expired": 1}


def test_the_sweep_tells_what_the_alarms_look_at(caplog: pytest.LogCaptureFixture) -> None:
    """Units and the queue are told even where they are 0; what is due is told with its age."""
    world = World()
    world.units.put(a_unit(id="unit-2", port25=False, valid_until=NOW + timedelta(hours=1)))
    world.units.put(a_unit(id="unit-3", valid_until=NOW + timedelta(hours=1)))
    world.clock.advance(timedelta(seconds=100))
    sweep_function.run(world.sweeping)
    line = line_of(caplog, "sweep")
    found = metrics_in(line)
    late_s = found.pop("QueueOldestSeconds")

    assert found == {"UnitsAlive": 2, "UnitsUsable": 1, "QueueDue": 1, "Hinted": 1}
    assert 0 < late_s <= 100
    assert {"Name": "QueueOldestSeconds", "Unit": "Seconds"} in line["_aws"]["CloudWatchMetrics"][0]["Metrics"]


def test_an_idle_sweep_says_so(caplog: pytest.LogCaptureFixture) -> None:
    """An alarm that hears nothing could not tell an empty queue from a dead sweep."""
    world = World()
    world.clock.advance(-timedelta(hours=1))
    sweep_function.run(world.sweeping)

    assert metrics_in(line_of(caplog, "sweep")) == {
        "UnitsAlive": 1,
        "UnitsUsable": 1,
        "QueueDue": 0,
        "QueueOldestSeconds": 0,
    }


class _BrokenIndex(MemoryDueIndex):
    """An index that does not answer."""

    def due(self, *_: object) -> Any:
        """Fail."""
        raise Unavailable(detail="the table does not answer")


def test_a_sweep_that_fails_does_not_make_the_egress_look_dead(caplog: pytest.LogCaptureFixture) -> None:
    """The units were counted before; about the queue nothing is claimed."""
    world = World()
    ports = replace(world.sweeping, due=_BrokenIndex(world.store.table))
    with pytest.raises(Unavailable):
        sweep_function.run(ports)
    line = line_of(caplog, "sweep")

    assert metrics_in(line) == {"UnitsAlive": 1, "UnitsUsable": 1}
    assert line["level"] == "ERROR"


@pytest.mark.parametrize(
    ("status", "counted"), [(204, {"WebhookCalls": 1}), (500, {"WebhookCalls": 1, "WebhookFailures": 1})]
)
def test_calls_are_counted_with_those_that_failed(
    caplog: pytest.LogCaptureFixture, status: int, counted: dict[str, float]
) -> None:
    """A call fails by any answer that is no 2xx; a call that is not made is none."""
    world = World()
    made, gone = delivered(world), delivered(World(), ACCOUNT)
    gone = type(gone)(gone.account, gone.delivery_id + (9 << 10), gone.seq, gone.queued_at)
    ports = replace(world.posting, poster=MemoryPoster(lambda _: PostAnswer(status)))
    assert failed(webhook_function.run_calls(ports, sqs_event(*map(encode_queue_body, (made, gone))))) == []

    assert metrics_in(line_of(caplog, "calls")) == counted


def test_mails_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    """One that is no report tells no event; the test that S3 sends is no mail."""
    world = World()
    mail_of(world, "inbound/one")
    event = sqs_event(s3_notification("inbound/one"), json.dumps(event_file("s3_test")))
    ingest_function.run(world.ingesting, event)

    assert metrics_in(line_of(caplog, "ingest")) == {"Mails": 1}


def test_accepted_recipients_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    """All recipients of a Send."""
    client = Client(api_of_service(Service()))
    to = [{"Address": "ann@example.net"}, {"Address": "bob@example.net"}]
    status, _ = client.post("Send", {"To": to, "Subject": "Hello", "Text": "Good morning.\n"})

    assert status == 200
    assert metrics_in(line_of(caplog, "request")) == {"Accepted": 2}


def test_a_refused_request_carries_no_metrics(caplog: pytest.LogCaptureFixture) -> None:
    """API Gateway counts those for nothing; the line costs what it is long."""
    status, _ = Client(api_of_service(Service())).post("Send", {"To": []})

    assert status == 400
    assert "_aws" not in line_of(caplog, "request")


def test_outside_lambda_there_are_no_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    """The benchmark's and the simulation's functions have no namespace."""
    monkeypatch.delenv("POWERTOOLS_METRICS_NAMESPACE")

    assert metric_fields("deliver", {"Hints": 1}) == {}
