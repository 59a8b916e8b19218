"""Promises of egret.core.compose and of what it is built from: header, transfer_encoding, content_type."""

from __future__ import annotations

import email
import email.policy
import random
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from email.base64mime import decode as decode_base64
from email.header import decode_header, make_header
from email.message import EmailMessage, MIMEPart
from email.utils import collapse_rfc2231_value, getaddresses
from itertools import count

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from egret.core.address import Address, Mailbox
from egret.core.compose import Composed, Draft, File, compose, received
from egret.core.content_type import sniff
from egret.core.errors import InvalidRequest
from egret.core.header import date_time
from egret.core.transfer_encoding import base64_lines, encode_text

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ANN = Mailbox("Ann Lee", Address("ann", "example.net"))
SHOP = Mailbox("", Address("shop", "example.com"))
JUERGEN = Mailbox("Jürgen", Address("jürgen", "xn--bcher-kva.example"))
DRAFT = Draft(from_=(SHOP,), message_id="<id@example.com>", date=AT, to=(ANN,), text="Hello\n")
CONTROLS = [*map(chr, range(0x20)), "\x7f", "\x85", "\r\n", "\r\nX: y", "\ud800"]


def boundaries() -> Callable[[], str]:
    """Return a source of distinct boundary tokens."""
    numbers = count(1)
    return lambda: f"token{next(numbers)}"


def composed(draft: Draft) -> Composed:
    """Compose with distinct boundaries."""
    return compose(draft, boundaries())


def reread(draft: Draft) -> EmailMessage:
    """Compose, and parse with the standard library."""
    message = email.message_from_bytes(composed(draft).raw(), policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    return message


def shape(part: MIMEPart) -> object:
    """Return the tree of content types."""
    children = [shape(child) for child in part.iter_parts()] if part.is_multipart() else []
    return (part.get_content_type(), children) if children else part.get_content_type()


def check_wire(message: Composed) -> None:
    """Check what every composed message keeps: CRLF only, no NUL, no line over 998, 7-bit unless SMTPUTF8."""
    raw = message.raw()
    assert raw.count(b"\r") == raw.count(b"\r\n") == raw.count(b"\n")
    assert b"\0" not in raw
    assert max(map(len, raw.split(b"\r\n"))) <= 998
    assert raw.isascii() or message.smtputf8
    assert len(raw) == message.size_bytes
    assert b"\r\n\r\n" not in message.headers
    assert not re.search(rb"\r\n[ \t]*\r\n", message.headers)


texts = st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=200)
any_texts = st.text(max_size=60)
domains = st.sampled_from(["example.com", "xn--bcher-kva.example"])
local_parts = st.one_of(st.sampled_from(["ann", "a b", 'q"\\', "a@b"]), st.just("jürgen"))
mailboxes = st.builds(Mailbox, texts, st.builds(Address, local_parts, domains))
file_names = st.one_of(texts, st.sampled_from(["a.pdf", "x" * 300, "naïve résumé.pdf", 'quo"te\\.txt', "日本語" * 40]))
files = st.builds(
    File,
    name=file_names,
    content_type=st.sampled_from(
        ["", "application/pdf", "text/csv; charset=utf-8", 'a/b; name="x;y=z"', "message/rfc822"]
    ),
    content_id=st.sampled_from(["", "<logo@example.com>", "logo"]),
    data=st.binary(max_size=400),
)
drafts = st.builds(
    Draft,
    from_=st.tuples(mailboxes),
    message_id=st.just("<id@example.com>"),
    date=st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=-3, minutes=-30))])),
    to=st.lists(mailboxes, max_size=4).map(tuple),
    cc=st.lists(mailboxes, max_size=2).map(tuple),
    bcc=st.lists(mailboxes, max_size=2).map(tuple),
    reply_to=st.lists(mailboxes, max_size=2).map(tuple),
    references=st.lists(st.sampled_from(["<a@b>", "<c@d>", ""]), max_size=30).map(tuple),
    subject=texts,
    text=st.text(st.characters(exclude_categories=["Cs"]), max_size=300).map(lambda text: text + "x"),
    html=st.text(st.characters(exclude_categories=["Cs"]), max_size=300),
    headers=st.lists(st.tuples(st.sampled_from(["X-A", "List-Unsubscribe"]), texts), max_size=3).map(tuple),
    alternative_files=st.lists(files, max_size=1).map(tuple),
    inline_files=st.lists(files, max_size=2).map(tuple),
    attached_files=st.lists(files, max_size=2).map(tuple),
    user_agent=st.sampled_from(["", "egret/1"]),
)


