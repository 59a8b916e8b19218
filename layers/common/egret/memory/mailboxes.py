"""Mailboxes in memory."""

from __future__ import annotations

from egret.contracts.records import Page, StoredMail
from egret.memory.table import MailTable


class MemoryMailboxes:
    """The `Mailboxes` port over a `MailTable`: share the table with the mail store, which puts copies of sent mail."""

    def __init__(self, table: MailTable | None = None) -> None:
        self.table = table or MailTable()

    def put(self, mail: StoredMail) -> bool:
        """Store; False when the account has a mail of the same non-empty source and rcpt_to, or the id is taken."""
        return self.table.put_mail(mail)

    def get(self, account: str, mail_id: int) -> StoredMail | None:
        """Return one, None when absent."""
        with self.table.lock:
            return self.table.mails.get((account, mail_id))

    def list(self, account: str, mailbox: str, cursor: str, limit: int) -> Page[StoredMail]:
        """Return a mailbox ("" = all), newest first. The cursor is the id of the last one given."""
        with self.table.lock:
            own = [mail for (owner, _), mail in self.table.mails.items() if owner == account]
        wanted = (m for m in own if mailbox in ("", m.mailbox) and (not cursor or m.id < int(cursor)))
        newest_first = sorted(wanted, key=lambda mail: -mail.id)
        items = tuple(newest_first[:limit])
        return Page(items, str(items[-1].id) if len(newest_first) > limit else "")
