"""The wire of SMTP: replies from bytes, commands and content to bytes."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egret.core.address import Address
from egret.core.reply import Reply
from egret_egress import wire
from egret_egress.wire import DotStuffer, Event, Garbage, ReplyReader, WireError
from tests.unit.test_address import addresses

pieces = st.one_of(
    st.binary(max_size=40),
    st.sampled_from([b"250 ok\r\n", b"250-a\r\n", b"250 b\n", b"354\r\n", b"\r\n", b"421 x\r\n", b"x" * 3000, b"250-"]),
)
streams = st.lists(pieces, max_size=12).map(b"".join)


def read_in(stream: bytes, cuts: list[int]) -> list[Event]:
    """Return the events of a stream cut at the given places."""
    reader, events, start = ReplyReader(), [], 0
    for end in [*sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]:
        events += reader.feed(stream[start:end])
        start = end
    return events


@given(streams, st.lists(st.integers(0, 100_000), max_size=20))
def test_events_are_equal_however_the_bytes_are_cut(stream: bytes, cuts: list[int]) -> None:
    """Cuts of the stream change nothing, and no bytes make the reader raise."""
    assert ReplyReader().feed(stream) == read_in(stream, cuts)


@given(streams)
def test_events_are_equal_when_the_stream_is_cut_at_each_byte(stream: bytes) -> None:
    """One byte at a time is as good as all at once."""
    assert ReplyReader().feed(stream) == read_in(stream, list(range(len(stream))))


def test_lines_of_one_reply_become_one_event() -> None:
    """A reply of several lines is one value."""
    assert [Reply(250, ("mx", "SIZE 10"))] == ReplyReader().feed(b"250-mx\r\n250 SIZE 10\r\n")


@pytest.mark.parametrize(
    ("stream", "reason"),
    [
        (b"hello\r\n", "the server's answer is not an SMTP reply"),
        (b"\r\n", "the server's answer is not an SMTP reply"),
        (b"199 x\r\n", "the server's answer is not an SMTP reply"),
        (b"600 x\r\n", "the server's answer is not an SMTP reply"),
        (b"2500 x\r\n", "the server's answer is not an SMTP reply"),
        (b"\xb2\xb2\xb2 x\r\n", "the server's answer is not an SMTP reply"),
        (b"250-x\r\n251 x\r\n", "the lines of the server's reply have different codes"),
        (b"250-x\r\n" * 101, "the server's reply has too many lines"),
        (b"250 " + b"x" * wire.MAX_REPLY_BYTES, "the server's reply is too long"),
        ((b"250-" + b"x" * 5000 + b"\r\n") * 60, "the server's reply is too long"),
    ],
)
def test_what_is_no_reply_is_garbage_and_the_end(stream: bytes, reason: str) -> None:
    """After garbage nothing is read any more."""
    reader = ReplyReader()

    assert [Garbage(reason)] == reader.feed(stream)
    assert reader.feed(b"250 ok\r\n") == []


def test_a_hundred_lines_are_a_reply() -> None:
    """The limit itself is allowed."""
    (event,) = ReplyReader().feed(b"250-x\r\n" * 99 + b"250 y\r\n")

    assert isinstance(event, Reply)
    assert len(event.lines) == 100


def test_a_long_line_is_cut() -> None:
    """Of an overlong line the beginning is kept."""
    (event,) = ReplyReader().feed(b"550 " + b"x" * 9000 + b"\r\n")

    assert Reply(550, ("x" * (wire.MAX_KEPT_LINE - 4),)) == event


def test_a_reply_stays_small_whatever_the_server_says() -> None:
    """It is stored in the delivery, once per attempt: a hundred lines of junk must not outgrow the item."""
    junk = b"451-" + b"\xff" * 2000 + b"\r\n"
    reader = ReplyReader()
    first, second = reader.feed(junk * 99 + b"451 x\r\n" + b"250-a\r\n250 b\r\n")

    assert isinstance(first, Reply)
    assert (first.code, sum(len(line.encode()) for line in first.lines)) == (451, wire.MAX_KEPT_REPLY)
    assert Reply(250, ("a", "b")) == second


def test_controls_are_made_printable() -> None:
    """NUL, escapes and broken UTF-8 of a peer cannot reach a log as they are."""
    assert wire.printable(b"a\x00b\x1b[31m\xff \xc3\xa9 \r") == r"a\x00b\x1b[31m\xff é \x0d"


@given(st.text(max_size=20) | st.text('"\\@ <>a\r\n', max_size=12).map(lambda text: '"' + text))
def test_a_path_has_nothing_that_ends_it(path: str) -> None:
    """A command that is made at all is one line with one path."""
    try:
        command = wire.rcpt_to(path)
    except WireError:
        return
    assert command.startswith(b"RCPT TO:<")
    assert command.endswith(b">\r\n")
    inside = command[len(b"RCPT TO:<") : -3]
    quoted, at, domain = inside.rpartition(b"@") if inside.startswith(b'"') else (b"", b"", inside)
    assert not set(inside) & set(b"\r\n\0")
    assert not set(domain) & set(b" <>")
    assert (quoted + at)[-2:] in (b"", b'"@')


@pytest.mark.rfc("5321", "4.1.2")
@pytest.mark.parametrize("path", ['"a b"@c.example', '"<a>"@c.example', r'"a\"b\\ c"@c.example', '"é x"@c.example'])
def test_a_quoted_local_part_goes_as_it_is(path: str) -> None:
    """Spaces and angle brackets are harmless within quotes."""
    assert wire.rcpt_to(path) == f"RCPT TO:<{path}>\r\n".encode()


# RFC 5321 section 4.1.2 as it stands there, with the UTF-8 of RFC 6531 section 3.3, in bytes.
_UTF8 = rb"[\x80-\xff]"
_ATOM = rb"(?:[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]|" + _UTF8 + rb")+"
_QUOTED = rb'"((?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\[\x20-\x7e]|' + _UTF8 + rb')*)"'
_DOMAIN = rb"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*"
_RCPT = re.compile(
    rb"RCPT TO:<(?:(?P<dots>"
    + _ATOM
    + rb"(?:\."
    + _ATOM
    + rb")*)|"
    + _QUOTED
    + rb")@(?P<domain>"
    + _DOMAIN
    + rb")>\r\n"
)


@pytest.mark.rfc("5321", "4.1.2")
@given(addresses() | st.text(' "\\<>@.a', min_size=1, max_size=12).map(lambda text: Address(text, "x.example")))
def test_every_address_is_written_and_read_back(address: Address) -> None:
    """Whatever the API takes as an address can stand in a command, and means the same mailbox there."""
    read = _RCPT.fullmatch(wire.rcpt_to(str(address)))

    assert read is not None
    local_part = read["dots"] if read["dots"] is not None else re.sub(rb"\\(.)", rb"\1", read[2])
    assert (local_part.decode(), read["domain"].decode()) == (address.local_part, address.domain)
    assert wire.mail_from(str(address)).startswith(b"MAIL FROM:<" + str(address).encode() + b">")


@pytest.mark.parametrize(
    "path",
    [
        *("", "a\r\nDATA", "a\nb", "a\0b", "a b", "a>b", "<a", "a\x7fb", "\ud800@x"),
        *(
            '"a\r\nb"@x',
            '"a\\\nb"@x',
            '"a\0"@x',
            '"a b"',
            '"a b"x@y',
            '"a"b c"@x',
            '"a b\\"@x',
            '"a"@x> y',
            '"a b"@x y',
        ),
    ],
)
def test_unsafe_paths_are_refused(path: str) -> None:
    """Addresses that would inject commands or parameters raise."""
    with pytest.raises(WireError):
        wire.rcpt_to(path)


@pytest.mark.parametrize("parameter", ["", "A B", "SIZE=1\r\nRSET", "é"])
def test_unsafe_parameters_are_refused(parameter: str) -> None:
    """Parameters are words of printable ASCII."""
    with pytest.raises(WireError):
        wire.mail_from("a@b", (parameter,))


def test_ehlo_extensions_are_read_in_any_case() -> None:
    """Keywords are case-insensitive, the old AUTH= form is left out, unknown ones are kept."""
    peer = wire.peer_of(
        Reply(250, ("mx.example.org hello", "Pipelining", "size 100", "AUTH PLAIN", "AUTH=LOGIN", "X-Y z"))
    )

    assert peer.name == "mx.example.org"
    assert peer.extensions == {"PIPELINING": "", "SIZE": "100", "AUTH": "PLAIN", "X-Y": "z"}
    assert (peer.pipelines, peer.size_limit) == (True, 100)


@pytest.mark.parametrize("limit", ["", "0", "x", "-1", "9" * 30, "²"])
def test_a_size_that_is_no_limit_counts_as_none(limit: str) -> None:
    """SIZE without a usable number limits nothing."""
    assert wire.Peer(extensions={"SIZE": limit}).size_limit == 0


@given(
    st.lists(st.sampled_from([b".", b"\r\n", b"a", b"\r", b"\n", b"..", b"\r\n."]), max_size=30).map(b"".join),
    st.data(),
)
def test_stuffing_is_right_at_every_border(content: bytes, data: st.DataObject) -> None:
    """However content is cut, it is stuffed as a whole would be, and a server gets it back by taking one dot away."""
    whole = wire.stuffed(wire.with_crlf(content))
    stuffer, stream = DotStuffer(), wire.with_crlf(content)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    parts = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]

    assert whole == b"".join(stuffer.feed(part) for part in parts)
    lines = whole.split(b"\r\n")
    assert b"." not in lines
    assert stream == b"\r\n".join(line.removeprefix(b".") for line in lines)


@given(st.binary(max_size=200))
def test_content_has_no_bare_line_ends(content: bytes) -> None:
    """Whatever comes in, CR and LF go out in pairs and the last line is ended."""
    made = wire.with_crlf(content)

    assert made.count(b"\r\n") == made.count(b"\r") == made.count(b"\n")
    assert not content or made.endswith(b"\r\n")
    assert made == wire.with_crlf(made)


@pytest.mark.rfc("9422", "4")
@pytest.mark.parametrize(
    ("parameters", "limits"),
    [
        ("RCPTMAX=20 MAILMAX=5 RCPTDOMAINMAX=1", wire.Limits(5, 20, 1)),
        ("rcptmax=999999", wire.Limits(0, 999999, 0)),
        ("RCPTMAX=20 X-NEW=a,b X-FLAG", wire.Limits(0, 20, 0)),
        ("RCPTMAX=20 RCPTMAX=10", wire.Limits(0, 10, 0)),
        ("", wire.UNLIMITED),
        ("RCPTMAX=0", wire.UNLIMITED),
        ("RCPTMAX=020 MAILMAX=5", wire.UNLIMITED),
        ("RCPTMAX=1000000 MAILMAX=5", wire.UNLIMITED),
        ("RCPTMAX MAILMAX=5", wire.UNLIMITED),
        ("RCPTMAX=20;MAILMAX=5", wire.UNLIMITED),
        ("RCPTMAX=20  MAILMAX=5", wire.UNLIMITED),
        ("RCPTMAX=\u0662 MAILMAX=5", wire.UNLIMITED),
        ("RCPTMAX= MAILMAX=5", wire.UNLIMITED),
    ],
)
def test_limits_are_read_whole_or_not_at_all(parameters: str, limits: wire.Limits) -> None:
    """A line that breaks the grammar limits nothing; names that are not known are passed over."""
    assert wire.peer_of(Reply(250, ("mx", f"LIMITS {parameters}"))).limits == limits


@given(st.text(max_size=60))
def test_no_limits_make_it_raise(parameters: str) -> None:
    """Whatever a server announces is read, and no limit is below one."""
    limits = wire.limits_of(parameters)

    assert min(limits.mail, limits.recipients, limits.recipient_domains) >= 0


@pytest.mark.rfc("3461", "4")
@given(st.text(st.characters(max_codepoint=127), max_size=40))
def test_xtext_is_read_back(text: str) -> None:
    """Printable, without "+" and "=" but for what is encoded; decoding it gives the text."""
    coded = wire.xtext(text)

    assert re.fullmatch(r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})*", coded)
    assert re.sub(r"\+(..)", lambda match: chr(int(match[1], 16)), coded) == text


@pytest.mark.rfc("6533", "3")
@pytest.mark.parametrize(
    ("path", "orcpt"),
    [
        ("bob+x=y@b.example", "rfc822;bob+2Bx+3Dy@b.example"),
        ('"a b"@b.example', 'rfc822;"a+20b"@b.example'),
        ("jürgen@b.example", r"utf-8;j\x{FC}rgen@b.example"),
        ("\U0001f4e7+a\\@b.example", r"utf-8;\x{1F4E7}\x{2B}a\x{5C}@b.example"),
        ("a" * 600 + "@b.example", ""),
    ],
)
def test_orcpt_names_the_recipient_in_ascii(path: str, orcpt: str) -> None:
    """The address types rfc822 and utf-8; too long for the parameter, it is left out."""
    assert wire.orcpt(path) == orcpt


@pytest.mark.rfc("5321", "4.5.2")
@given(st.lists(st.sampled_from([b".", b"\r\n", b"a", b"..", b"\r\n.\r\n"]), max_size=12).map(b"".join))
def test_dots_are_doubled_whatever_the_cut(content: bytes) -> None:
    """The same bytes go out wherever the content is cut into two chunks, and the receiver gets the content back."""
    whole = wire.stuffed(content)

    for cut in range(len(content) + 1):
        stuffer = DotStuffer()
        assert stuffer.feed(content[:cut]) + stuffer.feed(content[cut:]) == whole
    lines = whole.split(b"\r\n")
    assert b"\r\n".join(line.removeprefix(b".") if line.startswith(b".") else line for line in lines) == content
    assert b"." not in lines
