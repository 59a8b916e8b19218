"""Keys of the mail table: everything of an account lies in its own partitions.

A#<account>#<shard>  M#<id>            message            (id: 16 digits)
                     D#<id>            delivery
                     P#<id>            plan: a submission of several recipients that is not expanded yet
                     W#<id>#<seq>      webhook call of event seq of delivery id (seq: 6 digits)
A#<account>          C#<day>           recipients of a day
                     I#<key hash>      Idempotency-Key
                     S#<base address>  suppression
                     K#<base address>  strikes
                     B#<URL hash>      breaker of a webhook URL
                     X#<id>            mail in a mailbox
                     Y#<mailbox>#<id>  the same, by mailbox (mailbox: hash)
                     U#<thread>#<id>   the same, by thread (thread: hash)
                     Z#<source hash>   incoming mail that was stored already
                     V#<id>            mail that was removed
                     N#<id hash>       thread of a Message-ID
                     O#<mailbox>       mailbox that the account made (hash)
                     T#<domain>        TLS support of a recipient domain, as the account saw it
                     Q#<kind>#<end>#<hash>    report of somebody about a domain of the account
A#<account>#F        <hash>            fromid that a submitter chose
UNIT                 <unit id>         egress unit
AUTH#<network>       <window>          failed logins
STS                  <domain>          MTA-STS policy
TLSRPT#<day>#<shard> <policy domain>#<recipient domain>#<policy hash>    sessions of a day (shard: 1 hex digit)
DMARC#<day>#<hours>#<shard> <domain>#<instant>#<mail hash>    evaluation of a mail that came in
RSUP                 <kind>#<address>  address that gets no reports
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta

from egret.aws.table import Key
from egret.core.ids import shard_of

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
DUE_INDEX = "due"


def mail_partition(account: str, any_id: int) -> str:
    """Return the partition of a message and its deliveries."""
    return f"A#{account}#{shard_of(any_id)}"


def partition_of_shard(account: str, shard: int) -> str:
    """Return one of the account's partitions of messages and deliveries."""
    return f"A#{account}#{shard}"


def fromid_partition(account: str) -> str:
    """Return the partition of the fromids that an account chose: the egress may read it, unlike its other items."""
    return f"A#{account}#F"


def account_partition(account: str) -> str:
    """Return the partition of everything else that belongs to an account."""
    return f"A#{account}"


def message_key(account: str, message_id: int) -> Key:
    """Return the key of a message."""
    return mail_partition(account, message_id), f"M#{message_id:016d}"


def delivery_key(account: str, delivery_id: int) -> Key:
    """Return the key of a delivery."""
    return mail_partition(account, delivery_id), f"D#{delivery_id:016d}"


def plan_key(account: str, message_id: int) -> Key:
    """Return the key of the plan of a submission of several recipients."""
    return mail_partition(account, message_id), f"P#{message_id:016d}"


def call_key(account: str, delivery_id: int, seq: int) -> Key:
    """Return the key of the record of a webhook call."""
    return mail_partition(account, delivery_id), f"W#{delivery_id:016d}#{seq:06d}"


def digest(text: str) -> str:
    """Return a hash that stands for a text of any length and any characters in a key: 32 hex digits."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def micros(instant: datetime) -> int:
    """Return an instant as whole microseconds since 1970."""
    return (instant - EPOCH) // MICROSECOND


def instant(microseconds: int) -> datetime:
    """Return the instant that `micros` made a number of."""
    return EPOCH + timedelta(microseconds=microseconds)


def ttl(instant_: datetime) -> int:
    """Return an instant as DynamoDB's TTL wants it: seconds, rounded up, so that nothing goes too early."""
    return -((EPOCH - instant_) // timedelta(seconds=1))