@given(drafts)
def test_every_message_is_fit_for_the_wire_and_deterministic(draft: Draft) -> None:
    """Line ends, line lengths and octets are what every server takes, and equal arguments give equal messages."""
    message = composed(draft)
    check_wire(message)
    assert message == composed(draft)


@given(drafts)
def test_no_header_appears_that_was_not_asked_for(draft: Draft) -> None:
    """Another reader finds the asked-for headers, in their order, and no other."""
    written = [
        "From",
        *(["Reply-To"] if draft.reply_to else []),
        *(["To"] if draft.to else []),
        *(["Cc"] if draft.cc else []),
        *(["Subject"] if draft.subject.strip(" ") else []),
        "Date",
        "Message-Id",
        *(["References", "In-Reply-To"] if any(draft.references) else []),
        "MIME-Version",
        *(name for name, _ in draft.headers),
        *(["User-Agent"] if draft.user_agent else []),
    ]
    message = email.message_from_bytes(composed(draft).raw())
    assert written == [name for name in message.keys() if not name.startswith("Content-")]  # noqa: SIM118
    assert len(set(message.keys())) == len(written) - len(draft.headers) + len({n for n, _ in draft.headers}) + sum(
        name.startswith("Content-") for name in message
    )


@given(texts)
@example("é" * 200)
@example("a é  b c é d")
@example("=?utf-8?q?not_encoded?=")
@example("x" * 2000 + "é")
@example("😀" * 50)
def test_subject_reads_as_it_was_given(subject: str) -> None:
    """Any subject survives encoding and folding, up to the space around it."""
    headers = composed(replace(DRAFT, subject=subject)).headers
    found = re.search(rb"^Subject: ((?:.|\r\n[ \t])*)\r\n", headers, re.MULTILINE)
    expected = subject.strip(" ")
    value = re.sub(rb"\r\n", b"", found[1]).decode() if found else ""
    read = "".join(
        part if isinstance(part, str) else part.decode(charset or "ascii") for part, charset in decode_header(value)
    )
    assert expected == read
    assert all(len(line) <= 76 for line in headers.split(b"\r\n") if b"=?utf-8" in line)


def test_encoded_words_never_split_a_character() -> None:
    """Each encoded word is valid UTF-8 by itself and at most 75 octets long (RFC 2047 2 and 5)."""
    headers = composed(replace(DRAFT, subject="日本語" * 30)).headers
    words = re.findall(rb"=\?utf-8\?q\?([^?]*)\?=", headers)
    assert len(words) > 1
    for word in words:
        assert len(word) + 12 <= 75
        bytes.fromhex(word.replace(b"=", b"").decode()).decode()


@given(st.lists(mailboxes.filter(lambda mailbox: not mailbox.address.needs_smtputf8), min_size=1, max_size=5))
def test_addresses_and_names_read_as_they_were_given(values: list[Mailbox]) -> None:
    """Another reader finds the same addresses in the same order, and their names."""
    raw = composed(replace(DRAFT, to=tuple(values))).raw()
    message = email.message_from_bytes(raw)
    unfolded = re.sub(r"\r?\n", "", message["To"])
    pairs = getaddresses([unfolded])
    assert [str(value.address) for value in values] == [address for _, address in pairs]
    names = [str(make_header(decode_header(name))) for name, _ in pairs]
    assert [value.name.split() for value in values] == [name.split() for name in names]


