"""An installation on an emulator, with one account that has a key, a domain that signs twice, and a webhook."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from bench.meter import Meter
from bench.units import Index, Item
from egret.aws.app import App
from egret.aws.dkim_keys import make_dkim_key
from egret.contracts.records import UNIT_VALIDITY, Unit
from egret.core.netguard import UrlPolicy
from egret.usecases.accounts import AccountChange, OperatorPorts, account_create, key_create
from egret.usecases.domains import DomainPorts, DomainWish, domain_add
from egret.usecases.webhooks import WebhookWish, webhook_set
from tests.aws_resources import Resources, create_resources, emulator_clients
from tests.emulators import ministack_server

ACCOUNT: Final = "shop"
LOGIN: Final = "orders@shop.example.com"
DOMAIN: Final = "shop.example.com"
KEY: Final = "a key of the benchmarks"
UNIT: Final = "unit-of-the-bench"
ROOM: Final = 1_000_000
DUE: Final = Index(("due_shard", "due_at"))


@dataclass(frozen=True, slots=True)
class Installation:
    """app: metered. account: its id. aws: clients of the emulator that nobody counts."""

    app: App
    meter: Meter
    account: str
    resources: Resources
    endpoint_url: str

    @property
    def aws(self) -> Any:
        """Clients that are not counted."""
        return emulator_clients(self.endpoint_url)


@contextmanager
def installed(environ: Mapping[str, str] | None = None) -> Iterator[Installation]:
    """Start ministack, make everything in it, and yield the installation; raises RuntimeError when it is missing."""
    os.environ.setdefault("POWERTOOLS_METRICS_NAMESPACE", "Egret/egret")  # lines of log are as long as on AWS
    with TemporaryDirectory(prefix="egret-bench-") as folder, ministack_server(Path(folder)) as url:
        resources = create_resources(url)
        app = App.from_environment({**resources.environment(url), "EGRET_LOCAL": "1", **(environ or {})})
        meter = Meter(_peek(url), {resources.mail_table: (DUE,), resources.settings_table: ()})
        meter.attach(app.clients)
        yield Installation(app, meter, _seed(app), resources, url)


def _peek(url: str) -> Any:
    def peek(table: str, key: Item) -> Item | None:
        client: Any = emulator_clients(url).dynamodb
        item: Item | None = client.get_item(TableName=table, Key=key, ConsistentRead=True).get("Item")
        return item

    return peek


def _seed(app: App) -> str:
    operator = OperatorPorts(app.settings_writer, app.clock, app.dice)
    wish = AccountChange(full_name="Harbour & Loom", addresses=(LOGIN,), messages_per_day=10_000_000)
    account = account_create(operator, ACCOUNT, wish)
    made = key_create(operator, ACCOUNT, text=KEY)
    app.settings_writer.touch_key(made.key, app.clock.now())  # its use was noted within the hour, as usual
    domains = DomainPorts(operator, app.key_wrapper, make_dkim_key, app.installation.hostname)
    domain_add(domains, ACCOUNT, DomainWish(DOMAIN, return_path_domain=f"bounces.{DOMAIN}"))
    webhook_set(
        operator, ACCOUNT, WebhookWish("https://127.0.0.1/webhook", "Bearer token"), UrlPolicy(allow_loopback=True)
    )
    announce(app)
    return account.id


def announce(app: App) -> None:
    """Let one unit be alive for an hour, with more room than anything here fills."""
    until = app.clock.now() + max(UNIT_VALIDITY, timedelta(hours=1))
    app.units.put(Unit(UNIT, "http://127.0.0.1:1", "mx.egret.test", ("192.0.2.25",), True, ROOM, until))
