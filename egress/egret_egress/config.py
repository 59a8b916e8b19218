"""What the environment tells an egress unit, as checked values."""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

from egret.contracts.settings import SmarthostTls
from egret.core.tls_policy import PLAIN
from egret_egress.destinations import Host
from egret_egress.own_certificate import CertificateFiles
from egret_egress.session import Credentials, Timeouts
from egret_egress.transports import POLICIES

DRAIN_S = 90.0
"""Of the 110 s in which a unit must be gone; the rest is for closing."""
LOCAL_DRAIN_S = 2.0
"""Ctrl-C in local mode ends everything within 5 s."""
MOST_ATTEMPT_S = 28 * 60
"""Of the half hour that `contracts.records.UNIT_GONE_AFTER` allows for a transaction."""


class ConfigError(ValueError):
    """A variable is missing or cannot be understood; the message names it."""


@dataclass(frozen=True, slots=True)
class Config:
    """One unit's settings.

    bind: of the private HTTP side. url: what is announced. smtp_listen: of inbound SMTP, None = no inbound.
    next_hop: everything goes there (smarthost or sink), None = direct to MX hosts. is_sink: it is the sink of local
    mode, and routes lead nowhere else. probe: (host, port) tried to see
    whether outbound port 25 is open; () = not asked. resolver: (IP address, port) of a DNS server, None = the system's.
    resolver_validates: it validates DNSSEC, which is believed of one on a loopback address only.
    allow_loopback: MX hosts may be on this machine, for local mode only. shaping: the operator's own shaping file.
    submission_listen, submissions_listen: of submission by STARTTLS and by TLS, None = not offered.
    certificate: of our own SMTP servers, None = made at start. rejects_dmarc: incoming mail that fails DMARC is refused
    where its domain asks for that, and mail without exactly one From domain. has_requiretls: our own servers
    offer REQUIRETLS.
    """

    bind: tuple[str, int]
    url: str
    smtp_listen: tuple[str, int] | None
    journal_dir: Path
    hostname: str
    handoff_secret: str = field(repr=False)
    next_hop: Host | None = None
    source_addresses: tuple[str, ...] = ()
    probe: tuple[tuple[str, int], ...] = ()
    drain_s: float = DRAIN_S
    resolver: tuple[str, int] | None = None
    resolver_validates: bool = False
    timeouts: Timeouts = field(default_factory=Timeouts)
    allow_loopback: bool = False
    is_sink: bool = False
    shaping: Path | None = None
    submission_listen: tuple[str, int] | None = None
    submissions_listen: tuple[str, int] | None = None
    certificate: CertificateFiles | None = None
    rejects_dmarc: bool = False
    has_requiretls: bool = True


def from_environment(environ: Mapping[str, str]) -> Config:
    """Read the EGRET_… variables; raises ConfigError."""
    is_local = environ.get("EGRET_LOCAL") == "1"
    bind = host_port("EGRET_EGRESS_BIND", environ.get("EGRET_EGRESS_BIND") or "127.0.0.1:1081")
    next_hop = _next_hop(environ)
    return Config(
        bind=bind,
        url=environ.get("EGRET_EGRESS_URL") or f"http://{_in_url(bind[0])}:{bind[1]}",
        smtp_listen=_listen(environ, "EGRET_SMTP_LISTEN"),
        submission_listen=_listen(environ, "EGRET_SUBMISSION_LISTEN"),
        submissions_listen=_listen(environ, "EGRET_SUBMISSIONS_LISTEN"),
        journal_dir=Path(_required(environ, "EGRET_JOURNAL_DIR")),
        hostname=_required(environ, "EGRET_HOSTNAME"),
        handoff_secret=_required(environ, "EGRET_HANDOFF_SECRET"),
        next_hop=next_hop,
        source_addresses=_addresses(environ.get("EGRET_SOURCE_ADDRESSES", "")),
        probe=_probe(environ, is_direct=next_hop is None),
        drain_s=LOCAL_DRAIN_S if is_local else DRAIN_S,
        resolver=_resolver(environ.get("EGRET_RESOLVER", "")),
        resolver_validates=environ.get("EGRET_RESOLVER_VALIDATES") == "1",
        timeouts=_bounded(_timeouts(environ.get("EGRET_SMTP_TIMEOUTS", "")), environ.get("EGRET_ANSWER_TIMEOUT_S", "")),
        allow_loopback=is_local,
        is_sink=bool(environ.get("EGRET_LOCAL_SINK")),
        shaping=Path(own) if (own := environ.get("EGRET_SHAPING", "")) else None,
        certificate=_certificate(environ),
        rejects_dmarc=environ.get("EGRET_REJECT_DMARC") == "1",
        has_requiretls=environ.get("EGRET_REQUIRETLS") != "0",
    )


