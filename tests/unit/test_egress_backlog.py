"""The backlog knows how much waits, and for how long."""

from __future__ import annotations

from egret_egress.backlog import Backlog


def test_the_backlog_is_as_old_as_its_oldest_item() -> None:
    """Wherever it stands; nothing waits when everything was taken."""
    now = 100.0
    backlog: Backlog[str] = Backlog(lambda: now)
    assert (len(backlog), backlog.age_s) == (0, 0)

    backlog.add("mx", "one", "a.example", "first")
    now = 103.0
    backlog.add("mx", "one", "b.example", "second")
    backlog.add("c.example", "two", "c.example", "third")
    now = 110.0
    assert (len(backlog), backlog.age_s) == (3, 10)

    assert backlog.pop("mx") == "first"
    assert (len(backlog), backlog.age_s) == (2, 7)

    assert sorted(backlog.pop_all()) == ["second", "third"]
    assert (len(backlog), backlog.age_s) == (0, 0)


def test_accounts_of_a_domain_take_turns() -> None:
    """However much one of them has queued before."""
    backlog: Backlog[str] = Backlog(lambda: 0.0)
    for account, item in (("one", "a"), ("one", "b"), ("one", "c"), ("two", "x")):
        backlog.add("a.example", account, "a.example", item)

    assert [backlog.pop("a.example") for _ in range(5)] == ["a", "x", "b", "c", None]


def test_domains_of_an_account_take_turns() -> None:
    """However much of one of them has queued before; what is looked at is what is taken."""
    backlog: Backlog[str] = Backlog(lambda: 0.0)
    for domain, item in (("a", "a1"), ("a", "a2"), ("a", "a3"), ("b", "b1"), ("b", "b2")):
        backlog.add("mx", "one", domain, item)

    taken = [(backlog.peek("mx"), backlog.pop("mx")) for _ in range(6)]

    assert taken == [(item, item) for item in ("a1", "b1", "a2", "b2", "a3", None)]
    assert (backlog.count("mx"), len(backlog)) == (0, 0)
