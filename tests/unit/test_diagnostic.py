"""Reply and enhanced codes in diagnostic texts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egret.core.diagnostic import reply_codes, status_code


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5.1.1", "5.1.1"),
        ("5.1.1 (bad destination mailbox address)", "5.1.1"),
        (" 4.4.7", "4.4.7"),
        ("5.01.010", "5.1.10"),
        ("5.7.509", "5.7.509"),
        ("(was) 5.2.2.", "5.2.2"),
        ("5.1", ""),
        ("3.1.1", ""),
        ("15.1.1", ""),
        ("5.1.1.7", ""),
        ("5.1.1234", ""),
        ("failed", ""),
        ("", ""),
    ],
)
def test_status_code_reads_the_field_and_nothing_else(text: str, expected: str) -> None:
    """Comments and leading zeros go, addresses and versions are no codes."""
    assert status_code(text) == expected


@pytest.mark.parametrize(
    ("text", "status", "expected"),
    [
        # where the codes stand
        ("550 5.1.1 User unknown", "5.0.0", (550, "5.1.1")),
        ("550-5.1.1 The address 550-5.1.1 does not exist 550 5.1.1 try again", "5.0.0", (550, "5.1.1")),
        ("550 #5.1.1 Address rejected", "", (550, "5.1.1")),
        ("550-#5.1.1 Address rejected", "", (550, "5.1.1")),
        ("550 (5.1.1) unknown", "", (550, "5.1.1")),
        ("550 [5.1.1] unknown", "", (550, "5.1.1")),
        ("host mx.example.net[192.0.2.1] said: 552 5.2.2 Mailbox full (in reply to RCPT TO)", "", (552, "5.2.2")),
        ("5.1.0 - Unknown address error 550-'5.7.1 Access denied'", "5.0.0", (550, "5.7.1")),
        ("5.3.0 - Other mail system problem 550-'Unknown user' (attempts: 0)", "5.0.0", (550, "5.3.0")),
        ("550 User unknown (5.1.1)", "5.0.0", (550, "5.1.1")),
        ("connection refused: 421 4.7.0 busy", "4.4.1", (421, "4.7.0")),
        ("<ann@example.net>: 550 no such user", "", (550, "")),
        ("550", "", (550, "")),
        ("'550 no'", "", (550, "")),
        # which of several
        ("554 5.0.0 Service unavailable", "5.1.1", (554, "5.1.1")),
        ("550 5.1.0 rejected", "5.1.1", (550, "5.1.1")),
        ("550 5.1.0 rejected", "5.2.2", (550, "5.1.0")),
        ("550 5.7.1 denied, see 5.1.1", "5.0.0", (550, "5.7.1")),
        ("554 5.0.0 no", "5.0.0", (554, "5.0.0")),
        # the class of both results agrees
        ("450 4.2.1 busy", "5.4.7", (450, "4.2.1")),
        ("550 no such user", "4.4.7", (550, "")),
        ("450 5.1.1 odd", "4.0.0", (450, "4.0.0")),
        # only the status is known
        ("", "5.2.1", (500, "5.2.1")),
        ("", "4.4.1", (400, "4.4.1")),
        ("", "2.1.5", (0, "2.1.5")),
        ("", "", (0, "")),
        ("User unknown", "5.1.1", (500, "5.1.1")),
        # what only looks like a code
        ("rejected by 5.1.1.7 after 600 seconds", "", (0, "")),
        ("Exim 4.94.2 gave up", "", (0, "")),
        ("connect to 192.0.2.250 timed out", "4.4.1", (400, "4.4.1")),
        ("delivery failed after 450 tries", "", (0, "")),
        ("message of 5501 bytes: 5500 allowed", "", (0, "")),
    ],
)
def test_reply_codes_of_texts_as_servers_write_them(text: str, status: str, expected: tuple[int, str]) -> None:
    """The better of diagnostic text and status, row by row."""
    assert reply_codes(text, status) == expected


@given(
    text=st.lists(st.sampled_from(["550", "450", "5.1.1", "4.2.0", "-", " ", ":", "#", "said", "x", "250", "."])).map(
        "".join
    ),
    status=st.sampled_from(["", "5.0.0", "5.1.1", "4.4.7", "2.0.0"]),
)
def test_code_and_enhanced_code_are_of_one_class(text: str, status: str) -> None:
    """Nobody has to handle a 550 with a 4.x.x."""
    code, enhanced_code = reply_codes(text, status)
    assert code == 0 or 200 <= code < 600
    assert not enhanced_code or not code or str(code)[0] == enhanced_code[0]


@given(st.text(), st.text())
def test_any_text_has_codes_or_none(text: str, status: str) -> None:
    """Never raises."""
    code, enhanced_code = reply_codes(text, status_code(status))
    assert (code == 0 or code >= 200, enhanced_code == status_code(enhanced_code)) == (True, True)
