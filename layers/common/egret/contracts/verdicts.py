"""What the server found out about who sent a mail: SPF, DKIM and DMARC, as its Authentication-Results tells them.

Results are the words of RFC 8601 section 2.7. Domains are A-labels in lower case.
"""

from __future__ import annotations

import msgspec

from egret.core.dmarc import DmarcRecord


class DkimVerdict(msgspec.Struct, frozen=True, omit_defaults=True):
    """One signature. domain: d=. selector: s=. result: none, pass, fail, policy, neutral, temperror, permerror."""

    domain: str
    selector: str
    result: str
    reason: str = ""


class Verdicts(msgspec.Struct, frozen=True, omit_defaults=True):
    """All of one mail.

    spf: none, neutral, pass, fail, softfail, temperror, permerror, of spf_domain, which spf_scope (mfrom, helo) names.
    dmarc: none, pass, fail, temperror, permerror. header_from: the From domain, "" when there is not exactly one.
    policy: what the record asks for (none, quarantine, reject). disposition: what we did (none, reject).
    """

    spf: str = "none"
    spf_domain: str = ""
    spf_scope: str = "mfrom"
    dkim: tuple[DkimVerdict, ...] = ()
    dmarc: str = "none"
    header_from: str = ""
    record: DmarcRecord | None = None
    policy: str = "none"
    disposition: str = "none"
    spf_aligned: bool = False
    dkim_aligned: bool = False

    @property
    def mail_from_validated(self) -> bool:
        """The reverse-path's domain let this host send (SPF pass)."""
        return self.spf == "pass" and self.spf_scope == "mfrom"

    @property
    def msg_from_validated(self) -> bool:
        """The From domain vouches for the mail (DMARC pass)."""
        return self.dmarc == "pass"

    @property
    def dkim_domains(self) -> tuple[str, ...]:
        """The domains of the signatures that hold, each once, in order."""
        return tuple(dict.fromkeys(one.domain for one in self.dkim if one.result == "pass"))
