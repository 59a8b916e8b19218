"""What a customer's URL may reach, written out."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egret.core.netguard import IPAddress, ParsedUrl, Refusal, UrlPolicy, check_url, choose, is_public

LOCAL = UrlPolicy(allow_http=True, allow_loopback=True)

PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.0",
    "169.253.255.255",
    "169.255.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "192.0.1.0",
    "192.0.3.0",
    "192.167.255.255",
    "192.169.0.0",
    "198.17.255.255",
    "198.20.0.0",
    "223.255.255.255",
    "2001:200::1",
    "2001:4860:4860::8888",
    "2400:cb00::1",
    "2606:4700:4700::1111",
    "2a00:1450::1",
    "3ffe::1",
]

NOT_PUBLIC = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.0",
    "10.255.255.255",
    "100.64.0.0",
    "100.100.100.200",
    "100.127.255.255",
    "127.0.0.1",
    "127.255.255.255",
    "169.254.0.1",
    "169.254.169.254",
    "169.254.170.2",
    "172.16.0.0",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.0.0",
    "192.168.255.255",
    "198.18.0.0",
    "198.19.255.255",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::8.8.8.8",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:8.8.8.8",
    "::ffff:0:8.8.8.8",
    "64:ff9b::a00:1",
    "64:ff9b::808:808",
    "64:ff9b:1::a00:1",
    "100::1",
    "2001::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "2001:2::1",
    "2001:10::1",
    "2001:20::1",
    "2001:1ff:ffff::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:a9fe:a9fe::1",
    "3fff::1",
    "4000::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fdff::1",
    "fe80::1",
    "fe80::1%eth0",
    "2606:4700::1%eth0",
    "fec0::1",
    "ff02::1",
    "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
]


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_may_be_called(address: str) -> None:
    """Including the neighbours of every refused range."""
    assert is_public(ip_address(address))


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_other_addresses_may_not_be_called(address: str) -> None:
    """Ours, nobody's, and those that hide another address inside."""
    assert not is_public(ip_address(address))


@given(st.ip_addresses())
def test_public_is_never_wider_than_the_registry(address: IPAddress) -> None:
    """What the standard library calls not global is not public here either."""
    assert address.is_global or not is_public(address)


@given(st.ip_addresses(v=4))
def test_no_form_of_embedding_opens_a_way(inside: IPv4Address) -> None:
    """Mapped, compatible, NAT64, 6to4 and Teredo are refused whatever they hold."""
    number = int(inside)
    forms = [
        number,
        0xFFFF << 32 | number,
        0x64FF9B << 96 | number,
        0x2002 << 112 | number << 80,
        0x20010000 << 96 | ~number & 0xFFFFFFFF,
    ]
    assert [is_public(IPv6Address(form)) for form in forms] == [False] * 5


V4, V6, PRIVATE, LOOPBACK = (ip_address(text) for text in ("8.8.8.8", "2606:4700::1", "10.0.0.1", "127.0.0.1"))


@pytest.mark.parametrize(
    ("addresses", "expected"),
    [
        ([V4], V4),
        ([V6], V6),
        ([V6, V4], V4),
        ([V4, ip_address("1.1.1.1")], V4),
    ],
)
def test_first_public_address_is_chosen_ipv4_before_ipv6(addresses: list[IPAddress], expected: IPAddress) -> None:
    """In the resolver's order otherwise."""
    assert choose(addresses) == expected


@pytest.mark.parametrize("addresses", [[], [PRIVATE], [V4, PRIVATE], [PRIVATE, V4], [V6, V4, LOOPBACK]])
def test_one_address_inside_refuses_all(addresses: list[IPAddress]) -> None:
    """A name that also points inside is not called at all."""
    assert isinstance(choose(addresses), Refusal)


@pytest.mark.parametrize(
    ("address", "is_allowed"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("::ffff:127.0.0.1", False),
        ("10.0.0.1", False),
        ("0.0.0.0", False),
    ],
)
def test_local_mode_allows_loopback_and_nothing_else(address: str, is_allowed: bool) -> None:
    """A developer's own machine, not the office network."""
    assert (choose([ip_address(address)], allow_loopback=True) == ip_address(address)) == is_allowed