def test_headers_stand_in_their_order() -> None:
    """The whole head of a message, octet by octet."""
    draft = replace(
        DRAFT,
        reply_to=(SHOP,),
        cc=(ANN, SHOP),
        bcc=(Mailbox("", Address("secret", "example.org")),),
        subject="Olá, your order",
        references=("<a@b>", "<c@d>"),
        headers=(("X-Campaign", "spring"),),
        user_agent="egret/1.0",
    )
    expected = (
        "From: <shop@example.com>\r\n"
        "Reply-To: <shop@example.com>\r\n"
        'To: "Ann Lee" <ann@example.net>\r\n'
        'Cc: "Ann Lee" <ann@example.net>, <shop@example.com>\r\n'
        "Subject: =?utf-8?q?Ol=C3=A1=2C?= your order\r\n"
        "Date: 2 Jan 2026 03:04:05 +0000\r\n"
        "Message-Id: <id@example.com>\r\n"
        "References: <a@b> <c@d>\r\n"
        "In-Reply-To: <c@d>\r\n"
        "MIME-Version: 1.0\r\n"
        "X-Campaign: spring\r\n"
        "User-Agent: egret/1.0\r\n"
        "Content-Type: text/plain; charset=us-ascii\r\n"
        "Content-Transfer-Encoding: 7bit\r\n"
    )
    assert expected == composed(draft).headers.decode()


def test_smtputf8_writes_utf8_everywhere() -> None:
    """A non-ASCII local part switches headers, domains and bodies to UTF-8."""
    message = composed(replace(DRAFT, to=(JUERGEN,), subject="Grüße", text="Grüße\n", headers=(("X-A", "ä"),)))
    assert message.smtputf8
    assert message.is_8bit
    assert 'To: "Jürgen" <jürgen@bücher.example>\r\nSubject: Grüße\r\n' in message.headers.decode()
    assert "X-A: ä\r\n" in message.headers.decode()
    assert message.headers.endswith(b"charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n")
    assert message.body.decode() == "Grüße\r\n"


@pytest.mark.parametrize("field", ["from_", "to", "cc", "bcc", "reply_to"])
def test_any_non_ascii_local_part_needs_smtputf8(field: str) -> None:
    """One such address anywhere, Bcc included, decides."""
    assert composed(replace(DRAFT, **{field: (JUERGEN,)})).smtputf8  # type: ignore[arg-type]
    assert not composed(replace(DRAFT, **{field: (replace(JUERGEN, address=ANN.address),)})).smtputf8  # type: ignore[arg-type]


def test_bcc_is_not_written() -> None:
    """A hidden recipient stays hidden, and a message may have no other."""
    raw = composed(replace(DRAFT, to=(), bcc=(ANN,))).raw()
    assert b"ann@" not in raw
    assert b"\r\nTo:" not in raw


FILE = File("a.bin", "", "", b"\x00\x01")
PIC = File("p.png", "image/png", "<p@x>", b"\x89PNG\r\n\x1a\n")
ICS = File("i.ics", "text/calendar; method=REQUEST", "", b"BEGIN:VCALENDAR")
LEAF, PAGE, BIN, PNG, CAL = "text/plain", "text/html", "application/octet-stream", "image/png", "text/calendar"
MIXED, RELATED, ALTERNATIVE = "multipart/mixed", "multipart/related", "multipart/alternative"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, LEAF),
        ({"text": "", "html": "<p>"}, PAGE),
        ({"html": "<p>"}, (ALTERNATIVE, [LEAF, PAGE])),
        ({"alternative_files": (ICS,)}, (ALTERNATIVE, [LEAF, CAL])),
        ({"inline_files": (PIC,)}, (RELATED, [LEAF, PNG])),
        ({"attached_files": (FILE,)}, (MIXED, [LEAF, BIN])),
        (
            {"html": "<p>", "alternative_files": (ICS,), "inline_files": (PIC,), "attached_files": (FILE, FILE)},
            (MIXED, [(RELATED, [(ALTERNATIVE, [LEAF, PAGE, CAL]), PNG]), BIN, BIN]),
        ),
    ],
)
def test_the_tree_has_only_the_levels_it_needs(changes: dict[str, object], expected: object) -> None:
    """Mixed over related over alternative, each present only when there is something for it."""
    assert expected == shape(reread(replace(DRAFT, **changes)))  # type: ignore[arg-type]


