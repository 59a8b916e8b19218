"""Forms: urlencoded and multipart, read strictly, refused with a sentence."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from urllib.parse import unquote_to_bytes, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egret.api.forms import MAX_FORM_BYTES, Form, Upload, parse_header, read_form
from egret.api.http import Headers, Request
from egret.core.errors import InvalidRequest
from tests.api_client import URLENCODED, field, file, form_data, multipart, post


def _urlencoded(body: bytes) -> Request:
    return replace(post("Send", ""), body=body)


def _refusal(request: Request) -> str:
    with pytest.raises(InvalidRequest) as caught:
        read_form(request)
    assert caught.value.code == "protocol"
    return caught.value.public


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"request=%7B%7D", b"{}"),
        (b"request={}", b"{}"),
        (b"request={%22a%22:+1}", b'{"a": 1}'),
        (b"other=1&request={}", b"{}"),
        (b"request={}&request=[]", b"{}"),
        (b"&&request={}&", b"{}"),
        (b"re%71uest={}", b"{}"),
        (b"request=a=b", b"a=b"),
        (b"request=%C3%A9", "é".encode()),
        (b"request=%ff", b"\xff"),
    ],
)
def test_urlencoded_bodies(body: bytes, expected: bytes) -> None:
    """The first `request` of the body counts; escapes and + are decoded."""
    assert read_form(_urlencoded(body)) == Form(expected)


@pytest.mark.parametrize(
    "body", [b"", b"request=", b"request", b"Request={}", b"{}", b"other=1", b"request=&request={}"]
)
def test_a_form_without_request_is_refused(body: bytes) -> None:
    """The field's name is exact, and it must not be empty."""
    assert "no field `request`" in _refusal(_urlencoded(body))


@pytest.mark.parametrize("body", [b"request=%", b"request=%4", b"request=%zz", b"request={};a=1", b"%=1&request={}"])
def test_bad_escapes_are_refused(body: bytes) -> None:
    """What cannot be read unambiguously is not guessed at."""
    assert "not properly urlencoded" in _refusal(_urlencoded(body))


@given(
    st.lists(st.binary(max_size=3).filter(lambda raw: not set(raw) & set(b"%&;")) | st.integers(0, 255), max_size=20)
)
def test_escapes_are_read_as_urllib_reads_them(pieces: list[bytes | int]) -> None:
    """Any octets, escaped in either case or as they stand; a `+` is a space."""
    body = b"".join(piece if isinstance(piece, bytes) else b"%%%02x" % piece for piece in pieces)
    wanted = unquote_to_bytes(body.replace(b"+", b" "))
    assert read_form(_urlencoded(b"request=-" + body)).request == b"-" + wanted
    assert read_form(_urlencoded(b"request=-" + body.upper())).request == b"-" + unquote_to_bytes(
        body.upper().replace(b"+", b" ")
    )


def test_the_query_string_is_never_read() -> None:
    """Queries end up in logs of proxies; the reference reads the body alone."""
    assert "no field" in _refusal(replace(_urlencoded(b""), query="request={}"))


def test_an_urlencoded_body_may_have_ten_mebibytes_and_no_more() -> None:
    """The reference's limit."""
    body = b"request=" + b"x" * (MAX_FORM_BYTES - 8)
    assert len(read_form(_urlencoded(body)).request) == MAX_FORM_BYTES - 8
    assert "larger than 10 MiB" in _refusal(_urlencoded(body + b"x"))


@pytest.mark.parametrize("plain", [b"", b"a", b"ab", b"abc"])
def test_escapes_take_memory_in_proportion_to_the_body(plain: bytes) -> None:
    """A body of nothing but escapes, as of any script but Latin, fits the memory of a function, and stays as it is."""
    body = b"request=" + plain + b"%D0%9F" * 200_000
    request = _urlencoded(body)
    tracemalloc.start()
    try:
        form = read_form(request)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert (form.request, peak_bytes < 10 * len(body)) == (plain + "П".encode() * 200_000, True)


def test_too_many_fields_are_refused() -> None:
    """Millions of empty fields would cost hundreds of megabytes."""
    assert "more than 1000 fields" in _refusal(_urlencoded(b"&" * 1_000_000))


