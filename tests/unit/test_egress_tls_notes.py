"""The notes of a unit about the TLS of others, from a session to the table."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

from egret.contracts.tls import TlsSupport
from egret.core.tlsrpt import AppliedPolicy, PolicyType, Tally, TlsResult, TlsSession
from egret.memory.clock import FakeClock
from egret.memory.tls import MemoryDomainTls, MemoryTlsResults
from egret_egress.destinations import Answer
from egret_egress.tls_notes import TlsNotes, TlsPorts
from tests.unit.builders import ACCOUNT, NOW


class Dns:
    """Only example.net wants reports."""

    async def txt(self, name: str) -> Answer[str]:
        wanted = name == "_smtp._tls.example.net"
        return Answer(("v=TLSRPTv1; rua=mailto:tls@example.net",) if wanted else ())


def test_everything_is_in_the_table_after_the_last_flush() -> None:
    """What domains offer, for their accounts; sessions, for the domains that want to hear of them."""
    ports = TlsPorts(MemoryDomainTls(), MemoryTlsResults())
    notes = TlsNotes(ports, Dns(), FakeClock(NOW))
    support = TlsSupport(ACCOUNT, "example.net", starttls=True, require_tls=False, updated_at=NOW)
    sessions = [TlsSession(name, name, AppliedPolicy(PolicyType.NONE)) for name in ("example.net", "example.org")]
    notes.support.saw(support)
    for session in sessions:
        notes.results.add(session, NOW)
    with ThreadPoolExecutor(1) as executor:
        asyncio.run(notes.flush(executor, 10))

    assert ports.domains.get(ACCOUNT, "example.net", NOW) == support
    assert ports.results.list(NOW.date(), "", 10, NOW).items == (TlsResult(sessions[0].key(NOW), Tally(1)),)


def test_duties_end_when_they_are_canceled() -> None:
    """One for each kind of notes."""

    async def run() -> int:
        notes = TlsNotes(TlsPorts(MemoryDomainTls(), MemoryTlsResults()), Dns(), FakeClock(NOW))
        with ThreadPoolExecutor(1) as executor:
            tasks = [asyncio.create_task(duty) for duty in notes.duties(executor)]
            await asyncio.sleep(0)
            for task in tasks:
                task.cancel()
            done, _ = await asyncio.wait(tasks)
        return len(done)

    assert asyncio.run(run()) == 2
