"""Mailboxes in DynamoDB: an item for each mail, an entry by mailbox, and one that remembers incoming mail."""

from __future__ import annotations

from itertools import islice

import msgspec

from egret.aws.keys import account_partition, digest, instant, micros
from egret.aws.table import ABSENT, Item, Range, Table, b, key_of, s
from egret.contracts.records import Page, StoredMail
from egret.core.errors import ContractError
from egret.core.ids import MAX_ID

Items = list[Item]


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


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_PackedMail).decode


class DynamoMailboxes:
    """The `Mailboxes` port."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def put(self, mail: StoredMail) -> bool:
        """Store; False when the account has a mail of the same non-empty source and rcpt_to, or the id is taken."""
        return not any(self._table.transact([self._table.putting(item, ABSENT) for item in mail_items(mail)]))

    def get(self, account: str, mail_id: int) -> StoredMail | None:
        """Return one, None when absent."""
        item = self._table.get((account_partition(account), f"X#{mail_id:016d}"))
        return None if item is None else _read(item)

    def _take(self, wanted: Range, count: int) -> Items:
        return [*islice(self._table.query(wanted, count), count)]

    def _whole(self, entries: Items) -> Items:
        """Return the mails of entries by mailbox, in their order."""
        keys = [(entry["pk"]["S"], f"X#{_id(entry):016d}") for entry in entries]
        found = self._table.get_many(keys) if keys else {}
        return [found[key] for key in keys if key in found]

    def list(self, account: str, mailbox: str, cursor: str, limit: int) -> Page[StoredMail]:
        """Return a mailbox ("" = all), newest first. The cursor is the id of the last one given."""
        prefix = f"Y#{digest(mailbox)}#" if mailbox else "X#"
        last = int(cursor) - 1 if cursor else MAX_ID
        wanted = Range(account_partition(account), f"{prefix}{0:016d}", f"{prefix}{last:016d}", newest_first=True)
        items = self._take(wanted, limit + 1)
        mails = tuple(map(_read, self._whole(items[:limit]) if mailbox else items[:limit]))
        more = len(items) > limit
        return Page(mails, str(_id(items[limit - 1])) if more else "")


def mail_items(mail: StoredMail) -> list[Item]:
    """Return the items that together store a mail, to be put in one transaction."""
    pk = s(account_partition(mail.account))
    keys = [f"X#{mail.id:016d}", f"Y#{digest(mail.mailbox)}#{mail.id:016d}"]
    if mail.source:
        keys.append(f"Z#{digest(f'{mail.source} {mail.rcpt_to}')}")
    items: list[Item] = [{"pk": pk, "sk": s(sk)} for sk in keys]
    items[0]["d"] = b(_encode(_pack(mail)))
    return items


def _id(item: Item) -> int:
    return int(key_of(item)[1].rpartition("#")[2])


def _pack(mail: StoredMail) -> _PackedMail:
    return _PackedMail(
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
    )


def _read(item: Item) -> StoredMail:
    try:
        packed = _decode(item["d"]["B"])
    except msgspec.MsgspecError as error:
        raise ContractError(detail=f"item {key_of(item)[1]} cannot be read: {error}") from error
    fields = msgspec.structs.asdict(packed) | {
        "received_at": instant(packed.received_at),
        "flags": frozenset(packed.flags),
    }
    return StoredMail(account=key_of(item)[0].split("#")[1], id=_id(item), **fields)
