"""What the bill assumes about everything that the emulator cannot tell."""

from __future__ import annotations

from typing import Final

MEMORY_GB: Final = 0.5
"""512 MB for each function, as in template.yaml."""
CPU_SHARE: Final = 512 / 1769
"""Part of a CPU that a function of 512 MB gets."""
REQUEST_S: Final = {"dynamodb": 0.005, "sqs": 0.010, "s3": 0.030, "kms": 0.010}
"""Answer of a service; requests are added up as if none went side by side."""
HANDOFF_S: Final = 0.005
SMTP_S: Final = 1.5
"""Egress time, which Lambda does not wait for: it costs nothing beyond the instance."""
WEBHOOK_S: Final = 0.2
"""Answer of a customer's webhook; the calls of one account in a batch come one after the other."""
CPU_S: Final = {"send": 0.003, "deliver": 0.0015, "publish": 0.0005, "webhook": 0.0035, "reap": 0.0005}
"""CPU of a whole core for each message (send) or recipient, rounded up from what this benchmark measures; webhook: with
a TLS handshake for each call."""
COLD_STARTS: Final = 0.005
"""Part of the invocations that start a new environment."""
COLD_START_S: Final = 0.7
KEPT_MONTHS: Final = 1.0
"""Default retention of deliveries and contents: 30 days."""
CALLS_KEPT_MONTHS: Final = 7 / 30
"""The same of records of webhook calls."""
WIRE_OVERHEAD: Final = 1.10
"""TLS records and TCP/IP headers, beside the bytes of a message, a call or an answer."""
TRANSACTION_BYTES: Final = 1800
CALL_BYTES: Final = 1300
"""Besides, for each transaction or call: our part of the TLS handshake, the dialogue, acknowledgements, all with their
IP headers. Measured on one connection each (TLS 1.3): 1,780 and 1,261 bytes; no connection is taken to be reused."""
QUEUES: Final = 3
POLLERS: Final = 5
"""Long polls of 20 s that Lambda keeps open on an idle queue."""
LEVELS: Final = 4
"""Metrics of our own that are written even when nothing happens: what the sweep says of the units and the queue."""
MONTH_S: Final = 30 * 86400