def _listen(environ: Mapping[str, str], name: str) -> tuple[str, int] | None:
    text = environ.get(name, "")
    return host_port(name, text) if text else None


def _certificate(environ: Mapping[str, str]) -> CertificateFiles | None:
    certificate, key = environ.get("EGRET_TLS_CERT", ""), environ.get("EGRET_TLS_KEY", "")
    if bool(certificate) != bool(key):
        raise ConfigError("EGRET_TLS_CERT and EGRET_TLS_KEY are set together or not at all")
    return CertificateFiles(Path(certificate), Path(key)) if certificate else None


def _required(environ: Mapping[str, str], name: str) -> str:
    if not (value := environ.get(name, "")):
        raise ConfigError(f"{name} is not set")
    return value


def host_port(name: str, text: str) -> tuple[str, int]:
    """Parse "host:port" or "[v6]:port"; name: of the variable, for the error."""
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ConfigError(f"{name} must be host:port, not {text!r}")
    return host.strip("[]"), int(port)


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _next_hop(environ: Mapping[str, str]) -> Host | None:
    """The sink of local mode, else EGRET_ROUTE: direct, smarthost:host:port (STARTTLS) or the same with :tls."""
    if sink := environ.get("EGRET_LOCAL_SINK", ""):
        host, port = host_port("EGRET_LOCAL_SINK", sink)
        return Host(host, port, PLAIN)
    route = environ.get("EGRET_ROUTE") or "direct"
    if route == "direct":
        return None
    kind, _, rest = route.partition(":")
    if kind != "smarthost":
        raise ConfigError(f'EGRET_ROUTE must be "direct" or "smarthost:host:port[:tls]", not {route!r}')
    address = rest.removesuffix(":tls")
    host, port = host_port("EGRET_ROUTE", address)
    tls = SmarthostTls.STARTTLS if address == rest else SmarthostTls.IMPLICIT
    return Host(host, port, POLICIES[tls], _credentials(environ))


def _credentials(environ: Mapping[str, str]) -> Credentials | None:
    user = environ.get("EGRET_SMARTHOST_USER", "")
    return Credentials(user, environ.get("EGRET_SMARTHOST_PASSWORD", "")) if user else None


def _addresses(text: str) -> tuple[str, ...]:
    try:
        return tuple(str(ipaddress.ip_address(part)) for part in text.replace(",", " ").split())
    except ValueError as error:
        raise ConfigError(f"EGRET_SOURCE_ADDRESSES must be IP addresses, not {text!r}") from error


def _probe(environ: Mapping[str, str], *, is_direct: bool) -> tuple[tuple[str, int], ...]:
    text = environ.get("EGRET_PORT25_PROBE", "") if is_direct else ""
    return tuple(host_port("EGRET_PORT25_PROBE", part) for part in text.replace(",", " ").split())


def _resolver(text: str) -> tuple[str, int] | None:
    if not text:
        return None
    host, port = host_port("EGRET_RESOLVER", text)
    try:
        return str(ipaddress.ip_address(host)), port
    except ValueError as error:
        raise ConfigError(f"EGRET_RESOLVER must be the address of a DNS server, not {text!r}") from error


def _timeouts(text: str) -> Timeouts:
    """Read "name=seconds,name=seconds": the names are those of `Timeouts`, what is not named stays as it is."""
    own = Timeouts()
    names = {one.name for one in fields(Timeouts)}
    found: dict[str, float] = {}
    for part in text.replace(",", " ").split():
        name, _, value = part.partition("=")
        if name not in names:
            raise ConfigError(f"EGRET_SMTP_TIMEOUTS knows {', '.join(sorted(names))}, not {name!r}")
        found[name] = _seconds("EGRET_SMTP_TIMEOUTS", value)
    timeouts = replace(own, **found)
    if timeouts.attempt + timeouts.final > MOST_ATTEMPT_S:
        raise ConfigError(
            f"EGRET_SMTP_TIMEOUTS: attempt and final together must be at most {MOST_ATTEMPT_S} seconds, since after "
            "half an hour another unit may be asked to send the same message"
        )
    return timeouts


def _bounded(timeouts: Timeouts, text: str) -> Timeouts:
    """Bound the time for each answer, where nobody wants to wait as long as RFC 5321 says: local mode."""
    if not text:
        return timeouts
    most = _seconds("EGRET_ANSWER_TIMEOUT_S", text)
    names = ("greeting", "hello", "mail", "rcpt", "data", "final")
    return replace(timeouts, **{name: min(most, getattr(timeouts, name)) for name in names})


def _seconds(variable: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < math.inf:
        raise ConfigError(f"{variable} must be a number of seconds, not {text!r}")
    return value
