"""DMARC records, the walk up the tree, and alignment."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egret.core.dmarc import (
    MAX_QUERIES,
    Authenticated,
    DmarcRecord,
    Judgement,
    judge,
    organizational_domain,
    parse_record,
    records_of,
    walk,
)

LABELS = st.lists(st.sampled_from(["a", "b", "example", "com"]), min_size=1, max_size=12)
TEXTS = st.text(st.sampled_from("v=DMARC1; psrnaudt:,@.mailto\té"), max_size=60)


def asking(zone: Mapping[str, str], asked: list[str] | None = None) -> Callable[[str], DmarcRecord | None]:
    """Return a zone as what is asked. asked: collects the names."""

    def ask(domain: str) -> DmarcRecord | None:
        if asked is not None:
            asked.append(domain)
        return parse_record(domain, [zone[domain]] if domain in zone else [])

    return ask


def judged(zone: Mapping[str, str], domain: str, spf: str = "", *dkim: str, exists: bool = True) -> Judgement:
    """Judge by a zone."""
    return judge(domain, Authenticated(spf, dkim), asking(zone), lambda _: exists)


@pytest.mark.rfc("9989", "4.7")
@pytest.mark.parametrize(
    ("text", "record"),
    [
        ("v=DMARC1; p=reject", DmarcRecord("d", p="reject")),
        ("v=DMARC1;p=Quarantine;", DmarcRecord("d", p="quarantine")),
        (
            "v=DMARC1 ; p=none; sp=reject; np=quarantine; adkim=s; aspf=S; fo=1:d; t=y; psd=n; ri=3600; pct=5; x=y",
            DmarcRecord(
                "d", "none", "reject", "quarantine", "s", "s", (), "1:d", testing=True, psd="n", interval_s=3600
            ),
        ),
        (
            "v=DMARC1; p=none; rua=mailto:a@b.example!10m, https://c.example/x,nonsense",
            DmarcRecord("d", rua=("mailto:a@b.example!10m", "https://c.example/x")),
        ),
        ("v=DMARC1; p=bogus; rua=mailto:a@b.example", DmarcRecord("d", rua=("mailto:a@b.example",))),
        ("v=DMARC1; rua=mailto:a@b.example", DmarcRecord("d", rua=("mailto:a@b.example",))),
        ("v=DMARC1; p=reject; sp=bogus; rua=mailto:a@b.example", DmarcRecord("d", rua=("mailto:a@b.example",))),
        ("v=DMARC1; p=reject; adkim=x; t=x; psd=x; ri=x", DmarcRecord("d", p="reject")),
        ("v=DMARC1; p=reject; p=none", DmarcRecord("d", p="reject")),
        ("v=DMARC1; p=bogus", None),
        ("v=DMARC1", None),
        ("v=dmarc1; p=reject", None),
        ("p=reject; v=DMARC1", None),
        ("v=DMARC12; p=reject", None),
        ("v=spf1 -all", None),
        ("", None),
    ],
)
def test_a_record_is_read_with_its_defaults(text: str, record: DmarcRecord | None) -> None:
    """What is unknown is passed over; without a policy it counts only when it says where reports go."""
    assert parse_record("d", [text, "something else"]) == record


def test_a_record_of_spaces_is_read_at_once() -> None:
    """Its author has many mails judged by it: each space is looked at once, not once for each of the others."""
    record = parse_record("d", [f"v=DMARC1;{' ' * 500_000} p =\t none{' ' * 500_000};aspf=s{' ' * 500_000}x"])
    assert record == DmarcRecord("d")


def test_two_records_are_none() -> None:
    """Nobody knows which holds."""
    assert parse_record("d", ["v=DMARC1; p=none", "v=DMARC1; p=none"]) is None


@given(st.lists(TEXTS, max_size=3))
def test_no_text_raises(texts: list[str]) -> None:
    """Whatever it is, it gives a record whose words are known, or none."""
    record = parse_record("d", [*texts, *("v=DMARC1;p=none;" + text for text in texts[:1])])
    assert record is None or ({record.p, record.sp or "none", record.np or "none"} <= {"none", "quarantine", "reject"})


@pytest.mark.rfc("9989", "4.10")
def test_a_walk_goes_up_label_by_label_and_leaps_where_there_are_too_many() -> None:
    """The example of the RFC: at most eight queries, the last of one label."""
    assert walk("a.b.example.com") == ["a.b.example.com", "b.example.com", "example.com", "com"]
    assert walk("a.b.c.d.e.f.g.h.i.j.mail.example.com") == [
        *("a.b.c.d.e.f.g.h.i.j.mail.example.com", "g.h.i.j.mail.example.com", "h.i.j.mail.example.com"),
        *("i.j.mail.example.com", "j.mail.example.com", "mail.example.com", "example.com", "com"),
    ]
    assert walk("com") == ["com"]


@given(LABELS)
def test_a_walk_is_bounded_and_goes_up(labels: list[str]) -> None:
    """Each name is above the one before."""
    names = walk(".".join(labels))
    assert len(names) <= MAX_QUERIES
    assert names[0] == ".".join(labels)
    assert names[-1] == labels[-1]
    assert all(below.endswith("." + above) for below, above in pairwise(names))


@pytest.mark.rfc("9989", "4.10.2")
@pytest.mark.parametrize(
    ("zone", "domain", "organization"),
    [
        ({}, "a.b.example.com", "a.b.example.com"),
        ({"example.com": "v=DMARC1;p=none"}, "a.b.example.com", "example.com"),
        ({"a.example.com": "v=DMARC1;p=none", "example.com": "v=DMARC1;p=none"}, "a.example.com", "example.com"),
        (
            {"a.example.com": "v=DMARC1;p=none;psd=n", "example.com": "v=DMARC1;p=none"},
            "a.example.com",
            "a.example.com",
        ),
        ({"com": "v=DMARC1;p=none;psd=y", "example.com": "v=DMARC1;p=none"}, "a.example.com", "example.com"),
        ({"co.example": "v=DMARC1;p=none;psd=y"}, "a.b.c.co.example", "c.co.example"),
        ({"co.example": "v=DMARC1;p=none;psd=y"}, "co.example", "co.example"),
    ],
)
def test_an_organizational_domain_is_found_by_the_records_on_the_way_up(
    zone: dict[str, str], domain: str, organization: str
) -> None:
    """psd=n says so, psd=y is just above, else the shortest one with a record."""
    assert organizational_domain(domain, records_of(domain, asking(zone))) == organization


def test_nobody_is_asked_beyond_what_says_whether_it_is_a_public_suffix() -> None:
    """The walk ends there."""
    asked: list[str] = []
    records_of("a.b.example.com", asking({"b.example.com": "v=DMARC1;p=none;psd=n"}, asked))
    assert asked == ["a.b.example.com", "b.example.com"]


@pytest.mark.rfc("9989", "4.4")
@pytest.mark.parametrize(
    ("text", "spf", "dkim", "aligned"),
    [
        ("p=reject", "example.com", "", (True, False)),
        ("p=reject", "bounces.example.com", "", (True, False)),
        ("p=reject", "", "mail.example.com", (False, True)),
        ("p=reject", "example.org", "example.net", (False, False)),
        ("p=reject", "notexample.com", "xexample.com", (False, False)),
        ("p=reject", "com", "com", (False, False)),
        ("p=reject;aspf=s;adkim=s", "bounces.example.com", "mail.example.com", (False, False)),
        ("p=reject;aspf=s;adkim=s", "news.example.com", "news.example.com", (True, True)),
        ("p=reject", "own.example.com", "", (False, False)),
    ],
)
def test_alignment_is_of_organizational_domains_or_strictly_of_names(
    text: str, spf: str, dkim: str, aligned: tuple[bool, bool]
) -> None:
    """A subdomain that is an organization of its own (psd=n) is aligned with no other."""
    zone = {"example.com": f"v=DMARC1;{text}", "own.example.com": "v=DMARC1;p=none;psd=n"}
    found = judged(zone, "news.example.com", spf, *([dkim] if dkim else []))
    assert (found.spf_aligned, found.dkim_aligned) == aligned
    assert found.result == ("pass" if any(aligned) else "fail")


@pytest.mark.rfc("9989", "4.7")
@pytest.mark.parametrize(
    ("text", "domain", "exists", "policy"),
    [
        ("p=reject;sp=none", "example.com", True, "reject"),
        ("p=reject;sp=none;np=quarantine", "a.example.com", True, "none"),
        ("p=reject;sp=none;np=quarantine", "a.example.com", False, "quarantine"),
        ("p=reject;sp=none", "a.example.com", False, "none"),
        ("p=reject", "a.example.com", False, "reject"),
        ("p=none;np=reject", "a.example.com", False, "reject"),
        ("p=reject;t=y", "example.com", True, "quarantine"),
        ("p=quarantine;t=y", "example.com", True, "none"),
        ("p=none;t=y", "example.com", True, "none"),
    ],
)
def test_a_policy_is_for_the_domain_its_subdomains_or_those_that_do_not_exist(
    text: str, domain: str, exists: bool, policy: str
) -> None:
    """And one step weaker while its owner only tests."""
    assert judged({"example.com": f"v=DMARC1;{text}"}, domain, exists=exists).policy == policy


def test_a_public_suffix_speaks_for_domains_without_a_record() -> None:
    """With its policy for subdomains."""
    found = judged({"co.example": "v=DMARC1;p=none;sp=reject;psd=y"}, "a.b.co.example", "b.co.example")
    assert found.record is not None
    assert (found.record.domain, found.policy, found.result) == ("co.example", "reject", "pass")


def test_a_domain_without_any_record_has_no_result() -> None:
    """Whatever vouches for it."""
    assert judged({}, "example.com", "example.com") == Judgement("none")
