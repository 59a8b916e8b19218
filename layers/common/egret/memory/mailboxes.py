"""Mailboxes in memory."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from egret.contracts.records import MailFilter, Page, StoredMail
from egret.core.mailbox import STANDARD
from egret.memory.table import MailTable


class MemoryMailboxes:
    """The `Mailboxes` port over a `MailTable`: share the table with the mail store, which puts copies of sent mail."""

    def __init__(self, table: MailTable | None = None) -> None:
        self.table = table or MailTable()

    # --- mail

    def put(self, mail: StoredMail) -> bool:
        """Store; False when the account has, or had, a mail of the same source and rcpt_to, or the id is taken."""
        return self.table.put_mail(mail)

    def get(self, account: str, mail_id: int, now: datetime) -> StoredMail | None:
        """Return one, None when absent or over."""
        with self.table.lock:
            mail = self.table.mails.get((account, mail_id))
        return None if mail is None or mail.is_expired(now) else mail

    def was_removed(self, account: str, mail_id: int) -> bool:
        """Tell whether `remove` took it away."""
        with self.table.lock:
            return (account, mail_id) in self.table.removed_mails

    def list(self, account: str, wanted: MailFilter, cursor: str, limit: int, now: datetime) -> Page[StoredMail]:
        """Return an account's mail, newest first. The cursor is the id of the last one given."""
        with self.table.lock:
            own = [mail for (owner, _), mail in self.table.mails.items() if owner == account]
        older = (mail for mail in own if not cursor or mail.id < int(cursor))
        newest_first = sorted((mail for mail in older if wanted.matches(mail, now)), key=lambda mail: -mail.id)
        items = tuple(newest_first[:limit])
        return Page(items, str(items[-1].id) if len(newest_first) > limit else "")

    def replace(self, old: StoredMail, new: StoredMail) -> bool:
        """Write `new` if the stored `rev` is still `old.rev`, and its mailbox exists where it is another one."""
        with self.table.lock:
            if not self._is_as(old) or not (new.mailbox == old.mailbox or self._exists(new.account, new.mailbox)):
                return False
            self.table.write_mail(new)
            return True

    def _is_as(self, mail: StoredMail) -> bool:
        stored = self.table.mails.get((mail.account, mail.id))
        return stored is not None and stored.rev == mail.rev

    def _exists(self, account: str, mailbox: str) -> bool:
        return mailbox in STANDARD or (account, mailbox) in self.table.own_mailboxes

    def remove(self, mail: StoredMail, now: datetime) -> bool:
        """Remove for good if the stored `rev` is still `mail.rev`."""
        with self.table.lock:
            if not self._is_as(mail):
                return False
            self.table.drop_mail(mail)
            self.table.removed_mails.add((mail.account, mail.id))
            return True

    def holds(self, account: str, source: str, rcpt_to: str, now: datetime) -> bool | None:
        """Tell whether the account still has the mail of a source; None when it never had."""
        with self.table.lock:
            mail_id = self.table.mail_sources.get((account, source, rcpt_to))
            return None if mail_id is None else self.get(account, mail_id, now) is not None

    # --- threads

    def threads(self, account: str, message_ids: Sequence[str]) -> dict[str, str]:
        """Return the threads of those Message-IDs that have one."""
        with self.table.lock:
            known = self.table.threads
            return {one: known[account, one] for one in message_ids if (account, one) in known}

    def join(self, account: str, message_id: str, thread: str, until: datetime) -> str:
        """Give a Message-ID its thread unless it has one; return the one that it has."""
        with self.table.lock:
            return self.table.threads.setdefault((account, message_id), thread)

    # --- mailboxes

    def own(self, account: str) -> Sequence[str]:
        """Return the mailboxes that the account made, by name."""
        with self.table.lock:
            return sorted(name for owner, name in self.table.own_mailboxes if owner == account)

    def create(self, account: str, mailbox: str) -> bool:
        """Make a mailbox; False when it is there."""
        with self.table.lock:
            is_new = (account, mailbox) not in self.table.own_mailboxes
            self.table.own_mailboxes.add((account, mailbox))
            return is_new

    def drop(self, account: str, mailbox: str, now: datetime) -> bool | None:
        """Remove a mailbox that the account made: True. False: mail is in it. None: there is none of that name."""
        with self.table.lock:
            if (account, mailbox) not in self.table.own_mailboxes:
                return None
            if self.list(account, MailFilter(mailbox=mailbox), "", 1, now).items:
                return False
            self.table.own_mailboxes.remove((account, mailbox))
            return True
