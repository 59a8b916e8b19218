"""What is asked of the connection to one MX host, as a value: decided before connecting, kept with the attempt.

Implements the vocabulary of RFC 3207 (opportunistic), RFC 8461 (MTA-STS), RFC 7672 (DANE) and RFC 8689 (REQUIRETLS).
Who decides is the egress, from DNS and policies; `name` is what an account reads in an attempt.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class TlsKind(enum.StrEnum):
    """How much protection there must be."""

    PLAIN = "plain"
    """No TLS at all: a sink, a test, or a smarthost of which that was asked."""
    OPPORTUNISTIC = "opportunistic"
    """STARTTLS when offered, whoever answers; a second, plain connection when it fails (RFC 7435)."""
    ENCRYPTED = "encrypted"
    """STARTTLS or nothing, whoever answers: TLSA records exist and none is usable (RFC 7672 section 2.2)."""
    PKIX = "pkix"
    """STARTTLS or nothing, with a certificate of a public authority for one of the names."""
    DANE = "dane"
    """STARTTLS or nothing, with a certificate that a TLSA record vouches for."""
    IMPLICIT = "implicit"
    """TLS from the first byte, with a certificate of a public authority for one of the names (RFC 8314)."""


@dataclass(frozen=True, slots=True, order=True)
class Tlsa:
    """A TLSA record (RFC 6698 section 2.1). usage, selector, matching_type: numbers as on the wire."""

    usage: int
    selector: int
    matching_type: int
    data: bytes


@dataclass(frozen=True, slots=True)
class TlsPolicy:
    """What is asked. Equal policies may share a connection.

    name: for people and records: "opportunistic", "mta-sts", "dane", "smarthost", "plain" and the like.
    names: reference identifiers, one of which the certificate must have; the first is sent as SNI, () = the MX host.
    tlsa: the usable records, for DANE.
    """

    kind: TlsKind
    name: str
    names: tuple[str, ...] = ()
    tlsa: tuple[Tlsa, ...] = ()

    @property
    def is_required(self) -> bool:
        """Without TLS nothing is sent."""
        return self.kind not in (TlsKind.PLAIN, TlsKind.OPPORTUNISTIC)

    @property
    def is_authenticated(self) -> bool:
        """The server must prove who it is."""
        return self.kind in (TlsKind.PKIX, TlsKind.DANE, TlsKind.IMPLICIT)


SMARTHOST = "smarthost"
"""How the names of policies for smarthosts begin."""

PLAIN = TlsPolicy(TlsKind.PLAIN, "plain")
OPPORTUNISTIC = TlsPolicy(TlsKind.OPPORTUNISTIC, "opportunistic")
