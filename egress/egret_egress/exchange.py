"""One SMTP transaction as a state machine without I/O: replies in, commands and outcomes out.

Implements: RFC 5321 sections 3.3 and 4.2.5, RFC 2920 (everything up to DATA in one write when offered), RFC 1870,
RFC 3461 section 4, RFC 6152, RFC 6531, RFC 8689, RFC 9422. Every recipient ends with an outcome of its own or is put
back for a next transaction.
"""

from __future__ import annotations

import enum

from msgspec.structs import replace

from egret.core.outcome import NOWHERE, Bounced, Deferred, Delivered, Outcome, Remote, Unknown
from egret.core.reply import Reply
from egret_egress import wire
from egret_egress.envelope import Envelope
from egret_egress.reasons import explained
from egret_egress.wire import Peer

WINDOW = 100
"""Commands that may wait for their answers: their answers fit into what a server can send while we do not read."""
WINDOW_BYTES = 16 * 1024
"""Bytes of commands that may wait for their answers (RFC 2920 section 3.1 asks for less than TCP's own window)."""

ENOUGH = 3
"""Recipients in a row that were too many: then the others of the message are too many as well."""


NO_REQUIRETLS = Reply(554, ("5.7.30 REQUIRETLS is not supported",))
"""What is said for whoever cannot keep REQUIRETLS (RFC 8689 section 4.2.1)."""


class Stage(enum.Enum):
    """What the server is answering."""

    RSET = "RSET"
    MAIL = "MAIL"
    RCPT = "RCPT"
    DATA = "DATA"
    FINAL = "the message"


class Step(enum.Enum):
    """What is to be done next, when it is not bytes to send."""

    WAIT = enum.auto()
    CONTENT = enum.auto()
    """Send the content and the final dot; call `dot_goes` just before the dot."""
    DONE = enum.auto()


def refusal_before(envelope: Envelope, peer: Peer) -> Bounced | None:
    """Return why this server cannot take the message at all, None when it may be asked.

    RFC 6531 section 3.5 (5.6.7, 5.6.9), RFC 1870 section 6 (5.3.4), RFC 8689 section 4.2.1 (5.7.30).
    """
    if _needs_smtputf8(envelope) and not peer.offers("SMTPUTF8"):
        is_address = _has_utf8_path(envelope)
        if is_address:
            words = "5.6.7 SMTPUTF8 is not supported, and an address has letters beyond ASCII"
        else:
            words = "5.6.9 SMTPUTF8 is not supported, and the header has letters beyond ASCII that cannot be encoded"
        return Bounced(
            "the server does not take internationalized mail", Reply(550, (words,)), names_recipient=is_address
        )
    if 0 < peer.size_limit < envelope.size_bytes:
        words = f"5.3.4 {envelope.size_bytes} bytes are more than the {peer.size_limit} that the server takes"
        return Bounced("the message is too large for the server", Reply(552, (words,)), names_recipient=False)
    # A bounce is not to be lost for want of REQUIRETLS (RFC 8689 section 5).
    if envelope.require_tls and envelope.reverse_path and not _keeps_requiretls(peer):
        return Bounced(
            "the message is to be encrypted on its whole way (RequireTLS), and the mail server does not promise that",
            NO_REQUIRETLS,
            names_recipient=False,
        )
    return None


def _keeps_requiretls(peer: Peer) -> bool:
    return peer.is_verified and peer.offers("REQUIRETLS")


def _has_utf8_path(envelope: Envelope) -> bool:
    return not (envelope.reverse_path.isascii() and "".join(envelope.forward_paths).isascii())


def _needs_smtputf8(envelope: Envelope) -> bool:
    """Say whether the headers or a path are not ASCII."""
    return envelope.smtputf8 or _has_utf8_path(envelope)


def lacks_requiretls(refusal: Bounced) -> bool:
    """Say whether a server was not asked for want of REQUIRETLS, which another one may know."""
    return refusal.reply is NO_REQUIRETLS


