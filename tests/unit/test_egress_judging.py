"""SPF, DKIM and DMARC of mail that comes in, with a zone for a DNS."""

from __future__ import annotations

import asyncio
import base64
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime

import dkim
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from egret.contracts.verdicts import DkimVerdict
from egret.core.dkim import Algorithm, DkimKey, dns_record, sign
from egret_egress.destinations import Answer, DnsTrouble
from egret_egress.dkim_check import MAX_SIGNATURES, MAX_SIGNED, canonical, check_dkim
from egret_egress.dns_blocking import BlockingNames
from egret_egress.judging import THREADS_OF_PEER, Judge, JudgingPorts, header_from, judge
from egret_egress.spf_check import Sender, Spf, check_spf
from tests.zone import Looking, Zone

NOW = datetime(2026, 5, 1, tzinfo=UTC)
RSA = rsa.generate_private_key(65537, 2048)
ED25519 = ed25519.Ed25519PrivateKey.generate()
HEADERS = b"From: Me <me@news.example.com>\r\nTo: you@b.example\r\nSubject: Hello\r\n"
BODY = b"Hello  you \r\n.dot\r\nbare\nline\r\n\r\n\r\n"
FRAGMENTS = [
    *(
        b"From:",
        b"from : ",
        b"me@example.com",
        b"<x@example.com>",
        b"\r\n",
        b"\r\n ",
        b"\r\n\r\n",
        b"\n",
        b",",
        b":",
        b";",
    ),
    *(b"DKIM-Signature:", b"v=1;", b"a=rsa-sha256;", b"d=example.com;", b"s=sel;", b"h=from;", b"b=AAAA;", b"bh=AAAA;"),
    *(b"l=", b"x=", b"t=", b"q=", b"i=@", b"c=relaxed/", b"(", b'"', b"\xff", b"=", b"\x00"),
]
FROM_IP = Sender("192.0.2.1", "mx.example.com", "bounce@example.com")


def key_of(private: rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey, domain: str = "example.com") -> DkimKey:
    """Return a key for signing."""
    algorithm: Algorithm = "rsa-sha256" if isinstance(private, rsa.RSAPrivateKey) else "ed25519-sha256"
    return DkimKey(domain, "sel", algorithm, private)


def signed(*domains: str, headers: bytes = HEADERS, body: bytes = BODY) -> bytes:
    """Return a mail that domains signed."""
    keys = [key_of(RSA, domain) for domain in domains]
    return sign(headers, body, keys, signed_at=NOW) + headers + b"\r\n" + body


def zone_of(**texts: str) -> Zone:
    """Return a zone with the keys of two domains, and what else is given."""
    record = dns_record(RSA.public_key())
    keys = dict.fromkeys((f"sel._domainkey.{domain}" for domain in ("example.com", "other.example")), record)
    return Zone({name: [text] for name, text in (keys | texts).items()})


def by_dkimpy(algorithm: bytes, canonicalization: bytes, *, length: bool = False) -> bytes:
    """Return a mail signed by dkimpy, which takes a bare LF for CRLF."""
    pem = RSA.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    mail = HEADERS + b"\r\n" + BODY.replace(b"bare\nline", b" bare\tline ")
    ways = tuple(canonicalization.split(b"/"))
    signature = dkim.sign(
        mail, b"sel", b"example.com", pem, canonicalize=ways, signature_algorithm=algorithm, length=length
    )
    return bytes(signature) + mail


# --- SPF


