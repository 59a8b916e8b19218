"""Opportunistic TLS, DANE, MTA-STS and REQUIRETLS against servers with real TLS: what is sent, and what is not."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from egret.contracts.handoff import Earlier
from egret.core.mtasts import StsMode
from egret.core.outcome import Bounced, Deferred, Delivered
from egret.core.tls_policy import Tlsa
from egret_egress.destinations import DnsTrouble
from tests.certificates import Identity
from tests.integration.protected import HOST, NOW, SERVER, Dns, Mx, Sender, Sent, Setting, running, send, sts_policy

STRANGER = Identity(HOST)
"""Has the right name, and nobody vouches for it."""
ROOT = Identity("Root", is_authority=True)
BELOW = Identity(HOST, issuer=ROOT)
TXT = ("v=STSv1; id=1",)


def tlsa(identity: Identity, usage: int = 3) -> Tlsa:
    """Return a record of a key."""
    key = identity.certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return Tlsa(usage, 1, 1, hashlib.sha256(key).digest())


UNUSABLE = Tlsa(1, 1, 1, bytes(32))


def signed(*records: Tlsa, **other: object) -> Dns:
    """Return a DNS with DNSSEC and records of the mail server."""
    return Dns(tlsa_of={HOST: records}, is_signed=True, **other)  # type: ignore[arg-type]


def with_dane(*records: Tlsa, require_tls: bool | None = None) -> Setting:
    """Return a setting where no public authority knows the server, and its domain has these records."""
    return Setting(signed(*records), trust=STRANGER, require_tls=require_tls)


def with_sts(mode: StsMode, *mx: str, require_tls: bool | None = None) -> Setting:
    """Return a setting where the domain has an MTA-STS policy and no DNSSEC."""
    return Setting(Dns(texts=TXT), policy=sts_policy(mode, *mx), require_tls=require_tls)


@pytest.fixture
def mx(tmp_path: Path) -> Mx:
    """A mail server with TLS."""
    return Mx(SERVER.server(tmp_path))


# --- opportunistic


def test_opportunistic_tls_with_tlsrpt_counts(mx: Mx) -> None:
    """Nobody knows the certificate, and nobody asks: encrypted, counted as a success without a policy."""
    sent = send(mx, Setting(trust=STRANGER))

    assert isinstance(sent.outcome, Delivered)
    assert mx.taken == [(True, "")]
    assert (sent.policy, sent.notes.traces[0].tls) == ("opportunistic", "TLSv1.3")
    assert sent.told.results == [("no-policy-found", [])]


def test_bad_tls_falls_back_to_plain_text() -> None:
    """What cannot be encrypted goes in plain text, over a second connection, and is counted as a failure."""
    server = Mx(is_broken=True)
    sent = send(server)

    assert isinstance(sent.outcome, Delivered)
    assert (server.taken, server.connections) == ([(False, "")], 2)
    assert (sent.policy, sent.notes.traces[0].tls) == ("opportunistic", "")
    ((kind, (failure,)),) = sent.told.results
    assert kind == "no-policy-found"
    assert failure.startswith("validation-failure ")


def test_a_server_without_starttls_gets_plain_text() -> None:
    """Counted as such."""
    sent = send(Mx())

    assert isinstance(sent.outcome, Delivered)
    assert sent.told.results == [("no-policy-found", ["starttls-not-supported"])]


def test_recipient_domain_tls_is_told(tmp_path: Path) -> None:
    """What the servers of a domain offer is noted at each attempt: true, then false."""
    before = send(Mx(SERVER.server(tmp_path), offers=("REQUIRETLS",)))
    after = send(Mx())

    assert [(s.account, s.domain, s.starttls, s.require_tls) for sent in (before, after) for s in sent.told.seen] == [
        ("aaaaaaaa", "example.org", True, True),
        ("aaaaaaaa", "example.org", False, False),
    ]


# --- DANE


@pytest.mark.rfc("7672", "2.2")
def test_dane_ok(mx: Mx) -> None:
    """A certificate that no authority knows, and that the domain vouches for; the host's name is asked for (SNI)."""
    sent = send(mx, with_dane(tlsa(STRANGER), tlsa(SERVER)))

    assert isinstance(sent.outcome, Delivered)
    assert (mx.taken, mx.sni) == ([(True, "")], [HOST])
    assert sent.policy == "dane"
    assert sent.told.results == [("tlsa", [])]


