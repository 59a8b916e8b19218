"""One transaction as a state machine: whatever a server answers, everybody ends with one outcome."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egret.core.outcome import Bounced, Deferred, Delivered, Unknown, error_of
from egret.core.reply import Reply
from egret_egress.envelope import Envelope
from egret_egress.exchange import WINDOW, WINDOW_BYTES, Exchange, Stage, Step, lacks_requiretls, refusal_before
from egret_egress.transcript import transcript
from egret_egress.wire import DOT, Limits, Peer

PIPELINING = Peer("mx", {"PIPELINING": ""})
ONE_BY_ONE = Peer("mx")
LIMITED = Peer("mx", {"PIPELINING": ""}, limits=Limits(recipients=2))
DSN = Peer("mx", {"PIPELINING": "", "DSN": "", "SMTPUTF8": "", "8BITMIME": ""})

codes = st.sampled_from([200, 220, 250, 250, 250, 251, 354, 354, 421, 450, 451, 452, 500, 550, 552, 554])


def drive(exchange: Exchange, answers: list[int]) -> tuple[list[bytes], bool]:
    """Answer with these codes, then lose the connection; return what was sent, and whether content was."""
    sent, content = [exchange.start()], False
    for code in answers:
        step = exchange.take(Reply(code, ("x",)))
        if step is Step.DONE:
            return sent, content
        if step is Step.CONTENT:
            content = True
            exchange.dot_goes()
        elif isinstance(step, bytes):
            sent.append(step)
    exchange.fail("lost")
    return sent, content


@given(
    st.sampled_from([PIPELINING, ONE_BY_ONE, LIMITED]), st.integers(1, 4), st.booleans(), st.lists(codes, max_size=14)
)
def test_everybody_ends_with_an_outcome_or_is_put_back(peer: Peer, count: int, reset: bool, answers: list[int]) -> None:
    """No sequence of replies raises, leaves a recipient undecided, or delivers to one who was refused."""
    exchange = Exchange(Envelope("s@x", tuple(f"r{n}@x" for n in range(count)), 10), peer, reset=reset)

    _, content = drive(exchange, answers)

    for index, outcome in enumerate(exchange.outcomes):
        assert (outcome is None) == (index in exchange.put_back)
        if isinstance(outcome, (Delivered, Unknown)):
            assert content
            assert index in exchange.accepted
    assert not (exchange.must_close and exchange.put_back)
    assert content == exchange.dot_sent


@given(st.integers(1, 4), st.lists(codes, max_size=14))
def test_a_dot_without_recipients_delivers_nothing(count: int, answers: list[int]) -> None:
    """RFC 2920 3.1: with nobody accepted no content goes out, at most a lone dot, and no one counts as delivered."""
    exchange = Exchange(Envelope("s@x", tuple(f"r{n}@x" for n in range(count)), 10), PIPELINING)

    sent, content = drive(exchange, answers)

    if not exchange.accepted:
        assert not content
        assert not any(isinstance(outcome, (Delivered, Unknown)) for outcome in exchange.outcomes)
    assert sent[1:] in ([], [DOT])


def test_pipelining_sends_everything_up_to_data_at_once() -> None:
    """RFC 2920 3.1: RSET, MAIL, RCPT and DATA in one write, DATA last."""
    exchange = Exchange(Envelope("s@x", ("a@x", "b@x"), 10), PIPELINING, reset=True)

    assert exchange.start() == b"RSET\r\nMAIL FROM:<s@x>\r\nRCPT TO:<a@x>\r\nRCPT TO:<b@x>\r\nDATA\r\n"
    assert exchange.stage is Stage.RSET


def test_a_refused_sender_says_nothing_of_the_recipient() -> None:
    """Only what answers RCPT is about the address."""
    sender, recipient = (Exchange(Envelope("s@x", ("a@x",), 10), ONE_BY_ONE) for _ in range(2))
    drive(sender, [550])
    drive(recipient, [250, 550])

    found = [outcome for exchange in (sender, recipient) for outcome in exchange.outcomes]
    assert [outcome.names_recipient for outcome in found if isinstance(outcome, Bounced)] == [False, True]


@pytest.mark.parametrize(
    ("text", "recipients", "names_recipient"),
    [
        ("spam message rejected", 1, False),
        ("", 1, False),
        ("5.0.0 no", 1, False),
        ("5.3.4 too large", 1, False),
        ("5.7.1 no", 1, False),
        ("5.1.1 no such user", 1, True),
        ("5.2.2 full", 1, True),
        ("5.1.1 no such user", 2, False),
    ],
)
@pytest.mark.parametrize("stage", [Stage.DATA, Stage.FINAL])
def test_a_refused_message_says_nothing_of_the_recipient(
    stage: Stage, text: str, recipients: int, names_recipient: bool
) -> None:
    """Unless an enhanced code does, and there is only one whom it can mean."""
    exchange = Exchange(envelope(recipients), ONE_BY_ONE)
    exchange.start()
    for code in [250] * (1 + recipients) + [354] * (stage is Stage.FINAL):
        exchange.take(Reply(code))
    if stage is Stage.FINAL:
        exchange.dot_goes()
    exchange.take(Reply(550, (text,)))

    found = {outcome.names_recipient for outcome in exchange.outcomes if isinstance(outcome, Bounced)}
    assert found == {names_recipient}


def test_a_temporary_mail_refusal_is_the_hosts_failure() -> None:
    """Nobody was judged, so another host may be asked; a final refusal or a judged recipient ends it here."""
    temporary = Exchange(Envelope("s@x", ("a@x",), 10), ONE_BY_ONE)
    drive(temporary, [451])
    final = Exchange(Envelope("s@x", ("a@x",), 10), ONE_BY_ONE)
    drive(final, [550])
    judged = Exchange(Envelope("s@x", ("a@x",), 10), ONE_BY_ONE)
    drive(judged, [250, 450])

    assert isinstance(temporary.host_failure, Deferred)
    assert (final.host_failure, judged.host_failure) == (None, None)
    assert isinstance(final.outcomes[0], Bounced)


def test_the_next_transaction_resets_only_when_it_must() -> None:
    """After an answered dot the session is clean; after a transaction that was broken off it is not."""
    clean = Exchange(Envelope("s@x", ("a@x",), 10), PIPELINING)
    drive(clean, [250, 250, 354, 250])
    broken = Exchange(Envelope("s@x", ("a@x",), 10), PIPELINING)
    drive(broken, [250, 550, 554])

    assert (clean.needs_reset, broken.needs_reset) == (False, True)


def envelope(count: int, domain: str = "x") -> Envelope:
    """Return an envelope with so many recipients."""
    return Envelope("s@x", tuple(f"r{n}@{domain}" for n in range(count)), 10)


def deliver_all(count: int, peer: Peer, most: int = 0) -> tuple[list[int], int]:
    """Run transactions against a server that takes `most` recipients of each (0 = all) until nobody is left.

    Returns how many recipients each transaction named, and how many deliveries there were.
    """
    pending, named, learned, delivered = list(range(count)), [], 0, 0
    while pending:
        exchange = Exchange(envelope(len(pending)), peer, most=learned)
        sent, taken, waiting = exchange.start(), 0, 0
        step: bytes | Step = sent
        while step is not Step.DONE:
            if isinstance(step, bytes):
                waiting += step.count(b"\r\n")
                assert waiting <= WINDOW
                assert len(step) <= WINDOW_BYTES
            stage = exchange.stage
            if step is Step.CONTENT:
                exchange.dot_goes()
            is_full = stage is Stage.RCPT and most and taken >= most
            taken += stage is Stage.RCPT and not is_full
            waiting -= stage is not Stage.FINAL
            step = exchange.take(Reply(452 if is_full else 354 if stage is Stage.DATA else 250, ("x",)))
        named.append(exchange.asked)
        learned = exchange.learned or learned
        delivered += sum(isinstance(outcome, Delivered) for outcome in exchange.outcomes)
        assert len(exchange.put_back) < len(pending)
        pending = [pending[index] for index in exchange.put_back]
    return named, delivered


@pytest.mark.rfc("9422", "4")
@pytest.mark.parametrize(("limit", "named"), [(0, [5]), (2, [2, 2, 1]), (1, [1] * 5), (5, [5]), (100, [5])])
def test_rcptmax_splits_a_message_over_transactions(limit: int, named: list[int]) -> None:
    """No transaction names more recipients than the server takes, and everybody gets the message once."""
    peer = Peer("mx", {"PIPELINING": ""}, limits=Limits(recipients=limit))

    assert deliver_all(5, peer) == (named, 5)


@pytest.mark.rfc("9422", "4")
def test_rcptdomainmax_keeps_domains_apart() -> None:
    """Recipients of a second domain wait for the next transaction; case makes no other domain."""
    peer = Peer("mx", {"PIPELINING": ""}, limits=Limits(recipient_domains=1))
    exchange = Exchange(Envelope("s@x", ("a@b.example", "c@d.example", "e@B.example"), 10), peer)

    assert exchange.start() == b"MAIL FROM:<s@x>\r\nRCPT TO:<a@b.example>\r\nRCPT TO:<e@B.example>\r\nDATA\r\n"
    assert exchange.put_back == [1]


@pytest.mark.rfc("5321", "4.5.3.1.10")
@pytest.mark.parametrize("peer", [PIPELINING, ONE_BY_ONE])
def test_a_limit_that_was_run_into_is_kept_to(peer: Peer) -> None:
    """452 after 100 recipients teaches the session: the others are not all named again and again."""
    named, delivered = deliver_all(1000, peer, most=100)

    assert (named[1:], delivered) == ([100] * 9, 1000)
    assert named[0] <= 100 + WINDOW


@pytest.mark.rfc("2920", "3.1")
def test_thousands_of_recipients_go_out_by_windows() -> None:
    """Commands that wait for answers are bounded in number and bytes, so that neither side can block the other."""
    assert deliver_all(3000, PIPELINING) == ([3000], 3000)


@pytest.mark.rfc("2920", "3.1")
def test_a_refused_sender_ends_the_windows() -> None:
    """Once MAIL is refused nobody else is named, and the answers under way are read."""
    exchange = Exchange(envelope(1000), PIPELINING)

    sent, _ = drive(exchange, [550] * WINDOW)

    assert (len(sent), exchange.must_close) == (1, False)
    assert all(isinstance(outcome, Bounced) for outcome in exchange.outcomes)


def test_a_refused_sender_is_refused_for_those_who_come_later_too() -> None:
    """Recipients beyond RCPTMAX are not tried one transaction after the other with the same sender."""
    exchange = Exchange(envelope(5), LIMITED)
    drive(exchange, [550, 503, 503, 503])

    assert exchange.put_back == []
    assert all(isinstance(outcome, Bounced) for outcome in exchange.outcomes)


def test_who_was_put_back_is_never_unknown() -> None:
    """Their message certainly did not go out, whatever became of the others'."""
    exchange = Exchange(envelope(3), LIMITED)
    drive(exchange, [250, 250, 250, 354, 299 + 1])

    assert [type(outcome) for outcome in exchange.outcomes] == [Unknown, Unknown, Deferred]