@pytest.mark.rfc("7208", "4")
@pytest.mark.parametrize(
    ("record", "result"),
    [
        ("v=spf1 ip4:192.0.2.0/24 -all", "pass"),
        ("v=spf1 ip4:198.51.100.0/24 -all", "fail"),
        ("v=spf1 ~all", "softfail"),
        ("v=spf1 ?all", "neutral"),
        ("v=spf1", "neutral"),
        ("v=spf1 a -all", "pass"),
        ("v=spf1 mx -all", "pass"),
        ("v=spf1 ptr -all", "pass"),
        ("v=spf1 a:six.example.com -all", "fail"),
        ("v=spf1 exists:%{i}.%{l}.example.com -all", "pass"),
        ("v=spf1 include:other.example -all", "pass"),
        ("v=spf1 redirect=other.example", "pass"),
        ("v=spf1 include:nothing.example -all", "permerror"),
        ("v=spf1 include:slow.example -all", "temperror"),
        ("v=spf1 include:loop.example -all", "permerror"),
        ("v=spf1 redirect=example.com", "permerror"),
        ("v=spf1 redirect=loop2.example", "permerror"),
        ("v=spf1 a:%{p}.example.com -all", "fail"),
        ("v=spf1 a:n1.example a:n2.example a:n3.example -all", "permerror"),
        ("v=spf1 " + " ".join(f"a:h{at}.example.com" for at in range(11)) + " -all", "permerror"),
        ("v=spf1 -all exp=slow.example", "fail"),
        ("v=spf1 bogus -all", "permerror"),
        ("v=spf1 ip4:nonsense -all", "permerror"),
        ("no record", "none"),
    ],
)
def test_what_a_domain_says_of_a_host(record: str, result: str) -> None:
    """Mechanisms, limits and mistakes; explanations are not asked for."""
    hosts = {f"h{at}.example.com": ["198.51.100.1"] for at in range(11)}
    zone = Zone(
        {
            "example.com": [record],
            "other.example": ["v=spf1 ip4:192.0.2.1 -all"],
            "loop.example": ["v=spf1 include:loop.example"],
        },
        {
            **hosts,
            "example.com": ["2001:db8::1", "192.0.2.1"],
            "mx.example.com": ["192.0.2.1"],
            "six.example.com": ["2001:db8::1"],
            "192.0.2.1.bounce.example.com": ["127.0.0.2"],
        },
        {"example.com": ["mx.example.com"]},
        {"1.2.0.192.in-addr.arpa": ["mx.example.com"]},
        frozenset({"slow.example"}),
    )
    assert check_spf(zone, FROM_IP) == Spf(result, "example.com")


@pytest.mark.rfc("7208", "2.4")
@pytest.mark.parametrize(
    ("sender", "found"),
    [
        (replace(FROM_IP, mail_from=""), Spf("pass", "mx.example.com", "helo")),
        (replace(FROM_IP, mail_from="", helo="[192.0.2.1]"), Spf("none", "", "helo")),
        (replace(FROM_IP, mail_from="", helo="localhost"), Spf("none", "localhost", "helo")),
        (replace(FROM_IP, mail_from="x@[192.0.2.1]"), Spf("none", "")),
        (replace(FROM_IP, mail_from="x@MX.Example.com", ip="::ffff:192.0.2.1"), Spf("pass", "mx.example.com")),
        (replace(FROM_IP, mail_from="é@mx.example.com", ip="2001:db8::1%eth0"), Spf("fail", "mx.example.com")),
        (replace(FROM_IP, mail_from="x@münchen.example"), Spf("none", "xn--mnchen-3ya.example")),
        (replace(FROM_IP, mail_from="x@mx.example.com", ip="nonsense"), Spf("permerror", "mx.example.com")),
    ],
)
def test_a_null_reverse_path_is_judged_by_its_helo(sender: Sender, found: Spf) -> None:
    """And an address literal by nothing."""
    assert check_spf(Zone({"mx.example.com": ["v=spf1 ip4:192.0.2.1 -all"]}), sender) == found


def test_a_quoted_local_part_is_no_domain() -> None:
    """The domain stands behind the last @, as it is told with the result."""
    zone = Zone({"example.com": ["v=spf1 ip4:192.0.2.1 -all"]})
    assert check_spf(zone, replace(FROM_IP, mail_from='"x@y"@example.com')) == Spf("pass", "example.com")


@given(st.text(st.sampled_from("v=spf1 amxiplude:/.%{}0123-+~?all"), max_size=60))
def test_no_spf_record_raises(text: str) -> None:
    """Whatever it says."""
    assert check_spf(Zone({"example.com": [f"v=spf1 {text}"]}), FROM_IP).domain == "example.com"


# --- DKIM


