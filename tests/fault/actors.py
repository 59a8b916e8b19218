"""Everybody who does something: clients, the functions behind the queues, people, and mail that comes back."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from egret.contracts.caller import Caller
from egret.contracts.queues import Call, Hint, Inbound, InboundRecipient, pack_inbound
from egret.contracts.records import PostAnswer
from egret.contracts.settings import HoldRule, Scope
from egret.contracts.stream import TableChange
from egret.contracts.submission import Submission, SubmissionRecipient
from egret.contracts.webapi import NameAddress, SendRequest, SuppressionAddRequest
from egret.core import fromid
from egret.core.delivery import UNSEEN_RETENTION, Delivery, State
from egret.core.errors import InvalidRequest, Unavailable
from egret.core.events import EventKind
from egret.core.ids import shard_of
from egret.core.mimescan import normalise_lines, split_header
from egret.memory.calls import Posted
from egret.memory.own_fromids import MemoryOwnFromIds
from egret.memory.queue import MemoryQueue, Received
from egret.usecases.deliver import deliver
from egret.usecases.deliveries import delivery_cancel, delivery_hold, delivery_release
from egret.usecases.holds import hold_add, hold_remove
from egret.usecases.ingest import ingest
from egret.usecases.post_webhook import post_webhooks
from egret.usecases.publish import publish
from egret.usecases.replay import replay
from egret.usecases.returned import source_of
from egret.usecases.send import send
from egret.usecases.submit import submit
from egret.usecases.suppressions import suppression_add, suppression_remove
from egret.usecases.sweep import sweep
from tests.fault.faults import Build, Crash, Violation, pick

if TYPE_CHECKING:
    from tests.fault.simulation import World

Key = tuple[str, int]
"""(account, id)."""
DOMAINS: Final = ("a.example", "b.example", "c.example")
RECIPIENTS: Final = tuple(f"{name}@{domain}" for domain in DOMAINS for name in ("ann", "bob", "cy"))
MAIL_SHARD: Final = -1
"""Mail in mailboxes lies in a partition of its own."""
KEY_KEPT: Final = timedelta(hours=20)
"""A client gives up a key well before it is forgotten."""


@dataclass(slots=True)
class Wish:
    """What one client wants to send, once. key: its Idempotency-Key, "" for none. answers: the ids it was told.

    mail_from: the reverse-path of one that comes by SMTP, "" = by HTTP.
    """

    caller: Caller
    request: SendRequest
    key: str
    mail_from: str = ""
    answers: list[tuple[int, ...]] = field(default_factory=list)
    is_over: bool = False


@dataclass(slots=True)
class Clients:
    """They send, and ask again with the same key when they got no answer."""

    world: World
    wishes: list[Wish] = field(default_factory=list)

    def send(self) -> None:
        """Send something new."""
        world, rng = self.world, self.world.rng
        if len(self.wishes) >= world.most_wishes:
            return
        account = pick(rng, world.accounts)
        count = 1 if rng.random() < 0.5 else 2 + int(rng.random() * 3)
        people = tuple(NameAddress(address=address) for address in rng.sample(RECIPIENTS, count))
        later = world.clock.now() + timedelta(minutes=rng.randrange(120)) if rng.random() < 0.1 else None
        number = len(self.wishes)
        request = SendRequest(
            to=people,
            subject=f"wish {number}",
            text="x" * 40_000 if rng.random() < 0.02 else "x",
            future_release=later,
            save_sent=rng.random() < 0.1,
            extra={"wish": str(number)},
        )
        caller = Caller(account, account.addresses[0], Scope.FULL)
        key = f"key-{number}" if rng.random() < 0.5 else ""
        is_smtp = not request.save_sent and number % 4 == 3
        self.wishes.append(Wish(caller, request, key, self._mail_from(caller, number, count) if is_smtp else ""))
        self.ask(self.wishes[-1])

    def _mail_from(self, caller: Caller, number: int, count: int) -> str:
        """Return a reverse-path; one for a single recipient may have a fromid of the client's own."""
        domain = self.world.settings.domain(caller.login.rpartition("@")[2])
        if domain is None or count > 1 or number % 8 == 3:
            return caller.login
        return f"own-{number}@{domain.return_path_domain}"

    def ask_again(self) -> None:
        """Ask again with a key: for an answer that was lost, or although there was one."""
        keyed = [wish for wish in self.wishes if wish.key and not wish.is_over]
        if keyed:
            self.ask(pick(self.world.rng, keyed))

    def ask(self, wish: Wish) -> None:
        """Make the request; only an answer counts."""
        world = self.world
        world.note(f"{wish.caller.account.name} asks: {wish.request.subject} {wish.key}")
        first_at = world.first_asked.setdefault(id(wish), world.clock.now())
        if world.clock.now() - first_at > KEY_KEPT:
            wish.is_over = True
            return
        try:
            if wish.mail_from:
                result = submit(world.sending, wish.caller, submission_of(wish))
            else:
                result = send(world.sending, wish.caller, wish.request, wish.key)
        except InvalidRequest as error:
            world.note(f"refused: {error}")
            return
        wish.answers.append(tuple(one.queue_msg_id for one in result.submissions))
        world.note(f"answered: {[id_ % 10**7 for id_ in wish.answers[-1]]}")


