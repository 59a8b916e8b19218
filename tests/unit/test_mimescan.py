"""Finding the parts of mail that somebody else wrote."""

from __future__ import annotations

import base64
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egret.core.mimescan import (
    MAX_DEPTH,
    MAX_ENTITIES,
    MAX_PARTS,
    leaf_parts,
    normalise_lines,
    read_fields,
    strip_comments,
)

NESTED = b"""Content-Type: multipart/mixed; boundary=outer

preamble
--outer
Content-Type: multipart/alternative; boundary="in ner"

--in ner
Content-Type: text/plain

one
--in ner
Content-Type: text/html

two
--in ner--
--outer
Content-Type: message/rfc822

Content-Type: multipart/mixed; boundary=attached

--attached

inside
--attached--
--outer--
epilogue
"""


def _types(raw: bytes) -> list[str]:
    return [part.content_type for part in leaf_parts(raw)]


def _bodies(raw: bytes) -> list[bytes]:
    return [part.body for part in leaf_parts(raw)]


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r", b"\r\r\n"])
def test_leaves_come_in_order_whatever_ends_the_lines(line_end: bytes) -> None:
    """Nested multiparts are opened, an attached message is one leaf."""
    raw = NESTED.replace(b"\n", line_end)
    assert _types(raw) == ["text/plain", "text/html", "message/rfc822"]
    assert _bodies(raw)[:2] == [b"one", b"two"]
    assert b"inside" in _bodies(raw)[2]


def test_mail_without_mime_is_one_text_part() -> None:
    """RFC 2045 section 5.2: text/plain is the default."""
    (part,) = leaf_parts(b"Subject: x\n\nhello\n")
    assert (part.content_type, part.fields, part.body) == ("text/plain", (("Subject", "x"),), b"hello\n")


def test_missing_closing_delimiter_ends_the_last_part_at_the_end() -> None:
    """A truncated message still shows what arrived."""
    assert _bodies(b"Content-Type: multipart/mixed; boundary=b\n\n--b\n\none\n--b\n\ntw") == [b"one", b"tw"]


@pytest.mark.parametrize("parameter", ["", "; boundary=wrong", '; boundary=""', "; boundary"])
def test_missing_or_wrong_boundary_is_guessed_from_the_body(parameter: str) -> None:
    """A dashed line before a Content-Type is the delimiter that the header should have named."""
    header = f"Content-Type: multipart/report{parameter}\n\n"
    body = "hello\n--signature\n\n--=_x\nContent-Type: text/plain\n\none\n--=_x--\n"
    assert _bodies((header + body).encode()) == [b"one"]


@pytest.mark.parametrize(
    "parameters",
    [
        '; boundary="b;1"',
        '; report-type=delivery-status;\n\tboundary="b;1"',
        '; boundary*0="b"; boundary*1=";1"',
        '; boundary="b\\;1"',
    ],
)
def test_boundary_is_read_quoted_folded_and_continued(parameters: str) -> None:
    """RFC 2045 section 5.1 and RFC 2231 section 3."""
    assert _bodies(f"Content-Type: multipart/mixed{parameters}\n\n--b;1\n\none\n--b;1--\n".encode()) == [b"one"]


def test_message_that_lost_its_content_type_is_still_cut() -> None:
    """An old mail store kept the delimiters and the headers of the parts only."""
    assert _types(b"Subject: x\n\ntext\n\n--b/1\nContent-Type: message/delivery-status\n\nA: b\n--b/1--\n") == [
        "message/delivery-status"
    ]


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("base64", base64.encodebytes("Grüße: 1\r\n".encode())),
        ("BASE64 (sic)", base64.encodebytes("Grüße: 1\r\n".encode()).rstrip(b"=\n")),
        ("quoted-printable", b"Gr=C3=BC=C3=9F=\ne: 1\n"),
        ("base64", "Grüße: 1\n".encode()),
        ("8bit", "Grüße: 1\n".encode()),
        ("nonsense", "Grüße: 1\n".encode()),
    ],
)
def test_transfer_encoding_is_removed_or_ignored_where_it_lies(encoding: str, body: bytes) -> None:
    """Also for message/* parts, where RFC 2046 forbids an encoding and MTAs use one."""
    raw = f"Content-Type: message/delivery-status\nContent-Transfer-Encoding: {encoding}\n\n".encode() + body
    assert _bodies(raw) == ["Grüße: 1\n".encode()]


