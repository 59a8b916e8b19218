"""Ports: everything that a use case needs from outside, one Protocol per concern.

All are synchronous. Every method that can fail for reasons of infrastructure raises `egret.core.errors.Unavailable`, or
`ContractError` where what is stored or asked is malformed, which trying again does not mend; nothing else escapes an
adapter. Each port has one contract suite, run on memory, on moto and on ministack.
Reads that matter to a decision are strongly consistent. An expired item counts as absent when it is read: storage
removes late or never, so reads take `now`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from egret.contracts.handoff import Handoff, HandoffAnswer
from egret.contracts.queues import Call, Hint
from egret.contracts.records import (
    Acceptance,
    Breaker,
    CallRecord,
    DeliveryFilter,
    DueEntry,
    DueKind,
    IdempotencyRecord,
    IdempotencyState,
    MailFilter,
    Page,
    PostAnswer,
    StoredMail,
    Unit,
)
from egret.contracts.settings import Account, ApiKey, HoldRule, SendingDomain, Suppression, Transport
from egret.contracts.submission import Submission, Submitted
from egret.core.delivery import Delivery, Message
from egret.core.routing import Route
from egret.core.suppression import Strikes

# --- time and dice -------------------------------------------------------------------------------------------------


class Clock(Protocol):
    """The time of day."""

    def now(self) -> datetime:
        """Return the current instant, aware, UTC."""
        ...


class Dice(Protocol):
    """Randomness; cryptographic in production, seeded in tests."""

    def number(self) -> float:
        """Return a float in [0, 1)."""
        ...

    def bits(self, count: int) -> int:
        """Return an integer of `count` random bits."""
        ...

    def octets(self, count: int) -> bytes:
        """Return `count` random bytes."""
        ...


# --- the queue -----------------------------------------------------------------------------------------------------


class MailStore(Protocol):
    """Messages and deliveries of the tenants: the queue itself.

    Order of calls for one recipient: put_message, accept. For several: accept_several, expand, close.
    """

    def put_message(self, message: Message, content: bytes) -> bool:
        """Store facts and content; False when the id is taken in that account (nothing is written then)."""
        ...

    def accept(self, acceptance: Acceptance) -> bool:
        """Commit the one delivery of a stored message, with its due entry.

        False when the idempotency reservation is lost: nothing is written then. A repeat of the same acceptance is True
        and changes nothing, whatever has become of the delivery meanwhile. Raises Conflict, and nothing is written,
        when its own fromid leads to another delivery.
        """
        ...

    def accept_several(self, acceptance: Acceptance, content: bytes, repair_at: datetime) -> bool | None:
        """Commit a message with all its deliveries in one item that is due for repair at `repair_at`.

        True: committed. False: the idempotency reservation is lost. None: the id is taken by another message. Unless
        True, nothing is written. A repeat of the same acceptance is True while the submission is not closed.
        """
        ...

    def expand(self, deliveries: Iterable[Delivery]) -> None:
        """Put deliveries that do not exist yet; existing ones, whatever their state, stay as they are."""
        ...

    def close(self, account: str, message_id: int) -> None:
        """Drop the repair entry of a submission whose deliveries are all expanded. Idempotent."""
        ...

    def planned(self, account: str, message_id: int) -> tuple[Delivery, ...]:
        """Return the deliveries that a submission committed, as they were then; () when closed or absent."""
        ...

    def message(self, account: str, message_id: int) -> Message | None:
        """Return the facts, None when absent."""
        ...

    def messages(self, keys: Sequence[tuple[str, int]]) -> dict[tuple[str, int], Message]:
        """Return the facts of many (account, message id), absent ones left out."""
        ...

    def content(self, account: str, message_id: int) -> bytes | None:
        """Return the message as it goes over the wire, None when absent."""
        ...

    def contents(self, keys: Sequence[tuple[str, int]]) -> dict[tuple[str, int], tuple[Message, bytes | str]]:
        """Return facts and content of many: bytes from the table, or the key (str) of a blob."""
        ...

    def get(self, account: str, delivery_id: int, now: datetime) -> Delivery | None:
        """Return the delivery, None when absent or forgotten."""
        ...

    def get_many(self, keys: Sequence[tuple[str, int]], now: datetime) -> dict[tuple[str, int], Delivery]:
        """Return many (account, delivery id) at once, absent and forgotten ones left out."""
        ...

    def replace(self, old: Delivery, new: Delivery) -> bool:
        """Write `new`, events included, if the stored `rev` is still `old.rev`.

        False when somebody was faster, or when it is absent.
        """
        ...

    def replace_many(self, pairs: Sequence[tuple[Delivery, Delivery]]) -> Sequence[bool]:
        """Do `replace` for each (old, new), side by side; the answers stand in the same order."""
        ...

    def list(self, account: str, wanted: DeliveryFilter, cursor: str, limit: int, now: datetime) -> Page[Delivery]:
        """Return an account's deliveries, newest first (highest id first), forgotten ones left out.

        A page may have fewer than `limit` items, even none, while its cursor says that there is more.
        """
        ...

    def reap(self, account: str, message_id: int, now: datetime) -> bool:
        """Remove a message and its content if none of its deliveries exists any more; True when removed.

        Forgotten deliveries count as absent; a submission that is not closed still has deliveries to come.
        """
        ...


class OwnFromIds(Protocol):
    """Fromids that submitters chose themselves; written by `MailStore.accept`."""

    def find(self, account: str, text: str, now: datetime) -> int:
        """Return the delivery that a fromid (lower case) of the account leads to, 0 when there is none."""
        ...


class DueIndex(Protocol):
    """What is due, oldest first, over all tenants; sparse and sharded. Eventually consistent."""

    def due(self, kind: DueKind, now: datetime, limit: int) -> list[DueEntry]:
        """Return up to `limit` entries with due_at <= now, oldest first within each shard, shards taken evenly.

        The shard of an entry is `core.ids.shard_of(id)`. A claim does not change what is due: leased ones are here.
        """
        ...

    def count(self, kind: DueKind, now: datetime) -> int:
        """Return how many are due, for metrics; exact up to 10,000."""
        ...


class Idempotency(Protocol):
    """Idempotency-Keys of accounts; completed by `MailStore.accept…`."""

    def reserve(self, record: IdempotencyRecord, now: datetime) -> tuple[IdempotencyState, str]:
        """Reserve the key in flight until record.expires_at; the second value is the response when DONE, else "".

        Asked again with the same token while in flight, a reservation is still the caller's own: NEW.
        """
        ...

    def release(self, record: IdempotencyRecord) -> None:
        """Give up a reservation that is the caller's and in flight (the request was refused): the key is free again."""
        ...


