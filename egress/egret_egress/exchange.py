"""One SMTP transaction as a state machine without I/O: replies in, commands and outcomes out.

Implements: RFC 5321 sections 3.3 and 4.2.5, RFC 2920 (everything up to DATA in one write when offered), RFC 1870,
RFC 6152, RFC 6531. Every recipient ends with an outcome of its own or is put back for a next transaction.
"""

from __future__ import annotations

import enum
from collections import deque
from dataclasses import dataclass, replace

from egret.core.outcome import NOWHERE, Bounced, Deferred, Delivered, Outcome, Remote, Unknown
from egret.core.reply import Reply
from egret_egress import wire
from egret_egress.wire import Peer


@dataclass(frozen=True, slots=True)
class Envelope:
    """What the server is asked to take. Paths without <>; reverse_path "" is null. size_bytes: before dot-stuffing."""

    reverse_path: str
    forward_paths: tuple[str, ...]
    size_bytes: int
    is_8bit: bool = False
    smtputf8: bool = False
    require_tls: bool | None = None

    @property
    def needs_smtputf8(self) -> bool:
        """Headers or a path are not ASCII."""
        return self.smtputf8 or not (self.reverse_path.isascii() and all(path.isascii() for path in self.forward_paths))


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

    RFC 6531 section 3.1 (5.6.7), RFC 1870 section 6 (5.3.4), RFC 8689 section 4.2.1 (5.7.30).
    """
    if envelope.needs_smtputf8 and not peer.offers("SMTPUTF8"):
        return Bounced(
            "the server does not take internationalized mail", Reply(550, ("5.6.7 SMTPUTF8 is not supported",))
        )
    if 0 < peer.size_limit < envelope.size_bytes:
        words = f"5.3.4 {envelope.size_bytes} bytes are more than the {peer.size_limit} that the server takes"
        return Bounced("the message is too large for the server", Reply(552, (words,)))
    if envelope.require_tls and not (peer.is_verified and peer.offers("REQUIRETLS")):
        return Bounced(
            "the way on is not protected as REQUIRETLS asks", Reply(554, ("5.7.30 REQUIRETLS is not supported",))
        )
    return None


class Exchange:
    """One transaction with one server.

    outcomes: by position of the recipient, None while undecided and for those in `put_back`.
    must_close: the connection can carry nothing more. needs_reset: RSET must come before the next MAIL.
    """

    def __init__(self, envelope: Envelope, peer: Peer, remote: Remote = NOWHERE, *, reset: bool = False) -> None:
        self.outcomes: list[Outcome | None] = [None] * len(envelope.forward_paths)
        self.put_back: list[int] = []
        self.must_close = False
        self.needs_reset = reset
        self.dot_sent = False
        self.replies_read = 0
        self._remote = remote
        self._peer = peer
        self._accepted: list[int] = []
        self._rcpt_decided = 0
        self._commands: deque[bytes] = deque()
        self._stages: deque[Stage] = deque()
        self._content_sent = False
        self._is_judged = False
        self._plan(envelope)

    def _plan(self, envelope: Envelope) -> None:
        """Write every command; a path that cannot be written raises WireError here, before any I/O."""
        if self.needs_reset:
            self._add(Stage.RSET, b"RSET\r\n")
        self._add(Stage.MAIL, wire.mail_from(envelope.reverse_path, _mail_parameters(envelope, self._peer)))
        for path in envelope.forward_paths:
            self._add(Stage.RCPT, wire.rcpt_to(path))
        self._add(Stage.DATA, b"DATA\r\n")

    def _add(self, stage: Stage, command: bytes) -> None:
        self._stages.append(stage)
        self._commands.append(command)

    @property
    def stage(self) -> Stage:
        """What the next reply answers."""
        return self._stages[0] if self._stages else Stage.FINAL

    @property
    def accepted(self) -> tuple[int, ...]:
        """Positions of the recipients that the server took at RCPT."""
        return tuple(self._accepted)

    @property
    def host_failure(self) -> Deferred | None:
        """Set when the server failed before it judged any recipient: another host may be asked at once."""
        first = self.outcomes[0]
        is_same = not self._is_judged and all(outcome == first for outcome in self.outcomes)
        return first if is_same and isinstance(first, Deferred) else None

    def start(self) -> bytes:
        """Return the first bytes to send: all commands when the server pipelines, else one."""
        return self._next_bytes()

    def _next_bytes(self) -> bytes:
        if not self._peer.pipelines:
            return self._commands.popleft()
        everything = b"".join(self._commands)
        self._commands.clear()
        return everything

    def take(self, reply: Reply) -> bytes | Step:
        """Read the next reply: what to send, or what to do."""
        self.replies_read += 1
        if reply.code == 421:
            return self._close_down(reply)
        if not self._stages:
            return self._final(reply)
        stage = self._stages.popleft()
        match stage:
            case Stage.RSET:
                self.needs_reset = False
                if not reply.is_positive:
                    return self._close_down(reply)
            case Stage.MAIL:
                self._mail(reply)
            case Stage.RCPT:
                self._rcpt(reply)
            case _:
                return self._data(reply)
        return self._go_on()

    def _go_on(self) -> bytes | Step:
        if not self._commands:
            return Step.WAIT
        if self.stage is Stage.DATA and not self._accepted:
            return self._end()
        if self.stage is Stage.RCPT and self.outcomes[self._rcpt_decided] is not None:
            return self._end()  # MAIL was refused, for everybody
        return self._commands.popleft()

    def _end(self) -> Step:
        self._stages.clear()
        self._commands.clear()
        return Step.DONE

    def _close_down(self, reply: Reply) -> Step:
        """421 at any point: the server is about to close (RFC 5321 section 3.8)."""
        self.must_close = True
        self._decide(Deferred("the server ended the connection", reply, self._remote))
        return self._end()

    def _decide(self, outcome: Outcome) -> None:
        """Give everybody who has none yet this outcome; who was to be put back goes along when the connection ends."""
        waiting = () if not self.must_close else tuple(self.put_back)
        for index, known in enumerate(self.outcomes):
            if known is None and (index not in self.put_back or index in waiting):
                self.outcomes[index] = outcome
        if self.must_close:
            self.put_back.clear()

    def _mail(self, reply: Reply) -> None:
        self.needs_reset = True
        if reply.code // 100 != 2:
            self.needs_reset = self._peer.pipelines
            refused = self._refused("the server refused the sender", reply)
            self._decide(replace(refused, names_recipient=False) if isinstance(refused, Bounced) else refused)

    def _rcpt(self, reply: Reply) -> None:
        index = self._rcpt_decided
        self._rcpt_decided += 1
        if self.outcomes[index] is not None:
            return  # after a refused MAIL the answers to the rest of the batch mean nothing
        self._is_judged = True
        if reply.code // 100 == 2:
            self._accepted.append(index)
        elif reply.code in (452, 552) and self._accepted:
            # "Too many recipients", also in its old form 552 (RFC 5321 section 4.5.3.1.10).
            self.put_back.append(index)
        elif reply.code == 552 and reply.enhanced_code in ("", "5.5.3"):
            self.outcomes[index] = Deferred("the server refused the recipient", reply, self._remote)
        else:
            self.outcomes[index] = self._refused("the server refused the recipient", reply)

    def _refused(self, reason: str, reply: Reply) -> Outcome:
        if reply.is_permanent:
            return Bounced(reason, reply, self._remote)
        if not reply.is_transient:
            self.must_close = True
            return Deferred("the server's answer does not fit the command", reply, self._remote)
        return Deferred(reason, reply, self._remote)

    def _data(self, reply: Reply) -> bytes | Step:
        if reply.code == 354:
            self._content_sent = True
            if self._accepted:
                return Step.CONTENT
            # Nobody is left to get it, yet it must be ended: whatever is said to this dot, nothing was sent (RFC 2920
            # section 3.1).
            return wire.DOT
        if self._accepted:
            self._decide(self._refused("the server refused the message", reply))
        return self._end()

    def dot_goes(self) -> None:
        """The final dot is about to be sent: from here on only the server's answer tells what happened."""
        self.dot_sent = True

    def _final(self, reply: Reply) -> Step:
        if self._content_sent and not self._accepted:
            return self._end()
        if self.dot_sent and reply.code // 100 == 2:
            self.needs_reset = False
            self._decide_accepted(Delivered(reply, self._remote))
            return self._end()
        if not self.dot_sent:
            self.must_close = True  # an answer in the middle of the content
            reason = "the server answered before the message was complete"
            self._decide(
                self._refused("the server refused the message", reply)
                if reply.is_permanent
                else Deferred(reason, reply, self._remote)
            )
            return self._end()
        if reply.is_permanent or reply.is_transient:
            self.needs_reset = False
            self._decide_accepted(self._refused("the server refused the message", reply))
        else:
            self.must_close = True
            self._decide(Unknown("the server's answer to the message does not fit", self._remote))
        return self._end()

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
        self._end()


def _mail_parameters(envelope: Envelope, peer: Peer) -> tuple[str, ...]:
    parameters = []
    if peer.offers("SIZE"):
        parameters.append(f"SIZE={envelope.size_bytes}")
    if peer.offers("8BITMIME") and (envelope.is_8bit or envelope.needs_smtputf8):
        parameters.append("BODY=8BITMIME")
    if envelope.needs_smtputf8:
        parameters.append("SMTPUTF8")
    if envelope.require_tls:
        parameters.append("REQUIRETLS")
    return tuple(parameters)
