"""An egress unit from its parts: starts, serves, drains. The environment and AWS are `__main__`'s."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

from aiohttp import web

from egret.contracts.metrics import Metrics, NoMetrics
from egret.contracts.ports import (
    Blobs,
    Clock,
    Dice,
    KeyWrapper,
    OwnFromIds,
    SettingsReader,
    Submitter,
    Units,
)
from egret.contracts.reports import DmarcEvaluations
from egret.core.fromid import FromIdKeys
from egret.posix import FileLock, boot_id
from egret_egress.attempt import Keeping
from egret_egress.config import Config
from egret_egress.contents import Contents
from egret_egress.courier import Courier
from egret_egress.destinations import Direct, Fixed, Ourselves, PublicOnly, Resolver, Router
from egret_egress.dns_blocking import Lookups
from egret_egress.engine import Capacity, Engine, Parts
from egret_egress.gauges import Watched, watch
from egret_egress.handoff import Exposition, HandoffSettings, application
from egret_egress.inbound import InboundPolicy, InboundPorts, InboundServer, OwnLookup, Recipients
from egret_egress.inbound_content import ByteBudget
from egret_egress.journal import FileJournal
from egret_egress.judging import Judge, JudgingPorts
from egret_egress.ledger import Ledger
from egret_egress.opening import Dialing
from egret_egress.own_certificate import OwnCertificate
from egret_egress.pacing import Pacing
from egret_egress.pacing_file import PacingFile
from egret_egress.pool import Pool, PoolLimits
from egret_egress.probe import ResolverProbe, ResolvingLoad
from egret_egress.protecting import Protection, Surroundings, TlsStores
from egret_egress.providers import Providers
from egret_egress.recorder import THREADS, Book, Recorder
from egret_egress.register import Announcer, Identity, Load
from egret_egress.shaping_file import ShapingError, load
from egret_egress.shaping_gauges import watch_pacing
from egret_egress.smtp_server import SmtpServer
from egret_egress.sts_fetch import Fetching
from egret_egress.submission import LIMITS as SUBMISSION_LIMITS
from egret_egress.submission import SubmissionPorts, failed_logins, submission_service
from egret_egress.succession import succeed
from egret_egress.transports import Routers, Transports
from egret_egress.volume import open_volume

log = logging.getLogger(__name__)

HELP_THREADS = 8
"""For what sending needs of storage, and the unit of the tables."""
INBOUND_THREADS = 8
"""Apart from those: whoever sends us much mail, or storage that is slow to take it, holds up nothing that goes out."""
SUBMISSION_THREADS = 8
"""Each waits for the submission function, some 100 ms for a message."""
JUDGING_THREADS = 16
"""Wait for the DNS, mostly."""
CLOSING_S = 5.0


@dataclass(frozen=True, slots=True)
class UnitPorts:
    """What a unit needs from outside. exposition: what /metrics shows of what is counted in metrics.

    resolver: of the names of the world. resolver_answers: whether it does, None = taken for granted.
    inside: of smarthosts, which may have names that only this network knows. lookups: the names of the world for those
    who judge incoming mail, None = nobody does. submitter: where submission is offered. evaluations: of mail that
    DMARC had refused, None = nobody is told.
    """

    book: Book
    blobs: Blobs
    units: Units
    settings: SettingsReader
    fromid_keys: FromIdKeys
    clock: Clock
    dice: Dice
    resolver: Resolver
    wrapper: KeyWrapper
    tls: TlsStores | None = None
    resolver_answers: Callable[[], Awaitable[bool]] | None = None
    inside: Resolver | None = None
    lookups: Lookups | None = None
    metrics: Metrics = field(default_factory=NoMetrics)
    exposition: Exposition | None = None
    own_fromids: OwnFromIds | None = None
    submitter: Submitter | None = None
    evaluations: DmarcEvaluations | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a unit does at a time, and over which connections."""

    capacity: Capacity = field(default_factory=Capacity)
    pool: PoolLimits = field(default_factory=PoolLimits)


@dataclass(frozen=True, slots=True)
class Running:
    """A unit that serves. http_port, smtp_port: as bound; smtp_port 0 without inbound SMTP.

    submission_port, submissions_port: by STARTTLS and by TLS, 0 where it is not offered.
    """

    unit_id: str
    engine: Engine
    http_port: int
    smtp_port: int
    submission_port: int = 0
    submissions_port: int = 0


