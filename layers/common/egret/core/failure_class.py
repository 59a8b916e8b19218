"""Why mail was not delivered: one class for each reason that calls for a different answer."""

from __future__ import annotations

from enum import StrEnum


class FailureClass(StrEnum):
    """Why mail was not delivered."""

    ADDRESS_DEAD = "address-dead"
    """There is no such mailbox, or no such domain, and there will not be: mail to the address is pointless."""
    MAILBOX_FULL = "mailbox-full"
    """The mailbox exists and is over its quota."""
    MAILBOX_DISABLED = "mailbox-disabled"
    """The mailbox is or was there, and somebody closed it: suspended, deactivated, not used for too long."""
    RECIPIENT_REFUSES = "recipient-refuses"
    """The mailbox takes mail, but not this: its owner's preferences or filters, or a limit of the mailbox."""
    POLICY = "policy"
    """The receiving side does not want such mail, or mail by this way: relaying, access rules, sender address."""
    REPUTATION = "reputation"
    """The sending host or domain is listed, or not trusted for what it did before or how its DNS looks."""
    AUTHENTICATION = "authentication"
    """SPF, DKIM, DMARC, a login or the protection of the connection was missing or failed."""
    RATE = "rate"
    """Too much mail, too many connections or recipients, or greylisted: later it may be taken."""
    SIZE = "size"
    """The message is too large."""
    CONTENT = "content"
    """The message itself is refused: spam, virus, broken syntax."""
    NETWORK = "network"
    """No server could be reached or the conversation broke off: connections, routing, DNS."""
    SYSTEM = "system"
    """The receiving system has trouble of its own: disk, configuration, a program that failed."""
    PROTOCOL = "protocol"
    """The two servers did not understand each other."""
    EXPIRED = "expired"
    """It was tried until there was no more time."""
    RELAYED = "relayed"
    """No failure: delivered, handed on to a system that reports no more, or expanded to several recipients."""
    UNKNOWN = "unknown"
    """Nothing says why."""