def test_a_file_part_is_written_octet_by_octet() -> None:
    """Fields in alphabetical order, base64, names by RFC 2231 when they are not ASCII."""
    message = composed(replace(DRAFT, attached_files=(replace(PIC, name="ü.png"),)))
    expected = (
        "--=_token1\r\n"
        "Content-Type: text/plain; charset=us-ascii\r\n"
        "Content-Transfer-Encoding: 7bit\r\n"
        "\r\n"
        "Hello\r\n"
        "\r\n"
        "--=_token1\r\n"
        "Content-Disposition: attachment; filename*=utf-8''%C3%BC.png\r\n"
        "Content-Id: <p@x>\r\n"
        "Content-Transfer-Encoding: base64\r\n"
        "Content-Type: image/png\r\n"
        "\r\n"
        "iVBORw0KGgo=\r\n"
        "\r\n"
        "--=_token1--\r\n"
    )
    assert expected == message.body.decode()
    assert message.headers.endswith(b'Content-Type: multipart/mixed; boundary="=_token1"\r\n')


@given(file_names, st.binary(max_size=5000))
def test_files_come_back_whole_with_their_names(name: str, data: bytes) -> None:
    """Another reader gets the same octets and, for names without space at the edges, the same name."""
    part = list(reread(replace(DRAFT, attached_files=(File(name, BIN, "", data),))).iter_parts())[1]
    assert data == part.get_payload(decode=True)
    raw = email.message_from_bytes(part.as_bytes())
    assert name.split() == collapse_rfc2231_value(raw.get_param("filename", "", "content-disposition")).split()


def test_octet_stream_has_its_real_content_type() -> None:
    """A file that nobody can name is application/octet-stream, never an empty type."""
    part = list(reread(replace(DRAFT, attached_files=(FILE,))).iter_parts())[1]
    assert part["Content-Type"] == BIN
    assert part["Content-Disposition"] == 'attachment; filename="a.bin"'


def test_a_message_file_is_not_encoded() -> None:
    """RFC 2045 6.4 forbids base64 for message/rfc822; one that cannot stand as it is becomes a plain file."""
    clean = File("m.eml", "message/rfc822", "", b"Subject: x\n\nbody")
    dirty = replace(clean, data=b"Subject: x\n\n\xff")
    parts = list(reread(replace(DRAFT, attached_files=(clean, dirty))).iter_parts())[1:]
    assert [part.get_content_type() for part in parts] == ["message/rfc822", BIN]
    assert [part["Content-Transfer-Encoding"] for part in parts] == ["7bit", "base64"]
    assert parts[0].get_content()["Subject"] == "x"


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=2000), st.booleans())
@example("x" * 5000, False)
@example(". \n.\nFrom x\n=3D \t\n\x00\x7f", False)
@example("é" * 500, False)
@example("Grüße " * 60, False)
@example("a\rb\r\nc", False)
def test_texts_come_back_as_they_were(text: str, allow_8bit: bool) -> None:
    """Every encoding is undone to the same text, with every line ended."""
    encoded = encode_text(text, allow_8bit=allow_8bit)
    message = email.message_from_bytes(
        b"Content-Transfer-Encoding: " + encoded.encoding.encode() + b"\r\n\r\n" + encoded.body
    )
    payload = message.get_payload(decode=True)
    assert isinstance(payload, bytes)
    expected = text.replace("\r\n", "\n").replace("\r", "\n")
    assert expected + ("" if expected.endswith("\n") else "\n") == payload.decode(encoded.charset).replace("\r\n", "\n")
    assert max(map(len, encoded.body.split(b"\r\n"))) <= 76
    assert encoded.body.count(b"\r") == encoded.body.count(b"\r\n") == encoded.body.count(b"\n")
    assert encoded.body.isascii() or encoded.encoding == "8bit"


