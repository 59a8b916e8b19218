"""DNS for reporting: yes, no, and no answer are three things."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import dns.name
import dns.resolver
import dns.rrset
import pytest

from egret.aws.report_dns import SystemDns
from egret.contracts.reports import DnsSilent

RESOLVER: Any = dns.resolver
NAME: Any = dns.name
"""Their errors have no types."""


class Fake(dns.resolver.Resolver):
    """A resolver that answers, or raises, as told."""

    def __init__(self, told: BaseException | list[str]) -> None:
        super().__init__(configure=False)
        self.told = told

    def resolve(self, qname: object, *_: object, **__: object) -> dns.resolver.Answer:
        """Answer."""
        if isinstance(self.told, BaseException):
            raise self.told
        rrset = dns.rrset.from_text("example.net.", 60, "IN", "TXT", *self.told) if self.told else None
        answer: Any = SimpleNamespace(rrset=rrset)
        return cast("dns.resolver.Answer", answer)


def test_strings_of_a_record_are_joined() -> None:
    """A zone may have cut them anywhere; octets that are no UTF-8 do no harm."""
    told = ['"v=DMARC1; rua=mailto:" "d@example.net"', '"\\255x"']
    assert sorted(SystemDns(Fake(told))("example.net")) == ["v=DMARC1; rua=mailto:d@example.net", "\ufffdx"]


@pytest.mark.parametrize(
    "told", [[], RESOLVER.NXDOMAIN(), RESOLVER.YXDOMAIN(), NAME.LabelTooLong(), UnicodeError("bad")]
)
def test_no_record_is_no_trouble(told: BaseException | list[str]) -> None:
    """Nor is a name that cannot be asked for."""
    assert SystemDns(Fake(told))("example.net") == ()


@pytest.mark.parametrize("told", [RESOLVER.NoNameservers(), RESOLVER.LifetimeTimeout(timeout=5, errors=[])])
def test_silence_is_no_answer(told: BaseException) -> None:
    """It is asked again."""
    with pytest.raises(DnsSilent):
        SystemDns(Fake(told))("example.net")