@pytest.mark.rfc("6376", "6")
@pytest.mark.rfc("8463", "3")
def test_signatures_that_hold_are_told_in_order() -> None:
    """Of RSA and of Ed25519."""
    keys = [key_of(RSA, "other.example"), key_of(ED25519)]
    mail = sign(HEADERS, BODY, keys, signed_at=NOW) + HEADERS + b"\r\n" + BODY
    zone = zone_of(**{"sel._domainkey.example.com": dns_record(ED25519.public_key())})
    assert check_dkim(zone, mail) == (
        DkimVerdict("other.example", "sel", "pass"),
        DkimVerdict("example.com", "sel", "pass"),
    )


@pytest.mark.parametrize("ways", [b"simple/simple", b"simple/relaxed", b"relaxed/simple", b"relaxed/relaxed"])
def test_every_canonicalization_is_known(ways: bytes) -> None:
    """As another signer makes it."""
    assert [found.result for found in check_dkim(zone_of(), by_dkimpy(b"rsa-sha256", ways))] == ["pass"]


@pytest.mark.parametrize(
    ("spoil", "verdict"),
    [
        (lambda mail: mail.replace(b"Subject: Hello", b"Subject: Bye"), ("fail", "signature does not fit")),
        (lambda mail: b"From: x@evil.example\r\n" + mail, ("fail", "signature does not fit")),
        (lambda mail: mail.replace(b".dot", b".bot"), ("fail", "body has changed")),
        (lambda mail: mail + b"more\r\n", ("fail", "body has changed")),
        (lambda mail: mail.replace(b"v=1;", b"v=2;"), ("permerror", "malformed signature")),
        (lambda mail: mail.replace(b"v=1;", b"v=1; x=1700000000;"), ("fail", "expired")),
        (lambda mail: mail.replace(b"a=rsa-sha256", b"a=rsa-sha1"), ("policy", "SHA-1 is not secure")),
        (lambda mail: mail.replace(b"a=rsa-sha256", b"a=md5"), ("permerror", "malformed signature")),
        (lambda mail: mail.replace(b"c=relaxed/relaxed", b"c=relaxed/x"), ("permerror", "malformed signature")),
        (lambda mail: re.sub(rb"(?i)\th=(from:)*", b"\th=", mail), ("permerror", "From is not signed")),
        (lambda mail: mail.replace(b"v=1;", b"v=1; l=0;"), ("policy", "a part of the body is not signed")),
        (lambda mail: mail.replace(b"v=1;", b"v=1; l=9999;"), ("permerror", "l= is beyond the body")),
        (lambda mail: mail.replace(b"v=1;", b"v=1; l=-1;"), ("permerror", "malformed signature")),
        (lambda mail: mail.replace(b"\tb=", b"\tb=" + b" " * 500 + b"!"), ("permerror", "malformed signature")),
        (lambda mail: mail.replace(b"v=1;", b"v=1; z=" + b"x" * 5000 + b";"), ("permerror", "malformed signature")),
        (lambda mail: mail.replace(b"v=1;", b"nonsense;"), ("permerror", "malformed signature")),
    ],
)
def test_a_signature_that_does_not_hold_says_why(spoil: object, verdict: tuple[str, str]) -> None:
    """Of the mail, or of the signature itself."""
    assert callable(spoil)
    mail = spoil(signed("example.com"))
    (found,) = check_dkim(zone_of(), mail)
    assert (found.result, found.reason) == verdict


@pytest.mark.rfc("6376", "6.1.2")
@pytest.mark.rfc("8301", "3")
@pytest.mark.parametrize(
    ("record", "verdict"),
    [
        (None, ("permerror", "no key")),
        ("v=DKIM1; p=", ("permerror", "key revoked")),
        ("v=DKIM1; p=nonsense", ("permerror", "unusable key")),
        ("v=DKIM2; p=AAAA", ("permerror", "unusable key")),
        ("nonsense", ("permerror", "unusable key")),
        (dns_record(ED25519.public_key()), ("permerror", "the key is for something else")),
        (dns_record(RSA.public_key()).replace("h=sha256", "h=sha1"), ("permerror", "the key is for something else")),
        (dns_record(RSA.public_key()) + "; s=other", ("permerror", "the key is for something else")),
        (dns_record(RSA.public_key()) + "; s=email; t=y:s", ("pass", "")),
    ],
)
def test_a_key_that_cannot_be_used_says_why(record: str | None, verdict: tuple[str, str]) -> None:
    """It is missing, revoked, broken, or for something else."""
    zone = zone_of()
    zone.texts = {"sel._domainkey.example.com": [record]} if record is not None else {}
    (found,) = check_dkim(zone, signed("example.com"))
    assert (found.result, found.reason) == verdict


