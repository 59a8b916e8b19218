"""Promises of egret.core.parse and egret.core.mime."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime, timedelta, timezone
from itertools import count

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from egret.core.address import Address, Mailbox
from egret.core.compose import Draft, File, compose
from egret.core.dates import parse_date
from egret.core.mime import (
    MAX_ALL_HEADER_OCTETS,
    MAX_DEPTH,
    MAX_HEADER_OCTETS,
    MAX_PARAMETERS,
    MAX_PARTS,
    Entity,
    decode_text,
    decode_words,
    header_of,
    read_entity,
)
from egret.core.parse import (
    MAX_ADDRESS_TOKENS,
    MAX_CONTROLS,
    MAX_TEXT_OCTETS,
    NameAddress,
    NotConforming,
    Structure,
    parse_addresses,
    parse_message,
    part_content,
)

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=1)))

FRAGMENTS = st.sampled_from(
    [
        *(
            b"\r\n",
            b"\n",
            b"\r",
            b" ",
            b"\t",
            b":",
            b";",
            b",",
            b"=",
            b"?",
            b'"',
            b"\\",
            b"<",
            b">",
            b"(",
            b")",
            b"[",
            b"\0",
        ),
        *(b"From: ", b"To: ", b"Subject: ", b"Date: ", b"References: ", b"In-Reply-To: ", b"Content-Type: "),
        *(
            b"Content-Disposition: attachment; filename*0*=utf-8''%ff; filename*1=x",
            b"Content-Transfer-Encoding: base64",
        ),
        *(b"multipart/mixed; boundary=a", b'multipart/alternative; boundary="b"', b"text/plain; charset=utf-7"),
        *(
            b"text/html; charset=punycode",
            b"\r\n--a\r\n",
            b"\r\n--b\r\n",
            b"--a--\r\n",
            b"=?utf-8?q?=ff?=",
            b"=?x?b?=?=",
        ),
        *(b"message/rfc822", b"\xff\xfe", b"1 Jan 2026 00:00:00 -2400", b"a@b.c", b"@", b"+2HnYPQ-", b"\r\n\r\n"),
    ]
)


@given(st.one_of(st.binary(max_size=300), st.lists(FRAGMENTS, max_size=40).map(b"".join)))
@example(b"")
@example(b"\n")
@example(b"Date: 31 Dec 9999 23:00:00 -2359\r\n\r\n")
@example(b"Content-Type: text/plain; charset=undefined\r\n\r\nx")
@example(b"Content-Type: text/plain; charset=\0\r\n\r\n\xff")
@example(b"Content-Type: text/plain; charset=utf-7\r\n\r\n+2AA-")
@example(b"Content-Type: text/plain; charset=hex\r\n\r\nx")
def test_any_octets_give_a_result_that_can_be_sent_as_json(raw: bytes) -> None:
    """No message can make the reader raise, or give what UTF-8 or a date cannot hold."""
    message = parse_message(raw)
    json.dumps(asdict(message), default=lambda at: at.astimezone(UTC).isoformat(), ensure_ascii=False).encode()


@given(st.one_of(st.binary(max_size=300), st.lists(FRAGMENTS, max_size=40).map(b"".join)))
@example(b"Subject: a\n\nb")
@example(b"Subject: a\r\rb\n\nc")
@example(b"\r\nno header\r\n\r\nSubject: b")
def test_the_header_alone_has_the_fields_of_the_message(raw: bytes) -> None:
    """Who wants no more than fields need not have the parts read."""
    alone, whole = read_entity(header_of(raw)), read_entity(raw)
    assert alone.headers == whole.headers


def test_the_header_alone_has_no_body() -> None:
    """However large that is."""
    assert header_of(b"Subject: a\r\n\r\n" + b"x\r\n\r\n" * 1000) == b"Subject: a\r\n\r\n"


names = st.text(st.characters(exclude_categories=["Cc", "Cs", "Z"]), max_size=40)
mailboxes = st.builds(
    Mailbox,
    names,
    st.builds(
        Address,
        st.sampled_from(["ann", "a b", 'q"\\,', "jürgen"]),
        st.sampled_from(["x.example", "xn--bcher-kva.example"]),
    ),
)
bodies = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n"), max_size=80).map(
    lambda text: text + "\n"
)


@given(
    st.lists(mailboxes, min_size=1, max_size=3).map(tuple),
    st.lists(mailboxes, max_size=3).map(tuple),
    names,
    bodies,
    st.one_of(st.just(""), bodies),
    st.binary(max_size=200),
)
def test_reading_gives_back_what_was_composed(
    to: tuple[Mailbox, ...], cc: tuple[Mailbox, ...], subject: str, text: str, html: str, data: bytes
) -> None:
    """Every field of a composed message is read as it was given."""
    draft = Draft(
        from_=to[:1],
        message_id="<id@example.com>",
        date=AT,
        to=to,
        cc=cc,
        reply_to=cc,
        references=("<a@b>", "<c@d>"),
        subject=subject,
        text=text,
        html=html,
        attached_files=(File("naïve.bin", "application/x-y", "<c@i>", data),),
    )
    numbers = count()
    raw = compose(draft, lambda: f"t{next(numbers)}").raw()
    message = parse_message(raw)
    shown = [tuple(NameAddress(m.name, m.address.unicode_form) for m in group) for group in (to[:1], to, cc, cc)]
    assert shown == [message.from_, message.to, message.cc, message.reply_to]
    assert (
        message.message_id,
        message.in_reply_to,
        message.references,
    ) == ("<id@example.com>", "<c@d>", ("<a@b>", "<c@d>"))
    assert (AT, subject, text, html) == (message.date, message.subject, message.text, message.html)
    leaf = message.structure.parts[-1]
    expected = Structure("application/x-y", {}, "<c@i>", "attachment", "naïve.bin", len(data), ())
    assert expected == leaf
    assert data == part_content(raw, [len(message.structure.parts) - 1])


def build(*children: str, subtype: str = "mixed", boundary: str = "b") -> str:
    """Return a multipart entity with the children."""
    head = f'Content-Type: multipart/{subtype}; boundary="{boundary}"\r\n\r\npreamble'
    return head + "".join(f"\r\n--{boundary}\r\n{child}" for child in children) + f"\r\n--{boundary}--\r\nepilogue"


TEXT, HTML, LATER = (
    "Content-Type: text/plain\r\n\r\ntext\r\nmore",
    "Content-Type: text/html\r\n\r\n<p>",
    "Content-Type: text/plain\r\n\r\nlater",
)
ATTACHED = "Content-Type: text/plain\r\nContent-Disposition: Attachment\r\n\r\nfile"


@pytest.mark.parametrize(
    ("entity", "expected"),
    [
        ("\r\nno headers", ("no headers", "")),
        ("Subject: x\r\n\r\nno type", ("no type", "")),
        (TEXT, ("text\nmore", "")),
        (HTML, ("", "<p>")),
        ("Content-Type: application/pdf\r\n\r\nx", ("", "")),
        (build(TEXT, HTML), ("text\nmore", "")),
        (build(HTML, TEXT), ("", "<p>")),
        (build(TEXT, HTML, subtype="alternative"), ("text\nmore", "<p>")),
        (build(TEXT, HTML, LATER, subtype="alternative"), ("later", "<p>")),
        (build(build(TEXT, HTML, subtype="alternative", boundary="in"), LATER), ("text\nmore", "<p>")),
        (build(TEXT, build(HTML, subtype="related", boundary="in"), subtype="alternative"), ("text\nmore", "<p>")),
        (build(ATTACHED, LATER), ("later", "")),
        (build(ATTACHED), ("", "")),
        (build("Content-Type: message/rfc822\r\n\r\nSubject: x\r\n\r\ninner"), ("", "")),
        (build(), ("", "")),
    ],
)
def test_the_part_to_read_is_the_one_a_person_would_see(entity: str, expected: tuple[str, str]) -> None:
    """The first text or html decides, both within an alternative; attachments and other types are not for reading."""
    message = parse_message(entity.encode())
    assert expected == (message.text, message.html)


@pytest.mark.parametrize("line_break", ["\r\n", "\n"])
def test_structure_shows_types_names_and_sizes(line_break: str) -> None:
    """The tree with every field of the API, for either kind of line end."""
    pdf = "Content-Type: Application/PDF; NAME=old.pdf\r\nContent-Transfer-Encoding: Base64\r\n"
    pdf += "Content-ID: <c@x>\r\n\r\nAAEC"
    raw = build(TEXT, build(HTML, pdf, subtype="related", boundary="bb")).replace("\r\n", line_break).encode()
    leaf = Structure("text/plain", {}, "", "", "", 10, ())
    inner = (
        Structure("text/html", {}, "", "", "", 3, ()),
        Structure("application/pdf", {"name": "old.pdf"}, "<c@x>", "", "old.pdf", 3, ()),
    )
    related = Structure("multipart/related", {"boundary": "bb"}, "", "", "", 0, inner)
    assert (
        Structure("multipart/mixed", {"boundary": "b"}, "", "", "", 0, (leaf, related)) == parse_message(raw).structure
    )
    assert part_content(raw, [1, 1]) == b"\x00\x01\x02"
    assert part_content(raw, [0]) == f"text{line_break}more".encode()


@pytest.mark.parametrize("path", [[2], [-1], [0, 0], [0, 0, 0]])
def test_a_path_that_leads_nowhere_gives_none(path: list[int]) -> None:
    """Neither a negative nor a too large index is a part."""
    assert part_content(build(TEXT, HTML).encode(), path) is None


def test_an_empty_path_is_the_body_of_the_message() -> None:
    """The top part of a message is the message."""
    assert part_content(b"Content-Transfer-Encoding: quoted-printable\r\n\r\na=3Db=\r\nc", []) == b"a=bc"


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ('attachment; filename="a b.txt"', "a b.txt"),
        ("attachment; filename=a.txt", "a.txt"),
        ('attachment; filename="q\\"uote;x.txt"; size=3', 'q"uote;x.txt'),
        ("attachment; filename*=utf-8''na%C3%AFve.txt", "naïve.txt"),
        ("attachment; filename*=iso-8859-1'fr'na%EFve.txt", "naïve.txt"),
        ("attachment; filename*0*=utf-8''na%C3; filename*1*=%AFve; filename*2=.txt", "naïve.txt"),
        ("attachment; filename*1=b; filename*0=a; filename*10=d; filename*2=c", "abcd"),
        ('attachment; filename="=?utf-8?q?na=C3=AFve?="', "naïve"),
        ("attachment; filename*=%zz", "%zz"),
        ("attachment;\r\n filename=x", "x"),
        ('attachment; filename="open', "open"),
        ("attachment; filename=", ""),
        ("", ""),
    ],
)
def test_filenames_are_decoded_however_they_are_written(headers: str, expected: str) -> None:
    """Quoted, bare, RFC 2231 in one or many pieces, encoded words, and broken ones."""
    raw = f"Content-Disposition: {headers}\r\n\r\n".encode()
    assert expected == parse_message(raw).structure.filename


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("ann@example.net", [("", "ann@example.net")]),
        ("Ann Lee <ann@example.net>", [("Ann Lee", "ann@example.net")]),
        ('"Lee, Ann" <ann@example.net>, bob@x.example', [("Lee, Ann", "ann@example.net"), ("", "bob@x.example")]),
        ("ann@example.net (Ann (the first) Lee)", [("Ann (the first) Lee", "ann@example.net")]),
        ("=?utf-8?q?J=C3=BCrgen?= <j@xn--bcher-kva.example>", [("Jürgen", "j@bücher.example")]),
        ('"a \\"b\\"" <x@y.example>', [('a "b"', "x@y.example")]),
        ('"a b"@x.example', [("", '"a b"@x.example')]),
        ('Ann "The" Lee <ann@x.example>', [("Ann The Lee", "ann@x.example")]),
        ("undisclosed-recipients:;", []),
        (
            "Team: a@x.example, B <b@x.example>;, c@x.example",
            [("", "a@x.example"), ("B", "b@x.example"), ("", "c@x.example")],
        ),
        ("<@relay.example:ann@x.example>", [("", "ann@x.example")]),
        ("root@[IPv6:::1], x", [("", "root@[IPv6:::1]"), ("", "x")]),
        ("Ann <>", [("Ann", "")]),
        ("ann@x.example <bob@x.example>", [("ann@x.example", "bob@x.example")]),
        ("<ann@x.example", [("", "ann@x.example")]),
        (", ,,;", []),
        ("", []),
    ],
)
def test_addresses_are_found_in_every_form(value: str, expected: list[tuple[str, str]]) -> None:
    """Names, comments, groups, routes and malformed addresses, in order; a bare name never becomes another address."""
    assert expected == [(found.name, found.address) for found in parse_addresses(value)]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2 Jan 2026 03:04:05 +0100", AT),
        ("Fri, 2 Jan 2026 03:04:05 +0100 (CET)", AT),
        ("2 Jan 2026 02:04:05 -0000", AT.astimezone(UTC)),
        ("Fri, 02 Jan 26 02:04:05 GMT", AT.astimezone(UTC)),
        ("yesterday", None),
        ("", None),
        ("31 Feb 2026 00:00:00 +0000", None),
        ("31 Dec 9999 23:00:00 -2300", None),
        ("1 Jan 2026 00:00:00 +9999", None),
        ("9" * 5000, None),
    ],
)
def test_dates_are_aware_or_none(value: str, expected: datetime | None) -> None:
    """A date has its zone; what is no date is None."""
    assert expected == parse_date(value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("=?utf-8?q?a_b=3F?=", "a b?"),
        ("=?UTF-8?B?w6k=?=", "é"),
        ("=?utf-8?b?w6k?=", "é"),
        ("=?utf-8?q?=C3?= =?utf-8?q?=A9?=", "é"),
        ("=?utf-8?q?a?=   =?iso-8859-1?q?=E9?= b", "aé b"),
        ("a =?utf-8?q?b?= c", "a b c"),
        ("=?utf-8*en?q?a?=", "a"),
        ("=?nonsense?q?=C3=A9?=", "é"),
        ("=?utf-8?x?a?=", "=?utf-8?x?a?="),
        ("=?utf-8?q?a=0D=0AX:_y?=", "a  X: y"),
        ("1 =? 2 ?= 3", "1 =? 2 ?= 3"),
    ],
)
def test_encoded_words_are_decoded_leniently(value: str, expected: str) -> None:
    """Cut characters are joined, unknown charsets guessed, control characters never come out."""
    assert expected == decode_words(value)


@pytest.mark.parametrize(
    ("data", "charset", "expected"),
    [
        (b"\xe9", "iso-8859-1", "é"),
        ("é".encode(), "", "é"),
        ("é".encode(), "us-ascii", "é"),
        (b"\xe9", "us-ascii", "é"),
        (b"\xe9", "utf-8", "\ufffd"),
        (b"\xe9", "unknown-8bit", "é"),
        (b"a\\u0041", "unicode_escape", "a\\u0041"),
        (b"xn--", "punycode", "xn--"),
        ("日本".encode("iso-2022-jp"), "ISO-2022-JP", "日本"),
        (b"6869", "hex", "6869"),
    ],
)
def test_charsets_are_decoded_or_guessed(data: bytes, charset: str, expected: str) -> None:
    """Unknown charsets, wrong ones and codecs that are none give readable text, never an error."""
    assert expected == decode_text(data, charset)


def test_raw_utf8_headers_are_read() -> None:
    """An SMTPUTF8 message, and one that should have been, shows its letters."""
    message = parse_message("Subject: Grüße\r\nFrom: Jürgen <jürgen@bücher.example>\r\n\r\n".encode())
    assert (message.subject, message.from_) == ("Grüße", (NameAddress("Jürgen", "jürgen@bücher.example"),))
    assert parse_message("Subject: Grüße\r\n\r\n".encode("latin-1")).subject == "Grüße"


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ("References: <a@b>\r\n\t<c@d>\r\nIn-Reply-To: <c@d>", ("<a@b>", "<c@d>")),
        ("References: <a@b>\r\nIn-Reply-To: <x@y>", ("<x@y>", "<a@b>")),
        ("In-Reply-To: your letter <x@y> of today", ("<x@y>",)),
        ("In-Reply-To: your letter", ()),
        ("X: y", ()),
    ],
)
def test_references_include_in_reply_to(headers: str, expected: tuple[str, ...]) -> None:
    """In-Reply-To comes first when References lacks it."""
    assert expected == parse_message(f"{headers}\r\n\r\n".encode()).references


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ("Subject: x", False),
        ("Auto-Submitted: no", False),
        ("Auto-Submitted: NO; x", False),
        ("Auto-Submitted: auto-replied", True),
        ("Precedence: bulk", True),
        ("list-id: <x>", True),
        ("List-Unsubscribe: <x>", True),
        ("List-Unsubscribe-Post: x", True),
        ("Content-Type: multipart/report; boundary=b", True),
    ],
)
def test_mail_made_by_machines_is_marked(headers: str, expected: bool) -> None:
    """List headers, Precedence, Auto-Submitted other than `no`, and reports."""
    assert expected == parse_message(f"{headers}\r\n\r\n".encode()).is_automated


def test_texts_are_cut_at_one_mebibyte_between_characters() -> None:
    """The cut never leaves half a character."""
    body = "a" + "é" * MAX_TEXT_OCTETS
    raw = b"Content-Type: text/plain; charset=utf-8\r\n\r\n" + body.encode()
    assert body[: 1 + (MAX_TEXT_OCTETS - 1) // 2] == parse_message(raw).text


def test_broken_base64_gives_what_it_holds() -> None:
    """A lost end or foreign characters do not lose the rest."""
    for body in (b"aGVsbG8", b"aGVs!\r\nbG8==", b"aGVsbG8=\r\ntrailer!", b"aGVsbG8gd"):
        content = part_content(b"Content-Transfer-Encoding: base64\r\n\r\n" + body, [])
        assert content is not None
        assert content.startswith(b"hello")


def test_a_missing_close_delimiter_ends_with_the_body() -> None:
    """A truncated message shows what arrived."""
    raw = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\none\r\n--b  \r\nSubject: x\r\n\r\ntw"
    assert [part.decoded_size for part in parse_message(raw).structure.parts] == [3, 2]


def test_only_whole_lines_are_delimiters() -> None:
    """A boundary within a line, or with more behind it, is text."""
    raw = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nx --b\r\n--bc\r\n--b-\r\n--b--\r\n--b\r\nlate"
    assert part_content(raw, [0]) == b"x --b\r\n--bc\r\n--b-"
    assert part_content(raw, [1]) is None


def parts_of(structure: Structure) -> Iterator[Structure]:
    """Yield a structure and everything below it."""
    yield structure
    for part in structure.parts:
        yield from parts_of(part)


def test_depth_and_number_of_parts_are_bounded() -> None:
    """Messages made to exhaust their reader are read in part, quickly."""
    nested = b"".join(b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(5000))
    wide = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\n\r\nx\r\n" * 200_000
    started = time.process_time()
    assert len(list(parts_of(parse_message(nested).structure))) == MAX_DEPTH + 1
    assert len(parse_message(wide).structure.parts) == MAX_PARTS
    assert time.process_time() - started < 5


@pytest.mark.parametrize(
    "raw",
    [
        b"To: " + b"(" * 500_000,
        b"To: " + b"a," * 250_000,
        b"To: " + b'"' * 500_000,
        b"To: " + b"<" * 500_000,
        b"Subject: " + b"=?" * 250_000,
        b"Subject: " + b"=?utf-8?q?" * 50_000,
        b"Content-Type: text/plain" + b"; a" * 160_000,
        b"Content-Type: text/plain" + b'; a="' * 100_000,
        b"Content-Type: a/b; " + b" " * 500_000,
        b"Content-Type: text/plain; " + b"a*" * 250_000 + b"=b",
        b"References: " + b"<" * 500_000,
        b"In-Reply-To: " + b"<a" * 250_000,
        b"Date: " + b"(" * 500_000,
        b"A" * 500_000,
        b"X:\r\n" * 1_000_000,
        b"\r\n\r\n" + b"\r" * 2_000_000,
        b"Content-Transfer-Encoding: base64\r\n\r\n" + b"=" * 2_000_000,
        b"Content-Type: multipart/mixed; boundary=-\r\n\r\n" + b"-" * 2_000_000,
        b"Content-Type: multipart/mixed; boundary=a\r\n\r\n" + b"--a" * 600_000,
        b"Content-Type: multipart/mixed; boundary=a\r\n\r\n" + b"\n--ax" * 400_000,
    ],
)
def test_reading_takes_time_in_proportion_to_the_size(raw: bytes) -> None:
    """Inputs that make careless readers quadratic are read within seconds."""
    started = time.process_time()
    parse_message(raw)
    assert time.process_time() - started < 5


def test_very_many_controls_in_a_text_are_spaces() -> None:
    """As JSON each takes six octets, and the message could be too large to be answered."""
    few, many = b"a\tb\1\n", b"\1" * (MAX_CONTROLS + 1) + b"\tb\n"
    assert parse_message(b"Subject: x\r\n\r\n" + few).text == few.decode()
    assert parse_message(b"Subject: x\r\n\r\n" + many).text == " " * (MAX_CONTROLS + 1) + "\tb\n"


def test_parameters_are_read_to_their_bound() -> None:
    """Pieces beyond a thousand are nobody's file name; to join them all would take long."""
    pieces = "".join(f"; filename*{number % 10_000}*=%41" for number in range(2 * MAX_PARAMETERS))
    raw = f"Content-Type: image/png\r\nContent-Disposition: attachment{pieces}\r\n\r\n".encode()
    assert parse_message(raw).structure.filename == "A" * MAX_PARAMETERS