def submission_of(wish: Wish) -> Submission:
    """Return a wish as the SMTP listener hands it on."""
    request, later = wish.request, wish.request.future_release
    fields = [f"From: {wish.caller.login}", f"Subject: {request.subject}", f"X-Mox-Extra-Wish: {request.extra['wish']}"]
    fields += [f"Egret-Idempotency-Key: {wish.key}"] if wish.key else []
    return Submission(
        key_hash="",
        mail_from=wish.mail_from,
        recipients=tuple(SubmissionRecipient(person.address) for person in request.to),
        content="\r\n".join([*fields, "", *textwrap.wrap(request.text, 900), ""]).encode(),
        future_release=f"until;{later.isoformat()}" if later is not None else "",
    )


@dataclass(slots=True)
class Functions:
    """The Lambda functions: each takes from its queue, calls its use case, and deletes what is done."""

    world: World
    read: int = 0
    read_mail: int = 0
    shards: dict[tuple[str, int], list[TableChange]] = field(default_factory=dict)
    busy: set[tuple[str, int]] = field(default_factory=set)

    def deliver(self) -> None:
        """Serve hints."""
        world = self.world

        def work(hints: list[Hint]) -> None:
            world.note(f"came to {dict(deliver(world.delivering, hints).counts)}")

        self._serve(world.hints, work)

    def sweep(self) -> None:
        """Run the sweep."""
        self.world.note(f"sweep {sweep(self.world.sweeping)}")

    def post(self) -> None:
        """Serve webhook calls; what could not be dealt with stays in the queue."""
        world = self.world
        self._serve(world.call_queue, lambda calls: post_webhooks(world.posting, calls))

    def ingest(self) -> None:
        """Serve mail that came in."""
        world = self.world

        def each(keys: list[str]) -> None:
            for key in keys:
                ingest(world.ingesting, key)

        self._serve(world.inbound, each, 1)

    def _serve(
        self, queue: MemoryQueue[Any], work: Callable[[list[Any]], Sequence[Call] | None], limit: int = 3
    ) -> None:
        taken: list[Received[Any]] = queue.take(1 + int(self.world.rng.random() * limit))
        if not taken:
            return
        self.world.note(f"serves {[record.body for record in taken]}")
        receipts = [record.receipt for record in taken]
        try:
            left = work([record.body for record in taken]) or ()
        except (Crash, Unavailable):
            queue.give_back(*receipts)
            raise
        again = [record.receipt for record in taken if record.body in left]
        queue.give_back(*again)
        queue.delete(*(set(receipts) - set(again)))

    def stream(self) -> bool:
        """Serve one shard of the change stream; a batch that fails comes again. False when there is nothing."""
        self._pull()
        waiting = [shard for shard in sorted(self.shards) if self.shards[shard] and shard not in self.busy]
        if not waiting:
            return False
        shard = pick(self.world.rng, waiting)
        batch = self.shards[shard][: 1 + int(self.world.rng.random() * 5)]
        self.world.note(f"stream {shard}: {len(batch)}")
        self.busy.add(shard)
        is_careless = self.world.build is Build.NO_OUTBOX
        if is_careless:
            del self.shards[shard][: len(batch)]
        try:
            publish(self.world.publishing, batch)
        finally:
            self.busy.discard(shard)
        if not is_careless and not (self.world.faults.enabled and self.world.rng.random() < 0.05):
            del self.shards[shard][: len(batch)]
        return True

    def _pull(self) -> None:
        stream = self.world.store.stream
        for record in stream[self.read :]:
            shard = (record.delivery.account, shard_of(record.delivery.id))
            self.shards.setdefault(shard, []).append(record)
        self.read = len(stream)
        mail_stream = self.world.table.mail_stream
        for change in mail_stream[self.read_mail :]:
            mail = change.new or change.old
            if mail is not None:
                self.shards.setdefault((mail.account, MAIL_SHARD), []).append(change)
        self.read_mail = len(mail_stream)

    @property
    def has_records(self) -> bool:
        """Whether the stream has something to be told."""
        self._pull()
        return any(self.shards.values())


