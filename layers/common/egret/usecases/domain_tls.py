"""How well a recipient domain protects mail on its way, as an account's own mail found it."""

from __future__ import annotations

from dataclasses import dataclass

from egret.contracts.ports import Clock
from egret.contracts.tls import DomainTls
from egret.contracts.webapi import DomainTLSInfo, ErrorCode
from egret.core.address import AddressError, canonical_domain, u_label_domain
from egret.core.errors import InvalidRequest


@dataclass(frozen=True, slots=True)
class DomainTlsPorts:
    """What the method needs."""

    domain_tls: DomainTls
    clock: Clock


def domain_tls_get(ports: DomainTlsPorts, account: str, domain: str) -> DomainTLSInfo:
    """Return what a mail server of the domain offered when mail of the account last connected to one.

    domain: A-labels or U-labels. Raises InvalidRequest: `user` when it is no domain, `domainNotFound` when none of the
    account's mail has met it.
    """
    try:
        name = canonical_domain(domain)
    except AddressError as error:
        raise InvalidRequest(ErrorCode.USER, f"{domain[:255]!r} is not the name of a domain.") from error
    seen = ports.domain_tls.get(account, name, ports.clock.now())
    if seen is None:
        raise InvalidRequest(
            ErrorCode.DOMAIN_NOT_FOUND, "None of the account's mail has met a mail server of that domain."
        )
    return DomainTLSInfo(
        domain=u_label_domain(name), updated=seen.updated_at, starttls=seen.starttls, require_tls=seen.require_tls
    )