def test_fields_are_unfolded_even_without_indentation() -> None:
    """A gateway that broke long lines does not cut a diagnostic."""
    text = (
        "Diagnostic-Code: smtp; 550-5.1.1: first\n  second\n550 5.1.1 http://x.example/\nhttp://y.example/\n"
        "Status : 5.1.1"
    )
    assert read_fields(text) == (
        ("Diagnostic-Code", "smtp; 550-5.1.1: first second 550 5.1.1 http://x.example/ http://y.example/"),
        ("Status", "5.1.1"),
    )


@pytest.mark.parametrize(
    ("text", "expected"), [("a (b (c) d) e", "a   e"), ("(x)", ""), ("a) (b", "a) (b"), ("((((((x))))))", "( )")]
)
def test_comments_are_removed_with_those_inside(text: str, expected: str) -> None:
    """Five levels are more than anybody writes; the rest stays."""
    assert strip_comments(text) == expected


def test_depth_and_number_of_parts_are_bounded() -> None:
    """A message that nests or cuts without end ends anyway."""
    deep = b"".join(b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (i, i) for i in range(100))
    wide = b"Content-Type: multipart/mixed; boundary=b\n\n" + b"--b\n\nx\n" * 10_000
    assert len(_types(deep)) == 1
    assert len(_types(wide)) == MAX_PARTS
    empty = b"--b\nContent-Type: multipart/mixed; boundary=c\n\n--c--\n" * MAX_ENTITIES
    assert _types(b"Content-Type: multipart/mixed; boundary=b\n\n" + empty + b"--b\n\nx\n") == []
    assert deep.count(b"multipart") > MAX_DEPTH


@pytest.mark.parametrize(
    "unit",
    [
        b"\r",
        b"\n",
        b"--b\n",
        b'; a="',
        b"(",
        b" (",
        b"a:",
        b" ",
        b"--",
        b"=",
        b"\\x{",
        b"Content-Type: multipart/mixed\n\n",
    ],
)
def test_a_megabyte_of_anything_is_read_in_linear_time(unit: bytes) -> None:
    """No regular expression here can be made to backtrack; CPU time, generously bounded."""
    filler = unit * (1_000_000 // len(unit))
    begin = time.process_time()
    for head in (b"", b"Content-Type: multipart/mixed; boundary=b\n\n", b"Content-Type: multipart/mixed"):
        list(leaf_parts(head + filler))
    assert time.process_time() - begin < 5


@given(st.binary(max_size=300))
def test_any_bytes_have_parts(raw: bytes) -> None:
    """Never raises, and never invents bytes."""
    assert all(len(part.encoded) <= len(raw) and part.body is not None for part in leaf_parts(raw))


@given(
    st.lists(st.sampled_from([b"--b", b"--b--", b"\n", b"\n\n", b"Content-Type: multipart/mixed; boundary=b", b"x"]))
)
def test_any_arrangement_of_delimiters_has_parts(pieces: list[bytes]) -> None:
    """Never raises on what looks like MIME either."""
    assert len(_types(b"".join(pieces))) <= len(pieces) + 1


@given(st.binary(max_size=100))
def test_line_ends_are_normalised_once_and_for_all(data: bytes) -> None:
    """No CR stays, and doing it again changes nothing."""
    once = normalise_lines(data)
    assert b"\r" not in once
    assert normalise_lines(once) == once
