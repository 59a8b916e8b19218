"""How an attempt was made: what is kept of its SMTP session beside the outcome."""

from __future__ import annotations

import msgspec

from egret.core.tls_policy import SMARTHOST


class SessionTrace(msgspec.Struct, frozen=True, gc=False):
    """What an attempt's session was like.

    transport: name of the transport that a route chose, "" = direct to the MX hosts, or the unit's own smarthost.
    policy: the TLS policy decided before connecting, as `core.tls_policy.TlsPolicy.name`; "" when none was decided.
    tls: what was agreed on ("TLSv1.3"), "" in plain text. transcript: lines of the conversation, "S: …" and "C: …", for
    an attempt that did not deliver; bounded, printable, without content and credentials. takes_dsn: the server offered
    DSN (RFC 3461): what NOTIFY asks for is its task from there.
    """

    transport: str = ""
    policy: str = ""
    tls: str = ""
    transcript: tuple[str, ...] = ()
    takes_dsn: bool = False

    @property
    def is_relayed(self) -> bool:
        """A smarthost was asked, and not a mail server of the recipient's domain."""
        return self.policy.startswith(SMARTHOST)


NO_TRACE = SessionTrace()
