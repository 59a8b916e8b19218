"""What is found out about who sent a mail: SPF, DKIM and DMARC, off the event loop and within a time.

Implements: RFC 9989 section 5 as far as a mail receiver judges. Where the DNS does not answer the result is temperror.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Final, TypeVar
from weakref import WeakValueDictionary

from egret.contracts.verdicts import DkimVerdict, Verdicts
from egret.core import dmarc
from egret.core.address import AddressError, canonical_domain
from egret.core.authlimits import networks_of
from egret.core.parse import parse_addresses
from egret_egress.destinations import DnsTrouble
from egret_egress.dkim_check import check_dkim, split
from egret_egress.dns_blocking import BlockingNames, Lookups, Names
from egret_egress.spf_check import Sender, Spf, check_spf

log = logging.getLogger(__name__)

T = TypeVar("T")

JUDGING_S: Final = 20.0
"""For all look-ups about one mail."""
SPF_S: Final = 10.0
"""Of a sender at MAIL."""
MAX_HEADER_BYTES: Final = 1 << 20
"""Of a header in which From is looked for; in a larger one there could be another behind."""
LARGE_BYTES: Final = 1 << 20
THREADS_OF_PEER: Final = 4
"""Of one network: mail whose name servers are slow, as they like to be, keeps nobody else's from being judged."""
_LINE_END: Final = re.compile(r"\r\n|\r|\n")


@dataclass(frozen=True, slots=True)
class JudgingPorts:
    """What judging needs. executor: its threads wait for the DNS."""

    lookups: Lookups
    executor: Executor


class Judge:
    """Judges mail for a unit."""

    def __init__(self, ports: JudgingPorts) -> None:
        self._ports = ports
        self._large = asyncio.Semaphore(1)
        self._turns: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    async def spf(self, sender: Sender) -> Spf:
        """Return what the sender's domain says of the host, within ten seconds."""
        names = self._names(SPF_S)
        return await self._in_thread(sender.ip, lambda: check_spf(names, sender))

    async def verdicts(self, ip: str, spf: Spf, content: bytes) -> Verdicts:
        """Return all of a mail. ip: who brings it. content: CRLF line ends. Large ones are looked at in turn."""
        names = self._names(JUDGING_S)  # waiting counts, so that those with silent name servers keep none waiting long

        def work() -> Verdicts:
            return judge(names, spf, content)

        if len(content) <= LARGE_BYTES:
            return await self._in_thread(ip, work)
        async with self._large:
            return await self._in_thread(ip, work)

    def _names(self, limit_s: float) -> BlockingNames:
        loop = asyncio.get_running_loop()
        return BlockingNames(self._ports.lookups, loop, loop.time() + limit_s)

    async def _in_thread(self, ip: str, work: Callable[[], T]) -> T:
        """Do the work in a thread once the peer may have one; it has it until the work ends, whoever still waits."""
        peer = networks_of(ip)[0]
        turns = self._turns.setdefault(peer, asyncio.Semaphore(THREADS_OF_PEER))
        await turns.acquire()
        working = asyncio.get_running_loop().run_in_executor(self._ports.executor, work)
        working.add_done_callback(lambda _: turns.release())
        return await asyncio.shield(working)


def judge(names: Names, spf: Spf, content: bytes) -> Verdicts:
    """Return the verdicts on a mail; blocks. Raises nothing that is about the mail or the DNS."""
    return _verdicts(names, spf, check_dkim(names, content), header_from(content))


def _verdicts(names: Names, spf: Spf, signatures: tuple[DkimVerdict, ...], author: str) -> Verdicts:
    def made(result: str, judgement: dmarc.Judgement | None = None) -> Verdicts:
        found = judgement or dmarc.Judgement(result)
        return Verdicts(
            spf=spf.result,
            spf_domain=spf.domain,
            spf_scope=spf.scope,
            dkim=signatures,
            dmarc=result,
            header_from=author,
            record=found.record,
            policy=found.policy,
            spf_aligned=found.spf_aligned,
            dkim_aligned=found.dkim_aligned,
        )

    if not author:
        return made("permerror")
    vouching = tuple(dict.fromkeys(one.domain for one in signatures if one.result == "pass"))
    authenticated = dmarc.Authenticated(spf.domain if spf.result == "pass" else "", vouching)
    try:
        judgement = dmarc.judge(author, authenticated, _asking(names), names.exists)
    except DnsTrouble:
        return made("temperror")
    is_unsure = judgement.result == "fail" and "temperror" in (spf.result, *(one.result for one in signatures))
    return made("temperror" if is_unsure else judgement.result, judgement)


def _asking(names: Names) -> Callable[[str], dmarc.DmarcRecord | None]:
    """Return what finds the DMARC record of a domain, asking once for each."""
    known: dict[str, dmarc.DmarcRecord | None] = {}

    def ask(domain: str) -> dmarc.DmarcRecord | None:
        if domain not in known:
            known[domain] = dmarc.parse_record(domain, names.txt(f"_dmarc.{domain}"))
        return known[domain]

    return ask


def header_from(content: bytes) -> str:
    """Return the From domain as A-labels; "" unless there is one From field, with addresses of one domain.

    RFC 9989 section 5.3.1. A bare CR or LF ends a line here, as it does for many who show the mail: no second
    From hides behind one.
    """
    header = split(content)[0]
    if len(header) > MAX_HEADER_BYTES:
        return ""
    fields: list[list[str]] = []
    for line in _LINE_END.split(header.decode("utf-8", "replace")):
        if line[:1] in (" ", "\t") and fields:
            fields[-1].append(line)
        else:
            fields.append([line])
    whole = map("".join, fields)
    values = [value for name, colon, value in (field.partition(":") for field in whole) if _is_from(name) and colon]
    mailboxes = parse_addresses(values[0]) if len(values) == 1 else ()
    domains = {_domain_of(mailbox.address) for mailbox in mailboxes}
    return domains.pop() if len(domains) == 1 else ""


def _domain_of(address: str) -> str:
    """Return the domain as A-labels, "" when there is none."""
    _, at, domain = address.rpartition("@")
    try:
        return canonical_domain(domain) if at else ""
    except AddressError:
        return ""


def _is_from(name: str) -> bool:
    return name.rstrip(" \t").lower() == "from"
