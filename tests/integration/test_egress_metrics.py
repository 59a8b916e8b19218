"""What an egress unit counts, read from /metrics as Prometheus reads it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import smtplib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest
from msgspec import structs
from prometheus_client.parser import text_string_to_metric_families

from egret.contracts import handoff as contract
from egret.contracts.handoff import Handoff, Leg
from egret.contracts.records import Unit
from egret.memory.blobs import MemoryBlobs
from egret_egress.config import Config
from egret_egress.handoff import Exposition
from egret_egress.prometheus import CONTENT_TYPE, PrometheusMetrics
from egret_egress.unit import Running, UnitPorts, serving
from tests.integration.egress_rig import ACCOUNT, NOW, Sink, Wishes, handoff, rig_for, sinking, transaction
from tests.integration.test_egress_unit import FROMID, DownBlobs, World, config_in, outcomes_of, post, replace_unit

Samples = dict[tuple[str, tuple[str, ...]], float]
"""By name, and the values of the labels in the order of their names."""
GAUGES = (
    "egret_handoff_room",
    "egret_in_hand",
    "egret_backlog_transactions",
    "egret_backlog_oldest_seconds",
    "egret_recording_open",
    "egret_journal_failing",
    "egret_connections_open",
    "egret_resolver_up",
)


def samples_in(text: str) -> Samples:
    """Return what a scraper reads."""
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def counted(world: World) -> UnitPorts:
    """Return the ports of a unit that counts."""
    metrics = PrometheusMetrics()
    return replace(world.ports(), metrics=metrics, exposition=Exposition(metrics.text, CONTENT_TYPE))


async def get(running: Running, path: str = "/metrics") -> tuple[int, Mapping[str, str], str]:
    """Ask the private HTTP side, without its secret."""
    url = f"http://127.0.0.1:{running.http_port}{path}"
    async with aiohttp.ClientSession() as client, client.get(url) as answer:
        return answer.status, answer.headers, await answer.text()


def test_a_unit_exposes_its_attempts_and_how_it_stands(tmp_path: Path) -> None:
    """By result, way and TLS; durations by attempt; transactions handed over; nobody's name in it."""

    async def run() -> tuple[int, Mapping[str, str], str]:
        world = World()
        async with sinking(Sink()) as sink, serving(config_in(tmp_path, sink.port), counted(world)) as running:
            third = [Leg(2048, 3, "r2048@example.org")]
            routed = structs.replace(transaction(2048), legs=third, transport="gone")
            handed = replace_unit(handoff(transaction(1024, 1025), routed), running.unit_id)
            await post(running, contract.encode(handed))
            await outcomes_of(world, 3)
            return await get(running)

    status, headers, text = asyncio.run(run())
    found = samples_in(text)

    assert (status, headers["Content-Type"]) == (200, CONTENT_TYPE)
    attempts = {labels: value for (name, labels), value in found.items() if name == "egret_attempts_total"}
    assert attempts == {("delivered", "plain", "direct"): 2, ("deferred", "none", "gone"): 1}
    durations = {
        labels: value for (name, labels), value in found.items() if name == "egret_attempt_duration_seconds_count"
    }
    assert durations == {("1", "delivered"): 2, ("3", "deferred"): 1}
    assert found["egret_handoff_transactions_total", ("taken",)] == 2
    assert found["egret_connections_open", ()] == 1
    assert found["egret_resolver_up", ()] == 1
    assert found["egret_journal_failing", ()] == 0
    assert [name for name in GAUGES if (name, ()) not in found] == []
    assert not any(word in text for word in (ACCOUNT, "example.org", "example.net", "127.0.0.1"))


