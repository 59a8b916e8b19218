"""Read DMARC aggregate reports that strangers sent: RFC 9990's, and those of RFC 7489 with or without a namespace.

Lenient about order, case, unknown elements and missing ones; strict about what is dangerous: a document type, and with
it every entity of its own, is refused, and everything has a bound. Nothing here raises for what a sender wrote.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from xml.parsers import expat

from egret.core.dmarc_report import (
    AggregateReport,
    DkimAuth,
    Override,
    PublishedPolicy,
    Row,
    SpfAuth,
)

MAX_DEPTH = 12
RECORD_DEPTH = 2  # root, feedback
MAX_ROWS = 20_000
"""Records of a report that are read; the rest is left out."""
MAX_TEXT = 256
"""Characters of an element."""
MAX_ELEMENTS = 1_000_000
"""Of a document: a hundred for each record would be many."""
MAX_KEPT = 2000
"""Elements of a record, and of all that is outside of records; further ones are not looked at."""
MAX_RESULTS = 100
"""Of each kind in a record (RFC 9990 section 3.1.3)."""
MAX_COUNT = (1 << 53) - 1
MAX_INSTANT = 253_402_300_799
"""Seconds since 1970 at the end of the year 9999."""

_DANGEROUS = re.compile(r"<!(?:doctype|entity)", re.IGNORECASE)
_DECLARED = re.compile(rb"""<\?xml[^>]{0,200}encoding\s*=\s*["']([A-Za-z0-9._-]{1,40})["']""", re.IGNORECASE)
_CHARSETS = frozenset({"iso-8859-1", "latin-1", "windows-1252", "cp1252", "us-ascii", "ascii", "iso-8859-15"})
_NUMBER = re.compile(r"\s*(\d{1,30})(?:\.\d*)?\s*")


@dataclass(frozen=True, slots=True)
class Unreadable:
    """It is no report that can be used; reason: one sentence."""

    reason: str


class _RefusedError(Exception):
    """The document is dangerous."""


@dataclass(slots=True)
class _Node:
    """An element: its text, and its children by local name in lower case."""

    text: list[str] = field(default_factory=list)
    children: dict[str, list[_Node]] = field(default_factory=dict)
    length: int = 0

    def all(self, name: str) -> list[_Node]:
        return self.children.get(name, [])

    def one(self, *path: str) -> _Node:
        """Return the first element on the path, an empty one when there is none."""
        node = self
        for name in path:
            node = next(iter(node.all(name)), _Node())
        return node

    def value(self, *path: str) -> str:
        """Return the text on the path in one line, without control characters."""
        text = "".join(self.one(*path).text).strip()
        return (
            text if text.isprintable() else "".join(character if character.isprintable() else " " for character in text)
        )

    def word(self, *path: str) -> str:
        return self.value(*path).lower()


class _Builder:
    """What expat tells, as nodes; records are made rows as soon as they end."""

    def __init__(self) -> None:
        self.root = _Node()
        self.rows: list[tuple[Row, int]] = []
        self._open = [self.root]
        self._elements = 0
        self._kept = 0
        self._kept_outside = 0

    def start(self, name: str, _: dict[str, str]) -> None:
        self._elements += 1
        if len(self._open) > MAX_DEPTH:
            raise _RefusedError("its elements are nested too deeply")
        if self._elements > MAX_ELEMENTS:
            raise _RefusedError("it has too many elements")
        local, node = _local(name), _Node()
        if self._is_record(local):
            self._kept_outside, self._kept = self._kept, 0
        elif self._kept < MAX_KEPT:
            self._kept += 1
            self._open[-1].children.setdefault(local, []).append(node)
        self._open.append(node)

    def end(self, name: str) -> None:
        node = self._open.pop()
        if self._is_record(_local(name)):
            self._kept = self._kept_outside
            if len(self.rows) < MAX_ROWS:
                self.rows.append(_row(node))

    def _is_record(self, local: str) -> bool:
        return local == "record" and len(self._open) == RECORD_DEPTH

    def text(self, data: str) -> None:
        node = self._open[-1]
        if node.length < MAX_TEXT:
            node.text.append(data[: MAX_TEXT - node.length])
            node.length += len(data)

    def refuse(self, *_: object) -> int:
        raise _RefusedError("it has a document type of its own")


def read_dmarc(data: bytes) -> AggregateReport | Unreadable:
    """Return the report that XML of any encoding is."""
    text = _decoded(data)
    if _DANGEROUS.search(text):
        return Unreadable("it has a document type of its own")
    builder = _Builder()
    try:
        _parse(text, builder)
    except _RefusedError as error:
        return Unreadable(str(error))
    except expat.ExpatError as error:
        return Unreadable(f"it is no XML: {error}")
    if not builder.root.all("feedback"):
        return Unreadable("it is no DMARC report: there is no feedback in it")
    return _report(builder.root.one("feedback"), tuple(builder.rows))


def _parse(text: str, builder: _Builder) -> None:
    parser = expat.ParserCreate("utf-8", " ")
    parser.SetParamEntityParsing(expat.XML_PARAM_ENTITY_PARSING_NEVER)
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = builder.refuse
    parser.EntityDeclHandler = builder.refuse
    parser.ExternalEntityRefHandler = builder.refuse
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.text
    parser.Parse(text.encode(), True)


def _decoded(data: bytes) -> str:
    """Return the document as text: by its mark, its declaration, else UTF-8; what is wrong becomes U+FFFD."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        text = data.decode("utf-16", "replace")
    else:
        declared = _DECLARED.match(data.lstrip()[:300])
        charset = declared[1].decode("ascii").lower() if declared else ""
        text = data.decode(charset if charset in _CHARSETS else "utf-8-sig", "replace")
    return text.encode("utf-8", "replace").decode().lstrip("\ufeff \t\r\n")


def _local(name: str) -> str:
    return name.rpartition(" ")[2].rpartition(":")[2].lower()


def _report(feedback: _Node, rows: tuple[tuple[Row, int], ...]) -> AggregateReport | Unreadable:
    metadata, published = feedback.one("report_metadata"), feedback.one("policy_published")
    domain = published.word("domain").rstrip(".")
    if not domain:
        return Unreadable("it does not say which domain it is about")
    begin, end = _instant(metadata, "begin"), _instant(metadata, "end")
    if begin is None or end is None:
        return Unreadable("it does not say which time it is about")
    return AggregateReport(
        org_name=metadata.value("org_name"),
        email=metadata.value("email"),
        report_id=metadata.value("report_id"),
        begin=begin,
        end=end,
        policy=_policy(domain, published),
        rows=rows,
        extra_contact_info=metadata.value("extra_contact_info"),
        errors=tuple(filter(None, (each.value() for each in metadata.all("error")))),
        generator=metadata.value("generator"),
    )


def _policy(domain: str, published: _Node) -> PublishedPolicy:
    names = ("p", "sp", "np", "adkim", "aspf", "fo", "testing", "discovery_method", "pct")
    return PublishedPolicy(domain, **{name: published.word(name) for name in names})


def _instant(metadata: _Node, name: str) -> datetime | None:
    number = _number(metadata.value("date_range", name))
    return None if number is None or number > MAX_INSTANT else datetime.fromtimestamp(number, UTC)


def _number(text: str) -> int | None:
    match = _NUMBER.fullmatch(text)
    return int(match[1]) if match else None


def _row(record: _Node) -> tuple[Row, int]:
    row, evaluated = record.one("row"), record.one("row", "policy_evaluated")
    identifiers, results = record.one("identifiers"), record.one("auth_results")
    count, reasons = _number(row.value("count")), evaluated.all("reason")[:MAX_RESULTS]
    found = Row(
        source_ip=row.word("source_ip"),
        disposition=evaluated.word("disposition"),
        dkim=evaluated.word("dkim"),
        spf=evaluated.word("spf"),
        header_from=identifiers.word("header_from"),
        envelope_from=identifiers.word("envelope_from"),
        envelope_to=identifiers.word("envelope_to"),
        reasons=tuple(Override(each.word("type"), each.value("comment")) for each in reasons),
        dkim_results=_dkim(results.all("dkim")[:MAX_RESULTS]),
        spf_results=_spf(results.all("spf")[:MAX_RESULTS]),
    )
    return found, min(count or 0, MAX_COUNT)


def _dkim(nodes: Sequence[_Node]) -> tuple[DkimAuth, ...]:
    return tuple(
        DkimAuth(each.word("domain"), each.value("selector"), each.word("result"), each.value("human_result"))
        for each in nodes
    )


def _spf(nodes: Sequence[_Node]) -> tuple[SpfAuth, ...]:
    return tuple(
        SpfAuth(each.word("domain"), each.word("result"), each.word("scope"), each.value("human_result"))
        for each in nodes
    )
