"""What a submitter hears: a reply line for each code, whatever its sentence is."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egret.contracts.submission import Submitted, Trouble
from egret.contracts.webapi import ErrorCode
from egret_egress.submission_replies import OTHERWISE, reply_of

LINE = re.compile(r"([245])\d\d \1\.\d{1,3}\.\d{1,3} [ -~]*")


def test_an_accepted_message_is_named_by_its_id() -> None:
    """The API knows it by the same."""
    assert reply_of(Submitted(1024, "<1@example.com>")) == "250 2.0.0 Queued as 1024"


@pytest.mark.parametrize("code", Trouble)
def test_every_trouble_has_a_code_of_its_own(code: Trouble) -> None:
    """None is left to the code for everything else."""
    assert not reply_of(Submitted(code=code, message="No.")).startswith(OTHERWISE)


@pytest.mark.parametrize(
    ("code", "reply"),
    [
        (ErrorCode.BAD_FROM, "550 5.7.1"),
        (ErrorCode.MESSAGE_TOO_LARGE, "552 5.3.4"),
        (ErrorCode.MESSAGE_LIMIT_REACHED, "452 4.7.1"),
        (ErrorCode.IDEMPOTENCY_CONFLICT, "554 5.5.0"),
        (ErrorCode.IDEMPOTENCY_IN_FLIGHT, "451 4.3.0"),
        (ErrorCode.SERVER, "451 4.3.5"),
        (ErrorCode.USER, OTHERWISE),
        (Trouble.FROMID_ALONE, "554 5.5.3"),
        (Trouble.FROMID_USED, "554 5.1.7"),
        (Trouble.UNAVAILABLE, "451 4.3.0"),
    ],
)
def test_who_is_at_fault_decides(code: str, reply: str) -> None:
    """What the client can mend is refused for good; what passes, or we must mend, is to come again."""
    assert reply_of(Submitted(code=code, message="No.")) == f"{reply} No."


@given(st.sampled_from([*ErrorCode, *Trouble, "a code of tomorrow"]), st.text(max_size=600))
def test_any_sentence_is_one_line_of_ascii(code: str, message: str) -> None:
    """It may repeat what the client wrote; no line end in it becomes a reply of its own, and 512 octets hold it."""
    reply = reply_of(Submitted(code=code, message=message))

    assert LINE.fullmatch(reply)
    assert len(reply) <= 510
