"""Sending domains, as the operator manages them: keys are made, and every DNS record to publish is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from egret.contracts.ports import KeyWrapper
from egret.contracts.settings import Account, SendingDomain, StoredDkimKey
from egret.core.address import Address, AddressError
from egret.core.dkim import dns_record
from egret.core.errors import Conflict, InvalidRequest
from egret.usecases.accounts import OperatorPorts, account_named, domain_name

PrivateKey = RSAPrivateKey | Ed25519PrivateKey
KeyMaker = Callable[[str], PrivateKey]
"""Makes a fresh key: "rsa" (2048 bits) or "ed25519"."""

ALGORITHMS = ("rsa", "ed25519")
"""RSA for every receiver, Ed25519 (RFC 8463) for those that know it."""


@dataclass(frozen=True, slots=True)
class DnsRecord:
    """A record to publish. name: without trailing dot. purpose: one sentence. is_optional: mail flows without it."""

    name: str
    type: str
    value: str
    purpose: str
    is_optional: bool = False


@dataclass(frozen=True, slots=True)
class DomainPorts:
    """What managing domains needs beside `OperatorPorts`. hostname: of the egress, the target of the MX records."""

    operator: OperatorPorts
    wrapper: KeyWrapper
    make_key: KeyMaker
    hostname: str


@dataclass(frozen=True, slots=True)
class DomainWish:
    """What an operator asks for. return_path_domain: "" = `bounces.` before the domain; separator: as SendingDomain."""

    domain: str
    return_path_domain: str = ""
    separator: str = ""
    disabled: bool = False


def domain_add(ports: DomainPorts, account_name: str, wish: DomainWish) -> tuple[SendingDomain, list[DnsRecord]]:
    """Add a domain to an account, or change it; return it and all records to publish.

    Keys that it has already are kept: their records are out in the DNS. Raises InvalidRequest for names that cannot
    be, Conflict when the domain or its return-path domain is another account's.
    """
    account = account_named(ports.operator.settings, account_name)
    name = domain_name(wish.domain)
    _check_separator(wish.separator)
    known = {domain.domain: domain for domain in ports.operator.settings.domains(account.id)}.get(name)
    wanted = SendingDomain(
        domain=name,
        account=account.id,
        return_path_domain=domain_name(wish.return_path_domain or f"bounces.{name}"),
        dkim_keys=known.dkim_keys if known else (),
        separator=wish.separator,
        disabled=wish.disabled,
    )
    _check_names(ports.operator, wanted)
    if not wanted.dkim_keys:
        wanted = replace(wanted, dkim_keys=_new_keys(ports, name, ports.operator.clock.now()))
    ports.operator.settings.put_domain(wanted)
    return wanted, dns_records(wanted, ports.hostname)


def _check_names(ports: OperatorPorts, wanted: SendingDomain) -> None:
    """Refuse a domain to which another account's bounces return, and a return-path domain that another sends from."""
    for account in ports.settings.accounts():
        for other in ports.settings.domains(account.id) if account.id != wanted.account else ():
            if wanted.domain == other.return_path_domain or wanted.return_path_domain == other.domain:
                raise Conflict(f"Another account uses {other.domain} and {other.return_path_domain}.")


def domain_list(ports: OperatorPorts, account_name: str) -> list[SendingDomain]:
    """Return an account's domains, by name."""
    return ports.settings.domains(account_named(ports.settings, account_name).id)


def domain_remove(ports: OperatorPorts, account_name: str, domain: str) -> None:
    """Remove a domain and its keys; mail that waits is still sent. Raises InvalidRequest unless it is the account's."""
    account, name = account_named(ports.settings, account_name), domain_name(domain)
    if not (_owns(ports, account, name) and ports.settings.remove_domain(name)):
        raise InvalidRequest("user", f"The account has no domain {domain!r}.")


def dns_records(domain: SendingDomain, hostname: str) -> list[DnsRecord]:
    """Return every record that a sending domain needs, in the order in which they matter."""
    records = [
        DnsRecord(
            f"{key.selector}._domainkey.{domain.domain}",
            "TXT",
            key.public_record,
            f"DKIM: receivers check our signatures ({key.algorithm}).",
        )
        for key in domain.dkim_keys
    ]
    bounces = domain.domain if domain.separator else domain.return_path_domain
    spf = f"v=spf1 a:{hostname} -all"
    records.append(DnsRecord(bounces, "MX", f"10 {hostname}.", "Bounces come back to Egret."))
    if domain.separator:
        purpose = "SPF: Egret may send for the domain; merge it with a record that is there."
        records.append(DnsRecord(domain.domain, "TXT", f"v=spf1 a:{hostname} ~all", purpose))
    else:
        records.append(DnsRecord(bounces, "TXT", spf, "SPF: only Egret sends with this reverse-path."))
        purpose = "SPF of the domain itself is not looked at; other senders of yours may need it."
        records.append(DnsRecord(domain.domain, "TXT", f"v=spf1 a:{hostname} ~all", purpose, is_optional=True))
    purpose = "DMARC: many receivers demand a policy; leave yours if you have one."
    records.append(DnsRecord(f"_dmarc.{domain.domain}", "TXT", "v=DMARC1; p=none", purpose))
    return records


def _new_keys(ports: DomainPorts, domain: str, now: datetime) -> tuple[StoredDkimKey, ...]:
    return tuple(_new_key(ports, domain, algorithm, now) for algorithm in ALGORITHMS)


def _new_key(ports: DomainPorts, domain: str, algorithm: str, now: datetime) -> StoredDkimKey:
    private = ports.make_key(algorithm)
    der = private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    # The date in the selector: a later key gets another name, so that both can be published for a while.
    selector = f"eg{now:%Y%m%d}-{algorithm}"
    return StoredDkimKey(selector, algorithm, ports.wrapper.wrap(der, domain), dns_record(private.public_key()))


def _owns(ports: OperatorPorts, account: Account, domain: str) -> bool:
    return any(owned.domain == domain for owned in ports.settings.domains(account.id))


def _check_separator(separator: str) -> None:
    """Refuse a separator that could not stand in a local part, or that makes it need quotes."""
    if not separator:
        return
    try:
        plain = '"' not in str(Address(f"a{separator}b", "example.com"))
    except AddressError:
        plain = False
    if not plain or len(separator) > 2 or separator.isalnum():
        raise InvalidRequest("user", "A separator is one or two characters such as `+` or `-`.")
