"""DMARC: the policy that holds for a From domain, and whether what was authenticated is aligned with it.

Implements: RFC 9989 sections 4.4 (alignment), 4.7 (records), 4.10 (tree walk, organizational domain). The DNS is an
argument. Domains are A-labels in lower case. Does neither SPF nor DKIM, and decides nothing about mail.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

MAX_QUERIES: Final = 8
"""Of one walk up the tree (RFC 9989 section 4.10)."""
POLICIES: Final = ("none", "quarantine", "reject")
_WEAKER: Final = {"reject": "quarantine", "quarantine": "none", "none": "none"}
_MAX_URIS: Final = 10
_TAG: Final = re.compile(r"([A-Za-z][A-Za-z0-9_]*)[ \t]*=[ \t]*(.*)", re.DOTALL)
_VERSION: Final = re.compile(r"v[ \t]*=[ \t]*DMARC1[ \t]*(?:;|\Z)")
_URI: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[!-+\--:<-~]+")


class DmarcRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """The DMARC record that holds for a From domain (RFC 9989 section 4.7), with defaults filled in.

    domain: where it was found. p, sp, np: none, quarantine or reject; sp and np "" = not given. adkim, aspf: r or s.
    rua: URIs as published. testing: t=y. psd: y, n or u. interval_s: `ri` of RFC 7489, which 9989 dropped.
    """

    domain: str
    p: str = "none"
    sp: str = ""
    np: str = ""
    adkim: str = "r"
    aspf: str = "r"
    rua: tuple[str, ...] = ()
    fo: str = "0"
    testing: bool = False
    psd: str = "u"
    interval_s: int = 86400


@dataclass(frozen=True, slots=True)
class Authenticated:
    """Which domains SPF and DKIM vouch for. spf: "" = none."""

    spf: str = ""
    dkim: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Judgement:
    """What DMARC says of a From domain. record: None = none holds (result "none"). policy: what the owner asks for."""

    result: str
    record: DmarcRecord | None = None
    policy: str = "none"
    spf_aligned: bool = False
    dkim_aligned: bool = False


Ask = Callable[[str], "DmarcRecord | None"]
"""Return the record at `_dmarc.<domain>`; what it raises goes through."""


def parse_record(domain: str, texts: Iterable[str]) -> DmarcRecord | None:
    """Return the record among the TXT records of `_dmarc.<domain>`; None when there is none, or more than one.

    Unknown tags and values are passed over. A record without a usable policy counts as p=none when it says where
    reports go, else not at all (section 4.7).
    """
    candidates = [text for text in texts if _VERSION.match(text)]
    if len(candidates) != 1:
        return None
    tags: dict[str, str] = {}
    for part in candidates[0].split(";"):
        if (match := _TAG.fullmatch(part.strip(" \t"))) is not None:
            tags.setdefault(match[1].lower(), match[2])
    words = {name: value.lower() for name, value in tags.items()}
    rua = tuple(uri for part in tags.get("rua", "").split(",") if _URI.fullmatch(uri := part.strip()))[:_MAX_URIS]
    policies = {name: words[name] for name in ("p", "sp", "np") if name in words}
    if "p" not in policies or not set(policies.values()) <= set(POLICIES):
        if not rua:
            return None
        policies = {"p": "none"}
    return DmarcRecord(
        domain,
        p=policies["p"],
        sp=policies.get("sp", ""),
        np=policies.get("np", ""),
        adkim="s" if words.get("adkim") == "s" else "r",
        aspf="s" if words.get("aspf") == "s" else "r",
        rua=rua,
        fo=words.get("fo") or "0",
        testing=words.get("t") == "y",
        psd=words["psd"] if words.get("psd") in ("y", "n") else "u",
        interval_s=int(words["ri"]) if re.fullmatch("[0-9]{1,9}", words.get("ri", "")) else 86400,
    )


def walk(domain: str) -> list[str]:
    """Return the domains to ask, from the domain itself up to its last label, at most eight (section 4.10)."""
    labels = domain.split(".")
    # Of a name that is too long, the labels between the first query and the last seven are left out.
    start = max(1, len(labels) - MAX_QUERIES + 1)
    return [domain, *(".".join(labels[at:]) for at in range(start, len(labels)))]


def records_of(domain: str, ask: Ask) -> dict[str, DmarcRecord]:
    """Return the records on the way up from a domain, nearest first; a record that says psd=y or psd=n is the last."""
    found: dict[str, DmarcRecord] = {}
    for name in walk(domain):
        if (record := ask(name)) is not None:
            found[name] = record
            if record.psd != "u":
                break
    return found


def organizational_domain(domain: str, found: Mapping[str, DmarcRecord]) -> str:
    """Return the organizational domain. found: what `records_of` returned for the domain. RFC 9989 section 4.10.2."""
    for name, record in found.items():
        if record.psd == "n":
            return name
        if record.psd == "y" and name != domain:
            below = domain.split(".")[-name.count(".") - 2 :]
            return ".".join(below)
    return min(found, key=lambda name: name.count("."), default=domain)


def judge(header_from: str, authenticated: Authenticated, ask: Ask, exists: Callable[[str], bool]) -> Judgement:
    """Judge a mail with one From domain. ask is called up to eight times for each domain; its caller remembers answers.

    exists: whether a domain is in the DNS at all; asked only when its policy depends on it (np=).
    """
    found = records_of(header_from, ask)
    organization = organizational_domain(header_from, found)
    record = _record(header_from, organization, found)
    if record is None:
        return Judgement("none")

    def is_aligned(domain: str, mode: str) -> bool:
        if domain == header_from or mode == "s":
            return domain == header_from
        # Who is not below the same last labels cannot have the same organizational domain: no need to ask.
        if domain != organization and not domain.endswith("." + organization):
            return False
        return organizational_domain(domain, records_of(domain, ask)) == organization

    spf_aligned = bool(authenticated.spf) and is_aligned(authenticated.spf, record.aspf)
    dkim_aligned = any(is_aligned(domain, record.adkim) for domain in authenticated.dkim)
    policy = _policy(record, header_from, exists)
    result = "pass" if spf_aligned or dkim_aligned else "fail"
    return Judgement(result, record, policy, spf_aligned, dkim_aligned)


def _record(header_from: str, organization: str, found: Mapping[str, DmarcRecord]) -> DmarcRecord | None:
    """Return the record that holds: of the domain, else of its organization, else of the public suffix above."""
    suffix = next((record for record in found.values() if record.psd == "y"), None)
    return found.get(header_from) or found.get(organization) or suffix


def _policy(record: DmarcRecord, header_from: str, exists: Callable[[str], bool]) -> str:
    policy = record.p
    if record.domain != header_from:
        policy = record.sp or record.p
        if record.np and record.np != policy and not exists(header_from):
            policy = record.np
    return _WEAKER[policy] if record.testing else policy