@dataclass(slots=True)
class Mischief:
    """What queues do to records. Hints may be lost; a call only when its record brings it back."""

    world: World

    def loses(self) -> None:
        """Lose a hint, or a call that the due index knows."""
        world = self.world
        if world.hints.waiting:
            world.note("a hint is lost")
            world.hints.lose(int(world.rng.random() * len(world.hints)))
        for position, call in enumerate(world.call_queue.waiting):
            record = world.table.calls.get((call.account, call.delivery_id, call.seq))
            if record is not None and record.due_at is not None and world.rng.random() < 0.3:
                world.note(f"lost: {call}")
                world.call_queue.lose(position)
                return

    def duplicates(self) -> None:
        """Hand something out twice."""
        queue = self._queue()
        if len(queue):
            queue.duplicate(int(self.world.rng.random() * len(queue)))

    def delays(self) -> None:
        """Let something wait behind all others."""
        queue = self._queue()
        if len(queue):
            queue.delay(int(self.world.rng.random() * len(queue)))

    def _queue(self) -> MemoryQueue[Any]:
        queues: list[MemoryQueue[Any]] = [self.world.hints, self.world.call_queue, self.world.inbound]
        return pick(self.world.rng, queues)


@dataclass(slots=True)
class People:
    """Accounts and operators who steer deliveries, lists and holds."""

    world: World
    rules: list[str] = field(default_factory=list)
    removed: dict[tuple[str, str], Any] = field(default_factory=dict)

    def steer(self) -> None:
        """Cancel, hold or release some delivery."""
        world = self.world
        known = list(world.table.deliveries)
        if not known:
            return
        account, id_ = pick(world.rng, known)
        method = pick(world.rng, (delivery_cancel, delivery_hold, delivery_release, delivery_release))
        world.note(f"{method.__name__} {id_ % 10**7}")
        self._allow_refusal(lambda: method(world.steering, account, id_))

    def unsuppress(self) -> None:
        """Take an address off the list."""
        world = self.world
        account = pick(world.rng, world.accounts).id
        listed = world.suppressions.list(account, world.clock.now())
        if listed:
            address = pick(world.rng, listed).base_address
            world.note(f"{account} takes {address} off the list")
            self._allow_refusal(lambda: suppression_remove(world.suppressing, account, address))
            entry = world.suppressions.find([(account, address)])[account, address]
            if entry.removed_at is not None:
                self.removed[account, address] = entry.removed_at

    def suppress(self) -> None:
        """Put an address on the list."""
        world = self.world
        account, address = pick(world.rng, world.accounts).id, pick(world.rng, RECIPIENTS)
        request = SuppressionAddRequest(email_address=address, manual=True, reason="m")
        self._allow_refusal(lambda: suppression_add(world.suppressing, account, request))

    def hold(self) -> None:
        """Add a hold rule, or remove one."""
        world = self.world
        if self.rules:
            rule = self.rules.pop()
            self._allow_refusal(lambda: hold_remove(world.holding, rule))
        else:
            domain = pick(world.rng, DOMAINS)
            rule = hold_add(world.holding, HoldRule("", recipient=domain))[0].id
            world.note(f"hold rule for {domain}")
            self.rules.append(rule)

    def _allow_refusal(self, request: Callable[[], object]) -> None:
        try:
            request()
        except InvalidRequest as error:
            self.world.note(f"refused: {error.code}")

    def replay(self) -> None:
        """Have every event derived and told again."""
        self.world.note(f"replayed {replay(self.world.replaying, self.world.started_at)} calls")

    def let_go(self) -> None:
        """Remove every rule and release what is held."""
        world = self.world
        for rule in world.settings.hold_rules():
            world.settings.remove_hold_rule(rule.id)
        for (account, id_), delivery in list(world.table.deliveries.items()):
            if delivery.state is State.HELD:
                delivery_release(world.steering, account, id_)