@pytest.mark.parametrize(
    ("content_type", "part"),
    [
        ("", "missing or cannot be read"),
        ("/", "missing or cannot be read"),
        ("text/", "missing or cannot be read"),
        ('multipart/form-data; boundary="x', "missing or cannot be read"),
        ("multipart/form-data; boundary=a; boundary=b", "missing or cannot be read"),
        ("application/json", "application/json"),
        ("application/json; charset=utf-8", "application/json"),
        ("text/plain", "text/plain"),
        ("multipart/mixed; boundary=x", "multipart/mixed"),
        ("multipart/form-data", "no usable boundary"),
        ("multipart/form-data; boundary=", "missing or cannot be read"),
        ('multipart/form-data; boundary=""', "no usable boundary"),
        ('multipart/form-data; boundary="a\\"b"', "no usable boundary"),
        (f"multipart/form-data; boundary={'x' * 71}", "no usable boundary"),
    ],
)
def test_content_types_that_are_refused(content_type: str, part: str) -> None:
    """The sentence tells what is wrong with it."""
    request = replace(post("Send", "{}"), headers=Headers({"Content-Type": content_type}))
    assert part in _refusal(request)


@pytest.mark.parametrize(
    "content_type",
    [URLENCODED, URLENCODED.upper(), URLENCODED + "; charset=utf-8", URLENCODED + ";", f' {URLENCODED} ; a = "b;c"'],
)
def test_content_types_are_read_leniently_where_that_is_safe(content_type: str) -> None:
    """Case and parameters do not matter."""
    request = replace(post("Send", "{}"), headers=Headers({"CONTENT-TYPE": content_type}))
    assert read_form(request) == Form(b"{}")


def test_a_multipart_with_files() -> None:
    """Fields and files in any order; a file's type and id are its part's headers."""
    body = form_data(
        file("attachedfile", "a.pdf", b"%PDF-\r\n--xY\r\n", "Content-Type: application/pdf"),
        field("request", b"{}"),
        file("inlinefile", "", b"x", "content-id: <img1>", "CONTENT-TYPE: image/png"),
    )
    assert read_form(multipart("Send", body)) == Form(
        b"{}",
        (
            Upload("attachedfile", "a.pdf", "application/pdf", "", b"%PDF-\r\n--xY\r\n"),
            Upload("inlinefile", "", "image/png", "<img1>", b"x"),
        ),
    )


@pytest.mark.parametrize(
    ("disposition", "expected"),
    [
        ('form-data; name="f"; filename="a b.txt"', "a b.txt"),
        ("form-data; name=f; filename=a.txt", "a.txt"),
        ('form-data; name="f"; filename="a\\"b.txt"', 'a"b.txt'),
        ('form-data; name="f"; filename="é.txt"', "é.txt"),
        ("form-data; name=f; filename=x; filename*=utf-8''%c3%a9.txt", "é.txt"),
        ('FORM-DATA; NAME="f"; FileName="x"', "x"),
        ('form-data; name="f"; filename="../../etc/x"', "x"),
        ("form-data; name=f; filename*=utf-8''a%2fb", "b"),
    ],
)
def test_file_names(disposition: str, expected: str) -> None:
    """Plain, quoted and extended (RFC 8187) forms."""
    body = form_data(field("request", b"{}"), (f"Content-Disposition: {disposition}", b"x"))
    assert [upload.filename for upload in read_form(multipart("Send", body)).uploads] == [expected]


@pytest.mark.parametrize(
    "body",
    [
        b"preamble\r\n" + form_data(field("request", b"{}")),
        form_data(field("request", b"{}")) + b"epilogue",
        form_data(field("request", b"{}")).replace(b"--xYx\r\n", b"--xYx \t\r\n"),
        form_data(field("request", b"{}"), field("request", b"[]")),
        form_data(("Content-Disposition: form-data;\r\n name=request", b"{}")),
        form_data(("Content-Disposition: form-data; name=request\r\nContent-Transfer-Encoding: 8bit", b"{}")),
    ],
)
def test_forms_of_a_multipart_that_are_understood(body: bytes) -> None:
    """What RFC 2046 allows around boundaries and headers."""
    assert read_form(multipart("Send", body)) == Form(b"{}")