@pytest.mark.parametrize(
    ("code", "first"), [(554, Bounced), (552, Bounced), (452, Deferred), (250, Deferred), (354, Deferred)]
)
def test_an_answer_amid_the_content_is_for_those_who_were_taken(code: int, first: type) -> None:
    """Who was put off, and who goes beyond RCPTMAX, was not judged by it: they are asked about again."""
    exchange = Exchange(envelope(4), Peer("mx", {"PIPELINING": ""}, limits=Limits(recipients=3)))
    exchange.start()
    for answer in (250, 250, 452, 550, 354):
        exchange.take(Reply(answer, ("x",)))
    exchange.take(Reply(code, ("5.7.1 not this",)))

    assert [type(outcome) for outcome in exchange.outcomes] == [first, Deferred, Bounced, Deferred]
    others = [outcome for outcome in exchange.outcomes if isinstance(outcome, Deferred)][-2:]
    assert others == [Deferred("the server answered before the message was complete")] * 2
    assert (exchange.must_close, exchange.put_back) == (True, [])


@pytest.mark.parametrize("code", [450, 552])
def test_that_a_refusal_is_temporary_is_said_once(code: int) -> None:
    """The class stands behind the reason (`error_of`)."""
    exchange = Exchange(envelope(1), ONE_BY_ONE)
    drive(exchange, [250, code])

    (outcome,) = exchange.outcomes
    assert outcome is not None
    assert error_of(outcome) == f"the server refused the recipient, transient: {code} x"