@pytest.mark.rfc("7672", "3.1.2")
def test_dane_with_an_authority_of_the_domains_own(tmp_path: Path) -> None:
    """Usage 2: the chain that the server presents leads to it; another name does not fit."""
    setting = with_dane(tlsa(ROOT, 2))
    other = Identity("other.example", issuer=ROOT)

    assert isinstance(send(Mx(BELOW.server(tmp_path)), setting).outcome, Delivered)
    assert isinstance(send(Mx(other.server(tmp_path)), setting).outcome, Deferred)


@pytest.mark.rfc("8689", "4.2.1")
def test_dane_and_requiretls_ok(tmp_path: Path) -> None:
    """The way is protected, and the server will keep it so."""
    server = Mx(SERVER.server(tmp_path), offers=("REQUIRETLS",))

    sent = send(server, with_dane(tlsa(SERVER), require_tls=True))

    assert isinstance(sent.outcome, Delivered)
    assert server.taken == [(True, "REQUIRETLS")]


@pytest.mark.rfc("7672", "2.2")
def test_a_dane_mismatch_is_deferred_and_nothing_is_sent(mx: Mx) -> None:
    """Somebody else may have answered; the sentence says so, the report too."""
    sent = send(mx, with_dane(tlsa(STRANGER)))

    assert isinstance(sent.outcome, Deferred)
    assert "(DANE)" in sent.reason
    assert (mx.taken, mx.connections) == ([], 1)
    assert sent.told.results == [("tlsa", ["validation-failure dane-no-match"])]


@pytest.mark.rfc("7672", "2.2")
@pytest.mark.parametrize("server", [Mx(), Mx(is_broken=True)], ids=["no starttls", "bad tls"])
def test_dane_never_falls_back_to_plain_text(server: Mx) -> None:
    """Who can strip STARTTLS gets nothing."""
    sent = send(replace(server), with_dane(tlsa(SERVER)))

    assert isinstance(sent.outcome, Deferred)
    assert "DANE" in sent.reason
    assert server.taken == []


@pytest.mark.rfc("7672", "2.2")
def test_all_unusable_tlsa_means_encryption_without_authentication(mx: Mx) -> None:
    """Whoever answers, but never in plain text."""
    setting = with_dane(UNUSABLE)
    plain = Mx()

    sent, refused = send(mx, setting), send(plain, setting)

    assert isinstance(sent.outcome, Delivered)
    assert mx.taken == [(True, "")]
    assert sent.told.results == [("tlsa", ["tlsa-invalid all-unusable-records"]), ("no-policy-found", [])]
    assert isinstance(refused.outcome, Deferred)
    assert plain.taken == []


@pytest.mark.rfc("7672", "2.2.1")
def test_insecure_tlsa_is_ignored(mx: Mx) -> None:
    """Records that nobody signed are nobody's word."""
    dns = replace(signed(tlsa(STRANGER)), is_signed=False)

    sent = send(mx, Setting(dns, trust=STRANGER))

    assert isinstance(sent.outcome, Delivered)
    assert (sent.policy, dns.asked) == ("opportunistic", [])


@pytest.mark.rfc("7672", "2.1.1")
@pytest.mark.parametrize("is_bogus", [True, False])
def test_tlsa_that_cannot_be_looked_up_defers(mx: Mx, *, is_bogus: bool) -> None:
    """Bogus and SERVFAIL may hide records: the server is not even asked."""
    dns = signed(trouble={HOST: DnsTrouble("the answer fails DNSSEC validation", is_bogus=is_bogus)})

    sent = send(mx, Setting(dns))

    assert isinstance(sent.outcome, Deferred)
    assert "could not be looked up whether" in sent.reason
    assert mx.connections == 0
    assert sent.told.results == [("tlsa", [f"dnssec-invalid {'bogus' if is_bogus else 'lookup-failed'}"])]


@pytest.mark.rfc("7672", "2.2")
def test_an_address_that_fails_for_a_moment_does_not_end_dane(mx: Mx) -> None:
    """Whoever can suppress one answer of the DNS must not have the server's records overlooked."""
    dns = signed()
    dns.passing[HOST] = DnsTrouble("the name servers do not answer")

    sent = send(mx, Setting(dns, trust=STRANGER))

    assert isinstance(sent.outcome, Deferred)
    assert sent.reason == f"the address of {HOST} could not be looked up in the DNS: the name servers do not answer"
    assert (mx.connections, dns.passing) == (0, {})


