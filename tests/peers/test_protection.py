"""DANE through a real signed zone and a real validating resolver, MTA-STS from an HTTPS host, both with Postfix."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiohttp import web
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from msgspec import structs

from egret.aws.clock import SystemClock, SystemDice
from egret.core.outcome import Bounced, Deferred, Delivered
from egret.memory.tls import MemoryStsPolicies
from egret_egress.courier import Courier
from egret_egress.destinations import Direct, PublicOnly
from egret_egress.dns import DnsResolver
from egret_egress.mta_sts import MtaSts
from egret_egress.opening import Dialing
from egret_egress.parcel import Parcel
from egret_egress.pool import Pool
from egret_egress.security import Security
from egret_egress.sts_fetch import PATH, Fetching, HttpsFetch
from tests.certificates import Identity
from tests.conformance.scripted import Notes, parcel
from tests.e2e.installation import wait_until
from tests.integration.protected import Sent, Told
from tests.peers import dnssec
from tests.peers.dnssec import BOGUS, SIGNED, UNSIGNED, validating_resolver
from tests.peers.postfix import Postfix, is_possible, running_postfix

pytestmark = pytest.mark.peers

MX_ADDRESS, POLICY_ADDRESS = "127.0.0.26", "127.0.0.44"
ROOT = Identity("Test Root", is_authority=True)
SERVER = Identity(f"mx.{SIGNED}", issuer=ROOT, others=[f"*.{SIGNED}", f"*.{UNSIGNED}"])
POLICY_HOST = Identity(f"mta-sts.sts.{UNSIGNED}", issuer=ROOT, others=[f"mta-sts.away.{UNSIGNED}"])
DOMAINS = [
    *(f"{name}.{SIGNED}" for name in ("right", "wrong", "authority", "unusable", "bogus", "alias", "none")),
    *(f"{name}.{UNSIGNED}" for name in ("wrong", "sts", "away")),
]
POLICY = "version: STSv1\nmode: enforce\nmx: {}\nmax_age: 86400\n"


def digest(identity: Identity) -> str:
    """Return SHA-256 of the public key."""
    key = identity.certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(key).hexdigest()


def host(name: str, tlsa: str = "") -> list[str]:
    """Return the records of a domain with one mail server `mx-<name>`."""
    records = [f"{name} MX 10 mx-{name}", f"mx-{name} A {MX_ADDRESS}"]
    return [*records, f"_25._tcp.mx-{name} TLSA {tlsa}"] if tlsa else records


def signed_records() -> list[str]:
    """Return the signed zone."""
    return [
        *host("right", f"3 1 1 {digest(SERVER)}"),
        *host("wrong", f"3 1 1 {'00' * 32}"),
        *host("authority", f"2 1 1 {digest(ROOT)}"),
        *host("unusable", f"1 1 1 {digest(SERVER)}"),
        *host("bogus", f"3 1 1 {BOGUS}"),
        *host("none"),
        "alias MX 10 mx-alias",
        "mx-alias CNAME mx-right",
    ]


def unsigned_records() -> list[str]:
    """Return the zone without DNSSEC."""
    texts = [f'_mta-sts.{name} TXT "v=STSv1; id=1"' for name in ("sts", "away")]
    hosts = [f"mta-sts.{name} A {POLICY_ADDRESS}" for name in ("sts", "away")]
    return [*host("wrong", f"3 1 1 {'00' * 32}"), *host("sts"), *host("away"), *texts, *hosts]


@dataclass(frozen=True)
class Remote:
    """The other side. port: of the resolver."""

    postfix: Postfix
    port: int

    def log(self, address: str) -> list[str]:
        """Return the lines of Postfix's log about a recipient."""
        return [line for line in self.postfix.log if address in line]


@pytest.fixture(scope="module")
def remote() -> Iterator[Remote]:
    """Postfix with a certificate of our own authority, behind the signed zone."""
    if not (is_possible() and dnssec.is_possible()):
        pytest.skip("needs Postfix, nsd, ldns and unbound, and root")
    overrides = {
        "virtual_mailbox_domains": " ".join(DOMAINS),
        "virtual_mailbox_maps": "static:all/",
        "smtpd_recipient_restrictions": "reject_unauth_destination",
        "smtpd_tls_chain_files": "{config}/chain.pem",
        "smtpd_tls_loglevel": "1",
    }
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="egret-dns-"))
        stack.callback(shutil.rmtree, folder)
        port = stack.enter_context(validating_resolver(folder, signed_records(), unsigned_records()))
        postfix = stack.enter_context(
            running_postfix(
                {"nobody.example": "discard:"}, 1, address=MX_ADDRESS, overrides=overrides, chain_pem=SERVER.chain_pem()
            )
        )
        yield Remote(postfix, port)


