"""MTA-STS: finds the policy of a recipient domain, fetches it over HTTPS, and keeps it as long as it says.

Implements: RFC 8461 sections 3.1, 3.3, 5.1 and 10.2. What a policy says is `core.mtasts`'s, what follows from it is
`security`'s, where policies are kept for all units is a port.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Protocol, TypeVar

from egret.contracts.ports import Clock
from egret.contracts.records import StsPolicy
from egret.contracts.tls import StsPolicies
from egret.core.errors import ContractError, Unavailable
from egret.core.mtasts import Invalid, PolicyText, parse_policy, parse_record
from egret.core.tlsrpt import ResultType
from egret_egress.certificates import TlsFailure
from egret_egress.destinations import DnsTrouble, Texts

log = logging.getLogger(__name__)
T = TypeVar("T")

BACK_OFF = timedelta(minutes=5)
"""After a policy could not be fetched; meanwhile the domain counts as before."""
LOOK_AGAIN = timedelta(hours=1)
"""After which the store is asked again whether another unit has found a policy where there was none."""
TOUCH_AFTER = timedelta(days=1)
REFRESH_EVERY_S = 6 * 3600.0
REFRESH_PAUSE_S = 0.5
"""Between two policies that are fetched again in the background."""
KNOWN_DOMAINS = 50_000


@dataclass(frozen=True, slots=True)
class NotFetched:
    """No policy could be had. reason: one sentence for people.

    was_asked: False when it was for us that the host was not even asked, so that nothing is known of it.
    """

    failure: TlsFailure
    reason: str
    was_asked: bool = True


class Fetch(Protocol):
    """The way to policies."""

    async def __call__(self, domain: str) -> bytes | NotFetched:
        """Return the body of `https://mta-sts.<domain>/.well-known/mta-sts.txt`, or why there is none."""
        ...


@dataclass(frozen=True, slots=True)
class Found:
    """What is known of a domain: its policy, and what went wrong on the way to a newer one."""

    policy: StsPolicy | None = None
    failure: TlsFailure | None = None


NOTHING = Found()


@dataclass(slots=True)
class _Known:
    """What this unit knows of a domain. read_at: when the store was asked. failed: the last failure to fetch."""

    policy: StsPolicy | None
    read_at: datetime
    failed: NotFetched | None = None
    failed_at: datetime | None = None

    def backs_off(self, now: datetime) -> bool:
        return self.failed_at is not None and now < self.failed_at + BACK_OFF


class MtaSts:
    """The policies of recipient domains. store, executor: calls to the store block, and go there."""

    def __init__(
        self, resolver: Texts, fetch: Fetch, store: StsPolicies, clock: Clock, executor: Executor | None = None
    ) -> None:
        self._resolver = resolver
        self._fetch = fetch
        self._store = store
        self._clock = clock
        self._executor = executor
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._under_way: dict[str, asyncio.Task[Found]] = {}

    async def of(self, domain: str) -> Found:
        """Return the policy that counts now for a domain (A-label).

        One that was fetched counts until its max_age is over, even if record and host have gone since (section 5.1).
        Raises DnsTrouble when it cannot be known whether there is one, or when there is and it cannot be asked for yet.
        """
        now = self._clock.now()
        known = self._remembered(domain, now)
        try:
            texts = (await self._resolver.txt(f"_mta-sts.{domain}")).records
        except DnsTrouble:
            known = known or await self._recalled(domain, now)
            if known.policy is None:
                raise
            return Found(known.policy)
        announced = parse_record(texts) if texts else None
        if known is not None and self._is_settled(known, announced, now):
            return self._found(known, announced, now)
        return await self._settle(domain, announced)

    def _remembered(self, domain: str, now: datetime) -> _Known | None:
        """Return what this unit knows, without a policy that has run out."""
        known = self._known.get(domain)
        if known is None:
            return None
        self._known.move_to_end(domain)
        if known.policy is not None and now >= max(known.policy.valid_until, known.policy.fetched_at + BACK_OFF):
            known.policy = None
        if known.policy is None and now >= known.read_at + LOOK_AGAIN:
            return None
        return known

    @staticmethod
    def _is_settled(known: _Known, announced: str | Invalid | None, now: datetime) -> bool:
        """Nothing is to be fetched."""
        if not isinstance(announced, str) or known.backs_off(now):
            return True
        return (
            known.policy is not None and known.policy.id == announced and now < known.policy.last_used_at + TOUCH_AFTER
        )

    @staticmethod
    def _found(known: _Known, announced: str | Invalid | None, now: datetime) -> Found:
        if isinstance(announced, Invalid):
            return Found(known.policy, TlsFailure(ResultType.STS_POLICY_INVALID, "txt-record"))
        if known.failed is not None and announced is not None and known.backs_off(now):
            return Found(known.policy, known.failed.failure)
        return Found(known.policy) if known.policy is not None else NOTHING

    async def _settle(self, domain: str, announced: str | Invalid | None) -> Found:
        """Ask the store, and fetch if need be; once for all who want to know it now."""
        task = self._under_way.get(domain)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._update(domain, announced))
            self._under_way[domain] = task
            task.add_done_callback(lambda _: self._under_way.pop(domain, None))
        return await asyncio.shield(task)

    async def _update(self, domain: str, announced: str | Invalid | None) -> Found:
        now = self._clock.now()
        known = self._remembered(domain, now) or await self._recalled(domain, now)
        if isinstance(announced, str) and not known.backs_off(now):
            if known.policy is None or known.policy.id != announced:
                await self._renew(domain, announced, known)
            elif now >= known.policy.last_used_at + TOUCH_AFTER:
                await self._keep(known, replace(known.policy, last_used_at=now))
        return self._found(known, announced, now)

    async def _recalled(self, domain: str, now: datetime) -> _Known:
        """Return what the store has; when it cannot be asked that is nothing, for a short while."""
        try:
            policy = await self._call(lambda: self._store.get(domain, now))
            known = _Known(policy, now)
        except (Unavailable, ContractError) as error:
            log.warning("the MTA-STS policy of %s cannot be read: %s", domain, error)
            known = _Known(None, now - LOOK_AGAIN + BACK_OFF)
        self._known[domain] = known
        self._known.move_to_end(domain)
        if len(self._known) > KNOWN_DOMAINS:
            self._known.popitem(last=False)
        return known

    async def _renew(self, domain: str, announced: str, known: _Known, used_at: datetime | None = None) -> None:
        """Fetch the policy that the record announces; when that fails, the one that is known still counts.

        Raises DnsTrouble when none is known and nobody was asked: to go on without one would be a downgrade.
        """
        result = await self._read(domain)
        now = self._clock.now()
        if isinstance(result, NotFetched) and not result.was_asked:
            log.warning("the MTA-STS policy of %s cannot be fetched yet: %s", domain, result.reason)
            if known.policy is None:
                raise DnsTrouble(result.reason)
            return
        if isinstance(result, NotFetched):
            log.info("the MTA-STS policy of %s cannot be fetched: %s", domain, result.reason)
            known.failed, known.failed_at = result, now
            return
        known.failed = known.failed_at = None
        max_age = timedelta(seconds=result.max_age_s)
        policy = StsPolicy(domain, announced, result.mode, result.mx, max_age, now, now + max_age, used_at or now)
        await self._keep(known, policy)

    async def _read(self, domain: str) -> PolicyText | NotFetched:
        body = await self._fetch(domain)
        if isinstance(body, NotFetched):
            return body
        parsed = parse_policy(body)
        if isinstance(parsed, Invalid):
            return NotFetched(TlsFailure(ResultType.STS_POLICY_INVALID), parsed.reason)
        return parsed

    async def _keep(self, known: _Known, policy: StsPolicy) -> None:
        known.policy = policy
        try:
            await self._call(lambda: self._store.put(policy))
        except (Unavailable, ContractError) as error:
            log.warning("the MTA-STS policy of %s cannot be stored: %s", policy.domain, error)

    async def _call(self, function: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, function)

    # --- in the background

    async def keep_fresh(self) -> None:
        """Fetch policies again that are half a day old, for ever: who blocks that must do so until they run out."""
        while True:
            await asyncio.sleep(REFRESH_EVERY_S)
            try:
                await self.refresh()
            except Exception:
                log.exception("the MTA-STS policies were not fetched again")

    async def refresh(self, pause_s: float = REFRESH_PAUSE_S) -> None:
        """Fetch again what is stale, one after the other. Trouble is logged; what is known still counts."""
        now = self._clock.now()
        try:
            stale = await self._call(lambda: self._store.stale(now))
        except (Unavailable, ContractError) as error:
            log.warning("the MTA-STS policies cannot be listed: %s", error)
            return
        for policy in stale:
            await self._refresh(policy)
            await asyncio.sleep(pause_s)

    async def _refresh(self, policy: StsPolicy) -> None:
        domain = policy.domain
        try:
            announced = parse_record((await self._resolver.txt(f"_mta-sts.{domain}")).records)
        except DnsTrouble as trouble:
            log.info("the MTA-STS record of %s cannot be looked up: %s", domain, trouble)
            return
        if isinstance(announced, str):
            known = self._known.get(domain) or _Known(policy, self._clock.now())
            with contextlib.suppress(DnsTrouble):
                await self._renew(domain, announced, known, policy.last_used_at)