@pytest.mark.rfc("7672", "2.2.2")
@pytest.mark.parametrize(("base", "asked"), [("real.example", ["real.example"]), (HOST, ["real.example", HOST])])
def test_gather_tlsa_of_an_alias(tmp_path: Path, base: str, asked: list[str]) -> None:
    """What the host's CNAME leads to comes first, then its own name; the name is the one that is asked for."""
    server = Mx(SERVER.server(tmp_path))
    dns = Dns(
        addresses_of={"real.example": ("127.0.0.1",)},
        aliases={HOST: "real.example"},
        tlsa_of={base: (tlsa(SERVER),)},
        is_signed=True,
    )

    sent = send(server, Setting(dns, trust=STRANGER))

    assert isinstance(sent.outcome, Delivered)
    assert (dns.asked, server.sni) == (asked, [base])


def test_dane_counts_more_than_mta_sts(tmp_path: Path) -> None:
    """RFC 8461 section 2: a policy that does not name the host, and no authority that knows it, do not matter then."""
    dns = signed(tlsa(SERVER), texts=TXT)
    policy = sts_policy(StsMode.ENFORCE, "other.example")

    sent = send(Mx(SERVER.server(tmp_path)), Setting(dns, trust=STRANGER, policy=policy))

    assert isinstance(sent.outcome, Delivered)
    assert sent.policy == "dane"


# --- MTA-STS


@pytest.mark.rfc("8461", "4.2")
def test_mta_sts_enforce_ok(mx: Mx) -> None:
    """A host that the policy names, with a certificate of an authority."""
    sent = send(mx, with_sts(StsMode.ENFORCE, "*.example.org"))

    assert isinstance(sent.outcome, Delivered)
    assert (mx.taken, mx.sni, sent.policy) == ([(True, "")], [HOST], "mta-sts")
    assert sent.told.results == [("sts", [])]


@pytest.mark.rfc("8461", "5")
def test_an_mta_sts_mismatch_is_deferred_without_dialing(mx: Mx) -> None:
    """A host that the policy does not name gets nothing; the sentence names both."""
    sent = send(mx, with_sts(StsMode.ENFORCE, "other.example"))

    assert isinstance(sent.outcome, Deferred)
    assert "MTA-STS" in sent.reason
    assert HOST in sent.reason
    assert mx.connections == 0
    assert sent.told.results == [("sts", ["validation-failure mtasts-policy-mx-mismatch"])]


@pytest.mark.rfc("8461", "5")
def test_the_next_host_is_asked_when_one_is_not_named(tmp_path: Path) -> None:
    """The order of the DNS is kept, what the policy does not name is left out."""
    hosts = ("evil.example", HOST)
    dns = Dns(hosts, dict.fromkeys(hosts, ("127.0.0.1",)), texts=TXT)

    sent = send(Mx(SERVER.server(tmp_path)), Setting(dns, policy=sts_policy(StsMode.ENFORCE)))

    assert isinstance(sent.outcome, Delivered)
    assert sent.outcome.remote.mx_host == HOST


EXPIRED = Identity(HOST, NOW - timedelta(days=9))


@pytest.mark.rfc("8461", "4.2")
@pytest.mark.parametrize(
    ("identity", "trust", "failure"),
    [
        (STRANGER, SERVER, "certificate-not-trusted"),
        (Identity("other.example", issuer=ROOT), ROOT, "certificate-host-mismatch"),
        (EXPIRED, EXPIRED, "certificate-expired"),
        (None, SERVER, "starttls-not-supported"),
    ],
    ids=["unknown", "name", "expired", "no starttls"],
)
def test_mta_sts_enforce_never_falls_back(
    tmp_path: Path, identity: Identity | None, trust: Identity, failure: str
) -> None:
    """Neither to a certificate that is not good, nor to plain text; each is named as reports do."""
    server = Mx(identity.server(tmp_path) if identity else None)

    sent = send(server, replace(with_sts(StsMode.ENFORCE), trust=trust))

    assert isinstance(sent.outcome, Deferred)
    assert "MTA-STS" in sent.reason
    assert server.taken == []
    ((kind, (told,)),) = sent.told.results
    assert (kind, told.partition(" ")[0]) == ("sts", failure)


