"""The arguments of MAIL and RCPT."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egret_egress import esmtp
from egret_egress.esmtp import Bad, Body, Mail, Orcpt, Rcpt, decode_xtext
from egret_egress.wire import orcpt, xtext

ALL = frozenset({"SIZE", "8BITMIME", "SMTPUTF8", "DSN", "FUTURERELEASE", "REQUIRETLS", "AUTH"})
PRINTABLE = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=30)
WORDS = st.sampled_from(
    [
        "FROM:",
        "TO:",
        "<a@b.example>",
        "<>",
        "SIZE=",
        "RET=FULL",
        "NOTIFY=",
        "ORCPT=",
        "+41",
        "=",
        ";",
        " ",
        "é",
        '"',
        "\\",
    ]
)


@pytest.mark.rfc("5321", "4.1.1.2")
@pytest.mark.parametrize(
    ("argument", "path"),
    [
        ("FROM:<>", ""),
        ("from:<a@b.example>", "a@b.example"),
        ("FROM: <a@b.example>", "a@b.example"),
        ("FROM:<@one.example,@two.example:a@b.example>", "a@b.example"),
        ('FROM:<"a b>\\""@b.example>', '"a b>\\""@b.example'),
        ("FROM:<a@[192.0.2.1]>", "a@[192.0.2.1]"),
        ("FROM:<a..b.@b.example>", "a..b.@b.example"),
        ("FROM:<a=b+c@b.example>  ", "a=b+c@b.example"),
    ],
)
def test_a_reverse_path_is_what_stands_between_the_brackets(argument: str, path: str) -> None:
    """Null, quoted, or with a source route, which is dropped."""
    assert esmtp.mail(argument, ALL) == Mail(path)


@pytest.mark.parametrize(
    ("argument", "code"),
    [
        ("", "501 5.5.2"),
        ("TO:<a@b.example>", "501 5.5.2"),
        ("FROM:a@b.example", "501 5.5.2"),
        ("FROM:<a@b.example", "501 5.5.2"),
        ("FROM:<a@b.example>x", "501 5.5.2"),
        ("FROM:<a b@b.example>", "501 5.5.2"),
        ("FROM:<a@b@c.example>", "501 5.5.2"),
        ("FROM:<a\x00@b.example>", "501 5.5.2"),
        ("FROM:<a>", "553 5.1.7"),
        (f"FROM:<{'a' * 320}@b.example>", "553 5.1.7"),
        ("FROM:<é@b.example>", "553 5.6.7"),
        ("FROM:<> SIZE=1 size=2", "501 5.5.4"),
        ("FROM:<> SIZE", "501 5.5.4"),
        ("FROM:<> SIZE=x", "501 5.5.4"),
        (f"FROM:<> SIZE={'1' * 21}", "501 5.5.4"),
        ("FROM:<> BODY=BINARYMIME", "501 5.5.4"),
        ("FROM:<> SMTPUTF8=1", "501 5.5.4"),
        ("FROM:<> REQUIRETLS=1", "501 5.5.4"),
        ("FROM:<> RET=ALL", "501 5.5.4"),
        ("FROM:<> ENVID=", "501 5.5.4"),
        ("FROM:<> ENVID=+0A", "501 5.5.4"),
        ("FROM:<> ENVID=a+4", "501 5.5.4"),
        (f"FROM:<> ENVID={'a' * 101}", "501 5.5.4"),
        ("FROM:<> HOLDFOR=0", "501 5.5.4"),
        ("FROM:<> HOLDFOR=1000000000", "501 5.5.4"),
        ("FROM:<> HOLDUNTIL=tomorrow", "501 5.5.4"),
        ("FROM:<> HOLDUNTIL=2026-05-01T00:00:00", "501 5.5.4"),
        ("FROM:<> HOLDUNTIL=2026-13-01T00:00:00Z", "501 5.5.4"),
        ("FROM:<> HOLDUNTIL=0001-01-01T00:00:00+23:59", "501 5.5.4"),
        ("FROM:<> HOLDFOR=1 HOLDUNTIL=2026-05-01T00:00:00Z", "501 5.5.4"),
        ("FROM:<> NOTIFY=NEVER", "555 5.5.4"),
        ("FROM:<> -X=1", "501 5.5.4"),
        ("FROM:<> X=a=b", "501 5.5.4"),
        ("FROM:<> X=1", "555 5.5.4"),
    ],
)
def test_a_mail_command_that_cannot_be_taken_has_its_reply(argument: str, code: str) -> None:
    """Syntax, addresses and values each have the code of their kind."""
    refused = esmtp.mail(argument, ALL)
    assert isinstance(refused, Bad)
    assert refused.reply.startswith(code + " ")


@pytest.mark.parametrize("value", ["0", "1000000000", "2h", "-1"])
def test_a_time_to_hold_says_what_it_may_be(value: str) -> None:
    """Who gave too many seconds gave a number as well."""
    refused = esmtp.mail(f"FROM:<> HOLDFOR={value}", ALL)
    assert refused == Bad("501 5.5.4 HOLDFOR is a number of seconds, 1 to 999999999")


@pytest.mark.rfc("3461", "4.3")
@pytest.mark.rfc("3461", "4.4")
@pytest.mark.rfc("1870", "6")
@pytest.mark.rfc("6152", "2")
@pytest.mark.rfc("6531", "3.4")
@pytest.mark.rfc("8689", "2")
@pytest.mark.rfc("4954", "5")
def test_parameters_of_mail_become_values() -> None:
    """In any case of the keyword, in any order."""
    written = "smtputf8 Size=12 BODY=8bitmime RET=hdrs ENVID=a+2Bb+20c HOLDFOR=60 REQUIRETLS AUTH=u+40b.example"
    assert esmtp.mail(f"FROM:<é@b.example> {written}", ALL) == Mail(
        "é@b.example",
        size=12,
        body=Body.EIGHT_BIT,
        smtputf8=True,
        ret="HDRS",
        envid="a+b c",
        hold_for=60,
        require_tls=True,
        auth="u@b.example",
    )
    assert esmtp.mail("FROM:<> AUTH=<>", ALL) == Mail("", auth="<>")


@pytest.mark.rfc("4865", "5")
def test_an_instant_of_release_has_its_zone() -> None:
    """It is read as UTC."""
    read = esmtp.mail("FROM:<> HOLDUNTIL=2026-05-01T02:00:00+02:00", ALL)
    assert read == Mail("", hold_until=datetime(2026, 5, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    "parameter", ["SIZE=1", "BODY=7BIT", "SMTPUTF8", "RET=FULL", "HOLDFOR=1", "REQUIRETLS", "AUTH=<>"]
)
@pytest.mark.rfc("5321", "4.1.1.11")
def test_what_is_not_offered_is_refused(parameter: str) -> None:
    """A client that said HELO has no parameters at all."""
    refused = esmtp.mail(f"FROM:<> {parameter}", ())
    assert isinstance(refused, Bad)
    assert refused.reply.startswith("555 5.5.4 ")


@pytest.mark.rfc("3461", "4.1")
@pytest.mark.rfc("3461", "4.2")
def test_parameters_of_rcpt_become_values() -> None:
    """NOTIFY in one order, whatever order it was written in; ORCPT decoded, and as written."""
    written = "TO:<a@b.example> NOTIFY=delay,Success ORCPT=RFC822;a+2Bb@b.example"
    original = Orcpt("rfc822", "a+b@b.example", "RFC822;a+2Bb@b.example")
    assert esmtp.rcpt(written, ALL) == Rcpt("a@b.example", "SUCCESS,DELAY", original)
    assert esmtp.rcpt("TO:<Postmaster> NOTIFY=never", ALL) == Rcpt("Postmaster", "NEVER")


@pytest.mark.rfc("6533", "3")
@pytest.mark.parametrize("written", ["utf-8;\\x{E9}@b.example", "utf-8;é@b.example"])
def test_an_internationalized_original_recipient_is_decoded(written: str) -> None:
    """Written in ASCII, or as it is."""
    read = esmtp.rcpt(f"TO:<a@b.example> ORCPT={written}", ALL, smtputf8=True)
    assert read == Rcpt("a@b.example", orcpt=Orcpt("utf-8", "é@b.example", written))


@pytest.mark.parametrize(
    ("argument", "code"),
    [
        ("<a@b.example>", "501 5.5.2"),
        ("TO:<>", "553 5.1.3"),
        (f"TO:<{'a' * 320}@b.example>", "553 5.1.3"),
        ("TO:<é@b.example>", "553 5.6.7"),
        ("TO:<a@b.example> NOTIFY=", "501 5.5.4"),
        ("TO:<a@b.example> NOTIFY", "501 5.5.4"),
        ("TO:<a@b.example> NOTIFY=NEVER,DELAY", "501 5.5.4"),
        ("TO:<a@b.example> NOTIFY=DELAY,DELAY", "501 5.5.4"),
        ("TO:<a@b.example> ORCPT=rfc822", "501 5.5.4"),
        ("TO:<a@b.example> ORCPT=;a", "501 5.5.4"),
        ("TO:<a@b.example> ORCPT=rfc822;", "501 5.5.4"),
        ("TO:<a@b.example> ORCPT=rfc822;+0D+0A", "501 5.5.4"),
        ("TO:<a@b.example> ORCPT=utf-8;é@b.example", "501 5.5.4"),
        ("TO:<a@b.example> ORCPT=utf-8;\\x{D800}", "501 5.5.4"),
        ("TO:<a@b.example> ORCPT=utf-8;\\x{FFFFFF}", "501 5.5.4"),
        (f"TO:<a@b.example> ORCPT=rfc822;{'a' * 500}", "501 5.5.4"),
        ("TO:<a@b.example> SIZE=1", "555 5.5.4"),
    ],
)
def test_a_rcpt_command_that_cannot_be_taken_has_its_reply(argument: str, code: str) -> None:
    """As for MAIL."""
    refused = esmtp.rcpt(argument, ALL)
    assert isinstance(refused, Bad)
    assert refused.reply.startswith(code + " ")


@given(PRINTABLE)
def test_xtext_comes_back_as_what_it_was(text: str) -> None:
    """What we write as a client, we read as a server."""
    assert decode_xtext(xtext(text)) == text
    assert esmtp.mail(f"FROM:<> ENVID={xtext(text)}", ALL) == Mail("", envid=text)


@given(st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=20))
def test_an_original_recipient_comes_back_as_what_it_was(local_part: str) -> None:
    """In ASCII or not."""
    address = f"{local_part}@b.example"
    read = esmtp.rcpt(f"TO:<a@b.example> ORCPT={orcpt(address)}", ALL)
    assert isinstance(read, Rcpt)
    assert read.orcpt is not None
    # \x{..} that stands in an address itself cannot be told from what stands for a character.
    assert read.orcpt.address == address or "\\x{" in local_part


@given(st.lists(WORDS | st.text(max_size=8), max_size=12).map("".join))
def test_no_argument_raises_and_no_path_has_a_line_end(argument: str) -> None:
    """Whatever a client says is taken or refused, with an enhanced code."""
    for prefix, read in (("FROM:", esmtp.mail), ("TO:", esmtp.rcpt)):
        for text in (argument, prefix + argument, f"{prefix}<a@b.example> {argument}"):
            found = read(text, ALL)
            if isinstance(found, Bad):
                assert found.reply[:6] in ("501 5.", "553 5.", "555 5.")
                assert found.reply.isprintable()
            else:
                path = found.reverse_path if isinstance(found, Mail) else found.forward_path
                assert not set(path) & set("\r\n\x00")
