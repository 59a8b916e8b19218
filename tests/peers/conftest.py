"""What the tests against others' software share: one Postfix, and one installation that sends to it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from tests.e2e.installation import Installation, Login
from tests.peers import daemon, exim, opensmtpd
from tests.peers.access import Access, access_table
from tests.peers.nameserver import nameserver
from tests.peers.postfix import ADDRESS, DOMAIN, HOST, Postfix, is_possible, running_postfix
from tests.peers.receiver import Receiver, receiver

ASCII_DOMAIN, ASCII_HOST, ASCII_ADDRESS = "ascii.example", "mx.ascii.example", "127.0.0.28"
ZONE = {
    (DOMAIN, "MX"): f"10 {HOST}.",
    (HOST, "A"): ADDRESS,
    (ASCII_DOMAIN, "MX"): f"10 {ASCII_HOST}.",
    (ASCII_HOST, "A"): ASCII_ADDRESS,
    (exim.DOMAIN, "MX"): f"10 {exim.HOST}.",
    (exim.HOST, "A"): exim.ADDRESS,
    (opensmtpd.DOMAIN, "MX"): f"10 {opensmtpd.HOST}.",
    (opensmtpd.HOST, "A"): opensmtpd.ADDRESS,
}
RETRY_BASE_S = 5
RECIPIENT_LIMIT = 2
SETTINGS = {"smtpd_recipient_limit": str(RECIPIENT_LIMIT), "smtputf8_enable": "yes"}
ASCII_SETTINGS = {
    "smtputf8_enable": "no",
    "virtual_mailbox_domains": ASCII_DOMAIN,
    "virtual_mailbox_maps": "static:all/",
}


@dataclass(frozen=True, slots=True)
class Peers:
    """An installation, the Postfix that it sends to, and the receiver of the account that it sends for.

    access: what that Postfix answers to RCPT, of which it takes RECIPIENT_LIMIT at a time. ascii_only: another Postfix,
    for ASCII_DOMAIN, without SMTPUTF8. login: of an account with fromids; plain: of one without. keys: DKIM
    records by name.
    """

    installation: Installation
    postfix: Postfix
    ascii_only: Postfix
    access: Access
    receiver: Receiver
    login: Login
    plain: Login
    keys: Mapping[str, str]


@pytest.fixture(scope="session")
def peers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peers]:
    """Everything, running."""
    if not is_possible():
        pytest.skip("needs Postfix, and root")
    with ExitStack() as stack:
        resolver = stack.enter_context(nameserver(ZONE))
        settings = {"DELIVER": "real", "RESOLVER": resolver, "RETRY_BASE_S": str(RETRY_BASE_S)}
        installation = Installation(tmp_path_factory.mktemp("local"), settings)
        stack.callback(installation.clean_up)
        back = f"smtp:[127.0.0.1]:{installation.ports['SMTP_PORT']}"
        domains = ("sender.example", "plain.example")
        access = stack.enter_context(access_table())
        ways_back = {f"bounces.{name}": back for name in domains}
        postfix = stack.enter_context(running_postfix(ways_back, access.port, overrides=SETTINGS))
        ascii_only = stack.enter_context(
            running_postfix(ways_back, access.port, address=ASCII_ADDRESS, overrides=ASCII_SETTINGS)
        )
        told = stack.enter_context(receiver())
        installation.start()
        keys: dict[str, str] = {}
        login = _account(installation, "sender", "--uses-fromid", keys)
        plain = _account(installation, "plain", "--no-uses-fromid", keys)
        told.secret = installation.cli("webhook", "set", "sender", told.url)["secret"]
        yield Peers(installation, postfix, ascii_only, access, told, login, plain, keys)


def _account(installation: Installation, name: str, fromid: str, keys: dict[str, str]) -> Login:
    """Make an account with a domain as an operator does; note its DKIM records."""
    domain = f"{name}.example"
    installation.cli("account", "create", name, "--address", f"app@{domain}", fromid)
    key = installation.cli("key", "create", name)["key"]
    records = installation.cli("domain", "add", name, domain)["records"]
    keys.update({record["name"]: record["value"] for record in records if "_domainkey." in record["name"]})
    return Login(f"app@{domain}", key)


@pytest.fixture(scope="session")
def the_exim(peers: Peers) -> Iterator[exim.Exim]:
    """An Exim that sends its bounces to us."""
    if not daemon.is_possible(exim.PROGRAM):
        pytest.skip("needs Exim, and root")
    with exim.running_exim(peers.installation.ports["SMTP_PORT"]) as running:
        yield running


@pytest.fixture(scope="session")
def the_opensmtpd(peers: Peers) -> Iterator[opensmtpd.OpenSmtpd]:
    """An OpenSMTPD that sends its bounces to us."""
    if not daemon.is_possible(opensmtpd.PROGRAM):
        pytest.skip("needs OpenSMTPD, and root")
    with opensmtpd.running_opensmtpd(peers.installation.ports["SMTP_PORT"]) as running:
        yield running