@pytest.mark.parametrize(
    ("url", "normalised", "target"),
    [
        ("https://hooks.example.com", "https://hooks.example.com/", "/"),
        ("HTTPS://Hooks.Example.COM:443/a/B?c=D", "https://hooks.example.com/a/B?c=D", "/a/B?c=D"),
        ("https://hooks.example.com?x", "https://hooks.example.com/?x", "/?x"),
        ("https://hooks.example.com./x#frag", "https://hooks.example.com/x", "/x"),
        ("https://hooks.example.com:/x", "https://hooks.example.com/x", "/x"),
        ("https://hooks.example.com:8443/x", "https://hooks.example.com:8443/x", "/x"),
        ("https://hooks.example.com:80/x", "https://hooks.example.com:80/x", "/x"),
        ("https://my_hook.example.com/", "https://my_hook.example.com/", "/"),
        ("https://faß.de/ü?ö=%C3", "https://xn--fa-hia.de/%C3%BC?%C3%B6=%C3", "/%C3%BC?%C3%B6=%C3"),
        ("https://hooks。example.com/", "https://hooks.example.com/", "/"),
        ("https://8.8.8.8/x", "https://8.8.8.8/x", "/x"),
        ("https://8.8.8.8./x", "https://8.8.8.8/x", "/x"),
        ("https://[2606:4700:0::1]:8443/x", "https://[2606:4700::1]:8443/x", "/x"),
        ("https://[2606:4700::1]", "https://[2606:4700::1]/", "/"),
        ("https://a.example//b/../c", "https://a.example//b/../c", "//b/../c"),
    ],
)
def test_good_urls_have_one_spelling(url: str, normalised: str, target: str) -> None:
    """Scheme and host in lower case and A-labels, the default port and the fragment gone."""
    parsed = check_url(url)
    assert isinstance(parsed, ParsedUrl)
    assert (parsed.url, parsed.target) == (normalised, target)
    assert check_url(parsed.url) == parsed


@pytest.mark.parametrize(
    "url",
    [
        # no URL of ours
        "",
        "hooks.example.com",
        "//hooks.example.com",
        "https:hooks.example.com",
        "https:///path",
        "https://",
        "https://?x",
        "https://#x",
        "ftp://hooks.example.com/",
        "file:///etc/passwd",
        "gopher://hooks.example.com/",
        "javascript:alert(1)",
        "http://hooks.example.com/",
        "ftp:https://hooks.example.com/",
        # characters that parsers disagree about
        " https://hooks.example.com/",
        "https://hooks.example.com/\n",
        "https://hooks.example.com/a b",
        "https://hooks.example.com/\r\nHost: x",
        "https://hooks.exa\tmple.com/",
        "https://hooks.example.com\\@10.0.0.1/",
        "https:\\\\hooks.example.com/",
        "https://hooks.example.com/\x00",
        "https://hooks.example.com/" + "x" * 2048,
        "https://hooks.example.com/" + "ü" * 1000,
        # user names
        "https://user@hooks.example.com/",
        "https://user:secret@hooks.example.com/",
        "https://@hooks.example.com/",
        "https://hooks.example.com@10.0.0.1/",
        # ports
        "https://hooks.example.com:0/",
        "https://hooks.example.com:22/",
        "https://hooks.example.com:25/",
        "https://hooks.example.com:587/",
        "https://hooks.example.com:1023/",
        "https://hooks.example.com:6379/",
        "https://hooks.example.com:11211/",
        "https://hooks.example.com:65536/",
        "https://hooks.example.com:99999999/",
        "https://hooks.example.com:-1/",
        "https://hooks.example.com:x/",
        "https://hooks.example.com:٤٤٣/",
        # names that are none
        "https://localhost/",
        "https://LOCALHOST./",
        "https://app.localhost/",
        "https://metadata/",
        "https://ⓛocalhost/",
        "https://./",
        "https://.example.com/",
        "https://a..example.com/",
        "https://-a.example.com/",
        "https://a%2eexample.com/",
        "https://a*.example.com/",
        "https://" + "a" * 64 + ".example.com/",
        "https://" + "a." * 127 + "example.com/",
        "https://☺.example.com/",
        "https://a:b:c/",
        # addresses inside, in every spelling
        "https://127.0.0.1/",
        "https://169.254.169.254/latest/meta-data/",
        "https://10.0.0.1/",
        "https://127.1/",
        "https://2130706433/",
        "https://0x7f000001/",
        "https://0x7f.1/",
        "https://0x7f.0.0.0x1/",
        "https://0177.0.0.1/",
        "https://127.0.0.01/",
        "https://1.2.3.4.5/",
        "https://256.1.1.1/",
        "https://8.8.8/",
        "https://0x/",
        "https://a.0x7f/",
        "https://１２７.0.0.1/",
        "https://127。0。0。1/",
        "https://[::1]/",
        "https://[::ffff:8.8.8.8]/",
        "https://[fd00:ec2::254]/",
        "https://[fe80::1%25eth0]/",
        "https://[2606:4700::1%eth0]/",
        "https://[8.8.8.8]/",
        "https://[2606:4700::1/",
        "https://2606:4700::1/",
        "https://[]/",
        "https://[2606:4700::1]x/",
    ],
)
def test_bad_urls_are_refused_with_a_reason(url: str) -> None:
    """Never an exception, always a sentence."""
    refusal = check_url(url)
    assert isinstance(refusal, Refusal)
    assert refusal.reason.endswith(".")