@dataclass(slots=True)
class Receivers:
    """The servers of the accounts' webhooks. told: every event that reached one, by account; mails: ids of mail."""

    world: World
    told: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    mails: dict[str, set[int]] = field(default_factory=dict)
    first_heard: dict[str, datetime] = field(default_factory=dict)
    are_well: bool = False

    def answer(self, posted: Posted) -> PostAnswer:
        """Take a call: it may be refused, and the answer may be lost."""
        account = posted.url.rpartition("/")[2]
        payload = json.loads(posted.body)
        payload["id"] = posted.headers["webhook-id"]
        dice = 0.0 if self.are_well else self.world.rng.random()
        if dice > 0.8:
            return PostAnswer(500 if dice > 0.9 else 0, error="down")
        if "Event" in payload:
            self.told.setdefault(account, []).append(payload)
        else:
            self.mails.setdefault(account, set()).add(payload["Meta"]["MsgID"])
        self.first_heard.setdefault(payload["id"], self.world.clock.now())
        self.world.note(f"{account} hears {payload['id']}: {payload.get('Event', 'mail')}")
        return PostAnswer(0, error="the answer was lost") if dice > 0.7 else PostAnswer(200)


@dataclass(slots=True)
class Returned:
    """A mail that a remote server sends back, and sends again until it hears 250.

    about: the delivery. kind: which event it is to make. tries: how often it was sent; is_taken: 250 was heard.
    """

    name: str
    about: Key
    recipient: InboundRecipient
    raw: bytes
    kind: EventKind
    tries: int = 0
    is_taken: bool = False

    @property
    def source(self) -> str:
        """What its event is known by."""
        return source_of(f"<{self.name}@mx.example>", split_header(normalise_lines(self.raw))[1])


