"""The webhook as an operator sets it."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

import pytest

from egret.contracts.records import PostAnswer
from egret.contracts.settings import WebhookSettings
from egret.core.errors import InvalidRequest
from egret.core.netguard import STRICT, UrlPolicy
from egret.core.signature import verify
from egret.memory.calls import MemoryPoster
from egret.memory.clock import FakeClock
from egret.memory.dice import SeededDice
from egret.memory.settings import MemorySettings
from egret.usecases.accounts import AccountChange, OperatorPorts, account_create, account_named
from egret.usecases.webhooks import WebhookWish, webhook_clear, webhook_rotate, webhook_set, webhook_test
from tests.unit.builders import NOW

URL = "https://hooks.example.com/egret"


def some_ports() -> OperatorPorts:
    """Return ports with one account."""
    ports = OperatorPorts(MemorySettings(), FakeClock(NOW), SeededDice(1))
    account_create(ports, "acme", AccountChange(addresses=("a@example.com",)))
    return ports


def stored(ports: OperatorPorts) -> WebhookSettings | None:
    """Return the account's webhook as it is stored."""
    return account_named(ports.settings, "acme").webhook


def test_setting_makes_a_secret() -> None:
    """Every webhook is signed."""
    ports = some_ports()

    made = webhook_set(ports, "acme", WebhookWish(URL, "Bearer x", frozenset({"failed"}), in_order=True), STRICT)

    assert (made.url, made.authorization, made.events, made.in_order) == (URL, "Bearer x", frozenset({"failed"}), True)
    assert [secret.startswith("whsec_") for secret in made.secrets] == [True]
    assert stored(ports) == made


def test_setting_again_keeps_the_secret_and_calls_again() -> None:
    """A receiver that said 410 is called again from now on."""
    ports = some_ports()
    first = webhook_set(ports, "acme", WebhookWish(URL), STRICT)
    account = account_named(ports.settings, "acme")
    ports.settings.put_account(replace(account, webhook=replace(first, disabled=True)))

    again = webhook_set(ports, "acme", WebhookWish("https://other.example.com/"), STRICT)

    assert (again.secrets, again.disabled) == (first.secrets, False)


def test_a_rotation_keeps_the_secret_before() -> None:
    """Both sign until the next rotation, so that the receiver can follow in its own time."""
    ports = some_ports()
    first = webhook_set(ports, "acme", WebhookWish(URL), STRICT).secrets

    second = webhook_rotate(ports, "acme").secrets
    third = webhook_rotate(ports, "acme").secrets

    assert (second[1:], third[1:]) == (first, second[:1])
    assert len({*first, *second, *third}) == 3


@pytest.mark.parametrize(
    "wish",
    [
        WebhookWish("ftp://example.com/"),
        WebhookWish("http://example.com/"),
        WebhookWish("https://127.0.0.1/"),
        WebhookWish("https://169.254.169.254/latest"),
        WebhookWish("https://user@example.com/"),
        WebhookWish(URL, events=frozenset({"bogus"})),
        WebhookWish(URL, authorization="a\r\nX: y"),
        WebhookWish(URL, authorization="x" * 1025),
    ],
)
def test_what_must_not_be_called_is_refused(wish: WebhookWish) -> None:
    """Before anything is stored."""
    ports = some_ports()

    with pytest.raises(InvalidRequest):
        webhook_set(ports, "acme", wish, STRICT)
    assert stored(ports) is None


def test_local_mode_may_call_this_machine() -> None:
    """Its receiver runs beside it."""
    policy = UrlPolicy(allow_http=True, allow_loopback=True)

    assert (
        webhook_set(some_ports(), "acme", WebhookWish("http://127.0.0.1:8080/"), policy).url == "http://127.0.0.1:8080/"
    )


def test_clearing_removes_it() -> None:
    """Then there is nothing to rotate or to test."""
    ports = some_ports()
    webhook_set(ports, "acme", WebhookWish(URL), STRICT)
    webhook_clear(ports, "acme")

    assert stored(ports) is None
    with pytest.raises(InvalidRequest):
        webhook_rotate(ports, "acme")
    with pytest.raises(InvalidRequest):
        webhook_test(ports, MemoryPoster(), "acme")


def test_a_test_call_is_signed_like_a_real_one() -> None:
    """Whoever verifies it verifies real ones."""
    ports = some_ports()
    made = webhook_set(ports, "acme", WebhookWish(URL, "Bearer x"), STRICT)
    poster = MemoryPoster(lambda _: PostAnswer(204))

    answer, duration = webhook_test(ports, poster, "acme")

    (posted,) = poster.posted
    headers = posted.headers
    assert (answer.status, duration, posted.url, headers["Authorization"]) == (204, timedelta(0), URL, "Bearer x")
    event = json.loads(posted.body)
    assert (event["Event"], event["Reply"]) == ("delivered", ["2.0.0 this is a test"])  # without the code, as real ones
    assert made.secrets[0] not in posted.body.decode()
    assert verify(made.secrets, headers, posted.body, NOW)
