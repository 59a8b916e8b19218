"""Authentication: keys, addresses, the limiter, disabled accounts."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import pytest

from egret.api.auth import AuthPorts, authenticate
from egret.api.http import Headers, Request, Response
from egret.contracts.caller import Caller
from egret.contracts.settings import ApiKey, Scope, SendingDomain
from egret.core.errors import Unavailable
from egret.memory.clock import FakeClock
from egret.memory.settings import MemorySettings
from egret.usecases.login import OnceAnHour
from tests.api_client import ACCOUNT, KEY, LOGIN, NOW, auth_ports, basic, post


def _answer(ports: AuthPorts, authorization: str) -> Caller | Response:
    return authenticate(ports, post("Send", "{}", authorization=authorization))


def _status(answer: Caller | Response) -> int:
    return answer.status if isinstance(answer, Response) else 200


@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        (f"Bearer {KEY}", 200),
        (f"bearer  {KEY} ", 200),
        (basic(LOGIN, KEY), 200),
        (basic(LOGIN, KEY).replace("Basic", "BASIC"), 200),
        (basic("ANN@Shop.Example", KEY), 200),
        (basic("orders@shop.example", KEY), 200),
        (basic(LOGIN, "wrong"), 401),
        (basic("other@shop.example", KEY), 401),
        (basic("ann@other.example", KEY), 401),
        (basic("ann", KEY), 401),
        (basic("", KEY), 401),
        (basic("ann+x@shop.example", KEY), 401),
        (basic(LOGIN, ""), 401),
        (basic(LOGIN, f"{KEY}:"), 401),
        (basic(LOGIN, KEY + "\0"), 401),
        ("Bearer wrong", 401),
        ("Bearer é", 401),
        ("", 401),
        ("Bearer", 401),
        ("Basic", 401),
        ("Basic !!!", 401),
        ("Basic " + base64.b64encode(b"no colon").decode(), 401),
        ("Basic " + base64.b64encode(b"\xff:\xff").decode(), 401),
        (f"Digest {KEY}", 401),
        (KEY, 401),
    ],
)
def test_credentials(authorization: str, status: int) -> None:
    """A key alone as Bearer, or as the password of an address of its account; nothing else."""
    assert _status(_answer(auth_ports(), authorization)) == status


def test_the_caller_is_the_keys_login_whatever_address_was_typed() -> None:
    """The key's login address is the default From and decides about fromid."""
    assert _answer(auth_ports(), basic("orders@shop.example", KEY)) == Caller(ACCOUNT, LOGIN, Scope.FULL)


def test_a_variant_by_the_domains_separator_logs_in() -> None:
    """As in the reference; only where the domain has a separator."""
    ports = auth_ports()
    assert isinstance(ports.settings, MemorySettings)
    ports.settings.put_domain(SendingDomain("shop.example", ACCOUNT.id, "bounces.shop.example", separator="+"))
    assert _status(_answer(ports, basic("ann+x@shop.example", KEY))) == 200


def test_every_401_names_the_scheme() -> None:
    """Browsers and clients know how to ask by it."""
    answer = _answer(auth_ports(), "")
    assert isinstance(answer, Response)
    assert answer.headers["WWW-Authenticate"] == "Basic realm=webapi"


def test_requests_without_credentials_are_no_failures() -> None:
    """Eleven of them, and a wrong key is still 401, not 429."""
    ports = auth_ports()
    statuses = {_status(_answer(ports, "")) for _ in range(50)}
    assert (statuses, _status(_answer(ports, "Bearer wrong"))) == ({401}, 401)


def test_the_eleventh_wrong_key_in_a_minute_is_429() -> None:
    """The reference's limit for one address."""
    ports = auth_ports()
    assert [_status(_answer(ports, "Bearer wrong")) for _ in range(21)] == [401] * 10 + [429] * 11


def test_a_right_key_works_from_a_network_over_its_limit() -> None:
    """The limiter is asked only after a key missed: an attacker beside us does not lock us out."""
    ports = auth_ports()
    for _ in range(21):
        _answer(ports, "Bearer wrong")
    assert _status(_answer(ports, f"Bearer {KEY}")) == 200


@pytest.mark.parametrize(("key", "status"), [(KEY, 401), ("wrong", 401)])
def test_a_disabled_account_is_refused_with_any_key(key: str, status: int) -> None:
    """Whether the key is right or wrong."""
    assert _status(_answer(auth_ports(replace(ACCOUNT, disabled=True)), basic(LOGIN, key))) == status


def test_a_key_without_its_account_is_unknown() -> None:
    """A left-over key opens nothing."""
    ports = auth_ports()
    assert isinstance(ports.settings, MemorySettings)
    ports.settings.put_key(replace(ports.settings.keys(ACCOUNT.id)[0], account="gonegone"))
    assert _status(_answer(ports, f"Bearer {KEY}")) == 401


def test_an_unknown_client_address_is_500() -> None:
    """Without it failures cannot be limited; the reference answers the same."""
    request = Request("POST", "/webapi/v0/Send", Headers({"Authorization": f"Bearer {KEY}"}))
    assert _status(authenticate(auth_ports(), request)) == 500


def test_the_use_of_a_key_is_noted_once_an_hour() -> None:
    """Using a key seldom costs a write."""
    ports = auth_ports()
    assert isinstance(ports.settings, MemorySettings)
    assert isinstance(ports.clock, FakeClock)
    seen = []
    for minutes in (0, 30, 31):
        ports.clock.advance(timedelta(minutes=minutes))
        _answer(ports, f"Bearer {KEY}")
        seen.append(ports.settings.keys(ACCOUNT.id)[0].last_used_at)
    assert seen == [NOW, NOW, NOW + timedelta(minutes=61)]


@dataclass
class _CountedKeyUse:
    calls: list[datetime] = field(default_factory=list)

    def touch_key(self, key: ApiKey, at: datetime) -> None:
        self.calls.append(at)


def test_settings_that_are_behind_do_not_cost_a_write_for_each_request() -> None:
    """They still say that the key was never used; another key is noted for itself."""
    counted, key = _CountedKeyUse(), ApiKey("a" * 64, ACCOUNT.id, LOGIN)
    once = OnceAnHour(counted)
    for minutes in (0, 1, 59, 60, 61):
        once.touch_key(key, NOW + timedelta(minutes=minutes))
    once.touch_key(replace(key, hash="b" * 64), NOW)

    assert counted.calls == [NOW, NOW + timedelta(minutes=60), NOW]


@dataclass
class _BrokenKeyUse:
    calls: list[str] = field(default_factory=list)

    def touch_key(self, key: ApiKey, at: datetime) -> None:
        self.calls.append(key.login)
        raise Unavailable


def test_a_use_that_could_not_be_noted_is_noted_with_the_next_request() -> None:
    """Only what was written counts."""
    broken = _BrokenKeyUse()
    ports = replace(auth_ports(), key_use=OnceAnHour(broken))
    for _ in range(2):
        _answer(ports, f"Bearer {KEY}")
    assert broken.calls == [LOGIN, LOGIN]


def test_a_failure_to_note_the_use_refuses_nobody() -> None:
    """Mail matters more than a time stamp."""
    broken = _BrokenKeyUse()
    assert _status(_answer(replace(auth_ports(), key_use=broken), f"Bearer {KEY}")) == 200
    assert broken.calls == [LOGIN]
