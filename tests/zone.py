"""A DNS zone for those who judge mail that comes in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from egret_egress.destinations import Answer, DnsTrouble, MxRecord

Records = Mapping[str, Sequence[str]]


@dataclass
class Zone:
    """Records by name; MX hosts in order of preference. failing: names about which nobody answers."""

    texts: Records = field(default_factory=dict)
    hosts: Records = field(default_factory=dict)
    exchanges: Records = field(default_factory=dict)
    reverse: Records = field(default_factory=dict)
    failing: frozenset[str] = frozenset()
    asked: list[str] = field(default_factory=list)

    def mx(self, domain: str) -> tuple[MxRecord, ...]:
        return tuple(MxRecord(at, host) for at, host in enumerate(self._of(self.exchanges, domain)))

    def addresses(self, host: str) -> tuple[str, ...]:
        return self._of(self.hosts, host)

    def txt(self, name: str) -> tuple[str, ...]:
        return self._of(self.texts, name)

    def pointers(self, name: str) -> tuple[str, ...]:
        return self._of(self.reverse, name)

    def exists(self, domain: str) -> bool:
        return any(domain in records for records in (self.texts, self.hosts, self.exchanges))

    def _of(self, records: Records, name: str) -> tuple[str, ...]:
        self.asked.append(name)
        if name in self.failing:
            raise DnsTrouble("nobody answers")
        return tuple(records.get(name, ()))


class Looking:
    """The same zone for those who wait in a loop."""

    def __init__(self, zone: Zone) -> None:
        self._zone = zone

    async def mx(self, domain: str) -> Answer[MxRecord]:
        return Answer(self._zone.mx(domain), exists=self._zone.exists(domain))

    async def addresses(self, host: str) -> Answer[str]:
        return Answer(self._zone.addresses(host), exists=self._zone.exists(host))

    async def txt(self, name: str) -> Answer[str]:
        return Answer(self._zone.txt(name), exists=self._zone.exists(name))

    async def pointers(self, name: str) -> Answer[str]:
        return Answer(self._zone.pointers(name))
