"""Refuse to call what a customer's URL must not reach.

A webhook's URL is an order to our network: without this guard it could ask for the instance's credentials
(169.254.169.254), for a neighbour in the VPC or for a port of our own host. Three checks, in this order:
`check_url` when the URL is set and again before each call; `choose` on what the name resolves to, once; then the caller
connects to the chosen address, with the name in SNI and Host, and follows no redirect. A name that resolves to
another address a moment later (DNS rebinding) thus changes nothing.

Implements: the special-purpose registries of RFC 6890 as of 2026, RFC 3986 section 3.2, IDNA by UTS 46. Does not
resolve names and does not connect.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from urllib.parse import quote

import idna

IPAddress = IPv4Address | IPv6Address

MAX_URL_CHARS = 2048

NOT_PUBLIC_V4 = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this host (RFC 791); many systems connect to themselves
        "10.0.0.0/8",  # private (RFC 1918)
        "100.64.0.0/10",  # carrier-grade NAT (RFC 6598), also the metadata of some clouds
        "127.0.0.0/8",  # loopback (RFC 1122)
        "169.254.0.0/16",  # link-local (RFC 3927), instance and task metadata
        "172.16.0.0/12",  # private (RFC 1918)
        "192.0.0.0/24",  # protocol assignments (RFC 6890), also the metadata of some clouds
        "192.0.2.0/24",  # documentation (RFC 5737)
        "192.88.99.0/24",  # 6to4 relays (RFC 7526)
        "192.168.0.0/16",  # private (RFC 1918)
        "198.18.0.0/15",  # benchmarking (RFC 2544)
        "198.51.100.0/24",  # documentation (RFC 5737)
        "203.0.113.0/24",  # documentation (RFC 5737)
        "224.0.0.0/4",  # multicast (RFC 5771)
        "240.0.0.0/4",  # reserved (RFC 1112), limited broadcast
    )
)

PUBLIC_V6 = IPv6Network("2000::/3")
"""All that is assigned as global unicast (RFC 4291 section 2.4). Everything else is refused: `::/8` with v4-mapped and
v4-compatible addresses, NAT64 `64:ff9b::/96` and `64:ff9b:1::/48`, `100::/64`, unique local `fc00::/7` with the
metadata address `fd00:ec2::254`, link-local and site-local, multicast."""

NOT_PUBLIC_V6 = tuple(
    IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments (RFC 2928): Teredo 2001::/32, benchmarking, ORCHID
        "2001:db8::/32",  # documentation (RFC 3849)
        "2002::/16",  # 6to4 (RFC 3056): an IPv4 address of any kind inside
        "3fff::/20",  # documentation (RFC 9637)
    )
)

WEB_PORTS = frozenset({80, 443})
FIRST_FREE_PORT = 1024
REFUSED_PORTS = frozenset(
    {1719, 1720, 1723, 2049, 2525, 3659, 4045, 4190, 5060, 5061, 6000, 6379, 6566, *range(6665, 6670), 6679, 6697}
    | {10080, 11211}
)
"""Allowed are 80, 443 and what lies above 1023 except these: other ports below are well-known services (22, 25, 587 …),
and these speak protocols of lines that obey parts of an HTTP request: the list of the Fetch standard, with alternative
SMTP (2525), Redis (6379) and memcached (11211)."""

_URL = re.compile(r"(?i:(https?)):/{2}([^/?#]+)([^#]*)(?:#.*)?")
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f-\xa0\\\u2028\u2029]")
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"\d+|0x[0-9a-f]*")
_PRINTABLE = "!\"$%&'()*+,/:;<=>?@[]^`{|}~"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a URL or an address is not called: a sentence for the customer."""

    reason: str


_TOO_LONG = Refusal(f"The URL is longer than {MAX_URL_CHARS} characters.")


@dataclass(frozen=True, slots=True)
class UrlPolicy:
    """What a URL may be. allow_http: unencrypted calls. allow_loopback: this machine, for local mode only."""

    allow_http: bool = False
    allow_loopback: bool = False


STRICT = UrlPolicy()


