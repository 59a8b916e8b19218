"""What accounts saw of the TLS of recipient domains, in DynamoDB: an item each beside the rest of the account."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from egret.aws.keys import account_partition, instant, micros, ttl
from egret.aws.table import Item, Key, Table, n, number, s
from egret.contracts.tls import TlsSupport

STARTTLS, REQUIRETLS = 1, 2


class DynamoDomainTls:
    """The `DomainTls` port. `o`: what was offered, as bits; `u`: updated_at in microseconds."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def get(self, account: str, domain: str, now: datetime) -> TlsSupport | None:
        """Return what the account saw, None when it has not met the domain or that is long ago."""
        item = self._table.get(_key(account, domain))
        if item is None:
            return None
        offered = number(item, "o")
        at = instant(number(item, "u"))
        seen = TlsSupport(account, domain, bool(offered & STARTTLS), bool(offered & REQUIRETLS), at)
        return seen if now < seen.forget_at else None

    def put(self, seen: Sequence[TlsSupport]) -> None:
        """Store, replacing what stands there."""
        self._table.put_many(map(_item, seen))


def _key(account: str, domain: str) -> Key:
    return account_partition(account), f"T#{domain}"


def _item(seen: TlsSupport) -> Item:
    pk, sk = _key(seen.account, seen.domain)
    offered = STARTTLS * seen.starttls | REQUIRETLS * seen.require_tls
    return {
        "pk": s(pk),
        "sk": s(sk),
        "o": n(offered),
        "u": n(micros(seen.updated_at)),
        "ttl": n(ttl(seen.forget_at)),
    }