def test_a_dns_that_does_not_answer_about_a_key_is_no_failure() -> None:
    """Somebody may ask again."""
    zone = zone_of()
    zone.failing = frozenset({"sel._domainkey.example.com"})
    (found,) = check_dkim(zone, signed("example.com"))
    assert found.result == "temperror"


@pytest.mark.rfc("8301", "3.1")
def test_sha_1_does_not_count() -> None:
    """Whoever signs so."""
    (found,) = check_dkim(zone_of(), signed("example.com").replace(b"a=rsa-sha256", b"a=rsa-sha1"))
    assert (found.result, found.reason) == ("policy", "SHA-1 is not secure")


@pytest.mark.rfc("8301", "3.2")
def test_a_key_below_1024_bits_does_not_count() -> None:
    """Whoever likes can find its other half."""
    # SubjectPublicKeyInfo of a modulus of 512 bits, which cryptography makes no longer.
    number = bytes.fromhex("024100") + b"\xc1" * 64 + bytes.fromhex("0203010001")
    bits = bytes.fromhex("034b003048") + number
    info = base64.b64encode(bytes.fromhex("305c300d06092a864886f70d0101010500") + bits).decode()
    zone = zone_of(**{"sel._domainkey.example.com": f"v=DKIM1; p={info}"})
    (found,) = check_dkim(zone, signed("example.com"))
    assert (found.result, found.reason) == ("policy", "key too short")