@dataclass(slots=True)
class Postmasters:
    """Remote servers that send something back for a message that they took, and the port 25 that they send it to."""

    world: World
    mails: list[Returned] = field(default_factory=list)
    strangers: dict[str, str] = field(default_factory=dict)
    """For each mail that has nothing to do with a delivery the account that it is for."""

    def write(self) -> None:
        """Write a DSN, a complaint or a reply: to the fromid, or to the login where the account uses none.

        Now and then a stranger writes to an address of an account.
        """
        world = self.world
        if world.has_strangers and world.rng.random() < 0.2:
            self._write_as_stranger()
            return
        received = sorted({(key.account, key.delivery_id) for key in world.received})
        known = [world.ever[key] for key in received]
        if not known:
            return
        delivery = pick(world.rng, known)
        name = f"mail-{len(self.mails) + 1}"
        kind, content = _content(world, delivery)
        if not delivery.fromid and kind is EventKind.UNRECOGNIZED:
            return
        if delivery.fromid and not self._leads_back(delivery):
            return
        raw = f"Message-ID: <{name}@mx.example>\r\n".encode() + content
        self.mails.append(Returned(name, (delivery.account, delivery.id), self._address(delivery), raw, kind))
        self.send(self.mails[-1])

    def send_again(self) -> None:
        """Send what was not heard to be taken."""
        open_ = [mail for mail in self.mails if not mail.is_taken]
        if open_:
            self.send(pick(self.world.rng, open_))

    def _address(self, delivery: Delivery) -> InboundRecipient:
        """Return what the server makes of the reverse-path at RCPT."""
        if not delivery.fromid:
            return InboundRecipient(delivery.reverse_path, delivery.account)
        return InboundRecipient(delivery.reverse_path, delivery.account, delivery.id)

    def _write_as_stranger(self) -> None:
        world = self.world
        account = pick(world.rng, world.accounts)
        name = f"stranger-{len(self.strangers) + 1}"
        self.strangers[name] = account.id
        raw = f"From: eve@a.example\r\nSubject: hello\r\nMessage-ID: <{name}@a.example>\r\n\r\nHello.\r\n".encode()
        recipient = InboundRecipient(account.addresses[0], account.id)
        envelope = Inbound(name, world.clock.now().isoformat(), "", [recipient])
        world.memory_blobs.put(f"inbound/{name}", pack_inbound(envelope, raw))
        world.inbound.put([f"inbound/{name}"] * (1 + (world.rng.random() < 0.3)))
        world.note(f"{name} comes for {account.name}")

    def send(self, mail: Returned) -> None:
        """Play port 25 from RCPT to 250: the object is stored, then S3 tells of it, then the server answers."""
        world = self.world
        mail.tries += 1
        id_ = f"{mail.name}-{mail.tries}"
        key = f"inbound/{id_}"
        raw = mail.raw if world.build is not Build.NO_REPEATS else mail.raw + id_.encode()
        body = pack_inbound(Inbound(id_, world.clock.now().isoformat(), "", [mail.recipient]), raw)
        world.note(f"{id_} comes back for {mail.about[1] % 10**7}")
        if world.build is Build.EARLY_250:
            mail.is_taken = True
        try:
            world.arriving.put(key, body)
        finally:
            if world.memory_blobs.get(key) is not None:
                world.inbound.put([key] * (1 + (world.rng.random() < 0.3)))
        world.faults.strike("before 250")
        mail.is_taken = True

    def _leads_back(self, delivery: Delivery) -> bool:
        """Tell whether a fromid is still known; raise Violation when it leads elsewhere, or is forgotten too early."""
        world = self.world
        found: tuple[str, int] | None
        if genuine := fromid.verify(world.secrets.fromid, delivery.fromid.upper()):
            found = genuine.account, genuine.delivery_id
        else:
            own = MemoryOwnFromIds(world.table).find(delivery.account, delivery.fromid.lower(), world.clock.now())
            found = (delivery.account, own) if own else None
        is_old = world.clock.now() >= delivery.expires_at + UNSEEN_RETENTION
        if found != (delivery.account, delivery.id) and not (found is None and is_old):
            raise Violation(f"the fromid of {delivery.id} does not lead back")
        return found is not None


def _content(world: World, delivery: Delivery) -> tuple[EventKind, bytes]:
    """Return a mail without its Message-ID, and the event that it is to make."""
    dice = world.rng.random()
    if dice < 0.1:
        return EventKind.UNRECOGNIZED, b"Subject: out of office\r\n\r\nI am away.\r\n"
    stored = world.table.messages.get((delivery.account, delivery.message_id))
    message_id = stored.message.message_id if stored else "<gone@example>"
    original = f"--b\r\nContent-Type: text/rfc822-headers\r\n\r\nMessage-ID: {message_id}\r\n\r\n--b--\r\n"
    if dice < 0.25:
        fields = f"Feedback-Type: abuse\r\nUser-Agent: fbl\r\nVersion: 1\r\nOriginal-Rcpt-To: {delivery.recipient}\r\n"
        return EventKind.COMPLAINED, _report("feedback-report", fields, original)
    kind, status = pick(
        world.rng,
        (
            (EventKind.FAILED, "5.1.1"),
            (EventKind.FAILED, "5.2.2"),
            (EventKind.DELAYED, "4.4.1"),
            (EventKind.RELAYED, "2.0.0"),
        ),
    )
    fields = (
        "Reporting-MTA: dns; mx.example\r\n\r\n"
        f"Final-Recipient: rfc822; {delivery.recipient}\r\nAction: {kind.value}\r\nStatus: {status}\r\n"
    )
    return kind, _report("delivery-status", fields, original)


def _report(type_: str, fields: str, original: str) -> bytes:
    return (
        "Subject: report\r\nMIME-Version: 1.0\r\n"
        f'Content-Type: multipart/report; report-type={type_}; boundary="b"\r\n\r\n'
        f"--b\r\nContent-Type: message/{type_}\r\n\r\n{fields}\r\n{original}"
    ).encode()
