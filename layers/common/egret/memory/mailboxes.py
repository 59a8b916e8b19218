"""Mailboxes in memory."""

from __future__ import annotations

import threading

from egret.contracts.ports import Page, StoredMail


class MemoryMailboxes:
    """The `Mailboxes` port."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._mails: dict[tuple[str, int], StoredMail] = {}
        self._sources: set[tuple[str, str, str]] = set()

    def put(self, mail: StoredMail) -> bool:
        """Store; False when the account has a mail of the same non-empty source and rcpt_to, or the id is taken."""
        key, source = (mail.account, mail.id), (mail.account, mail.source, mail.rcpt_to)
        with self._lock:
            if key in self._mails or source in self._sources:
                return False
            self._mails[key] = mail
            if mail.source:
                self._sources.add(source)
            return True

    def get(self, account: str, mail_id: int) -> StoredMail | None:
        """Return one, None when absent."""
        with self._lock:
            return self._mails.get((account, mail_id))

    def list(self, account: str, mailbox: str, cursor: str, limit: int) -> Page[StoredMail]:
        """Return a mailbox ("" = all), newest first. The cursor is the id of the last one given."""
        with self._lock:
            own = [mail for (owner, _), mail in self._mails.items() if owner == account]
        wanted = (m for m in own if mailbox in ("", m.mailbox) and (not cursor or m.id < int(cursor)))
        newest_first = sorted(wanted, key=lambda mail: -mail.id)
        items = tuple(newest_first[:limit])
        return Page(items, str(items[-1].id) if len(newest_first) > limit else "")