def rsa_record(modulus: int, exponent: int) -> str:
    """Return the record of an RSA key of numbers that no library makes a key of."""

    def der(tag: int, content: bytes) -> bytes:
        size = len(content).to_bytes(3, "big")
        return bytes([tag, 0x83]) + size + content

    numbers = b"".join(der(2, number.to_bytes(number.bit_length() // 8 + 1, "big")) for number in (modulus, exponent))
    algorithm = bytes.fromhex("300d06092a864886f70d0101010500")
    info = der(0x30, algorithm + der(3, b"\0" + der(0x30, numbers)))
    return "v=DKIM1; p=" + base64.b64encode(info).decode()


@pytest.mark.parametrize(("modulus_bits", "exponent_bits"), [(4097, 17), (1024, 33)])
def test_a_key_that_is_costly_to_use_does_not_count(modulus_bits: int, exponent_bits: int) -> None:
    """Who publishes a key of 12,000 bits would else stop all work of the unit for a minute by one mail."""
    record = rsa_record((1 << modulus_bits) - 1, (1 << exponent_bits) - 1)
    (found,) = check_dkim(zone_of(**{"sel._domainkey.example.com": record}), signed("example.com"))
    assert (found.result, found.reason) == ("policy", "key too long")
    usable = rsa_record((1 << 4096) - 1, (1 << 32) - 1)
    (found,) = check_dkim(zone_of(**{"sel._domainkey.example.com": usable}), signed("example.com"))
    assert (found.result, found.reason) == ("fail", "signature does not fit")


def test_a_signature_over_endless_fields_does_not_count() -> None:
    """Each of them is looked for in the whole header."""
    mail = re.sub(rb"(?i)\th=", b"\th=" + b"x:" * MAX_SIGNED, signed("example.com"))
    (found,) = check_dkim(zone_of(), mail)
    assert (found.result, found.reason) == ("permerror", "too many fields are signed")


@pytest.mark.parametrize("forged", [b"X: y\n\nPay at once.", b"X: y\n", b"X: y\r\rPay at once.", b"\nPay at once."])
def test_what_nobody_signed_does_not_hide_behind_a_bare_line_end(forged: bytes) -> None:
    """The reader takes two of them for the end of the header, and shows what follows as the text that was signed."""
    mail = signed("example.com")
    assert check_dkim(zone_of(), mail.replace(b"\r\n\r\n", b"\r\n" + forged + b"\r\n\r\n", 1)) == ()


@pytest.mark.rfc("6376", "8.2")
def test_a_body_that_is_signed_in_part_does_not_count() -> None:
    """What is added behind could be anything."""
    mail = by_dkimpy(b"rsa-sha256", b"relaxed/relaxed", length=True)
    assert [found.result for found in check_dkim(zone_of(), mail)] == ["pass"]
    (found,) = check_dkim(zone_of(), mail + b"added\r\n")
    assert (found.result, found.reason) == ("policy", "a part of the body is not signed")


def test_ten_signatures_are_looked_at() -> None:
    """However many there are; the DNS is asked once for each of them at most."""
    zone = zone_of()
    mail = signed(*["example.com"] * (MAX_SIGNATURES + 5))
    assert len(check_dkim(zone, mail)) == MAX_SIGNATURES
    assert len(zone.asked) == MAX_SIGNATURES


@pytest.mark.parametrize(
    "mail",
    [b"", b"\r\n", b"x", b" x\r\n\r\n", b"no field\r\n\r\n", b"A: " + b"x" * 200_000 + b"\r\n\r\n", b"A:\r\n" * 2000],
)
def test_what_is_no_mail_has_no_signatures(mail: bytes) -> None:
    """Nothing raises."""
    assert check_dkim(Zone(), mail) == ()


@pytest.mark.rfc("6376", "3.4")
@given(st.lists(st.sampled_from([b"a", b" ", b"\t", b"\r\n", b"\n", b"\r", b"x" * 70_000]), max_size=12).map(b"".join))
def test_a_body_in_pieces_is_the_body(body: bytes) -> None:
    """As the RFC defines both forms, of the whole."""
    body += b"\r\n"
    simple = re.sub(rb"(\r\n)*\Z", b"", body) + b"\r\n"
    relaxed = re.sub(rb"[ \t]+", b" ", body).replace(b" \r\n", b"\r\n")
    relaxed = re.sub(rb"(\r\n)*\Z", b"", relaxed)
    assert b"".join(canonical(b"H\r\n\r\n" + body, 5, is_relaxed=False)) == simple
    assert b"".join(canonical(b"H\r\n\r\n" + body, 5, is_relaxed=True)) == (relaxed + b"\r\n" if relaxed else b"")


# --- the From domain


@pytest.mark.rfc("9989", "5.3.1")
@pytest.mark.parametrize(
    ("header", "domain"),
    [
        (b"From: me@Example.com", "example.com"),
        (b'FROM : "a@x.example" (b@y.example)\r\n <me@example.com>', "example.com"),
        ("From: me@münchen.example".encode(), "xn--mnchen-3ya.example"),
        (b"Subject: x\r\nFrom: me@example.com\r\nTo: you@b.example", "example.com"),
        (b"From: a@example.com, b@EXAMPLE.com", "example.com"),
        (b"From: a@example.com, b@bank.example", ""),
        (b"From: a@example.com, b", ""),
        (b"From: a@example.com\r\nFrom: b@example.com", ""),
        (b"From: a@example.com\r\nX: y\nFrom: b@example.com", ""),
        (b"From: me", ""),
        (b"From: ", ""),
        (b"From: me@[192.0.2.1]", ""),
        (b"Resent-From: me@example.com", ""),
        (b"From: me@example.com\r\n" + b"x\r\n" * 400_000, ""),
        (b"", ""),
    ],
)
def test_the_from_domain_is_that_of_all_addresses(header: bytes, domain: str) -> None:
    """Of none, of several fields, or of addresses of several domains, there is none."""
    assert header_from(header + b"\r\n\r\nFrom: body@example.com\r\n") == domain


# --- all together


@pytest.mark.rfc("9989", "5.4")
@pytest.mark.parametrize(
    ("spf", "domains", "result", "aligned"),
    [
        (Spf("pass", "example.com"), (), "pass", (True, False)),
        (Spf("fail", "example.com"), (), "fail", (False, False)),
        (Spf("pass", "evil.example"), ("other.example",), "fail", (False, False)),
        (Spf("fail", "evil.example"), ("example.com", "other.example"), "pass", (False, True)),
        (Spf("temperror", "example.com"), (), "temperror", (False, False)),
        (Spf("temperror", "example.com"), ("example.com",), "pass", (False, True)),
    ],
)
def test_a_mail_passes_by_spf_or_by_dkim(
    spf: Spf, domains: tuple[str, ...], result: str, aligned: tuple[bool, bool]
) -> None:
    """Where one of them is aligned; where nobody knows yet, nobody says that it fails."""
    found = judge(zone_of(**{"_dmarc.example.com": "v=DMARC1; p=none; sp=reject"}), spf, signed(*domains))
    assert (found.dmarc, found.policy, found.header_from) == (result, "reject", "news.example.com")
    assert (found.spf_aligned, found.dkim_aligned) == aligned
    assert found.record is not None
    assert found.record.domain == "example.com"
    assert found.dkim_domains == domains


def test_a_mail_of_nobody_is_a_permanent_error_and_a_silent_dns_a_temporary_one() -> None:
    """Neither says that DMARC fails."""
    zone = zone_of()
    assert judge(zone, Spf("none", ""), b"Subject: x\r\n\r\n").dmarc == "permerror"
    assert judge(zone, Spf("none", ""), signed()).dmarc == "none"
    zone.failing = frozenset({"_dmarc.example.com"})
    assert judge(zone, Spf("none", ""), signed()).dmarc == "temperror"


@given(st.lists(st.sampled_from(FRAGMENTS) | st.binary(max_size=10), max_size=20).map(b"".join))
def test_whatever_comes_in_is_judged(content: bytes) -> None:
    """Nothing raises; without a From domain nothing passes."""
    found = judge(zone_of(**{"_dmarc.example.com": "v=DMARC1; p=none"}), Spf("pass", "example.com"), content + b"\r\n")
    assert found.dmarc in (("pass", "none", "fail") if found.header_from else ("permerror",))


def test_judging_is_done_by_threads_with_the_units_own_dns() -> None:
    """The loop goes on, small mail and large."""

    async def run() -> list[str]:
        with ThreadPoolExecutor(2) as executor:
            zone = zone_of(**{"example.com": "v=spf1 ip4:192.0.2.1 -all", "_dmarc.example.com": "v=DMARC1; p=reject"})
            zone.exchanges, zone.hosts, zone.reverse = {}, {"a.example": ["192.0.2.1"]}, {}
            one = Judge(JudgingPorts(Looking(zone), executor))
            spf = await one.spf(FROM_IP)
            mails = [signed(body=b"x\r\n" * count) for count in (1, 400_000)]
            return [(await one.verdicts(FROM_IP.ip, spf, mail)).dmarc for mail in mails]

    assert asyncio.run(run()) == ["pass", "pass"]


def test_slow_name_servers_of_one_peer_hold_up_nobody_else() -> None:
    """Who is many at once waits for himself; who gave up keeps his thread until it ends."""

    async def run() -> list[str]:
        ended = asyncio.Event()

        class Slow(Looking):
            async def txt(self, name: str) -> Answer[str]:
                if name == "slow.example":
                    await ended.wait()
                return await super().txt(name)

        zone = Zone({"example.com": ["v=spf1 ip4:192.0.2.1 -all"], "slow.example": ["v=spf1 +all"]})
        with ThreadPoolExecutor(THREADS_OF_PEER + 1) as executor:
            one = Judge(JudgingPorts(Slow(zone), executor))
            slow = [
                asyncio.create_task(one.spf(Sender("192.0.2.9", "mx.example.com", "x@slow.example")))
                for _ in range(2 * THREADS_OF_PEER)
            ]
            await asyncio.sleep(0)
            slow.pop(0).cancel()
            try:
                async with asyncio.timeout(5):
                    found = await one.spf(FROM_IP)
            finally:
                ended.set()
            return [found.result, *(spf.result for spf in await asyncio.gather(*slow))]

    assert asyncio.run(run()) == ["pass"] * (2 * THREADS_OF_PEER)


def test_a_dns_that_takes_too_long_is_trouble() -> None:
    """Nobody waits longer than was said."""

    class Slow(Looking):
        async def txt(self, name: str) -> Answer[str]:
            await asyncio.sleep(60)
            return Answer()

    async def run() -> None:
        loop = asyncio.get_running_loop()
        names = BlockingNames(Slow(Zone()), loop, loop.time() + 0.01)
        with pytest.raises(DnsTrouble):
            await asyncio.to_thread(names.txt, "a.example")

    asyncio.run(run())