@dataclass(frozen=True, slots=True)
class ParsedUrl:
    """A URL that may be called, if its host resolves to public addresses.

    scheme: `http` or `https`. host: A-labels in lower case without a final dot, or an address without brackets.
    target: path and query as they stand in the request line, ASCII. address: set if the host is an address.
    """

    scheme: str
    host: str
    port: int
    target: str
    address: IPAddress | None

    @property
    def authority(self) -> str:
        """Return the value of the Host header: brackets around IPv6, the port unless it is the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _default_port(self.scheme) else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """Return the normalised URL; one endpoint has one spelling."""
        return f"{self.scheme}://{self.authority}{self.target}"


def is_public(address: IPAddress) -> bool:
    """Tell whether an address belongs to somebody on the public Internet and hides no other address inside."""
    if isinstance(address, IPv4Address):
        return not any(address in network for network in NOT_PUBLIC_V4)
    # A zone (`%eth0`) makes sense only on a link of ours.
    if address.scope_id is not None or address not in PUBLIC_V6:
        return False
    return not any(address in network for network in NOT_PUBLIC_V6)


def choose(addresses: Iterable[IPAddress], *, allow_loopback: bool = False) -> IPAddress | Refusal:
    """Return the address to connect to, of all that a name resolves to.

    One that is not public refuses all of them: a name that points inside and outside is an attack or a mistake.
    IPv4 first, because functions outside a VPC reach the Internet by IPv4 only; else the resolver's order.
    """
    found = list(addresses)
    if not found:
        return Refusal("The host name has no address.")
    for address in found:
        if not is_public(address) and not (allow_loopback and _is_loopback(address)):
            return Refusal(f"The host resolves to {address}, which is not a public address.")
    return next((address for address in found if isinstance(address, IPv4Address)), found[0])


def check_url(url: str, policy: UrlPolicy = STRICT) -> ParsedUrl | Refusal:
    """Parse and judge a URL before anything is resolved.

    https (http if the policy allows it), no user name, a host name with a dot or an address in its usual form, a port
    of a web server. Numeric hosts in other forms (`0x7f.1`, `2130706433`, `0177.0.0.1`, `127.1`) are refused.
    """
    if len(url) > MAX_URL_CHARS:
        return _TOO_LONG
    match = None if _FORBIDDEN.search(url) else _URL.fullmatch(url)
    if match is None:
        schemes = "https:// or http://" if policy.allow_http else "https://"
        return Refusal(f"The URL must be {schemes} with a host, without spaces or control characters.")
    scheme = match[1].lower()
    if scheme == "http" and not policy.allow_http:
        return Refusal("The URL must start with https://.")
    if "@" in match[2]:
        return Refusal("The URL must not contain a user name or password.")
    host, port = _split_port(match[2], scheme)
    if not _is_web_port(port):
        return Refusal("The port of the URL must be 80, 443 or one above 1023 that no other service uses.")
    name = _host(host, policy)
    if isinstance(name, Refusal):
        return name
    parsed = ParsedUrl(scheme, str(name), port, _target(match[3]), None if isinstance(name, str) else name)
    return parsed if len(parsed.url) <= MAX_URL_CHARS else _TOO_LONG


def _split_port(authority: str, scheme: str) -> tuple[str, int]:
    """Return host (with brackets) and port; a port that is no number is 0, which nobody may call."""
    host, colon, digits = authority.rpartition(":")
    if not colon or authority.endswith("]"):
        return authority, _default_port(scheme)
    if not digits:
        return host, _default_port(scheme)
    is_number = digits.isascii() and digits.isdigit() and len(digits) <= 5
    return host, int(digits) if is_number else 0


def _default_port(scheme: str) -> int:
    return 443 if scheme == "https" else 80


def _is_web_port(port: int) -> bool:
    return port in WEB_PORTS or (FIRST_FREE_PORT <= port <= 65535 and port not in REFUSED_PORTS)


def _target(path_and_query: str) -> str:
    target = path_and_query if path_and_query.startswith("/") else "/" + path_and_query
    return quote(target, safe=_PRINTABLE, errors="replace")


def _host(host: str, policy: UrlPolicy) -> str | IPAddress | Refusal:
    """Return a name in A-labels or an address that may be called."""
    if host.startswith("["):
        return _check_address(_read(IPv6Address, host[1:-1] if host.endswith("]") else ""), policy)
    name = _ascii_name(host)
    if name is None:
        return Refusal("The host of the URL is not a valid name.")
    last = name.rpartition(".")[2]
    if _NUMBER.fullmatch(last):
        return _check_address(_read(IPv4Address, name), policy)
    if last == "localhost" and policy.allow_loopback:
        return name
    if last == "localhost" or "." not in name:
        return Refusal("The host of the URL must be a public name, such as hooks.example.com.")
    return name


def _ascii_name(host: str) -> str | None:
    """Return a host name in lower-case A-labels without a final dot, or None. Underscores occur and are harmless."""
    try:
        name = host.lower() if host.isascii() else idna.encode(host, uts46=True).decode("ascii")
    except (UnicodeError, ValueError, IndexError):
        return None
    name = name.removesuffix(".")
    is_valid = len(name) <= 253 and all(_LABEL.fullmatch(label) for label in name.split("."))
    return name if is_valid else None


def _read(kind: type[IPv4Address | IPv6Address], text: str) -> IPAddress | None:
    try:
        return kind(text)
    except ValueError:
        return None


def _check_address(address: IPAddress | None, policy: UrlPolicy) -> IPAddress | Refusal:
    if address is None:
        return Refusal("The host of the URL is not a valid address; write it as 192.0.2.1 or [2001:db8::1].")
    chosen = choose([address], allow_loopback=policy.allow_loopback)
    return Refusal("The host of the URL is not a public address.") if isinstance(chosen, Refusal) else chosen


def _is_loopback(address: IPAddress) -> bool:
    return address in IPv4Network("127.0.0.0/8") if isinstance(address, IPv4Address) else address == IPv6Address("::1")