class Counters(Protocol):
    """Recipients per account and UTC day."""

    def add(self, account: str, day: str, count: int, limit: int) -> bool:
        """Add `count` to the day (YYYY-MM-DD) unless the sum would exceed `limit`; False then, nothing added."""
        ...

    def used(self, account: str, day: str) -> int:
        """Return the sum of the day."""
        ...


class Suppressions(Protocol):
    """Suppression list and strikes, per account, keyed by base address."""

    def find(self, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Suppression]:
        """Return the entries (removed and expired ones included) of many (account, base address)."""
        ...

    def put_new(self, entry: Suppression) -> Suppression | None:
        """Add an entry unless one is there that does not give way to it: then return that.

        See `Suppression.gives_way_to`.
        """
        ...

    def remove(self, account: str, base_address: str, at: datetime) -> bool:
        """Mark as removed; False when there is none that is active at that time."""
        ...

    def list(self, account: str, now: datetime) -> list[Suppression]:
        """Return the active entries of an account, oldest first."""
        ...

    def find_strikes(self, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Strikes]:
        """Return the failures in a row of many (account, base address), those without any left out."""
        ...

    def put_strikes(self, account: str, base_address: str, old: Strikes, new: Strikes) -> bool:
        """Store `new` if `old` (`Strikes()`: nothing) stands there; False when somebody was faster.

        `new` is not empty. It may be dropped once it is over (`Strikes.over_at`).
        """
        ...


# --- webhook calls ---------------------------------------------------------------------------------------------------


class Calls(Protocol):
    """Records of webhook calls and the breaker of each URL."""

    def put(self, record: CallRecord) -> None:
        """Write the record of (account, delivery, seq), replacing an older one."""
        ...

    def get(self, account: str, delivery_id: int, seq: int, now: datetime) -> CallRecord | None:
        """Return the record, None when absent or past its retention."""
        ...

    def breaker(self, account: str, url: str) -> Breaker:
        """Return the state of a URL, a closed breaker when none is stored."""
        ...

    def put_breaker(self, account: str, url: str, breaker: Breaker) -> None:
        """Store it; a closed one without failures is deleted."""
        ...


