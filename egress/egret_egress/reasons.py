"""What a server's refusal means, for people who read no SMTP: said beside what it refused, the reply itself follows.

Implements: RFC 3463 section 3, RFC 7372 section 3, RFC 7505 section 4.2 (enhanced codes); greylisting has no code of
its own, and is known by its word (RFC 6647).
"""

from __future__ import annotations

import re

from egret.core.reply import Reply

_GREYLISTING = re.compile(r"gr[ea]y.?list", re.IGNORECASE)
GREYLISTED = (
    "the server puts off a sender that it has not seen before (greylisting), and usually takes the message when it "
    "comes again"
)
POLICY = "by its own rules (policy) it does not want this mail, and its reply may say why"

_MEANINGS = {
    "1.1": "it knows no such mailbox",
    "1.2": "it knows no such domain",
    "1.10": "the domain takes no mail",
    "2.1": "the mailbox is disabled",
    "2.2": "the mailbox is full",
    "2.3": "the message is too large for the mailbox",
    "3.4": "the message is too large for it",
    "7.20": "it found no valid DKIM signature",
    "7.21": "it found no DKIM signature that it accepts",
    "7.22": "it found no DKIM signature of the domain of the From address",
    "7.23": "the SPF record of the sending domain does not allow our address",
    "7.24": "it could not read the SPF record of the sending domain",
    "7.25": "our address has no reverse DNS name that it accepts",
    "7.26": "SPF and DKIM, by which it checks the sending domain, have both failed",
    "7.27": "the sending domain says that it takes no mail (null MX), so that no answer could reach it",
}
"""By subject and detail of the enhanced code."""


def explained(reason: str, reply: Reply) -> str:
    """Return what a refusal means, as part of a sentence. reason: what was refused."""
    if reply.is_transient and any(_GREYLISTING.search(line) for line in reply.lines):
        return GREYLISTED
    _, _, code = reply.enhanced_code.partition(".")
    meaning = _MEANINGS.get(code) or (POLICY if code.startswith("7.") else "")
    return f"{reason}: {meaning}" if meaning else reason