class Exchange:
    """One transaction with one server.

    most: recipients that the server is known to take at once, 0 = unknown; its own RCPTMAX counts as well.
    outcomes: by position of the recipient, None while undecided and for those in `put_back`.
    must_close: the connection can carry nothing more. needs_reset: RSET must come before the next MAIL.
    is_ahead: its first commands went out before the previous transaction was answered. learned: how many recipients the
    server took before it said that they were too many, 0 = it never did.
    talk: what was said: commands as bytes, answers as `Reply`, the message as its number of bytes,
    remarks of our own as text.
    """

    __slots__ = (
        "_accepted", "_answered", "_asked", "_commands", "_content_sent", "_is_judged", "_is_refused", "_mail_at",
        "_peer", "_remote", "_too_many", "_written", "dot_sent", "is_ahead", "learned", "must_close", "needs_reset",
        "outcomes", "put_back", "size_bytes", "talk",
    )  # fmt: skip

    def __init__(
        self, envelope: Envelope, peer: Peer, remote: Remote = NOWHERE, *, reset: bool = False, most: int = 0
    ) -> None:
        count = len(envelope.forward_paths)
        self.outcomes: list[Outcome | None] = [None] * count
        self.put_back: list[int] = []
        self.must_close = False
        self.needs_reset = reset
        self.dot_sent = False
        self.is_ahead = False
        self.learned = 0
        self.size_bytes = envelope.size_bytes
        self.talk: list[bytes | Reply | int | str] = []
        self._remote = remote
        self._peer = peer
        self._accepted: list[int] = []
        self._content_sent = False
        self._is_judged = False
        self._is_refused = False
        self._answered = 0
        self._written = 0
        self._too_many = 0
        self._mail_at = 1 if reset else 0
        self._asked: list[int] | range = range(count)
        if most or peer.limits is not wire.UNLIMITED:
            self._split(envelope, most)
        self._commands = self._plan(envelope)

    def _split(self, envelope: Envelope, most: int) -> None:
        """Put back who goes beyond RCPTMAX and RCPTDOMAINMAX (RFC 9422 section 4), or beyond what was learned."""
        limits, domains = self._peer.limits, set[str]()
        room = min(filter(None, (most, limits.recipients)), default=len(envelope.forward_paths))
        self._asked = []
        for index, path in enumerate(envelope.forward_paths):
            domain = path.rpartition("@")[2].lower()
            is_too_many = 0 < limits.recipient_domains <= len(domains) and domain not in domains
            if is_too_many or len(self._asked) >= room:
                self.put_back.append(index)
            else:
                self._asked.append(index)
                domains.add(domain)

    def _plan(self, envelope: Envelope) -> list[bytes]:
        """Write every command; a path that cannot be written raises WireError here, before any I/O."""
        commands = [b"RSET\r\n"] if self._mail_at else []
        commands.append(wire.mail_from(envelope.reverse_path, _mail_parameters(envelope, self._peer)))
        paths = envelope.forward_paths
        if "DSN" in self._peer.extensions:
            commands += [wire.rcpt_to(paths[index], _rcpt_parameters(envelope, index)) for index in self._asked]
        else:
            commands += [wire.rcpt_to(paths[index]) for index in self._asked]
        commands.append(b"DATA\r\n")
        return commands

    @property
    def stage(self) -> Stage:
        """What the next reply answers."""
        at = self._answered - self._mail_at
        if at < 0:
            return Stage.RSET
        if at == 0:
            return Stage.MAIL
        if at <= len(self._asked):
            return Stage.RCPT
        return Stage.DATA if at == len(self._asked) + 1 else Stage.FINAL

    @property
    def accepted(self) -> list[int]:
        """Positions of the recipients that the server took at RCPT."""
        return self._accepted

    @property
    def asked(self) -> int:
        """How many recipients this transaction names."""
        return len(self._asked)

    @property
    def may_be_followed(self) -> bool:
        """The next transaction may go out with the final dot: nobody of this one needs the connection (RFC 2920)."""
        return not self.put_back and not self.must_close and self._peer.pipelines

    @property
    def host_failure(self) -> Deferred | None:
        """Set when the server failed before it judged any recipient: another host may be asked at once."""
        if self._is_judged:
            return None
        first = self.outcomes[0]
        return first if isinstance(first, Deferred) and all(outcome == first for outcome in self.outcomes) else None

    def start(self) -> bytes:
        """Return the first bytes to send: all commands when the server pipelines, else one."""
        return self._next_bytes()

    def _next_bytes(self) -> bytes:
        """Return what fits into the window; with nothing on its way that is one command at least."""
        commands, first = self._commands, self._written
        if not self._peer.pipelines:
            self._written += 1
            data = commands[first]
        elif len(commands) <= 6:
            self._written = len(commands)
            data = b"".join(commands)
        else:
            self._written = self._window_end(first)
            data = b"".join(commands[first : self._written])
        if data:
            self.talk.append(data)
        return data

    def _window_end(self, first: int) -> int:
        commands, end = self._commands, first
        most = min(len(commands), self._answered + WINDOW)
        size_bytes = sum(len(command) for command in commands[self._answered : first])
        while end < most and size_bytes < WINDOW_BYTES:
            size_bytes += len(commands[end])
            end += 1
        return end

    def take(self, reply: Reply) -> bytes | Step:
        """Read the next reply: what to send, or what to do."""
        self.talk.append(reply)
        at = self._answered - self._mail_at
        self._answered += 1
        if reply.code == 421:
            return self._close_down(reply)
        asked = len(self._asked)
        if at > asked:
            return self._final(reply) if at > asked + 1 else self._data(reply)
        if at > 0:
            self._rcpt(reply, self._asked[at - 1])
        elif at == 0:
            self._mail(reply)
        else:
            self.needs_reset = False
            if not reply.is_positive:
                return self._close_down(reply)
        return self._go_on()

    def _go_on(self) -> bytes | Step:
        """Send more when half of the window is free; stop early when there is nobody left to send it to."""
        left = len(self._commands) - self._written
        waiting = self._written - self._answered
        if not left:
            return Step.WAIT
        if self._is_refused or (left == 1 and not waiting and not self._accepted):
            # Without pipelining that is at once; else the answers under way are waited for.
            return Step.WAIT if waiting else self._done()
        if self._too_many >= ENOUGH and left > 1:
            self._spare()
        return (waiting <= WINDOW // 2 and self._next_bytes()) or Step.WAIT

    def _spare(self) -> None:
        """Put back unasked those who would only hear that they are too many."""
        first = self._written - self._mail_at - 1
        self.put_back += self._asked[first:]
        self._asked = self._asked[:first]
        del self._commands[self._written : -1]

    def _done(self) -> Step:
        if self.must_close and self.put_back:
            self._decide(Deferred("the server's answers do not fit the commands", None, self._remote))
        return Step.DONE

    def _close_down(self, reply: Reply) -> Step:
        """421 at any point: the server is about to close (RFC 5321 section 3.8)."""
        self.must_close = True
        self._decide(Deferred("the server ended the connection", reply, self._remote))
        return Step.DONE

    def _decide(self, outcome: Outcome) -> None:
        """Give everybody who has none yet this outcome; who was to be put back goes along when the connection ends."""
        if self.must_close:
            self.put_back.clear()
        later = set(self.put_back)
        for index, known in enumerate(self.outcomes):
            if known is None and index not in later:
                self.outcomes[index] = outcome

    def _mail(self, reply: Reply) -> None:
        self.needs_reset = True
        if reply.code // 100 != 2:
            self.needs_reset = self._peer.pipelines
            self._is_refused = True
            self.put_back.clear()  # the sender is the same for those who were to come later
            refused = self._refused("the server refused the sender", reply)
            if self.is_ahead:
                # It may be what the server thinks of commands that come early: to be asked again, in good order.
                self.must_close = True
                if isinstance(refused, Bounced):
                    refused = Deferred(refused.reason, reply, self._remote)
            self._decide(refused)

    def _rcpt(self, reply: Reply, index: int) -> None:
        if self._is_refused:
            return  # the answers to the rest of the batch mean nothing
        self._is_judged = True
        if reply.code // 100 == 2:
            self._accepted.append(index)
            self.learned = self._too_many = 0
        elif reply.code in (452, 552) and self._accepted:
            # "Too many recipients", also in its old form 552 (RFC 5321 section 4.5.3.1.10).
            self.put_back.append(index)
            if reply.enhanced_code in ("", "4.5.3", "5.5.3"):
                self.learned = len(self._accepted)
                self._too_many += 1
        elif reply.code == 552 and reply.enhanced_code in ("", "5.5.3"):
            self.outcomes[index] = Deferred("the server refused the recipient", reply, self._remote)
        else:
            self.outcomes[index] = self._refused("the server refused the recipient", reply)

    def _refused(self, reason: str, reply: Reply) -> Outcome:
        if reply.is_permanent:
            return Bounced(explained(reason, reply), reply, self._remote, self._is_about_recipient(reply))
        if not reply.is_transient:
            self.must_close = True
            return Deferred("the server's answer does not fit the command", reply, self._remote)
        return Deferred(explained(reason, reply), reply, self._remote)

    def _is_about_recipient(self, reply: Reply) -> bool:
        """Say whether the refusal just taken is about the recipient: at RCPT, or when it says so of the only one.

        That of MAIL is about us, that of the message most of all about the message.
        """
        at = self._answered - self._mail_at - 1
        if 0 < at <= len(self._asked):
            return True
        return at > 0 and len(self._accepted) == 1 and reply.speaks_of_recipient

    def _data(self, reply: Reply) -> bytes | Step:
        if reply.code == 354:
            self._content_sent = True
            if self._accepted:
                return Step.CONTENT
            # Nobody is left to get it, yet it must be ended: whatever is said to this dot, nothing was sent (RFC 2920
            # section 3.1).
            self.talk.append("no recipient is left: the transaction is ended without a message")
            self.talk.append(wire.DOT)
            return wire.DOT
        if self._accepted:
            self._decide(self._refused("the server refused the message", reply))
        return self._done()

    def dot_goes(self) -> None:
        """The final dot is about to be sent: from here on only the server's answer tells what happened."""
        self.talk.append(self.size_bytes)
        self.dot_sent = True

    def dot_stays(self) -> None:
        """The dot was not sent, if it was about to be, and never will: the server has no message."""
        if self.dot_sent:
            self.dot_sent = False
            self.talk.pop()

    def _final(self, reply: Reply) -> Step:
        if self._content_sent and not self._accepted:
            return self._done()
        if self.dot_sent and reply.code // 100 == 2:
            self.needs_reset = False
            self._decide_accepted(Delivered(reply, self._remote))
            return self._done()
        if not self.dot_sent:
            self._answered_early(reply)
            return self._done()
        if reply.is_permanent or reply.is_transient:
            self.needs_reset = False
            self._decide_accepted(self._refused("the server refused the message", reply))
        else:
            self.must_close = True
            self._decide_accepted(Unknown("the server's answer to the message does not fit", self._remote))
        return self._done()

    def _answered_early(self, reply: Reply) -> None:
        """An answer in the middle of the content judges those who were to get it, nobody else."""
        self.must_close = True
        early = Deferred("the server answered before the message was complete", reply, self._remote)
        refused = self._refused("the server refused the message", reply) if reply.is_permanent else early
        self._decide_accepted(refused)
        self._decide(replace(early, reply=None))

    def _decide_accepted(self, outcome: Outcome) -> None:
        for index in self._accepted:
            self.outcomes[index] = outcome

    def fail(self, reason: str) -> None:
        """The connection is lost, silent or not to be understood. reason: one sentence."""
        self.must_close = True
        if self.dot_sent:
            for index in self._accepted:
                self.outcomes[index] = Unknown(f"{reason}; whether the message arrived cannot be known", self._remote)
        self._decide(Deferred(reason, None, self._remote))


def _mail_parameters(envelope: Envelope, peer: Peer) -> list[str]:
    parameters = []
    offered, needs_smtputf8 = peer.extensions, _needs_smtputf8(envelope)
    if "SIZE" in offered:
        parameters.append(f"SIZE={envelope.size_bytes}")
    if (envelope.is_8bit or needs_smtputf8) and "8BITMIME" in offered:
        parameters.append("BODY=8BITMIME")
    if needs_smtputf8:
        parameters.append("SMTPUTF8")
    if envelope.require_tls and _keeps_requiretls(peer):
        parameters.append("REQUIRETLS")
    if "DSN" in offered:
        if envelope.ret:
            parameters.append(f"RET={envelope.ret}")
        if envelope.envid:
            parameters.append(f"ENVID={wire.xtext(envelope.envid)}")
    return parameters


def _rcpt_parameters(envelope: Envelope, index: int) -> list[str]:
    """Return NOTIFY when it was asked for, and ORCPT: the one that was given, else our own recipient."""
    parameters = []
    if envelope.notify and (notify := envelope.notify[index]):
        parameters.append(f"NOTIFY={notify}")
    orcpt = envelope.orcpts[index] if envelope.orcpts else ""
    if orcpt := orcpt or wire.orcpt(envelope.forward_paths[index]):
        parameters.append(f"ORCPT={orcpt}")
    return parameters