@pytest.mark.rfc("2920", "3.1")
def test_the_dot_that_ends_nothing_is_shown() -> None:
    """So that the 250 behind it is not taken for the acceptance of a message."""
    exchange = Exchange(envelope(1), PIPELINING)
    drive(exchange, [250, 550, 354, 250])

    assert transcript(exchange.talk)[-4:] == (
        "S: 354 x",
        "[no recipient is left: the transaction is ended without a message]",
        "C: .",
        "S: 250 x",
    )


@pytest.mark.rfc("3461", "4")
def test_dsn_parameters_are_sent_where_they_are_offered() -> None:
    """ENVID and ORCPT are our own; RET and NOTIFY and another ORCPT come from the submission."""
    asked = Envelope(
        "s@x",
        ("a+b@x", "j\u00fc@x", "c@x"),
        10,
        envid="a b=1",
        ret="HDRS",
        notify=("", "NEVER", "SUCCESS,DELAY"),
        orcpts=("", "", "rfc822;list@x"),
    )

    assert Exchange(asked, DSN).start().decode().split("\r\n")[:4] == [
        "MAIL FROM:<s@x> BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=a+20b+3D1",
        "RCPT TO:<a+b@x> ORCPT=rfc822;a+2Bb@x",
        r"RCPT TO:<jü@x> NOTIFY=NEVER ORCPT=utf-8;j\x{FC}@x".replace(r"ü", "\u00fc"),
        "RCPT TO:<c@x> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;list@x",
    ]
    plain = Exchange(Envelope("s@x", ("a@x",), 10, envid="1", ret="FULL", notify=("NEVER",)), PIPELINING)
    assert plain.start() == b"MAIL FROM:<s@x>\r\nRCPT TO:<a@x>\r\nDATA\r\n"