class CallQueue(Protocol):
    """The SQS queue of the webhook poster, fair by account."""

    def put(self, calls: Sequence[Call]) -> None:
        """Queue calls."""
        ...


class HintQueue(Protocol):
    """The SQS queue of deliver, fair by account."""

    def put(self, hints: Sequence[Hint]) -> None:
        """Queue hints; may raise Unavailable, which the caller may ignore: the sweep finds the deliveries."""
        ...


class WebhookPoster(Protocol):
    """HTTP POST to a customer's URL, guarded: see `egret.core.netguard`."""

    def post(self, url: str, headers: Mapping[str, str], body: bytes, timeout: timedelta) -> PostAnswer:
        """Make one call; transport trouble and refusals of the guard are answers with status 0 and an error."""
        ...


# --- egress units ----------------------------------------------------------------------------------------------------


class Units(Protocol):
    """The announcements of egress units."""

    def put(self, unit: Unit) -> None:
        """Announce."""
        ...

    def list(self) -> list[Unit]:
        """Return every unit ever announced and not removed, whether valid or not."""
        ...

    def get(self, unit_id: str) -> Unit | None:
        """Return one unit, None when it was removed or never was."""
        ...

    def remove(self, unit_id: str) -> None:
        """Withdraw (a drained unit that will not come back)."""
        ...


class Egress(Protocol):
    """The way to a unit."""

    def hand(self, unit: Unit, handoff: Handoff) -> HandoffAnswer:
        """Hand over; raises `HandoffRefused` when nothing was taken, `Unavailable` when nobody knows."""
        ...


class Submitter(Protocol):
    """The way from an SMTP listener to the use case; the listener has neither its keys nor its tables."""

    def submit(self, submission: Submission) -> Submitted:
        """Have a submission with its content taken or refused.

        Raises Unavailable when nobody knows what became of it.
        """
        ...


# --- blobs, mailboxes ------------------------------------------------------------------------------------------------


class Blobs(Protocol):
    """Objects: message contents, incoming mail, uploads. Keys are paths that begin with the purpose."""

    def put(self, key: str, body: bytes) -> None:
        """Store, durably when this returns."""
        ...

    def get(self, key: str) -> bytes | None:
        """Return the object, None when absent."""
        ...

    def beginning(self, key: str, size_bytes: int) -> bytes | None:
        """Return the first bytes of the object, all of a smaller one; None when absent. size_bytes > 0."""
        ...

    def delete(self, key: str) -> None:
        """Remove. Idempotent."""
        ...

    def size(self, key: str) -> int | None:
        """Return the size in bytes, None when absent."""
        ...

    def upload_url(self, key: str, size_bytes: int, valid: timedelta) -> str:
        """Return a presigned URL that takes one PUT of exactly that size."""
        ...

    def download_url(self, key: str, valid: timedelta) -> str:
        """Return a presigned URL for one GET."""
        ...


class Mailboxes(Protocol):
    """Mail that an account received or saved, and the mailboxes that it made for it."""

    def put(self, mail: StoredMail) -> bool:
        """Store; False when the account has a mail of the same non-empty source and rcpt_to, or the id is taken.

        That it had one counts too: what was removed does not come back when it is processed again.
        """
        ...

    def get(self, account: str, mail_id: int, now: datetime) -> StoredMail | None:
        """Return one, None when absent or over."""
        ...

    def was_removed(self, account: str, mail_id: int) -> bool:
        """Tell whether `remove` took it away, for some weeks."""
        ...

    def list(self, account: str, wanted: MailFilter, cursor: str, limit: int, now: datetime) -> Page[StoredMail]:
        """Return an account's mail, newest first (highest id first).

        A page may have fewer than `limit` items, even none, while its cursor says that there is more.
        """
        ...

    def replace(self, old: StoredMail, new: StoredMail) -> bool:
        """Write `new` (other flags or another mailbox, rev one higher) if the stored `rev` is still `old.rev`.

        False when somebody was faster, when it is absent, or when the new mailbox is neither standard nor one it made.
        """
        ...

    def remove(self, mail: StoredMail, now: datetime) -> bool:
        """Remove for good if the stored `rev` is still `mail.rev`. Its object stays."""
        ...

    def holds(self, account: str, source: str, rcpt_to: str, now: datetime) -> bool | None:
        """Tell whether the account still has the mail of a source; None when it never had, as far as is known."""
        ...

    def threads(self, account: str, message_ids: Sequence[str]) -> dict[str, str]:
        """Return the threads of those Message-IDs that have one."""
        ...

    def join(self, account: str, message_id: str, thread: str, until: datetime) -> str:
        """Give a Message-ID its thread unless it has one; return the one it has. May be forgotten after `until`."""
        ...

    def own(self, account: str) -> Sequence[str]:
        """Return the mailboxes that the account made, by name."""
        ...

    def create(self, account: str, mailbox: str) -> bool:
        """Make a mailbox; False when it is there."""
        ...

    def drop(self, account: str, mailbox: str, now: datetime) -> bool | None:
        """Remove a mailbox that the account made: True. False: mail is in it. None: there is none of that name."""
        ...