@pytest.mark.rfc("8461", "5")
@pytest.mark.parametrize(
    ("named", "trust", "failures"),
    [
        (HOST, SERVER, []),
        (HOST, STRANGER, ["certificate-not-trusted"]),
        ("other.example", SERVER, ["validation-failure"]),
    ],
    ids=["right", "certificate", "mismatch"],
)
def test_mta_sts_testing_delivers_and_reports(mx: Mx, named: str, trust: Identity, failures: list[str]) -> None:
    """The mail goes as if there were no policy; what would have failed is told."""
    sent = send(mx, replace(with_sts(StsMode.TESTING, named), trust=trust))

    assert isinstance(sent.outcome, Delivered)
    assert mx.taken == [(True, "")]
    assert [told.partition(" ")[0] for _, all_told in sent.told.results for told in all_told] == failures


def test_mta_sts_none_is_no_policy(mx: Mx) -> None:
    """The domain has given it up."""
    sent = send(mx, replace(with_sts(StsMode.NONE), trust=STRANGER))

    assert isinstance(sent.outcome, Delivered)
    assert sent.policy == "opportunistic"


def test_an_mta_sts_record_that_cannot_be_looked_up_defers(mx: Mx) -> None:
    """Whether the domain asks for protection is not known; with TLS-Required: No it does not matter."""
    dns = Dns(trouble={"_mta-sts.example.org": DnsTrouble("the name servers fail")})

    waiting, sent = send(mx, Setting(dns)), send(mx, Setting(dns, require_tls=False))

    assert isinstance(waiting.outcome, Deferred)
    assert "MTA-STS" in waiting.reason
    assert isinstance(sent.outcome, Delivered)


# --- REQUIRETLS, TLS-Required: No


@pytest.mark.rfc("8689", "4.2.1")
def test_requiretls_with_mta_sts_enforce(tmp_path: Path) -> None:
    """It is as good as DANE."""
    server = Mx(SERVER.server(tmp_path), offers=("REQUIRETLS",))

    assert isinstance(send(server, with_sts(StsMode.ENFORCE, require_tls=True)).outcome, Delivered)
    assert server.taken == [(True, "REQUIRETLS")]


@pytest.mark.rfc("8689", "4.2.1")
def test_requiretls_unsupported_bounces_at_once(mx: Mx) -> None:
    """The server is who it should be, and does not know REQUIRETLS."""
    sent = send(mx, with_dane(tlsa(SERVER), require_tls=True))

    assert isinstance(sent.outcome, Bounced)
    assert (sent.enhanced_code, mx.taken) == ("5.7.30", [])


@pytest.mark.rfc("8689", "4.2.1")
@pytest.mark.parametrize(
    "setting",
    [
        Setting(),
        with_sts(StsMode.TESTING),
        with_sts(StsMode.NONE),
        with_dane(UNUSABLE),
    ],
    ids=["nothing", "testing", "none", "unusable"],
)
def test_requiretls_without_a_policy_bounces_without_dialing(mx: Mx, setting: Setting) -> None:
    """Where nobody vouches for the server, the message does not go at all."""
    sent = send(mx, replace(setting, require_tls=True))

    assert isinstance(sent.outcome, Bounced)
    assert (sent.enhanced_code, mx.connections) == ("5.7.30", 0)
    assert "REQUIRETLS" in sent.reason.upper()


@pytest.mark.rfc("8689", "4.2.1")
def test_requiretls_tries_every_host(tmp_path: Path) -> None:
    """The first host does not know it, the second does; a host that fails for a while makes it temporary."""
    hosts = (HOST, "mx2.example.org")
    keys = {name: (tlsa(SERVER),) for name in hosts}
    dns = Dns(hosts, {HOST: ("127.0.0.1",), hosts[1]: ("127.0.0.2",)}, tlsa_of=keys, is_signed=True)
    first, second = Mx(SERVER.server(tmp_path)), Mx(SERVER.server(tmp_path), offers=("REQUIRETLS",))

    async def run(*, both: bool) -> Sent:
        async with running(first) as port:
            sender = Sender(Setting(dns, trust=STRANGER, require_tls=True), port)
            async with running(second, "127.0.0.2", port if both else 0):
                sent = await sender.send()
                await sender.pool.close()
                return sent

    assert isinstance(asyncio.run(run(both=True)).outcome, Delivered)
    assert (first.taken, second.taken) == ([], [(True, "REQUIRETLS")])
    assert isinstance(asyncio.run(run(both=False)).outcome, Deferred)


