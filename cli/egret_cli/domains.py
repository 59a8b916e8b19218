"""`egret domain`."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from dataclasses import asdict

from egret.aws.dkim_keys import make_dkim_key
from egret.contracts.settings import SendingDomain
from egret.core.errors import InvalidRequest
from egret.usecases.accounts import domain_name
from egret.usecases.domains import (
    DnsRecord,
    DomainPorts,
    DomainWish,
    dns_records,
    domain_add,
    domain_list,
    domain_remove,
)
from egret_cli.command import ACCOUNT, Answer, Argument, Command, Ports, operator
from egret_cli.text import table

DOMAIN = Argument("domain", "the domain, e.g. example.com")


def add(ports: Ports, arguments: Namespace) -> Answer:
    """Add a domain and print the records to publish."""
    bundle = DomainPorts(operator(ports), ports.key_wrapper, make_dkim_key, ports.installation.hostname)
    wish = DomainWish(arguments.domain, arguments.return_path, arguments.separator, disabled=arguments.disabled)
    domain, records = domain_add(bundle, arguments.account, wish)
    return Answer({**_data(domain), "records": [asdict(record) for record in records]}, _published(records))


def list_all(ports: Ports, arguments: Namespace) -> Answer:
    """List the domains of an account."""
    rows = [_data(domain) for domain in domain_list(operator(ports), arguments.account)]
    return Answer(rows, table([{k.replace("_", " "): v for k, v in row.items()} for row in rows], "It has no domain."))


def remove(ports: Ports, arguments: Namespace) -> Answer:
    """Remove a domain."""
    domain_remove(operator(ports), arguments.account, arguments.domain)
    return Answer({"removed": arguments.domain}, f"Removed {arguments.domain}; its DNS records may go, too.")


def records_of(ports: Ports, arguments: Namespace) -> Answer:
    """Print the records of a domain again."""
    wanted = domain_name(arguments.domain)
    owned = {domain.domain: domain for domain in domain_list(operator(ports), arguments.account)}
    if wanted not in owned:
        raise InvalidRequest("user", f"The account has no domain {arguments.domain!r}.")
    records = dns_records(owned[wanted], ports.installation.hostname)
    return Answer([asdict(record) for record in records], _published(records))


def _data(domain: SendingDomain) -> dict[str, object]:
    return {
        "domain": domain.domain,
        "return_path_domain": domain.return_path_domain,
        "separator": domain.separator,
        "selectors": [key.selector for key in domain.dkim_keys],
        "disabled": domain.disabled,
    }


def _published(records: Sequence[DnsRecord]) -> str:
    """Return the records in the form of a zone file, each under a comment that says what it is for."""
    return "\n\n".join(f"; {_purpose(record)}\n{record.name}. {record.type} {_value(record)}" for record in records)


def _purpose(record: DnsRecord) -> str:
    return f"{record.purpose} (optional)" if record.is_optional else record.purpose


def _value(record: DnsRecord) -> str:
    """Return the value; a TXT record in strings of at most 255 octets (RFC 1035 section 3.3.14)."""
    if record.type != "TXT":
        return record.value
    return " ".join(f'"{record.value[at : at + 255]}"' for at in range(0, len(record.value), 255))


COMMANDS = (
    Command(
        "domain",
        "add",
        "Add a sending domain, or change one, and print every DNS record to publish. Keys that it has are kept.",
        (
            ACCOUNT,
            DOMAIN,
            Argument(
                "--return-path",
                "domain that bounces return to; `bounces.` before the domain if not given",
                {"default": "", "metavar": "DOMAIN"},
            ),
            Argument(
                "--separator",
                "for a domain whose MX is Egret: reverse-paths are local part, separator, fromid in the domain itself",
                {"default": "", "metavar": "CHARACTER"},
            ),
            Argument("--disabled", "nothing may be sent from it", {"action": "store_true"}),
        ),
        add,
    ),
    Command("domain", "list", "List the domains of an account.", (ACCOUNT,), list_all),
    Command("domain", "remove", "Remove a domain and its keys; what waits is still sent.", (ACCOUNT, DOMAIN), remove),
    Command("domain", "records", "Print every DNS record of a domain again.", (ACCOUNT, DOMAIN), records_of),
)
