"""The egress container: the environment becomes adapters, adapters become a unit, SIGTERM drains it."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime

from egret import posix
from egret.aws.app import App
from egret.aws.table import WORKERS
from egret.contracts.metrics import Metrics
from egret.core.delivery import Attempt, Lease
from egret.usecases.record_outcome import Ended, RecordPorts, record_outcome, record_outcomes, release
from egret_egress import logs
from egret_egress.config import Config, ConfigError, from_environment
from egret_egress.dns import DnsResolver
from egret_egress.handoff import Exposition
from egret_egress.metrics import FROM_THE_START
from egret_egress.own_certificate import CertificateError
from egret_egress.prometheus import CONTENT_TYPE, PrometheusMetrics
from egret_egress.protecting import TlsStores
from egret_egress.recorder import THREADS
from egret_egress.shaping_file import ShapingError
from egret_egress.tls_notes import TlsPorts
from egret_egress.unit import HELP_THREADS, INBOUND_THREADS, SUBMISSION_THREADS, Limits, UnitPorts, serving

log = logging.getLogger(__name__)

CONNECTIONS = THREADS + HELP_THREADS + INBOUND_THREADS + SUBMISSION_THREADS + WORKERS
"""Connections kept to each AWS service: one for each thread that calls, or calls would wait or dial anew each time."""
SWITCH_S = 0.0005
"""How long a thread that records may keep the interpreter from the loop, which has connections waiting for it."""


GC_OBJECTS = 100_000
"""New objects before the young ones are searched for cycles."""


class UseCaseBook:
    """The `Book` of production: the use cases that every part of Egret records by."""

    def __init__(self, ports: RecordPorts) -> None:
        self._ports = ports

    def record(self, account: str, delivery_id: int, attempt: Attempt) -> None:
        """Record an outcome; repeated and stale ones change nothing."""
        record_outcome(self._ports, account, delivery_id, attempt)

    def record_all(self, ended: Sequence[Ended]) -> None:
        """Record the outcomes of different deliveries."""
        record_outcomes(self._ports, ended)

    def release(
        self, account: str, delivery_id: int, lease: Lease, until: datetime | None = None, waiting: str = ""
    ) -> None:
        """Give a claim back."""
        release(self._ports, account, delivery_id, lease, until, waiting)


def app_of(environ: Mapping[str, str]) -> App:
    """Return the composition root for as many threads as a unit has."""
    return App.from_environment(environ, CONNECTIONS)


def ports_of(app: App, config: Config) -> UnitPorts:
    """Return what a unit needs, from the composition root; its metrics are for Prometheus."""
    metrics = PrometheusMetrics(FROM_THE_START)
    resolver = resolver_of(config, metrics)
    return UnitPorts(
        book=UseCaseBook(RecordPorts(app.store, app.clock, app.installation.retry)),
        blobs=app.blobs,
        units=app.units,
        settings=app.settings,
        fromid_keys=app.fromid_keys,
        clock=app.clock,
        dice=app.dice,
        wrapper=app.key_wrapper,
        metrics=metrics,
        exposition=Exposition(metrics.text, CONTENT_TYPE),
        resolver=resolver,
        resolver_answers=resolver.answers if config.resolver is not None and config.next_hop is None else None,
        inside=DnsResolver(counting=metrics) if config.resolver_validates else None,
        own_fromids=app.own_fromids,
        evaluations=app.dmarc_evaluations if app.sends_dmarc_reports else None,
        submitter=app.submitter if config.submission_listen or config.submissions_listen else None,
        # In local mode nobody out there sends mail, and there may be no DNS.
        lookups=None if config.allow_loopback else resolver,
        tls=TlsStores(app.sts_policies, TlsPorts(app.domain_tls, app.tls_results)),
    )


def resolver_of(config: Config, counting: Metrics | None = None) -> DnsResolver:
    """Return the resolver of the names of the world; says so in the log when its word about DNSSEC cannot count."""
    address, port = config.resolver or ("", 53)
    resolver = DnsResolver([address] if address else (), port, validates=config.resolver_validates, counting=counting)
    if config.resolver_validates and not resolver.is_believed:
        log.warning(
            "no server is protected by DANE: the resolver is said to validate DNSSEC, and is not on this machine"
        )
    return resolver


async def serve(config: Config, ports: UnitPorts, limits: Limits | None = None) -> None:
    """Serve until Ctrl-C or SIGTERM, then drain."""
    stop = asyncio.Event()
    posix.on_terminate(asyncio.get_running_loop(), stop.set)
    async with serving(config, ports, limits):
        await stop.wait()


def main(environ: Mapping[str, str]) -> int:
    """Run a unit; returns the exit code. Errors of configuration are one line."""
    logs.set_up()
    tune()
    try:
        config = from_environment(environ)
        ports = ports_of(app_of(environ), config)
    except (ConfigError, KeyError, ValueError) as error:
        print(f"egret_egress: {error}", file=sys.stderr)
        return 2
    try:
        with asyncio.Runner(loop_factory=posix.loop_factory()) as runner:
            runner.run(serve(config, ports))
    except (OSError, ShapingError, CertificateError) as error:
        print(f"egret_egress: {error}", file=sys.stderr)
        return 1
    return 0


def tune() -> None:
    """Set the interpreter up for one busy loop with threads beside it."""
    sys.setswitchinterval(SWITCH_S)
    # What is imported stays for ever, and what an attempt needs goes with its last reference: looking for cycles among
    # thousands of attempts in hand every few hundred objects finds nothing.
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_OBJECTS, 20, 50)


if __name__ == "__main__":
    sys.exit(main(os.environ))