@pytest.mark.parametrize(
    ("text", "allow_8bit", "expected"),
    [
        ("plain", False, ("us-ascii", "7bit")),
        ("x" * 76, False, ("us-ascii", "7bit")),
        ("x" * 77, False, ("us-ascii", "quoted-printable")),
        ("bell\x07", False, ("us-ascii", "quoted-printable")),
        ("tab\there", False, ("us-ascii", "7bit")),
        ("a mostly ASCII text with one é", False, ("utf-8", "quoted-printable")),
        ("日本語日本語", False, ("utf-8", "base64")),
        ("é", True, ("utf-8", "8bit")),
        ("é" + "x" * 76, True, ("utf-8", "quoted-printable")),
    ],
)
def test_the_plainest_encoding_is_taken(text: str, allow_8bit: bool, expected: tuple[str, str]) -> None:
    """7bit when it can be, else quoted-printable or base64, whichever is shorter; 8bit only when allowed."""
    encoded = encode_text(text, allow_8bit=allow_8bit)
    assert expected == (encoded.charset, encoded.encoding)


@given(st.integers(0, 300), st.integers(0, 3))
def test_base64_lines_are_76_wide_for_any_length(length: int, blocks: int) -> None:
    """Also where the input spans several of the chunks that are encoded at a time."""
    data = random.Random(length).randbytes(length + blocks * 57 * 1024)
    lines = base64_lines(data).split(b"\r\n")
    assert lines.pop() == b""
    assert all(len(line) == 76 for line in lines[:-1])
    assert data == decode_base64(b"".join(lines))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"%PDF-1.7", "application/pdf"),
        (b"\x89PNG\r\n\x1a\n\0", "image/png"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"GIF89a", "image/gif"),
        (b"PK\x03\x04", "application/zip"),
        (b"\x1f\x8b\x08\0", "application/gzip"),
        (b"RIFF1234WEBPVP8 ", "image/webp"),
        (b" \n<!DOCTYPE html>", "text/html; charset=utf-8"),
        (b"<HTML>", "text/html; charset=utf-8"),
        (b"<htmlish", "text/plain; charset=utf-8"),
        (b"<?xml version", "text/xml; charset=utf-8"),
        ("naïve".encode(), "text/plain; charset=utf-8"),
        ("naïve".encode("latin-1"), BIN),
        (b"x" * 511 + "é".encode(), "text/plain; charset=utf-8"),
        (b"x" * 600 + b"\xff", BIN),
        (b"<html>\xff", BIN),
        (b"\x00\x01", BIN),
        (b"", "text/plain; charset=utf-8"),
    ],
)
def test_sniff_knows_what_people_attach(data: bytes, expected: str) -> None:
    """The common types are recognised; what claims to be UTF-8 is."""
    assert expected == sniff(data)


@pytest.mark.parametrize("control", CONTROLS)
@pytest.mark.parametrize(
    "change",
    [
        lambda c: {"to": (Mailbox(f"a{c}b", ANN.address),)},
        lambda c: {"from_": (Mailbox(f"é{c}b", ANN.address),)},
        lambda c: {"subject": f"a{c}b"},
        lambda c: {"subject": f"é{c}"},
        lambda c: {"message_id": f"<a{c}b@x>"},
        lambda c: {"message_id": f"<a@x>{c}"},
        lambda c: {"references": (f"<a{c}b>",)},
        lambda c: {"headers": ((f"X{c}A", "b"),)},
        lambda c: {"headers": (("X-A", f"a{c}b"),)},
        lambda c: {"headers": (("X-A", f"é{c}"),)},
        lambda c: {"user_agent": f"a{c}b"},
        lambda c: {"attached_files": (replace(FILE, name=f"a{c}b"),)},
        lambda c: {"attached_files": (replace(FILE, name=f"é{c}"),)},
        lambda c: {"inline_files": (replace(FILE, content_type=f"a/b{c}"),)},
        lambda c: {"inline_files": (replace(FILE, content_type=f'a/b; x="{c}"'),)},
        lambda c: {"alternative_files": (replace(FILE, content_id=f"a{c}b"),)},
        lambda c: {"alternative_files": (replace(FILE, content_id=f"<a>{c}"),)},
    ],
)
def test_control_characters_are_refused_in_every_field(
    change: Callable[[str], dict[str, object]], control: str
) -> None:
    """No field takes a line break, a NUL, any other control character, or half of a surrogate pair."""
    with pytest.raises(InvalidRequest):
        composed(replace(DRAFT, **change(control)))  # type: ignore[arg-type]


