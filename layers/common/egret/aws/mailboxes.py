"""Mailboxes in DynamoDB: an item for each mail, entries by mailbox and by thread, and one that remembers its source.

All of an account lies in its own partition. Items of a mail share its time to live; what remembers it outlives it,
since a queue may bring incoming mail again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import islice

import msgspec

from egret.aws.keys import account_partition, digest, instant, micros, ttl
from egret.aws.table import ABSENT, Condition, Item, Key, Range, Table, b, key_of, n, number, s, text
from egret.contracts.records import MailFilter, Page, StoredMail
from egret.core.errors import ContractError
from egret.core.ids import MAX_ID, first_id_at, last_id_at
from egret.core.mailbox import STANDARD

REMEMBERED = timedelta(days=30)
"""How long a mail that is gone is remembered: longer than any queue keeps what may bring it again (14 days)."""
LIST_PAGE = 100
"""Mails read at a time."""
LIST_EXAMINED = 5000
"""Mails looked at for one page of a listing, so that a rare filter costs a bounded time: the page may be short."""

_PRESENT = Condition("attribute_exists(pk)")


class _PackedMail(msgspec.Struct, array_like=True, frozen=True, gc=False):
    mailbox: str
    blob: str
    size_bytes: int
    received_at: int
    mail_from: str
    rcpt_to: str
    header_from: str
    subject: str
    message_id: str
    remote_ip: str
    is_dsn: bool
    flags: tuple[str, ...]
    source: str
    to: tuple[str, ...] = ()
    thread: str = ""
    mail_from_validated: bool = False
    msg_from_validated: bool = False
    dkim_domains: tuple[str, ...] = ()
    expires_at: int | None = None


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_PackedMail).decode


class DynamoMailboxes:
    """The `Mailboxes` port. examined: see LIST_EXAMINED."""

    def __init__(self, table: Table, examined: int = LIST_EXAMINED) -> None:
        self._table = table
        self._examined = examined

    # --- mail

    def put(self, mail: StoredMail) -> bool:
        """Store; False when the account has, or had, a mail of the same source and rcpt_to, or the id is taken."""
        return not any(self._table.transact([self._table.putting(item, ABSENT) for item in mail_items(mail)]))

    def get(self, account: str, mail_id: int, now: datetime) -> StoredMail | None:
        """Return one, None when absent or over."""
        item = self._table.get(_mail_key(account, mail_id))
        mail = None if item is None else read_mail(item)
        return None if mail is None or mail.is_expired(now) else mail

    def was_removed(self, account: str, mail_id: int) -> bool:
        """Tell whether `remove` took it away, for some weeks."""
        return self._table.get(_removed_key(account, mail_id)) is not None

    def list(self, account: str, wanted: MailFilter, cursor: str, limit: int, now: datetime) -> Page[StoredMail]:
        """Return an account's mail, newest first. The cursor is the id of the last one looked at."""
        found: list[StoredMail] = []
        for examined, mail in enumerate(self._newest(_range(account, wanted, cursor), limit + 1)):
            if examined == self._examined:
                return Page(tuple(found), str(mail.id + 1))
            if wanted.matches(mail, now):
                if len(found) == limit:
                    return Page(tuple(found), str(found[-1].id))
                found.append(mail)
        return Page(tuple(found))

    def _newest(self, wanted: Range | None, first: int) -> Iterator[StoredMail]:
        """Yield the mails of a range of mails, or of entries that stand for mails.

        first: mails that may be all that are wanted, and so are looked up before others. Entries cost next to nothing.
        """
        if wanted is None:
            return
        items, count = self._table.query(wanted, LIST_PAGE), min(first, LIST_PAGE)
        while page := [*islice(items, count)]:
            count = LIST_PAGE
            keys = [(key_of(item)[0], f"X#{_id(item):016d}") for item in page]
            whole = {} if "d" in page[0] else self._table.get_many(keys)
            yield from (
                read_mail(whole.get(key, item))
                for key, item in zip(keys, page, strict=True)
                if "d" in item or key in whole
            )

    def replace(self, old: StoredMail, new: StoredMail) -> bool:
        """Write `new` if the stored `rev` is still `old.rev`, and its mailbox exists where it is another one."""
        if new.mailbox == old.mailbox:
            return self._table.put_if(_mail_item(new), _is_still(old)) is None
        parts = [
            self._table.putting(_mail_item(new), _is_still(old)),
            self._table.deleting(_entry_key(old)),
            self._table.putting(_entry(_entry_key(new), new)),
        ]
        if new.mailbox not in STANDARD:
            # Counted, so that the mailbox cannot be removed as an empty one meanwhile.
            parts.append(
                self._table.updating(_own_key(new.account, new.mailbox), "ADD rev :one", {":one": n(1)}, _PRESENT)
            )
        return not any(self._table.transact(parts))

    def remove(self, mail: StoredMail, now: datetime) -> bool:
        """Remove for good if the stored `rev` is still `mail.rev`. Its object stays."""
        until = ttl(now + REMEMBERED)
        parts = [
            self._table.deleting(_mail_key(mail.account, mail.id), _is_still(mail)),
            *(self._table.deleting(key_of(entry)) for entry in _entries(mail)),
            self._table.putting({**_key(_removed_key(mail.account, mail.id)), "ttl": n(until)}),
        ]
        if mail.source:
            parts.append(self._table.updating(_source_key(mail), "SET #ttl = :until", {":until": n(until)}))
        return not any(self._table.transact(parts))

    def holds(self, account: str, source: str, rcpt_to: str, now: datetime) -> bool | None:
        """Tell whether the account still has the mail of a source; None when it never had, as far as is known."""
        item = self._table.get((account_partition(account), f"Z#{digest(f'{source} {rcpt_to}')}"))
        if item is None:
            return None
        # An item of an older version does not say which mail it stands for.
        return "id" not in item or self.get(account, number(item, "id"), now) is not None

    # --- threads

    def threads(self, account: str, message_ids: Sequence[str]) -> dict[str, str]:
        """Return the threads of those Message-IDs that have one."""
        keys = {_thread_key(account, one): one for one in message_ids}
        found = self._table.get_many(keys) if keys else {}
        return {keys[key]: text(item, "th") for key, item in found.items()}

    def join(self, account: str, message_id: str, thread: str, until: datetime) -> str:
        """Give a Message-ID its thread unless it has one; return the one it has. May be forgotten after `until`."""
        item = {**_key(_thread_key(account, message_id)), "th": s(thread), "ttl": n(ttl(until))}
        known = self._table.put_if(item, ABSENT)
        return text(known, "th") if known else thread

    # --- mailboxes

    def own(self, account: str) -> Sequence[str]:
        """Return the mailboxes that the account made, by name."""
        return sorted(text(item, "name") for item in self._table.query(Range.prefix(account_partition(account), "O#")))

    def create(self, account: str, mailbox: str) -> bool:
        """Make a mailbox; False when it is there."""
        item = {**_key(_own_key(account, mailbox)), "name": s(mailbox), "rev": n(1)}
        return self._table.put_if(item, ABSENT) is None

    def drop(self, account: str, mailbox: str, now: datetime) -> bool | None:
        """Remove a mailbox that the account made: True. False: mail is in it. None: there is none of that name."""
        key = _own_key(account, mailbox)
        item = self._table.get(key)
        if item is None:
            return None
        mails = self._newest(_range(account, MailFilter(mailbox=mailbox), ""), 1)
        if any(not mail.is_expired(now) for mail in mails):
            return False
        return self._table.delete_if(key, Condition("rev = :rev", {":rev": item["rev"]}))


