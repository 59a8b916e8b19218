"""The choice of address over attempts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egret.contracts.handoff import Earlier
from egret.core.reply import Reply
from egret_egress.families import family, has_route, has_second_chance, in_order, is_policy, reachable

V4, V4_B, V6, V6_B = "192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2"
BOTH = (V6, V4, V6_B, V4_B)


def earlier(address: str, code: int, enhanced_code: str = "") -> Earlier:
    """Return an attempt at an address."""
    return Earlier("mx.example.org", address, code, enhanced_code)


def test_the_first_attempt_keeps_the_order_of_the_dns() -> None:
    """So does one after attempts that reached nobody."""
    assert in_order(BOTH, []) == in_order(BOTH, [earlier("", 0)]) == BOTH


@pytest.mark.parametrize("enhanced_code", ["4.7.1", "4.2.0", ""])
def test_who_greylists_sees_the_same_address_again(enhanced_code: str) -> None:
    """Put off at an address for the first time: it comes first, the others as they were."""
    assert in_order(BOTH, [earlier(V4, 451, enhanced_code)]) == (V4, V6, V6_B, V4_B)


def test_put_off_twice_at_an_address_the_order_is_as_always() -> None:
    """It was not greylisting."""
    assert in_order(BOTH, [earlier(V4, 451), earlier(V4, 451)]) == BOTH


@pytest.mark.parametrize(
    "attempts",
    [
        [earlier(V6, 550, "5.7.1")],
        [earlier(V6, 421, "4.7.0"), earlier(V6, 421, "4.7.0")],
        [earlier(V4, 451), earlier(V6, 554, "5.7.26")],
    ],
)
def test_after_a_refusal_by_policy_the_other_family_comes_first(attempts: list[Earlier]) -> None:
    """IPv4 and IPv6 have reputations of their own; within a family the order stays."""
    assert in_order(BOTH, attempts) == (V4, V4_B, V6, V6_B)


codes = st.sampled_from([(0, ""), (250, "2.0.0"), (421, "4.7.0"), (451, ""), (550, "5.7.1"), (554, "5.0.0")])
attempts = st.builds(lambda address, code: earlier(address, *code), st.sampled_from([*BOTH, "", "198.51.100.9"]), codes)


@given(st.permutations(BOTH), st.lists(attempts, max_size=5))
def test_every_address_is_asked_once_whatever_was_before(addresses: list[str], before: list[Earlier]) -> None:
    """Only the order changes, and within a family at most the last address comes forward."""
    found = in_order(addresses, before)
    last = next((attempt.address for attempt in reversed(before) if attempt.address), "")

    assert sorted(found) == sorted(addresses)
    for version in (4, 6):
        expected = [address for address in addresses if family(address) == version and address != last]
        assert [address for address in found if family(address) == version and address != last] == expected


@pytest.mark.parametrize(
    ("reply", "attempt", "addresses", "expected"),
    [
        (Reply(550, ("5.7.1 blocked",)), 1, BOTH, True),
        (Reply(550, ("5.7.1 blocked",)), 2, BOTH, False),
        (Reply(550, ("5.7.1 blocked",)), 1, (V4, V4_B), False),
        (Reply(550, ("5.1.1 unknown",)), 1, BOTH, False),
        (Reply(450, ("4.7.1 later",)), 1, BOTH, False),
        (Reply(550, ("blocked",)), 1, BOTH, False),
        (None, 1, BOTH, False),
    ],
)
def test_the_other_family_gets_a_chance(
    reply: Reply | None, attempt: int, addresses: tuple[str, ...], *, expected: bool
) -> None:
    """Once, after a permanent refusal by policy, of a host that has both."""
    assert has_second_chance(reply, attempt, V4, addresses) is expected


@pytest.mark.parametrize(("code", "expected"), [("5.7.1", True), ("4.7.650", True), ("5.1.7", False), ("", False)])
def test_policy_is_the_seventh_subject(code: str, *, expected: bool) -> None:
    """RFC 3463 section 3.8."""
    assert is_policy(code) is expected


def test_what_has_no_route_is_left_out() -> None:
    """Each family is asked about once; when there is a way to none, all are tried, to say why that fails."""
    asked: list[str] = []

    def only_v4(address: str) -> bool:
        asked.append(address)
        return ":" not in address

    assert reachable(BOTH, only_v4) == (V4, V4_B)
    assert asked == [V6, V4]
    assert reachable((V6,), only_v4) == (V6,)
    assert reachable((), only_v4) == ()


def test_the_system_knows_the_way_to_itself() -> None:
    """Loopback always has a route."""
    assert has_route("127.0.0.1")
