"""The DNS for code that blocks: look-ups made by the unit's own resolver, from a thread, up to a common instant."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as TookTooLong
from typing import Any, Protocol, TypeVar

from egret_egress.destinations import Answer, DnsTrouble, MxRecord

T = TypeVar("T")


class Lookups(Protocol):
    """The DNS as those need it who judge mail that comes in. See `destinations.Resolver`."""

    async def mx(self, domain: str) -> Answer[MxRecord]:
        """Return the MX records."""
        ...

    async def addresses(self, host: str) -> Answer[str]:
        """Return the IP addresses of both families."""
        ...

    async def txt(self, name: str) -> Answer[str]:
        """Return the TXT records, the strings of each joined."""
        ...

    async def pointers(self, name: str) -> Answer[str]:
        """Return the PTR records of a name below in-addr.arpa or ip6.arpa."""
        ...


class Names(Protocol):
    """The same for code that blocks. Names that cannot be in the DNS have no records. All raise DnsTrouble."""

    def mx(self, domain: str) -> tuple[MxRecord, ...]:
        """Return the MX records."""
        ...

    def addresses(self, host: str) -> tuple[str, ...]:
        """Return the IP addresses of both families."""
        ...

    def txt(self, name: str) -> tuple[str, ...]:
        """Return the TXT records, the strings of each joined."""
        ...

    def pointers(self, name: str) -> tuple[str, ...]:
        """Return the PTR records."""
        ...

    def exists(self, domain: str) -> bool:
        """Tell whether there is such a name, with whatever records."""
        ...


class BlockingNames:
    """Look-ups that are made in an event loop. Not to be used in the loop's own thread.

    until: instant of the loop's clock at which the last answer counts.
    """

    def __init__(self, lookups: Lookups, loop: asyncio.AbstractEventLoop, until: float) -> None:
        self._lookups = lookups
        self._loop = loop
        self._until = until

    def mx(self, domain: str) -> tuple[MxRecord, ...]:
        """Return the MX records; see `Names`."""
        return self._answer(self._lookups.mx(domain)).records

    def addresses(self, host: str) -> tuple[str, ...]:
        """Return the addresses; see `Names`."""
        return self._answer(self._lookups.addresses(host)).records

    def txt(self, name: str) -> tuple[str, ...]:
        """Return the TXT records; see `Names`."""
        return self._answer(self._lookups.txt(name)).records

    def pointers(self, name: str) -> tuple[str, ...]:
        """Return the PTR records; see `Names`."""
        return self._answer(self._lookups.pointers(name)).records

    def exists(self, domain: str) -> bool:
        """Tell whether there is such a name; see `Names`. NXDOMAIN is said whatever type is asked for (RFC 8020)."""
        return self._answer(self._lookups.txt(domain)).exists

    def _answer(self, asking: Coroutine[Any, Any, Answer[T]]) -> Answer[T]:
        try:
            asked: Future[Answer[T]] = asyncio.run_coroutine_threadsafe(asking, self._loop)
        except RuntimeError as error:  # the unit has ended meanwhile
            asking.close()
            raise DnsTrouble("nobody looks any more") from error
        try:
            return asked.result(max(0.0, self._until - self._loop.time()))
        except TookTooLong as error:
            asked.cancel()
            raise DnsTrouble("the name servers took too long") from error
        except CancelledError as error:
            raise DnsTrouble("nobody looks any more") from error
