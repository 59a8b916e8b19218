"""Routes choose a transport: the account's first, then the sending domain's, then the installation's."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egret.core.routing import Journey, Route, choose

HERE = Journey("abcdefgh", "example.com", "mail.example.net")
EVERYTHING = Route("z", "relay")

names = st.sampled_from(
    ["example.com", "example.net", "mail.example.net", "deep.mail.example.net", "ample.net", "[192.0.2.1]"]
)
patterns = st.lists(names | names.map(lambda name: f".{name}"), max_size=2).map(tuple)
scopes = st.sampled_from([("", ""), ("abcdefgh", ""), ("ijklmnop", ""), ("", "example.com"), ("", "example.net")])
routes = st.builds(
    lambda number, scope, from_, to, least, order: Route(
        f"r{number}", f"t{number}", scope[0], scope[1], from_, to, least, order
    ),
    st.integers(0, 10**6),
    scopes,
    patterns,
    patterns,
    st.integers(0, 3),
    st.integers(-1, 2),
)
lists = st.lists(routes, max_size=8, unique_by=lambda route: route.id)
journeys = st.builds(Journey, st.sampled_from(["abcdefgh", "ijklmnop"]), names, names, st.integers(0, 4))


def first_of_each_list(table: list[Route], journey: Journey) -> Route | None:
    """Choose as the documentation says it: three lists, one after the other, the first match in each."""
    own = [route for route in table if route.account == journey.account]
    of_domain = [route for route in table if route.domain == journey.from_domain]
    common = [route for route in table if not route.account and not route.domain]
    for part in (own, of_domain, common):
        for route in sorted(part, key=lambda route: (route.order, route.id)):
            if route.matches(journey):
                return route
    return None


@given(lists, journeys)
def test_lists_are_asked_one_after_the_other(table: list[Route], journey: Journey) -> None:
    """Account, sending domain, installation; within each the first match in its order, however they are stored."""
    assert first_of_each_list(table, journey) == choose(table, journey)
    assert choose(table, journey) == choose(table[::-1], journey)


@given(lists, journeys)
def test_nobody_uses_another_accounts_route(table: list[Route], journey: Journey) -> None:
    """Whatever routes there are."""
    chosen = choose(table, journey)

    assert chosen is None or chosen.account in ("", journey.account)


@given(lists, journeys, st.integers(0, 3))
def test_a_route_that_matched_keeps_matching_after_more_attempts(
    table: list[Route], journey: Journey, more: int
) -> None:
    """minimum_attempts only keeps a route from early attempts."""
    later = replace(journey, attempts=journey.attempts + more)

    assert all(route.matches(later) for route in table if route.matches(journey))


@pytest.mark.parametrize(
    ("pattern", "domain", "matches"),
    [
        ("example.net", "example.net", True),
        ("example.net", "mail.example.net", False),
        (".example.net", "example.net", True),
        (".example.net", "mail.example.net", True),
        (".example.net", "a.b.example.net", True),
        (".example.net", "badexample.net", False),
        (".", "example.net", False),
        ("[192.0.2.1]", "[192.0.2.1]", True),
    ],
)
def test_a_leading_dot_takes_in_the_domain_and_everything_below(pattern: str, domain: str, matches: bool) -> None:
    """And nothing whose name only ends alike."""
    to = replace(EVERYTHING, to_domains=("other.example", pattern))
    from_ = replace(EVERYTHING, from_domains=("other.example", pattern))

    assert matches == to.matches(replace(HERE, to_domain=domain))
    assert matches == from_.matches(replace(HERE, from_domain=domain))


def test_without_a_match_there_is_no_route() -> None:
    """Mail goes the unit's own way then."""
    assert choose([], HERE) is None
    assert choose([replace(EVERYTHING, minimum_attempts=1)], HERE) is None