def mail_items(mail: StoredMail) -> list[Item]:
    """Return the items that together store a mail, to be put in one transaction."""
    items = [_mail_item(mail), *_entries(mail)]
    if mail.source:
        remembered = {} if mail.expires_at is None else {"ttl": n(ttl(mail.expires_at + REMEMBERED))}
        items.append({**_key(_source_key(mail)), "id": n(mail.id), **remembered})
    return items


def _key(key: Key) -> Item:
    return {"pk": s(key[0]), "sk": s(key[1])}


def _mail_key(account: str, mail_id: int) -> Key:
    return account_partition(account), f"X#{mail_id:016d}"


def _removed_key(account: str, mail_id: int) -> Key:
    return account_partition(account), f"V#{mail_id:016d}"


def _source_key(mail: StoredMail) -> Key:
    return account_partition(mail.account), f"Z#{digest(f'{mail.source} {mail.rcpt_to}')}"


def _thread_key(account: str, message_id: str) -> Key:
    return account_partition(account), f"N#{digest(message_id)}"


def _own_key(account: str, mailbox: str) -> Key:
    return account_partition(account), f"O#{digest(mailbox)}"


def _entry_key(mail: StoredMail) -> Key:
    return account_partition(mail.account), f"Y#{digest(mail.mailbox)}#{mail.id:016d}"