@pytest.mark.parametrize(("policy", "schemes"), [(UrlPolicy(), "https://"), (LOCAL, "https:// or http://")])
def test_the_reason_names_the_schemes_that_are_taken(policy: UrlPolicy, schemes: str) -> None:
    """Local mode takes one more."""
    refusal = check_url("ftp://a.example/", policy)
    assert isinstance(refusal, Refusal)
    assert f" {schemes} with a host" in refusal.reason


@pytest.mark.parametrize(
    ("url", "is_allowed"),
    [
        ("http://127.0.0.1:1081/hook", True),
        ("http://localhost:1081/hook", True),
        ("http://[::1]:1081/", True),
        ("http://app.localhost/", True),
        ("http://hooks.example.com/", True),
        ("http://10.0.0.1/", False),
        ("http://169.254.169.254/", False),
        ("http://metadata/", False),
        ("http://0.0.0.0:1081/", False),
        ("http://0x7f.1/", False),
        ("http://127.0.0.1:22/", False),
    ],
)
def test_local_mode_adds_http_and_loopback_only(url: str, is_allowed: bool) -> None:
    """The rest of the guard stays."""
    assert isinstance(check_url(url, LOCAL), ParsedUrl) == is_allowed


def test_http_alone_does_not_open_loopback() -> None:
    """The two permissions are independent."""
    policy = UrlPolicy(allow_http=True)
    assert isinstance(check_url("http://hooks.example.com/", policy), ParsedUrl)
    assert isinstance(check_url("http://127.0.0.1/", policy), Refusal)


@pytest.mark.parametrize(
    ("url", "authority", "port", "address"),
    [
        ("https://a.example/", "a.example", 443, None),
        ("https://a.example:8443/", "a.example:8443", 8443, None),
        ("https://[2606:4700::1]:8443/", "[2606:4700::1]:8443", 8443, V6),
        ("https://8.8.8.8/", "8.8.8.8", 443, V4),
    ],
)
def test_host_header_and_address(url: str, authority: str, port: int, address: IPAddress | None) -> None:
    """What the poster needs to connect and to write."""
    parsed = check_url(url)
    assert isinstance(parsed, ParsedUrl)
    assert (parsed.authority, parsed.port, parsed.address) == (authority, port, address)


@given(st.text(max_size=80) | st.builds("https://{}{}".format, st.text(max_size=40), st.text(max_size=40)))
def test_any_text_is_a_url_or_refused(url: str) -> None:
    """Never raises; what passes is plain ASCII, without controls, and passes again unchanged."""
    parsed = check_url(url)
    if isinstance(parsed, ParsedUrl):
        assert parsed.url.isascii()
        assert parsed.url.isprintable()
        assert " " not in parsed.url
        assert check_url(parsed.url) == parsed


@given(st.ip_addresses(), st.booleans())
def test_address_in_a_url_is_judged_like_a_resolved_one(address: IPAddress, allow_loopback: bool) -> None:
    """No way around the guard by writing the address down."""
    host = f"[{address}]" if address.version == 6 else str(address)
    parsed = check_url(f"https://{host}/", UrlPolicy(allow_loopback=allow_loopback))
    chosen = choose([address], allow_loopback=allow_loopback)
    assert isinstance(parsed, ParsedUrl) == (chosen == address)
