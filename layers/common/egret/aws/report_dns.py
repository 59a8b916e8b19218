"""DNS for reporting, by the resolver of the machine."""

from __future__ import annotations

import dns.exception
import dns.resolver

from egret.contracts.reports import DnsSilent

LIFETIME_S = 5.0
"""How long a question may take, with all its repetitions."""


class SystemDns:
    """The `ReportDns` port."""

    def __init__(self, resolver: dns.resolver.Resolver | None = None) -> None:
        self._resolver = resolver or dns.resolver.Resolver()

    def __call__(self, name: str) -> tuple[str, ...]:
        """Return the TXT records at a name, each with its strings joined; () for none. Raises DnsSilent."""
        try:
            answer = self._resolver.resolve(name, "TXT", lifetime=LIFETIME_S, raise_on_no_answer=False)
        except (dns.resolver.NXDOMAIN, dns.resolver.YXDOMAIN):
            return ()
        except (dns.resolver.NoNameservers, dns.resolver.LifetimeTimeout) as error:
            raise DnsSilent(detail=f"{name}: {type(error).__name__}") from error
        except (dns.exception.DNSException, UnicodeError):  # a name that none can have
            return ()
        return tuple(b"".join(each.strings).decode("utf-8", "replace") for each in answer.rrset or ())