@pytest.mark.rfc("6531", "3.5")
@pytest.mark.parametrize(
    ("asked", "code"),
    [
        (Envelope("s@x", ("j\u00fc@x",), 10, smtputf8=True), "5.6.7"),
        (Envelope("\u00fc@x", ("a@x",), 10), "5.6.7"),
        (Envelope("s@x", ("a@x",), 10, smtputf8=True), "5.6.9"),
        (Envelope("s@x", ("a@x",), 10), ""),
    ],
)
def test_internationalized_mail_is_refused_at_once_where_it_cannot_go(asked: Envelope, code: str) -> None:
    """Addresses give 5.6.7, headers 5.6.9; what needs nothing may go, and anything where SMTPUTF8 is offered."""
    refusal = refusal_before(asked, PIPELINING)

    assert (refusal.reply.enhanced_code if refusal and refusal.reply else "") == code
    assert refusal_before(asked, DSN) is None


@pytest.mark.parametrize(
    ("asked", "names_recipient"),
    [
        (Envelope("s@x", ("a@x",), 2000), False),
        (Envelope("s@x", ("a@x",), 10, smtputf8=True), False),
        (Envelope("s@x", ("ä@x",), 10), True),
        (Envelope("s@x", ("a@x",), 10, require_tls=True), False),
    ],
)
def test_what_a_server_cannot_take_is_about_the_message(asked: Envelope, names_recipient: bool) -> None:
    """Its size, its header, its protection; not whether the address exists."""
    refusal = refusal_before(asked, Peer("mx", {"SIZE": "1000"}))

    assert refusal is not None
    assert refusal.names_recipient == names_recipient


@pytest.mark.rfc("8689", "5")
@pytest.mark.parametrize(
    ("peer", "is_protected"),
    [
        (Peer("mx", {"PIPELINING": ""}), False),
        (Peer("mx", {"REQUIRETLS": ""}), False),
        (Peer("mx", {"REQUIRETLS": ""}, is_verified=True), True),
    ],
)
def test_a_bounce_asks_for_requiretls_where_it_can(peer: Peer, is_protected: bool) -> None:
    """And goes without it rather than not at all."""
    bounce = Envelope("", ("a@x",), 10, require_tls=True)

    assert refusal_before(bounce, peer) is None
    assert (b" REQUIRETLS\r\n" in Exchange(bounce, peer).start()) == is_protected


@pytest.mark.rfc("8689", "4.2.1")
def test_only_want_of_requiretls_leaves_the_message_to_another_server() -> None:
    """Too large is said of the message; and a server's own words, however alike, are its judgement."""
    unsafe = refusal_before(Envelope("s@x", ("a@x",), 10, require_tls=True), PIPELINING)
    too_large = refusal_before(Envelope("s@x", ("a@x",), 10), Peer("mx", {"SIZE": "5"}))
    assert unsafe is not None
    assert unsafe.reply is not None
    assert too_large is not None
    theirs = Bounced("the server refused the message", Reply(unsafe.reply.code, unsafe.reply.lines))

    assert [lacks_requiretls(each) for each in (unsafe, too_large, theirs)] == [True, False, False]


def test_a_refusal_of_commands_that_came_early_is_asked_again() -> None:
    """What began behind the last dot and was refused at MAIL is the connection's failure, not the sender's."""
    exchange = Exchange(envelope(1), PIPELINING)
    exchange.is_ahead = True
    exchange.start()
    steps = [exchange.take(Reply(503, ("5.5.1 out of order",))) for _ in range(3)]

    assert steps[-1] is Step.DONE
    assert isinstance(exchange.host_failure, Deferred)
    assert exchange.must_close
