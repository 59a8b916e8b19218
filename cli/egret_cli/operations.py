"""`egret replay` and `egret unit`."""

from __future__ import annotations

from argparse import Namespace

from egret.contracts.records import Suspension, Unit
from egret.usecases.accounts import account_named
from egret.usecases.replay import ReplayPorts, replay
from egret_cli.command import Answer, Argument, Command, Ports, instant
from egret_cli.text import table


def run_replay(ports: Ports, arguments: Namespace) -> Answer:
    """Derive events again."""
    since = instant(ports.clock.now())(arguments.since)
    account = account_named(ports.settings_writer, arguments.account).id if arguments.account else ""
    bundle = ReplayPorts(
        ports.store, ports.mailboxes, ports.settings_writer, ports.suppressions, ports.call_queue, ports.clock
    )
    calls = replay(bundle, since, account)
    return Answer({"since": since, "calls": calls}, f"Queued {calls} webhook calls.")


def list_units(ports: Ports, _: Namespace) -> Answer:
    """List the egress units."""
    now = ports.clock.now()
    rows = [
        {
            "id": unit.id,
            "hostname": unit.hostname,
            "addresses": list(unit.source_addresses),
            "alive": now < unit.valid_until,
            "port 25": _port25(unit),
            "room": unit.room,
            "last seen until": unit.valid_until,
            "suspended": [_suspended(suspension) for suspension in unit.suspensions if now < suspension.until],
        }
        for unit in ports.units.list()
    ]
    return Answer(rows, table(rows, "No egress unit has announced itself."))


def _port25(unit: Unit) -> str:
    if not unit.port25_asked:
        return "not asked"
    return "open" if unit.port25 else "closed"


def _suspended(suspension: Suspension) -> str:
    whose = f" of account {suspension.account}" if suspension.account else ""
    what = f"what routes send to {suspension.host}" if suspension.host else f"{suspension.domain}{whose}"
    return f"{what} until {suspension.until:%H:%MZ}: {suspension.reason}"


COMMANDS = (
    Command(
        "replay",
        "",
        "Tell webhooks every event and mail since a time again, and judge events for the suppression lists again. "
        "They keep their ids, so that receivers can drop what they know.",
        (
            Argument("--since", "2026-01-31T12:00Z, or 36h for 36 hours ago", {"required": True, "metavar": "TIME"}),
            Argument("--account", "only this account's", {"default": "", "metavar": "NAME"}),
        ),
        run_replay,
    ),
    Command("unit", "list", "List the egress units: whether they live, and what they have suspended.", (), list_units),
)