@given(any_texts, any_texts, any_texts, st.sampled_from(["subject", "headers", "names", "files"]))
def test_whatever_is_given_no_header_is_injected(first: str, second: str, third: str, where: str) -> None:
    """Any text in any field is refused, or the message has the headers that were asked for and no other."""
    changes: dict[str, dict[str, object]] = {
        "subject": {"subject": "s" + first, "user_agent": second, "references": (third,)},
        "headers": {"headers": (("X-" + first, second), ("X-B", third))},
        "names": {"to": (Mailbox(first, ANN.address),), "from_": (Mailbox(second, SHOP.address),)},
        "files": {"attached_files": (File(first, second, third, b"x"),)},
    }
    try:
        message = composed(replace(DRAFT, **changes[where]))  # type: ignore[arg-type]
    except InvalidRequest:
        return
    check_wire(message)
    allowed = {"from", "to", "subject", "date", "message-id", "references", "in-reply-to", "mime-version", "user-agent"}
    allowed |= {"content-type", "content-transfer-encoding", "x-b", f"x-{first}".lower()}
    names = [name.lower() for name in email.message_from_bytes(message.raw()).keys()]  # noqa: SIM118
    assert set(names) <= allowed
    assert len(names) == len(set(names)) or where == "headers"


@pytest.mark.parametrize(
    "name",
    [
        *("From", "FROM", "Sender", "Bcc", "Date", "Message-ID", "MIME-Version", "DKIM-Signature", "Received"),
        *("Return-Path", "Content-Type", "content-anything", "Resent-From", "ARC-Seal"),
        *("", "X A", "X:A", "Ünal", "X" * 77),
    ],
)
def test_headers_that_are_not_the_callers_are_refused(name: str) -> None:
    """What the service or a server writes, and what is no header name, is refused."""
    with pytest.raises(InvalidRequest) as caught:
        composed(replace(DRAFT, headers=((name, "x"),)))
    assert caught.value.code == "user"


@pytest.mark.parametrize("name", ["Subject", "To", "reply-to", "CC", "References", "In-Reply-To"])
def test_headers_that_may_occur_once_occur_once(name: str) -> None:
    """A caller may write such a header where the request does not, and only once."""
    full = replace(DRAFT, subject="s", cc=(ANN,), reply_to=(ANN,), references=("<a@b>",))
    bare = replace(DRAFT, to=())
    with pytest.raises(InvalidRequest):
        composed(replace(full, headers=((name, "x"),)))
    with pytest.raises(InvalidRequest):
        composed(replace(bare, headers=((name, "x"), (name.upper(), "y"))))
    assert f"\r\n{name}: x\r\n" in composed(replace(bare, headers=((name, "x"),))).headers.decode()


@pytest.mark.parametrize("name", ["User-Agent", "X-Mailer", "x-mailer"])
def test_a_caller_may_name_his_own_mailer(name: str) -> None:
    """Our User-Agent gives way."""
    headers = composed(replace(DRAFT, user_agent="egret/1", headers=((name, "mine"),))).headers
    assert b"egret" not in headers
    assert f"{name}: mine\r\n".encode() in headers