def test_header_blocks_are_read_to_their_bound() -> None:
    """Fields beyond half a mebibyte are left out; the body is still found."""
    raw = b"Subject: s\r\n" + b"X: y\r\n" * (MAX_HEADER_OCTETS // 6) + b"To: a@x.example\r\n\r\nbody"
    entity = read_entity(raw)
    assert (entity.text_field("subject"), entity.field("to"), entity.content()) == ("s", b"", b"body")


# --- broken and hostile mail


@pytest.mark.parametrize(
    ("raw", "subject", "text"),
    [
        (b"\r\nText only\r\n", "", "Text only\n"),
        (b"\nText only\n", "", "Text only\n"),
        (b"\n", "", ""),
        (b"Subject: x\r\n", "x", ""),
        (b"Subject: x", "x", ""),
        (b"Subject:\r\nX-Empty:\r\n\r\ntext", "", "text"),
        (b"Just text\r\nwithout a header\r\n", "", "Just text\nwithout a header\n"),
        (b"Two\r\n\r\nparagraphs\r\n", "", "Two\n\nparagraphs\n"),
        (b"From ann@example.net Fri Jan  2 03:04:05 2026\r\nSubject: x\r\n\r\ntext", "x", "text"),
        (b">From ann@example.net Fri Jan  2 03:04:05 2026\r\n\r\ntext", "", "text"),
        (b"no field\r\nSubject: x\r\n\r\ntext", "x", "text"),
        (b"Subject: x\rTo: y\r\rtext\rmore\r", "x", "text\nmore\n"),
        (b"Subject: x\nTo: y\n\ntext\nmore\n", "x", "text\nmore\n"),
        (b"Subject: x\r\nTo: y\n\ntext\rmore\n", "x", "text\nmore\n"),
        (b"Subject: a\rb\r\n\r\ntext", "a b", "text"),
        (b"Subject: \xc3\xa9\xff\r\n\r\n\xe9", "\u00c3\u00a9\u00ff", "\u00e9"),
        (b"Subject: x\r\n \r\n\r\ntext", "x", "text"),
    ],
)
def test_the_best_is_made_of_what_is_no_message(raw: bytes, subject: str, text: str) -> None:
    """No header, no body, lines that end in CR or LF alone, octets of no charset."""
    message = parse_message(raw)

    assert (message.subject, message.text) == (subject, text)


def test_a_part_without_header_is_text() -> None:
    """Whether the blank line before it is there or not."""
    raw = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nHello there\r\n\r\nmore\r\n--b\r\n\r\nx\r\n--b--"

    assert [part_content(raw, [at]) for at in (0, 1)] == [b"Hello there\r\n\r\nmore", b"x"]
    assert parse_message(raw).text == "Hello there\n\nmore"


HEADER = 400_000
NESTING = b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n"
BODY = 1 << 20


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(raw, id=name)
        for name, raw in {
            "routes": b"From: <" + b"@" * HEADER + b">\r\n\r\n",
            "comments": b"From: " + b"()" * (HEADER // 2) + b"\r\n\r\n",
            "open comments": b"From: " + b"(" * HEADER + b"\r\n\r\n",
            "addresses": b"To: " + b"a@b.example, " * (HEADER // 13) + b"\r\n\r\n",
            "encoded words": b"Subject: " + b"=?x?b?a=?= " * (HEADER // 11) + b"\r\n\r\n",
            "open words": b"Subject: " + b"=?a?b?" * (HEADER // 6) + b"\r\n\r\n",
            "parameters": b"Content-Type: text/plain" + b';a="x' * (HEADER // 5) + b"\r\n\r\n",
            "tiny fields": b"a:\r\n" * (HEADER // 4) + b"\r\n",
            "near delimiters": b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"\n--bx" * (BODY // 5),
            "delimiters": b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"\n--b\n\nx" * (BODY // 7),
            "headers of parts": b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
            + (b"\n--b\n" + b"a: b\n" * 200) * (BODY // 1005),
            "nested": b"".join(NESTING % (n, n) for n in range(99)) + b"\n--" * (BODY // 3),
            "carriage returns": b"Subject: x\r\n\r\n" + b"\r" * BODY,
            "quoted-printable": b"Content-Transfer-Encoding: quoted-printable\r\n\r\n" + b"=" * BODY,
            "base64": b"Content-Transfer-Encoding: base64\r\n\r\n" + b"a=b" * (BODY // 3),
        }.items()
    ],
)
def test_hostile_mail_costs_no_more_than_its_size(raw: bytes) -> None:
    """What is read of it is bounded: a quadratic reader would not come to the end of these in minutes."""
    message = parse_message(raw)

    assert len(message.to) <= MAX_ADDRESS_TOKENS
    entity = read_entity(raw)
    assert _count(entity) <= MAX_PARTS + 1
    assert _header_octets(entity) <= MAX_ALL_HEADER_OCTETS


def _count(entity: Entity) -> int:
    return 1 + sum(map(_count, entity.parts))


def _header_octets(entity: Entity) -> int:
    return sum(len(name) + len(value) for name, value in entity.headers) + sum(map(_header_octets, entity.parts))


# --- what a pedantic reader refuses

GOOD = (
    b"From: Ann <ann@example.net>\r\nDate: Fri, 2 Jan 2026 03:04:05 +0100\r\nSubject: \xc3\xa9\r\nMessage-ID: <1@x>\r\n"
    b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
    b"--b\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\xc3\xa9\r\n"
    b"--b\r\nContent-Transfer-Encoding: base64\r\n\r\naGVsbG8=\r\n--b--\r\n"
)


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        (b"hello", b"hello", ""),
        (b"\xc3\xa9\r\n--b", b"\xc3\xa9\x00\r\n--b", "NUL"),
        (b"MIME-Version: 1.0\r\n", b"MIME-Version: 1.0\n", "CRLF"),
        (b"MIME-Version: 1.0\r\n", b"MIME-Version: 1.0\r\r\n", "CRLF"),
        (b"1.0", b"1.0" + b"x" * 1000, "longer than 998"),
        (b"From: Ann <ann@example.net>\r\n", b"", "from is missing"),
        (b"Date: Fri, 2 Jan 2026 03:04:05 +0100\r\n", b"", "date is missing"),
        (b"Fri, 2 Jan", b"Fri, 2 Foo", "date is no date"),
        (b"Subject: \xc3\xa9", b"Subject: a\r\nSubject: b", "subject stands there 2 times"),
        (b"<1@x>", b"1@x", "Message-ID"),
        (b"Subject: \xc3\xa9", b"Subject: \xff", "not UTF-8"),
        (b"Subject: \xc3\xa9", b"Subject \xc3\xa9 x", "no field"),
        (b"; boundary=b", b"", "no boundary"),
        (b"--b--", b"--b", "does not end"),
        (b"boundary=b\r\n", b"boundary=b\r\nContent-Transfer-Encoding: base64\r\n", "multipart has a Content"),
        (b"Encoding: 8bit", b"Encoding: 7bit", "7bit has 8-bit"),
        (b"Encoding: 8bit", b"Encoding: rot13", "unknown Content-Transfer"),
        (b"aGVsbG8=", b"aGVsb!8=", "no base64"),
        (b"charset=utf-8", b"charset=nonsense", "unknown charset"),
    ],
)
def test_a_pedantic_reader_refuses_what_the_standards_refuse(old: bytes, new: bytes, why: str) -> None:
    """And says why; the same mail is read otherwise."""
    assert GOOD.count(old) >= (old != b"hello")
    raw = GOOD.replace(old, new, 1)

    parse_message(raw)
    if not why:
        assert parse_message(raw, pedantic=True) == parse_message(raw)
        return
    with pytest.raises(NotConforming, match=why):
        parse_message(raw, pedantic=True)


@given(st.one_of(st.binary(max_size=300), st.lists(FRAGMENTS, max_size=40).map(b"".join)))
def test_a_pedantic_reader_refuses_or_reads_the_same(raw: bytes) -> None:
    """It raises nothing else."""
    try:
        strict = parse_message(raw, pedantic=True)
    except NotConforming:
        return
    assert strict == parse_message(raw)


def test_what_is_composed_satisfies_a_pedantic_reader() -> None:
    """Our own mail is as the standards want it."""
    numbers = count()
    draft = Draft(
        from_=(Mailbox("Änne", Address("ann", "x.example")),),
        message_id="<id@example.com>",
        date=AT,
        to=(Mailbox("", Address("bob", "x.example")),),
        references=("<a@b>",),
        subject="Grüße " * 30,
        text="ü\n" * 30,
        html="<p>\n" + "x" * 2000,
        attached_files=(File("ö.bin", "", "<c@i>", bytes(range(256))),),
    )

    parse_message(compose(draft, lambda: f"t{next(numbers)}").raw(), pedantic=True)