@pytest.mark.parametrize(
    ("probed", "is_open", "is_usable"),
    [(None, None, True), (b"220 mx\r\n", True, True), (b"", False, False)],
    ids=["not asked", "open", "closed"],
)
def test_port_25_is_not_said_to_be_open_when_nobody_asked(
    tmp_path: Path, probed: bytes | None, *, is_open: bool | None, is_usable: bool
) -> None:
    """Row, health page and metrics say that it is not known; mail is handed to the unit all the same."""

    async def run() -> tuple[Unit, object, Samples]:
        async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(probed or b"")
            writer.close()

        world = World()
        async with await asyncio.start_server(greet, "127.0.0.1", 0) as server:
            target = ("127.0.0.1", server.sockets[0].getsockname()[1])
            config = replace(config_in(tmp_path), probe=() if probed is None else (target,))
            async with serving(config, counted(world)) as running:
                status = json.loads((await get(running, "/healthz"))[2])
                return world.units.list()[0], status["port25"], samples_in((await get(running))[2])

    unit, status, found = asyncio.run(run())

    assert (unit.port25_asked, unit.port25, unit.is_usable(NOW)) == (is_open is not None, is_usable, is_usable)
    assert status is is_open
    assert found.get(("egret_port25_open", ())) == is_open


def test_a_unit_that_counts_nothing_has_no_metrics(tmp_path: Path) -> None:
    """404, and the other pages are there."""

    async def run() -> list[int]:
        async with serving(config_in(tmp_path), World().ports()) as running:
            return [(await get(running, path))[0] for path in ("/metrics", "/healthz")]

    assert asyncio.run(run()) == [404, 200]


async def receive(config: Config, world: World) -> Samples:
    """Send a mail to a unit's inbound side, and return what it counted."""
    async with serving(config, counted(world)) as running:

        def send() -> None:
            with smtplib.SMTP("127.0.0.1", running.smtp_port, timeout=5) as client:
                client.sendmail("", [f"{FROMID}@bounces.a.example"], b"Subject: returned\r\n\r\nhello\r\n")

        with contextlib.suppress(smtplib.SMTPDataError):  # what was answered is what is counted
            await asyncio.to_thread(send)
        return samples_in((await get(running))[2])


def test_incoming_mail_is_counted_by_the_answer(tmp_path: Path) -> None:
    """250 when it is stored, 451 while it cannot be."""
    stored = asyncio.run(receive(config_in(tmp_path / "a"), World(blobs=MemoryBlobs())))
    refused = asyncio.run(receive(config_in(tmp_path / "b"), World(blobs=DownBlobs())))

    assert stored["egret_inbound_messages_total", ("250",)] == 1
    assert refused["egret_inbound_messages_total", ("451",)] == 1


def test_what_is_given_back_and_what_is_refused_is_counted() -> None:
    """By the kind of reason; a unit that drains refuses every transaction."""

    async def run() -> Samples:
        metrics = PrometheusMetrics()
        async with (
            sinking(Sink()) as sink,
            rig_for(sink.port, Wishes(may_begin=lambda _: False, metrics=metrics)) as rig,
        ):
            rig.engine.take(handoff(transaction(1024, 1025)))
            answer = rig.engine.take(Handoff("unit-2", [transaction(2048)]))
            assert answer.taken == [False]
            await rig.settle()
        return samples_in(metrics.text().decode())

    found = asyncio.run(run())

    assert found["egret_releases_total", ("TooLate",)] == 2
    handed = {labels: value for (name, labels), value in found.items() if name == "egret_handoff_transactions_total"}
    assert handed == {("taken",): 1, ("refused",): 1}


def test_late_attempts_share_a_label() -> None:
    """However often a delivery is tried, there are eight."""

    async def run() -> Samples:
        metrics = PrometheusMetrics()
        async with sinking(Sink()) as sink, rig_for(sink.port, Wishes(metrics=metrics)) as rig:
            for number in (7, 8, 9, 200):
                id_ = number << 10
                rig.engine.take(handoff(structs.replace(transaction(id_), legs=[Leg(id_, number, "a@example.org")])))
            await rig.settle()
        return samples_in(metrics.text().decode())

    found = asyncio.run(run())

    assert found["egret_attempt_duration_seconds_count", ("7", "delivered")] == 1
    assert found["egret_attempt_duration_seconds_count", ("8+", "delivered")] == 3