def test_a_callers_ascii_header_is_left_as_it_is() -> None:
    """A URL with `=?` or a ready-made encoded word passes unchanged; other text is encoded."""
    headers = composed(
        replace(DRAFT, headers=(("List-Unsubscribe", "<https://x.example/?a=?q?b?=>"), ("X-A", "Grüße an alle")))
    ).headers
    assert b"List-Unsubscribe: <https://x.example/?a=?q?b?=>\r\n" in headers
    assert b"X-A: =?utf-8?q?Gr=C3=BC=C3=9Fe?= an alle\r\n" in headers


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"text": ""}, "missingBody"),
        ({"from_": ()}, "user"),
        ({"from_": (SHOP, ANN)}, "multipleFrom"),
        ({"message_id": "id@example.com"}, "malformedMessageID"),
        ({"message_id": "<a b@example.com>"}, "malformedMessageID"),
        ({"message_id": "<ü@example.com>"}, "malformedMessageID"),
        ({"message_id": ""}, "malformedMessageID"),
        ({"message_id": f"<{'x' * 1000}@x>"}, "user"),
        ({"references": ("<ü@x>",)}, "user"),
        ({"text": "\ud800"}, "user"),
        ({"headers": (("X-A", "x" * 1000),)}, "user"),
        ({"subject": "x" * 100_001}, "user"),
        ({"to": (Mailbox("x" * 100_001, ANN.address),)}, "user"),
        ({"attached_files": (replace(FILE, content_type="pdf"),)}, "user"),
        ({"attached_files": (replace(FILE, content_type="a/b; c"),)}, "user"),
        ({"attached_files": (replace(FILE, content_type="multipart/mixed"),)}, "user"),
        ({"attached_files": (replace(FILE, content_id="a b"),)}, "user"),
    ],
)
def test_what_cannot_be_written_is_refused_with_its_code(changes: dict[str, object], code: str) -> None:
    """The caller learns which field is wrong, by a code of the API and a sentence."""
    with pytest.raises(InvalidRequest) as caught:
        composed(replace(DRAFT, **changes))  # type: ignore[arg-type]
    assert code == caught.value.code
    assert caught.value.public.endswith((".", ">."))


def test_a_long_subject_word_needs_encoding_only_past_the_hard_limit() -> None:
    """A long word stays readable on its own line as long as a line may hold it."""
    assert b"Subject: " + b"x" * 900 + b"\r\n" in composed(replace(DRAFT, subject="x" * 900)).headers


def test_a_thousand_recipients_are_folded() -> None:
    """No line of a long address field passes the aim."""
    people = tuple(Mailbox(f"Person {n}", Address(f"person{n}", "example.net")) for n in range(1000))
    message = composed(replace(DRAFT, to=people))
    assert max(map(len, message.headers.split(b"\r\n"))) <= 78
    assert message.headers.count(b"@example.net") == 1000


@pytest.mark.parametrize("token", ["", "a b", 'a"b', "a\r\nb", "x" * 69])
def test_a_boundary_that_breaks_the_message_is_a_bug(token: str) -> None:
    """The source of boundaries is ours; a bad one raises ValueError."""
    with pytest.raises(ValueError, match="boundary"):
        compose(replace(DRAFT, html="x"), lambda: token)


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        (AT, "2 Jan 2026 03:04:05 +0000"),
        (
            datetime(2024, 12, 31, 23, 59, 59, tzinfo=timezone(timedelta(hours=5, minutes=45))),
            "31 Dec 2024 23:59:59 +0545",
        ),
        (datetime(1, 1, 1, tzinfo=timezone(-timedelta(hours=3, minutes=30))), "1 Jan 0001 00:00:00 -0330"),
    ],
)
def test_dates_are_written_with_their_zone(at: datetime, expected: str) -> None:
    """Day, month name, four-digit year, time, numeric zone."""
    assert expected == date_time(at)


def test_a_date_without_zone_is_a_bug() -> None:
    """An instant is an aware datetime."""
    with pytest.raises(ValueError, match="zone"):
        date_time(AT.replace(tzinfo=None))


def test_received_names_the_recipient_only_when_there_is_one() -> None:
    """With several recipients none learns of another."""
    one = received("mx.example.com", "abc", AT, rcpt=ANN.address, protocol="ESMTPSA")
    expected = (
        "Received: from mx.example.com by mx.example.com with ESMTPSA id abc for\r\n"
        " <ann@example.net>; 2 Jan 2026 03:04:05 +0000\r\n"
    )
    assert expected == one.decode()
    several = received("mx.example.com", "abc", AT)
    assert (
        "".join(several.decode().split("\r\n"))
        == "Received: from mx.example.com by mx.example.com id abc; 2 Jan 2026 03:04:05 +0000"
    )


def test_large_messages_are_composed() -> None:
    """A 25 MB message keeps its octets."""
    data = random.Random(1).randbytes(18_000_000)
    message = composed(replace(DRAFT, attached_files=(File("big", BIN, "", data),)))
    assert message.size_bytes > 24_600_000
    encoded = message.body.split(b"\r\n\r\n")[-2 if message.body.endswith(b"--\r\n") else -1]
    assert len(base64_lines(data)) == len(encoded) + 2