def send(
    remote: Remote, domain: str, folder: Path, *, require_tls: bool | None = None, local_part: str = "ann"
) -> Sent:
    """Send one message as a unit does."""

    async def run() -> Sent:
        runner = await _policy_host(folder)
        resolver = PublicOnly(DnsResolver([dnssec.ADDRESS], remote.port, validates=True), allow_loopback=True)
        fetch = HttpsFetch(Fetching(resolver, ROOT.trusting(), runner.addresses[0][1]))
        security = Security(resolver, MtaSts(resolver, fetch, MemoryStsPolicies(), SystemClock()))
        pool, notes = Pool(), Notes()
        dialing = Dialing("unit.example", verified=ROOT.trusting())
        courier = Courier(Direct(resolver, SystemDice()), pool, dialing, security=security)
        letter = parcel(notes, [f"{local_part}@{domain}"], b"Subject: x\r\n\r\nhello\r\n")
        content = structs.replace(letter.transaction.content, require_tls=require_tls)
        transaction = structs.replace(letter.transaction, domain=domain, content=content)
        await courier.deliver(Parcel(transaction, letter.content, notes))
        await pool.close()
        await runner.cleanup()
        return Sent(notes.outcomes[0], notes, Told())

    return asyncio.run(run())


async def _policy_host(folder: Path) -> web.AppRunner:
    """Serve the policies of two domains: one names its mail server, the other one that it has no more."""

    async def handle(request: web.Request) -> web.Response:
        name = request.host.partition(":")[0]
        mx = f"mx-sts.{UNSIGNED}" if name.startswith("mta-sts.sts.") else f"old.{UNSIGNED}"
        return web.Response(text=POLICY.format(mx))

    app = web.Application()
    app.router.add_get(PATH, handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, POLICY_ADDRESS, 0, ssl_context=POLICY_HOST.server(folder)).start()
    return runner


@pytest.mark.rfc("7672", "2.2")
@pytest.mark.parametrize(
    ("domain", "policy"),
    [
        (f"right.{SIGNED}", "dane"),
        (f"alias.{SIGNED}", "dane"),
        (f"authority.{SIGNED}", "dane"),
        (f"unusable.{SIGNED}", "dane, no usable record"),
        (f"none.{SIGNED}", "opportunistic"),
        (f"wrong.{UNSIGNED}", "opportunistic"),
        (f"sts.{UNSIGNED}", "mta-sts"),
    ],
)
def test_mail_goes_where_the_protection_holds(remote: Remote, tmp_path: Path, domain: str, policy: str) -> None:
    """DANE by key, alias and authority, records that cannot be used, none, unsigned ones; MTA-STS. All encrypted."""
    sent = send(remote, domain, tmp_path)

    assert isinstance(sent.outcome, Delivered), sent.reason
    assert (sent.policy, sent.notes.traces[0].tls) == (policy, "TLSv1.3")

    def was_encrypted() -> bool:
        return any("TLS connection established from" in line for line in remote.postfix.log)

    wait_until(was_encrypted, "noted by Postfix")


@pytest.mark.rfc("7672", "2.2")
@pytest.mark.parametrize(
    ("domain", "words"),
    [
        (f"wrong.{SIGNED}", "(DANE)"),
        (f"bogus.{SIGNED}", "fails DNSSEC validation"),
        (f"away.{UNSIGNED}", "MTA-STS"),
    ],
)
def test_mail_waits_where_it_does_not(remote: Remote, tmp_path: Path, domain: str, words: str) -> None:
    """A wrong certificate, a bogus record, a host that the policy does not name: nothing is sent, and it says why."""
    sent = send(remote, domain, tmp_path, local_part="nobody-else")

    assert isinstance(sent.outcome, Deferred)
    assert words in sent.reason
    assert remote.log(f"nobody-else@{domain}") == []


@pytest.mark.rfc("8689", "4.1")
@pytest.mark.parametrize("domain", [f"wrong.{SIGNED}", f"bogus.{SIGNED}", f"away.{UNSIGNED}"])
def test_tls_required_no_goes_all_the_same(remote: Remote, tmp_path: Path, domain: str) -> None:
    """The sender asked for delivery."""
    assert isinstance(send(remote, domain, tmp_path, require_tls=False).outcome, Delivered)


@pytest.mark.rfc("8689", "4.2.1")
@pytest.mark.parametrize("domain", [f"right.{SIGNED}", f"none.{SIGNED}"])
def test_requiretls_bounces(remote: Remote, tmp_path: Path, domain: str) -> None:
    """Postfix does not know it, however well it is protected; where nothing protects, it is not even asked."""
    sent = send(remote, domain, tmp_path, require_tls=True)

    assert isinstance(sent.outcome, Bounced)
    assert sent.enhanced_code == "5.7.30"
