"""One transaction as a state machine: whatever a server answers, everybody ends with one outcome."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from egret.core.outcome import Bounced, Deferred, Delivered, Unknown
from egret.core.reply import Reply
from egret_egress.exchange import Envelope, Exchange, Stage, Step
from egret_egress.wire import DOT, Peer

PIPELINING = Peer("mx", {"PIPELINING": ""})
ONE_BY_ONE = Peer("mx")

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


@given(st.sampled_from([PIPELINING, ONE_BY_ONE]), st.integers(1, 4), st.booleans(), st.lists(codes, max_size=14))
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
    """Only what answers RCPT or comes after it is about the address."""
    sender, recipient = (Exchange(Envelope("s@x", ("a@x",), 10), ONE_BY_ONE) for _ in range(2))
    drive(sender, [550])
    drive(recipient, [250, 550])

    found = [outcome for exchange in (sender, recipient) for outcome in exchange.outcomes]
    assert [outcome.names_recipient for outcome in found if isinstance(outcome, Bounced)] == [False, True]


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