def _time_to_live(mail: StoredMail) -> Item:
    return {} if mail.expires_at is None else {"ttl": n(ttl(mail.expires_at))}


def _entry(key: Key, mail: StoredMail) -> Item:
    return {**_key(key), **_time_to_live(mail)}


def _entries(mail: StoredMail) -> list[Item]:
    """Return what finds a mail by mailbox and by thread."""
    keys = [_entry_key(mail)]
    if mail.thread:
        keys.append((account_partition(mail.account), f"U#{digest(mail.thread)}#{mail.id:016d}"))
    return [_entry(key, mail) for key in keys]


def _is_still(mail: StoredMail) -> Condition:
    # Older versions wrote no revision, and changed nothing.
    is_of_old = Condition("attribute_exists(pk) AND attribute_not_exists(rev)")
    return Condition("rev = :rev", {":rev": n(mail.rev)}) if mail.rev else is_of_old


def _range(account: str, wanted: MailFilter, cursor: str) -> Range | None:
    """Return where the mail of a listing lies: an id is made when its mail comes in. None = nowhere."""
    first = 0 if wanted.since is None else first_id_at(wanted.since)
    last = MAX_ID if wanted.until is None else last_id_at(wanted.until)
    last = min(last, int(cursor) - 1) if cursor else last
    if wanted.thread:
        prefix = f"U#{digest(wanted.thread)}#"
    else:
        prefix = f"Y#{digest(wanted.mailbox)}#" if wanted.mailbox else "X#"
    bounds = f"{prefix}{first:016d}", f"{prefix}{last:016d}"
    return Range(account_partition(account), *bounds, newest_first=True) if first <= last else None


def _id(item: Item) -> int:
    return int(key_of(item)[1].rpartition("#")[2])


def _mail_item(mail: StoredMail) -> Item:
    packed = _PackedMail(
        mailbox=mail.mailbox,
        blob=mail.blob,
        size_bytes=mail.size_bytes,
        received_at=micros(mail.received_at),
        mail_from=mail.mail_from,
        rcpt_to=mail.rcpt_to,
        header_from=mail.header_from,
        subject=mail.subject,
        message_id=mail.message_id,
        remote_ip=mail.remote_ip,
        is_dsn=mail.is_dsn,
        flags=tuple(sorted(mail.flags)),
        source=mail.source,
        to=mail.to,
        thread=mail.thread,
        mail_from_validated=mail.mail_from_validated,
        msg_from_validated=mail.msg_from_validated,
        dkim_domains=mail.dkim_domains,
        expires_at=None if mail.expires_at is None else micros(mail.expires_at),
    )
    item = {
        **_key(_mail_key(mail.account, mail.id)),
        "d": b(_encode(packed)),
        "rev": n(mail.rev),
        **_time_to_live(mail),
    }
    return item | {"news": s("1")} if mail.is_news else item


def read_mail(item: Item) -> StoredMail:
    """Return the mail of an item; raises ContractError."""
    try:
        packed = _decode(item["d"]["B"])
    except (KeyError, msgspec.MsgspecError) as error:
        raise ContractError(detail=f"item {key_of(item)[1]} cannot be read: {error}") from error
    fields = msgspec.structs.asdict(packed) | {
        "received_at": instant(packed.received_at),
        "expires_at": None if packed.expires_at is None else instant(packed.expires_at),
        "flags": frozenset(packed.flags),
        "is_news": "news" in item,
        "rev": number(item, "rev"),
    }
    return StoredMail(account=key_of(item)[0].split("#")[1], id=_id(item), **fields)
