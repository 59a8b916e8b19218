"""Reading a message that somebody else composed: what is kept byte for byte, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egret.core.rawmessage import LINE_LIMIT_OCTETS, MalformedMessage, read_message

FROM = b"From: app@example.com\r\n"


def test_fields_and_body_are_kept_as_they_are() -> None:
    """Folding, case and order included: a signature of the author's may cover them."""
    raw = FROM + b"X-Long: one\r\n\ttwo\r\nsubject:  Hi \r\n\r\nBody\r\n\r\nmore\r\n"
    message = read_message(raw)

    assert message.headers + b"\r\n" + message.body == raw
    assert [field.name for field in message.fields] == ["from", "x-long", "subject"]
    assert message.values("x-long") == ["one\ttwo"]


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
def test_any_line_end_becomes_crlf(end: bytes) -> None:
    """A bare CR or LF would be one to some servers, and none to others."""
    message = read_message(end.join([b"From: app@example.com", b"Subject: Hi", b"", b"one", b"two"]))

    assert message.headers == FROM + b"Subject: Hi\r\n"
    assert message.body == b"one\r\ntwo\r\n"


def test_a_message_may_be_all_header() -> None:
    """RFC 5322 3.5: the body is optional."""
    for raw in (FROM, FROM + b"\r\n", FROM.rstrip()):
        assert (read_message(raw).headers, read_message(raw).body) == (FROM, b"")


def test_encoded_words_are_decoded_for_people() -> None:
    """The value keeps them."""
    message = read_message(FROM + b"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n\r\n")

    assert message.text("subject") == "Grüße"
    assert message.values("subject") == ["=?utf-8?q?Gr=C3=BC=C3=9Fe?="]
    assert message.text("reply-to") == ""


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"", "empty line"),
        (b"\r\nHello\r\n", "empty line"),
        (b"From app@example.com Mon Jan  1\r\n" + FROM, "no field: 'From app@example.com"),
        (FROM + b"Hello there\r\n\r\n", "no field: 'Hello there'"),
        (b" folded\r\n" + FROM, "no field"),
        (FROM + FROM + b"\r\n", "From occurs 2 times"),
        (FROM + b"SUBJECT: a\r\nSubject: b\r\n\r\n", "Subject occurs 2 times"),
        (FROM + b"Received: x\r\n" * 101 + b"\r\n", "circles"),
        (FROM + b"\r\nzero \x00\r\n", "NUL"),
        (FROM + b"\r\none\r\n" + b"x" * (LINE_LIMIT_OCTETS + 1) + b"\r\n", "Line 4 is longer"),
        (FROM + b"X: " + b"\r\n ".join([b"x" * 990] * 110) + b"\r\n\r\n", "longer than 100000"),
    ],
)
def test_what_cannot_be_passed_on_is_refused(raw: bytes, why: str) -> None:
    """With a sentence that says what to mend."""
    with pytest.raises(MalformedMessage, match=why):
        read_message(raw)


def test_a_line_of_just_the_limit_passes() -> None:
    """998 octets and CRLF, wherever it stands."""
    line = b"x" * LINE_LIMIT_OCTETS + b"\r\n"

    assert read_message(FROM + b"\r\n" + b"a\r\n" * 500 + line * 3 + b"b").body.endswith(line + b"b\r\n")


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_any_octets_are_read_or_refused(head: bytes, body: bytes) -> None:
    """What is read has CRLF line ends only, and reads the same again."""
    try:
        message = read_message(FROM + head + b"\r\n\r\n" + body)
    except MalformedMessage:
        return
    whole = message.headers + b"\r\n" + message.body

    assert whole.replace(b"\r\n", b"").translate(None, b"\r\n") == whole.replace(b"\r\n", b"")
    assert read_message(whole) == message
