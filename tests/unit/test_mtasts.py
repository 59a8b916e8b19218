"""MTA-STS records, policies and patterns."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egret.core.mtasts import MAX_PATTERNS, Invalid, PolicyText, StsMode, allows, parse_policy, parse_record

POLICY = b"version: STSv1\r\nmode: enforce\r\nmx: mail.example.com\r\nmx: *.Example.net\r\nmax_age: 604800\r\n"


@pytest.mark.rfc("8461", "3.1")
@pytest.mark.parametrize(
    "text", ["v=STSv1; id=20160831085700Z;", "v=STSv1;id=20160831085700Z", "v=STSv1 ; id=20160831085700Z; x=y"]
)
def test_a_record_announces_an_id(text: str) -> None:
    """Spaces, a last semicolon and extensions do not matter; other TXT records are left out."""
    assert parse_record(["v=spf1 -all", text]) == "20160831085700Z"


@pytest.mark.rfc("8461", "3.1")
@pytest.mark.parametrize("texts", [[], ["v=spf1 -all"], ["v=STSv10; id=1"], ["V=STSv1; id=1"], ["id=1; v=STSv1"]])
def test_no_record_is_no_policy(texts: list[str]) -> None:
    """The version must be the first field, as it is spelled."""
    assert parse_record(texts) is None


@pytest.mark.rfc("8461", "3.1")
@pytest.mark.parametrize(
    "texts",
    [
        ["v=STSv1; id=1", "v=STSv1; id=1"],
        ["v=STSv1"],
        ["v=STSv1; id="],
        ["v=STSv1; id=a-b"],
        ["v=STSv1; id=" + "1" * 33],
        ["v=STSv1; id=1; id=2"],
        ["v=STSv1; ; id=1"],
    ],
)
def test_a_wrong_record_is_told_from_none(texts: list[str]) -> None:
    """Two records, no id, two ids, an id that is none."""
    assert isinstance(parse_record(texts), Invalid)


@pytest.mark.rfc("8461", "3.2")
def test_a_policy_is_read() -> None:
    """Host names in lower case, in their order."""
    assert parse_policy(POLICY) == PolicyText(StsMode.ENFORCE, 604800, ("mail.example.com", "*.example.net"))


@pytest.mark.rfc("8461", "3.2")
def test_unknown_keys_and_repetitions_are_ignored() -> None:
    """Line ends may be LF; of a field that stands twice the first counts, mx excepted."""
    body = b"mode: none\nversion: STSv1\nmode: enforce\nfuture-thing: \xc3\xa9:x\nmax_age:0  \n\n"

    assert parse_policy(body) == PolicyText(StsMode.NONE, 0)


@pytest.mark.rfc("8461", "3.2")
@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"STSv1", b"STSv2"),
        (b"version: STSv1\r\n", b""),
        (b"enforce", b"Enforce"),
        (b"mode: enforce\r\n", b""),
        (b"604800", b"31557601"),
        (b"604800", b"-1"),
        (b"604800", "٣".encode()),
        (b"max_age: 604800\r\n", b""),
        (b"mx: mail.example.com\r\nmx: *.Example.net\r\n", b""),
        (b"mail.example.com", b"mail.*.com"),
        (b"mail.example.com", b"*"),
        (b"mail.example.com", b""),
        (b"mode:", b"mode"),
        (b"mode:", b"m\xc3\xb6de:"),
        (b"max_age", b"x: " + b"y" * 65536 + b"\r\nmax_age"),
    ],
)
def test_a_policy_that_breaks_the_rules_is_none(old: bytes, new: bytes) -> None:
    """Nothing is guessed."""
    assert isinstance(parse_policy(POLICY.replace(old, new)), Invalid)


@pytest.mark.parametrize(("count", "kept"), [(MAX_PATTERNS, True), (MAX_PATTERNS + 1, False)])
def test_a_policy_names_a_bounded_number_of_hosts(count: int, *, kept: bool) -> None:
    """Units remember the policies of all domains that they meet."""
    hosts = "".join(f"mx: mx{number}.example.org\n" for number in range(count))
    found = parse_policy(f"version: STSv1\nmode: enforce\nmax_age: 86400\n{hosts}".encode())

    assert isinstance(found, PolicyText) is kept


@pytest.mark.rfc("8461", "4.1")
@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("mail.example.com", True),
        ("MAIL.example.com.", True),
        ("other.example.com", False),
        ("x.example.net", True),
        ("example.net", False),
        ("x.y.example.net", False),
        (".example.net", False),
        ("", False),
    ],
)
def test_a_wildcard_is_one_leftmost_label(host: str, *, expected: bool) -> None:
    """`*.example.net` covers x.example.net, neither example.net nor x.y.example.net."""
    assert allows(("mail.example.com", "*.example.net"), host) is expected


@given(st.binary(max_size=300) | st.lists(st.sampled_from(POLICY.split(b"\r\n"))).map(b"\n".join))
def test_any_bytes_are_a_policy_or_invalid(body: bytes) -> None:
    """A policy host may answer anything."""
    found = parse_policy(body)

    assert isinstance(found, Invalid) or (found.mx != () or found.mode is StsMode.NONE)


@given(st.lists(st.text(max_size=60)))
def test_any_texts_are_a_record_or_not(texts: list[str]) -> None:
    """So may a name server."""
    found = parse_record(texts)

    assert found is None or isinstance(found, Invalid) or found.isalnum()