# --- settings --------------------------------------------------------------------------------------------------------


class SettingsReader(Protocol):
    """Settings as the message path reads them, through a cache of less than a minute."""

    def account(self, account_id: str) -> Account | None:
        """Return an account by id."""
        ...

    def account_of_address(self, address: str) -> Account | None:
        """Return the account of a login address (canonical form: lower-case, A-label domain)."""
        ...

    def accounts(self) -> list[Account]:
        """Return all, by name; not for every message."""
        ...

    def key(self, key_hash: str) -> ApiKey | None:
        """Return an API key by the SHA-256 hex of its text."""
        ...

    def domain(self, domain: str) -> SendingDomain | None:
        """Return a sending domain by A-label."""
        ...

    def domain_of_return_path(self, domain: str) -> SendingDomain | None:
        """Return the sending domain that uses this return-path domain."""
        ...

    def hold_rules(self) -> Sequence[HoldRule]:
        """Return every hold rule."""
        ...

    def routes(self) -> Sequence[Route]:
        """Return every route, in no particular order."""
        ...

    def transports(self) -> Sequence[Transport]:
        """Return every transport, by name."""
        ...


class SettingsWriter(Protocol):
    """Changes of settings; each is one atomic write with its uniqueness checks, `Conflict` when they fail."""

    def put_account(self, account: Account) -> None:
        """Create or replace an account; its name and addresses must be free or its own."""
        ...

    def accounts(self) -> list[Account]:
        """Return all, by name."""
        ...

    def account_by_name(self, name: str) -> Account | None:
        """Return an account by its name."""
        ...

    def put_key(self, key: ApiKey) -> None:
        """Add or replace a key."""
        ...

    def keys(self, account_id: str) -> list[ApiKey]:
        """Return an account's keys, oldest first."""
        ...

    def remove_key(self, key_hash: str) -> bool:
        """Revoke; False when absent."""
        ...

    def touch_key(self, key: ApiKey, at: datetime) -> None:
        """Note that the key was used, at most one write an hour; a revoked key stays revoked."""
        ...

    def put_domain(self, domain: SendingDomain) -> None:
        """Create or replace; another account's domain is a Conflict, so is a return-path domain that is in use."""
        ...

    def domains(self, account_id: str) -> list[SendingDomain]:
        """Return an account's domains by name."""
        ...

    def remove_domain(self, domain: str) -> bool:
        """Remove; False when absent."""
        ...

    def put_hold_rule(self, rule: HoldRule) -> None:
        """Add a rule."""
        ...

    def remove_hold_rule(self, rule_id: str) -> bool:
        """Remove; False when absent."""
        ...

    def put_route(self, route: Route) -> None:
        """Add or replace a route."""
        ...

    def remove_route(self, route_id: str) -> bool:
        """Remove; False when absent."""
        ...

    def put_transport(self, transport: Transport) -> None:
        """Add or replace a transport."""
        ...

    def remove_transport(self, name: str) -> bool:
        """Remove; False when absent. Routes that name it stay."""
        ...


class KeyWrapper(Protocol):
    """Encryption of DKIM private keys and passwords at rest. context: bound to the ciphertext (the domain, …)."""

    def wrap(self, plain: bytes, context: str) -> bytes:
        """Return the ciphertext."""
        ...

    def unwrap(self, wrapped: bytes, context: str) -> bytes:
        """Return the plaintext; raises ContractError when it is not ours or the context differs."""
        ...


class AuthFailures(Protocol):
    """Failed logins per network, over all processes; consulted only after a key missed."""

    def record(self, address: str, now: datetime) -> bool:
        """Count a failure of an IP address; False, not counted, when its network is at a limit (`core.authlimits`)."""
        ...