@pytest.mark.parametrize(
    ("body", "part"),
    [
        (b"", "closing boundary is missing"),
        (b"request={}", "closing boundary is missing"),
        (form_data(field("request", b"{}"))[:-10], "closing boundary is missing"),
        (b"--xYx\r\n", "closing boundary is missing"),
        (b"--xYxabc\r\n\r\n--xYx--", "followed by other text"),
        (b"--xYx\r\n--xYx--\r\n", "has no headers"),
        (b"--xYx\r\nContent-Disposition: form-data; name=request\r\n--xYx--", "do not end"),
        (form_data(("X: " + "a" * 9000, b"")), "too long"),
        (form_data(("no colon", b"")), "cannot be read"),
        (form_data(("a b: c", b"")), "cannot be read"),
        (form_data(("X: y", b"")), "no readable Content-Disposition"),
        (form_data(("Content-Disposition: attachment; name=request", b"{}")), "other than form-data"),
        (
            form_data(("Content-Disposition: form-data; name=request\r\nContent-Transfer-Encoding: base64", b"e30=")),
            "transfer",
        ),
        (form_data(('Content-Disposition: form-data; name="request', b"{}")), "no readable Content-Disposition"),
        (form_data(*[field("a", b"")] * 1001), "more than 1000 parts"),
        (form_data(field("request", b"x" * MAX_FORM_BYTES), field("a", b"x")), "larger than 10 MiB"),
        (b"--xYx--\r\n", "no field `request`"),
        (form_data(file("request", "r.json", b"{}")), "no field `request`"),
        (form_data(field("request", b"")), "no field `request`"),
        (b"--xYx\r\n\xff: x\r\n\r\n\r\n--xYx--", "not UTF-8"),
    ],
)
def test_multiparts_that_are_refused(body: bytes, part: str) -> None:
    """Truncated and damaged forms never count as whole."""
    assert part in _refusal(multipart("Send", body))


def test_a_file_input_left_empty_is_no_file() -> None:
    """Browsers send a part with an empty file name and no content for it."""
    empty = file("attachedfile", "", b"", "Content-Type: application/octet-stream")
    assert read_form(multipart("Send", form_data(field("request", b"{}"), empty))) == Form(b"{}")


def test_a_boundary_inside_a_longer_word_is_content() -> None:
    """Only a delimiter line of its own ends a part."""
    body = form_data(field("request", b"{}"), file("attachedfile", "a", b"1\r\n--xYxtra\r\n2"))
    assert read_form(multipart("Send", body)).uploads[0].data == b"1\r\n--xYxtra\r\n2"


@given(st.lists(st.binary(max_size=40), max_size=4))
def test_files_of_a_multipart_arrive_as_they_were(contents: list[bytes]) -> None:
    """Writing and reading are inverse for any content without the boundary."""
    contents = [content.replace(b"--xYx", b"") for content in contents]
    body = form_data(field("request", b"{}"), *[file("attachedfile", "n", content) for content in contents])
    assert [upload.data for upload in read_form(multipart("Send", body)).uploads] == contents


@given(st.text(min_size=1), st.text())
def test_urlencoded_fields_arrive_as_they_were(request: str, other: str) -> None:
    """The standard library's encoder and our decoder are inverse."""
    body = urlencode({"other": other, "request": request}, errors="replace").encode()
    assert read_form(_urlencoded(body)).request == request.encode(errors="replace")


_PIECES = st.sampled_from(
    [
        b"--xYx",
        b"--",
        b"\r\n",
        b"\n",
        b"\r\n\r\n",
        b"Content-Disposition: form-data; name=request",
        b"; filename=a",
        b"{}",
        b":",
        b" ",
        b"\0",
    ]
)


@given(st.lists(_PIECES, max_size=25))
def test_any_pieces_of_a_multipart_are_read_or_refused(pieces: list[bytes]) -> None:
    """Nothing but InvalidRequest ever comes out."""
    try:
        code = "read" if read_form(multipart("Send", b"".join(pieces))).request else "empty"
    except InvalidRequest as error:
        code = error.code
    assert code in ("read", "protocol")


@given(st.text(alphabet='a/;= "\\\t*é', max_size=30))
def test_any_header_is_read_or_refused(value: str) -> None:
    """Parameters come out as text, whatever went in."""
    try:
        kind, parameters = parse_header(value)
    except ValueError:
        return
    assert (kind, set(map(type, parameters.values()))) in ((kind.lower(), set()), (kind.lower(), {str}))