@pytest.mark.rfc("8689", "4.1")
@pytest.mark.parametrize(
    ("setting", "server", "taken"),
    [
        (with_dane(tlsa(STRANGER)), SERVER, (True, "")),
        (with_dane(tlsa(SERVER)), None, (False, "")),
        (with_dane(UNUSABLE), None, (False, "")),
        (Setting(signed(trouble={HOST: DnsTrouble("x")})), SERVER, (True, "")),
        (with_sts(StsMode.ENFORCE, "other.example"), SERVER, (True, "")),
        (replace(with_sts(StsMode.ENFORCE), trust=STRANGER), SERVER, (True, "")),
        (with_sts(StsMode.ENFORCE), None, (False, "")),
    ],
    ids=["mismatching dane", "dane without tls", "unusable", "bogus", "mx mismatch", "certificate", "sts without tls"],
)
def test_tls_required_no_delivers_all_the_same(
    tmp_path: Path, setting: Setting, server: Identity | None, taken: tuple[bool, str]
) -> None:
    """Delivery is wanted more than protection: as much TLS as can be had, and what failed is still told."""
    receiver = Mx(server.server(tmp_path) if server else None)

    sent = send(receiver, replace(setting, require_tls=False))

    assert isinstance(sent.outcome, Delivered)
    assert receiver.taken == [taken]
    assert any(failures for _, failures in sent.told.results)


@pytest.mark.rfc("8460", "5.3")
def test_the_session_of_a_tls_report_is_told_to_nobody() -> None:
    """Else a domain with broken TLS would hear of its reports in reports; it is known by its null reverse-path."""
    setting = with_dane(tlsa(SERVER), require_tls=False)

    told = send(Mx(is_broken=True), setting).told.results
    assert any(failures for _, failures in told)
    assert send(Mx(is_broken=True), replace(setting, reverse_path="")).told.results == []


def test_tls_required_no_with_bad_tls() -> None:
    """A server whose TLS is broken gets it in plain text, whatever the domain asks for."""
    server = Mx(is_broken=True)

    assert isinstance(send(server, with_dane(tlsa(SERVER), require_tls=False)).outcome, Delivered)
    assert server.taken == [(False, "")]


# --- connections, addresses


def test_sessions_of_different_protection_are_not_shared(mx: Mx) -> None:
    """What was opened for anybody carries nothing that must be protected; equals share."""

    async def run() -> int:
        async with running(mx) as port:
            sender = Sender(with_sts(StsMode.ENFORCE), port)
            for require_tls in (None, None, False, False):
                await sender.send(require_tls)
            await sender.pool.close()
            return mx.connections

    assert asyncio.run(run()) == 2
    assert len(mx.taken) == 4


BOTH = Dns(addresses_of={HOST: ("127.0.0.1", "::1")})


def test_a_refusal_by_policy_gives_the_other_family_a_chance() -> None:
    """Permanent on the second attempt, which asks the other address first; 5.1.1 is permanent at once."""
    policy, unknown = b"550 5.7.1 not from there\r\n", b"550 5.1.1 unknown\r\n"

    first = send(Mx(refusal=policy), Setting(BOTH))
    second = send(Mx(refusal=policy), Setting(BOTH, attempt=2))

    assert isinstance(first.outcome, Deferred)
    assert "IPv6" in first.reason
    assert isinstance(second.outcome, Bounced)
    assert isinstance(send(Mx(refusal=unknown), Setting(BOTH)).outcome, Bounced)
    assert isinstance(send(Mx(refusal=policy), Setting()).outcome, Bounced)


@pytest.mark.parametrize(
    ("code", "enhanced_code", "expected"),
    [(451, "4.7.1", "127.0.0.2"), (550, "5.1.1", "127.0.0.1"), (0, "", "127.0.0.1")],
)
def test_the_address_is_chosen_by_what_was_before(code: int, enhanced_code: str, expected: str) -> None:
    """A greylisting server is asked at the same address again."""
    dns = Dns(addresses_of={HOST: ("127.0.0.1", "127.0.0.2")})
    earlier = [Earlier(HOST, "127.0.0.2", code, enhanced_code)]
    server = Mx()

    async def run() -> None:
        async with running(server) as port, running(server, "127.0.0.2", port):
            sender = Sender(Setting(dns, attempt=2, earlier=earlier), port)
            await sender.send()
            await sender.pool.close()

    asyncio.run(run())

    assert server.addresses == [expected]
