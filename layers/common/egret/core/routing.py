"""Routes: which transport takes a delivery, by who sends, to whom, and how often it was tried."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Route:
    """A rule that sends mail over a transport; everything given must match.

    account: id; domain: sending domain, A-label; one of them at most, neither: a route of the installation.
    from_domains, to_domains: A-labels of the From address and of the recipient, () = any; with a leading dot the domain
    and everything below it. minimum_attempts: only when at least so many were made. transport: its name.
    order: among the routes of the same account, domain or installation; equal ones go by id.
    """

    id: str
    transport: str
    account: str = ""
    domain: str = ""
    from_domains: tuple[str, ...] = ()
    to_domains: tuple[str, ...] = ()
    minimum_attempts: int = 0
    order: int = 0

    def matches(self, journey: Journey) -> bool:
        """Tell whether the route is for this delivery."""
        return (
            self.account in ("", journey.account)
            and self.domain in ("", journey.from_domain)
            and self.minimum_attempts <= journey.attempts
            and _is_among(self.from_domains, journey.from_domain)
            and _is_among(self.to_domains, journey.to_domain)
        )

    @property
    def rank(self) -> tuple[int, int, str]:
        """Which one comes first: account before sending domain before installation, then the order, then the id."""
        scope = 0 if self.account else 1 if self.domain else 2
        return scope, self.order, self.id


@dataclass(frozen=True, slots=True)
class Journey:
    """What routes are chosen by: account id, A-labels of From address and recipient, number of attempts made."""

    account: str
    from_domain: str
    to_domain: str
    attempts: int = 0


def choose(routes: Iterable[Route], journey: Journey) -> Route | None:
    """Return the first route that matches, of the account, else of the sending domain, else of the installation."""
    first: Route | None = None
    for route in routes:
        if route.matches(journey) and (first is None or route.rank < first.rank):
            first = route
    return first


def _is_among(patterns: tuple[str, ...], domain: str) -> bool:
    return not patterns or any(_covers(pattern, domain) for pattern in patterns)


def _covers(pattern: str, domain: str) -> bool:
    return domain == pattern.removeprefix(".") or (pattern.startswith(".") and domain.endswith(pattern))
