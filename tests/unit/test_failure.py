"""Why mail failed."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egret.core import bounce_rules
from egret.core.bounce_rules import Mark
from egret.core.failure import FailureClass, classify, is_about_recipient, stage_of, status_of
from egret.core.failure_rules import RULES, Rule
from egret.core.stage_rules import AT_DATA, AT_MAIL, AT_RCPT, StageMark
from egret.core.wording import phrases, split_phrases, words

DEAD, REFUSES = FailureClass.ADDRESS_DEAD, FailureClass.RECIPIENT_REFUSES
MARKS = [one for one in vars(bounce_rules).values() if isinstance(one, Mark)] + list(bounce_rules.FORMATS)


def _id(rule: Rule) -> str:
    return f"{rule.failure}: {rule.source[:40]}"


@pytest.mark.parametrize("rule", RULES, ids=_id)
def test_example_of_a_rule_is_of_its_class(rule: Rule) -> None:
    """And has one of its phrases."""
    assert words(rule.example) in phrases(rule.phrases)
    assert classify(0, "", rule.example) is rule.failure


@pytest.mark.parametrize("rule", RULES, ids=_id)
def test_no_phrase_is_hidden_by_a_rule_before_it(rule: Rule) -> None:
    """Each phrase alone means what its rule says."""
    said = {phrase: phrase.replace("…", "x").replace("*", "") for phrase in split_phrases(rule.phrases)}
    assert {phrase for phrase, text in said.items() if classify(0, "", text) is not rule.failure} == set()


@pytest.mark.parametrize("mark", MARKS, ids=lambda mark: mark.name)
def test_example_of_a_mark_has_one_of_its_phrases(mark: Mark) -> None:
    """What reports look like, rule by rule."""
    assert words(mark.example) in phrases(mark.phrases)


@pytest.mark.parametrize("mark", [*AT_MAIL, *AT_RCPT, *AT_DATA], ids=lambda mark: mark.example)
def test_example_of_a_stage_is_found_by_its_own_mark(mark: StageMark) -> None:
    """And by no other: each stands for itself."""
    found = [one for one in (*AT_MAIL, *AT_RCPT, *AT_DATA) if re.search(one.pattern, mark.example, re.IGNORECASE)]

    assert found == [mark]
    assert stage_of(mark.example) != ""
    assert is_about_recipient(mark.example) == (mark in AT_RCPT)


@pytest.mark.parametrize(("marks", "expected"), [(AT_MAIL, FailureClass.POLICY), (AT_RCPT, DEAD), (AT_DATA, REFUSES)])
def test_an_unknown_user_is_dead_by_the_stage(marks: Sequence[StageMark], expected: FailureClass) -> None:
    """The sender is one whom the server does not know; who takes the recipient and then the content knows it."""
    for mark in marks:
        assert classify(550, "", f"no such user {mark.example}") is expected


@pytest.mark.parametrize(
    ("code", "enhanced_code", "text", "expected"),
    [
        # the code alone
        (550, "5.1.1", "", DEAD),
        (550, "5.1.10", "", DEAD),
        (552, "5.2.2", "", FailureClass.MAILBOX_FULL),
        (550, "5.2.1", "", FailureClass.MAILBOX_DISABLED),
        (550, "5.7.26", "", FailureClass.AUTHENTICATION),
        (550, "5.7.1", "", FailureClass.POLICY),
        (550, "5.7.18", "", REFUSES),
        (550, "5.7.21", "", FailureClass.AUTHENTICATION),
        (550, "5.7.22", "", FailureClass.AUTHENTICATION),
        (550, "5.7.29", "", FailureClass.AUTHENTICATION),
        (550, "5.7.30", "", FailureClass.AUTHENTICATION),
        (550, "5.5.3", "", FailureClass.RATE),
        (0, "4.4.7", "", FailureClass.EXPIRED),
        (550, "", "", FailureClass.UNKNOWN),
        (550, "5.1.0", "", FailureClass.UNKNOWN),
        (250, "2.1.5", "", FailureClass.RELAYED),
        # words are believed more than the code
        (550, "5.1.1", "mailbox full", FailureClass.MAILBOX_FULL),
        (550, "5.1.1", "refused due to recipient preferences", REFUSES),
        (550, "5.1.1", "192.0.2.7 has sent to too many recipients this hour", FailureClass.RATE),
        (553, "5.1.3", "http://www.spamhaus.org/query/bl?ip=192.0.2.7", FailureClass.REPUTATION),
        (550, "5.5.0", "Requested action not taken: mailbox unavailable", DEAD),
        # but a clear code is not overruled by policy or vague words
        (550, "5.1.1", "relaying denied", DEAD),
        (550, "5.2.2", "blocked", FailureClass.MAILBOX_FULL),
        (550, "5.1.1", "User unknown; rejected as spam", DEAD),
        # an unknown user that is not one
        (450, "4.1.1", "user unknown in virtual mailbox table", FailureClass.UNKNOWN),
        (550, "5.2.0", "Unknown user", REFUSES),
        (550, "5.7.1", "user unknown", REFUSES),
        (550, "5.7.1", "user unknown (in reply to RCPT TO command)", DEAD),
        (550, "", "user unknown (in reply to end of DATA command)", REFUSES),
        (550, "", "SMTP error after RCPT TO:<a@b.example>: user unknown, 503 after DATA", DEAD),
        (550, "5.1.7", "no such domain", FailureClass.POLICY),
        (550, "", "SMTP error after MAIL FROM:<a@b.example>: no such user", FailureClass.POLICY),
        (550, "5.2.1", "user unknown", FailureClass.MAILBOX_DISABLED),
        # what an address is called says nothing
        (550, "", "<spam-quota@virus.example>: user unknown", DEAD),
        # a quoted reply is what counts
        (550, "5.7.1", "5.1.0 - Unknown address error 550-'Access denied' (delivery attempts: 0)", FailureClass.POLICY),
    ],
)
def test_code_and_words_are_weighed(code: int, enhanced_code: str, text: str, expected: FailureClass) -> None:
    """Row by row."""
    assert classify(code, enhanced_code, text) is expected


def test_five_hundred_is_not_dead() -> None:
    """No reply code alone says that an address is dead."""
    assert {classify(code, "", "") for code in range(400, 600)} == {FailureClass.UNKNOWN}


@given(
    code=st.integers(0, 600),
    enhanced_code=st.from_regex(r"([245]\.[0-9]{1,2}\.[0-9]{1,3})?", fullmatch=True),
    text=st.text(max_size=100) | st.sampled_from([rule.example for rule in RULES]),
)
def test_temporary_failure_never_kills_an_address(code: int, enhanced_code: str, text: str) -> None:
    """Any code and any text has a class; 4yz is never address-dead."""
    found = classify(code, enhanced_code, text)
    assert found in FailureClass
    is_temporary = code // 100 == 4 or (code < 100 and enhanced_code.startswith("4"))
    assert not (is_temporary and found is DEAD)


@pytest.mark.parametrize("failure", FailureClass)
def test_status_of_a_class_means_that_class(failure: FailureClass) -> None:
    """What is derived from words alone leads back to the same class, or says nothing."""
    status = status_of(failure, 0)
    loose = {FailureClass.REPUTATION, FailureClass.AUTHENTICATION, FailureClass.RATE}
    expected = FailureClass.POLICY if failure in loose else failure
    assert status == "" or classify(0, status, "") is expected
    assert status_of(failure, 450)[:1] in ("", "4")


@pytest.mark.parametrize("text", ["user ", "account … ", "a@", "@", "mailbox unavailable ", "550-'", "\n", "é", "("])
def test_long_texts_are_cut(text: str) -> None:
    """A reply of a megabyte costs what its beginning does."""
    assert classify(550, "", text * 100_000) in FailureClass