class _Dice:
    """Dice for choices that need not be secret, cheaper than the system's."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def number(self) -> float:
        return self._random.random()


@contextlib.asynccontextmanager
async def serving(config: Config, ports: UnitPorts, limits: Limits | None = None) -> AsyncIterator[Running]:
    """Run a unit while the context is entered; leaving it drains.

    Raises BlockingIOError when another process has the journal directory, OSError when a port is taken, ShapingError
    when the operator's shaping file cannot be used, CertificateError when his certificate cannot.
    """
    limits = limits or Limits()
    config.journal_dir.mkdir(parents=True, exist_ok=True)
    async with contextlib.AsyncExitStack() as stack:
        stack.enter_context(FileLock(config.journal_dir / "lock"))
        volume = open_volume(config.journal_dir, boot_id())
        unit_id = volume.unit_id
        journal = FileJournal(volume.journal, is_synced=volume.is_synced)
        stack.callback(journal.close)
        recording = stack.enter_context(ThreadPoolExecutor(THREADS, "record"))
        helping = stack.enter_context(ThreadPoolExecutor(HELP_THREADS, "help"))
        ledger = Ledger(unit_id, journal)
        pacing = _pacing(config)
        kept = PacingFile(config.journal_dir, pacing, ports.clock)
        kept.load()
        stack.callback(kept.save)
        pool = Pool(limits.pool, pacing)
        stack.push_async_callback(_close_pool, pool)
        resolver = ResolverProbe(ports.resolver_answers)
        load = ResolvingLoad(lambda: engine, resolver)
        announcer = _announcer(config, ports, unit_id, load, pacing)
        dialing = Dialing(config.hostname, config.timeouts, _source_address(config))
        recorder = Recorder(ports.book, ledger, recording)
        keeping = Keeping(ledger, recorder, ports.clock, announcer.holds, ports.metrics)
        routers = _routers(config, ports, helping)
        transports = Transports(ports.settings, ports.wrapper, routers, helping)
        protection = _protection(config, ports, helping, pacing)
        courier = Courier(
            routers.own, pool, dialing, transports, security=protection.security, observer=protection.observer
        )
        engine = Engine(Parts(keeping, courier, Contents(ports.blobs.get, helping)), limits.capacity)
        watch_pacing(ports.metrics, pacing, lambda: ports.clock.now().timestamp())
        watch(ports.metrics, Watched(engine, ledger, recorder, pool, announcer, resolver))
        engine.recover()
        status = lambda: {  # noqa: E731
            "port25": announcer.port25,
            "resolver": resolver.is_up,
            "connections": pool.open_connections,
        }
        settings = HandoffSettings(unit_id, config.handoff_secret, status, ports.exposition)
        http_port = await _serve_http(stack, engine, settings, config)
        smtp_ports = await _serve_mail(stack, config, ports)
        await asyncio.gather(announcer.probe(), resolver.probe())
        await announcer.announce(helping)
        stack.push_async_callback(protection.flush, CLOSING_S)
        own = (
            announcer.keep_announcing(helping),
            announcer.keep_probing(),
            resolver.keep_probing(),
            kept.keep_saving(helping),
        )
        succession = succeed(volume.predecessors, ports.book, ports.units, helping)
        for duty in (*own, succession, *protection.duties()):
            _on_duty(stack, asyncio.create_task(duty))
        stack.push_async_callback(_drain, engine, announcer, helping, config.drain_s)
        log.info("serving", extra={"unit": unit_id, "port25": announcer.port25, "http": http_port, "smtp": smtp_ports})
        yield Running(unit_id, engine, http_port, *smtp_ports)


def _pacing(config: Config) -> Pacing:
    own = config.shaping
    try:
        table = load(own.read_text("utf-8"), str(own)) if own is not None else load()
    except (OSError, UnicodeDecodeError) as error:
        raise ShapingError(f"{own} cannot be read: {error}") from error
    return Pacing(Providers(table))


def _announcer(config: Config, ports: UnitPorts, unit_id: str, load: Load, pacing: Pacing) -> Announcer:
    paced = partial(pacing.suspensions, sources=(_source_address(config),))
    return Announcer(_identity(config, unit_id), ports.units, ports.clock, lambda: load, config.probe, paced)


def _identity(config: Config, unit_id: str) -> Identity:
    return Identity(unit_id, config.url, config.hostname, config.source_addresses)


def _source_address(config: Config) -> str:
    """The address to connect from; a loopback next hop cannot be reached from a public one."""
    return config.source_addresses[0] if config.source_addresses and config.next_hop is None else ""


def _protection(config: Config, ports: UnitPorts, executor: ThreadPoolExecutor, pacing: Pacing) -> Protection:
    public = PublicOnly(ports.resolver, allow_loopback=config.allow_loopback)
    source = _source_address(config)
    fetching = Fetching(public, source_address=source)
    least = lambda mx_host: pacing.provider(mx_host).tls  # noqa: E731
    around = Surroundings(public, fetching, ports.clock, ports.metrics, executor, source, least)
    return Protection(ports.tls, around)


def _routers(config: Config, ports: UnitPorts, executor: ThreadPoolExecutor) -> Routers:
    public = PublicOnly(ports.resolver, allow_loopback=config.allow_loopback)
    dice = _Dice(ports.dice.bits(64))

    async def is_home(domain: str) -> bool:
        found = await asyncio.get_running_loop().run_in_executor(executor, ports.settings.domain, domain)
        return found is not None and bool(found.separator)

    ourselves = Ourselves(config.hostname, is_home)

    def direct(resolver: Resolver) -> Router:
        return Direct(resolver, dice, ourselves=ourselves)

    inside = ports.inside or ports.resolver
    own = Fixed(config.next_hop, inside) if config.next_hop is not None else direct(public)
    return Routers(own, direct, public, inside, sink=own if config.is_sink else None)


async def _serve_http(
    stack: contextlib.AsyncExitStack, engine: Engine, settings: HandoffSettings, config: Config
) -> int:
    runner = web.AppRunner(application(engine, settings), access_log=None, shutdown_timeout=CLOSING_S)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.TCPSite(runner, *config.bind).start()
    port: int = runner.addresses[0][1]
    return port


async def _serve_mail(stack: contextlib.AsyncExitStack, config: Config, ports: UnitPorts) -> tuple[int, int, int]:
    """Listen for mail that comes in, and for that of accounts by STARTTLS and by TLS; return the ports, 0 = none."""
    certificate = _certificate(stack, config, ports)
    inbound = await _serve_smtp(stack, config, ports, certificate)
    return (inbound, *await _serve_submission(stack, config, ports, certificate))


def _certificate(stack: contextlib.AsyncExitStack, config: Config, ports: UnitPorts) -> OwnCertificate:
    """Return what our own SMTP servers show; it is kept new."""
    certificate = OwnCertificate(config.hostname, ports.clock, config.certificate)
    _on_duty(stack, asyncio.create_task(certificate.keep_renewing()))
    return certificate


async def _serve_smtp(
    stack: contextlib.AsyncExitStack,
    config: Config,
    ports: UnitPorts,
    certificate: OwnCertificate,
) -> int:
    if config.smtp_listen is None:
        return 0
    executor = stack.enter_context(ThreadPoolExecutor(INBOUND_THREADS, "inbound"))
    judge = None
    if ports.lookups is not None:
        judging = ThreadPoolExecutor(JUDGING_THREADS, "judge")
        # Its threads wait for this loop, which must not wait for them.
        stack.callback(judging.shutdown, wait=False, cancel_futures=True)
        judge = Judge(JudgingPorts(ports.lookups, judging))
    recipients = Recipients(ports.settings, ports.fromid_keys, config.hostname, _own_fromids(ports))
    inbound = InboundPorts(
        recipients, ports.blobs, ports.clock, ports.dice, executor, ports.metrics, judge, ports.evaluations
    )
    policy = InboundPolicy(rejects=config.rejects_dmarc, has_requiretls=config.has_requiretls)
    server = InboundServer(inbound, config.hostname, policy=policy, tls=certificate.context)
    port = await server.start(*config.smtp_listen)
    stack.push_async_callback(server.stop, min(CLOSING_S, config.drain_s))
    return port


async def _serve_submission(
    stack: contextlib.AsyncExitStack, config: Config, ports: UnitPorts, certificate: OwnCertificate
) -> tuple[int, int]:
    listens = (config.submission_listen, config.submissions_listen)
    if ports.submitter is None or listens == (None, None):
        return 0, 0
    executor = stack.enter_context(ThreadPoolExecutor(SUBMISSION_THREADS, "submit"))
    failures = failed_logins(ports.clock)
    offered = SubmissionPorts(ports.settings, ports.submitter, failures, ports.clock, executor, ports.metrics)
    budget = ByteBudget(SUBMISSION_LIMITS.in_flight_bytes, SUBMISSION_LIMITS.peer_in_flight_bytes)
    bound = [0, 0]
    for index, listen in enumerate(listens):
        if listen is not None:
            service = submission_service(offered, config.hostname, certificate.context, is_implicit=bool(index))
            server = SmtpServer(service, SUBMISSION_LIMITS, budget)
            bound[index] = await server.start(*listen)
            stack.push_async_callback(server.stop, min(CLOSING_S, config.drain_s))
    return bound[0], bound[1]


def _own_fromids(ports: UnitPorts) -> OwnLookup | None:
    chosen, clock = ports.own_fromids, ports.clock
    return None if chosen is None else lambda account, text: chosen.find(account, text, clock.now())


def _on_duty(stack: contextlib.AsyncExitStack, task: asyncio.Task[None]) -> None:
    """Let a task run until the unit ends; one that ends before is told in the log."""
    task.add_done_callback(_gave_up)

    async def relieve() -> None:
        task.cancel()
        await asyncio.wait([task])

    stack.push_async_callback(relieve)


def _gave_up(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("a duty of the unit has ended", exc_info=error, extra={"duty": str(task.get_coro())})


async def _drain(engine: Engine, announcer: Announcer, executor: ThreadPoolExecutor, limit_s: float) -> None:
    """Say first that there is no room any more, so that deliver asks nobody in vain."""
    draining = asyncio.create_task(engine.drain(limit_s))
    await asyncio.sleep(0)
    with contextlib.suppress(Exception):
        await announcer.announce(executor)
    await draining


async def _close_pool(pool: Pool) -> None:
    try:
        async with asyncio.timeout(CLOSING_S):
            await pool.close()
    except TimeoutError:
        log.warning("not every connection was closed politely")
