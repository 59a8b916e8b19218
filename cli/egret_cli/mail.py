"""`egret delivery`, `egret suppression` and `egret hold`."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any, Final

import msgspec

from egret.contracts.settings import HoldRule
from egret.contracts.webapi import AttemptInfo, DeliveryInfo, DeliveryListRequest, SuppressionAddRequest
from egret.core.delivery import Delivery, State
from egret.core.errors import InvalidRequest
from egret.usecases.accounts import account_named
from egret.usecases.deliveries import DeliveryPorts, delivery_cancel, delivery_get, delivery_list, delivery_release
from egret.usecases.holds import HoldPorts, hold_add, hold_list, hold_remove
from egret.usecases.suppressions import SuppressionPorts, suppression_add, suppression_list, suppression_remove
from egret_cli.command import A_THOUSAND_YEARS, ACCOUNT, Answer, Argument, Command, Ports, days, instant
from egret_cli.text import cell, facts, table

PAGE: Final = 1000
CURSOR_KEY: Final = os.urandom(32)
"""Cursors never leave this process, so they need no key of the installation."""


def _account_id(ports: Ports, arguments: Namespace) -> str:
    return account_named(ports.settings_writer, arguments.account).id


# --- deliveries ------------------------------------------------------------------------------------------------------


def _delivering(ports: Ports) -> DeliveryPorts:
    return DeliveryPorts(ports.store, ports.settings, ports.units, ports.hint_queue, ports.clock, CURSOR_KEY)


def list_deliveries(ports: Ports, arguments: Namespace) -> Answer:
    """List deliveries of an account."""
    now = ports.clock.now()
    request = DeliveryListRequest(
        states=tuple(arguments.states or ()),
        recipient=arguments.recipient,
        queue_msg_id=arguments.same_message_as,
        since=instant(now)(arguments.since) if arguments.since else None,
        until=instant(now)(arguments.until) if arguments.until else None,
    )
    found = list(_deliveries(ports, _account_id(ports, arguments), request, arguments.limit))
    rows = [
        {"id": info.queue_msg_id, "queued": info.queued, "state": info.state, "recipient": info.recipient}
        | {"attempts": len(info.attempts), "subject": info.subject[:40], "waits for": info.waiting}
        for info in found
    ]
    return Answer([_plain(info) for info in found], table(rows, "No delivery matches."))


def _deliveries(ports: Ports, account: str, request: DeliveryListRequest, limit: int) -> Iterator[DeliveryInfo]:
    cursor = ""
    while limit > 0:
        page = msgspec.structs.replace(request, cursor=cursor, limit=min(limit, PAGE))
        result = delivery_list(_delivering(ports), account, page)
        yield from result.deliveries
        limit -= len(result.deliveries)
        cursor = result.cursor
        if not cursor:
            return


def _plain(info: DeliveryInfo) -> dict[str, Any]:
    """Return a delivery with the keys of the API."""
    plain: dict[str, Any] = msgspec.to_builtins(info)
    return plain


def show_delivery(ports: Ports, arguments: Namespace) -> Answer:
    """Show a delivery with its attempts and events."""
    info = delivery_get(_delivering(ports), _account_id(ports, arguments), arguments.ids)
    about = {
        "id": info.queue_msg_id,
        "message-id": info.message_id,
        "from": info.from_,
        "recipient": info.recipient,
        "subject": info.subject,
        "state": info.state,
        "waits for": info.waiting,
        "queued": info.queued,
        "next attempt": info.due,
        "expires": info.expires,
        "ended": info.ended,
    }
    attempts = [
        {"attempt": number, "at": attempt.start, "outcome": attempt.outcome, "remote": attempt.remote}
        | {"transport": attempt.transport, "policy": attempt.tls_policy, "tls": attempt.tls}
        | {"said": _said(attempt)}
        for number, attempt in enumerate(info.attempts, 1)
    ]
    conversation = info.attempts[-1].transcript if info.attempts else ()
    events = [{"event": e.seq, "at": e.time, "what": e.event, "dsn": e.dsn, "error": e.error} for e in info.events]
    text = [facts(about), table(attempts, "No attempt has ended yet."), table(events, "Nothing has happened yet.")]
    if conversation:
        text.append("\n".join(["The last conversation:", *(f"  {cell(line)}" for line in conversation)]))
    return Answer(_plain(info), "\n\n".join(text))


def _said(attempt: AttemptInfo) -> str:
    """Return the server's reply with its code, else why there is none in Egret's own words.

    A reply without a server's address, or behind which the conversation ends with a remark, is Egret's own.
    """
    is_remark = any(line.startswith("[") for line in attempt.transcript[-1:])
    if not attempt.code or " [" not in attempt.remote or is_remark:
        return f"Egret: {attempt.error}"
    return f"{attempt.code} {' / '.join(attempt.reply)}".rstrip()


def release(ports: Ports, arguments: Namespace) -> Answer:
    """Lift holds."""
    account = _account_id(ports, arguments)
    if bool(arguments.ids) == arguments.all:
        raise InvalidRequest("user", "Give the ids of deliveries, or --all for every one that is held.")
    held = DeliveryListRequest(states=(State.HELD.value,))
    ids = arguments.ids or [info.queue_msg_id for info in list(_deliveries(ports, account, held, 1_000_000))]
    return _steered(ports, account, ids, delivery_release, "Released")


def cancel(ports: Ports, arguments: Namespace) -> Answer:
    """Withdraw deliveries."""
    return _steered(ports, _account_id(ports, arguments), arguments.ids, delivery_cancel, "Canceled")


def _steered(
    ports: Ports,
    account: str,
    ids: list[int],
    steer: Callable[[DeliveryPorts, str, int], Delivery],
    verb: str,
) -> Answer:
    """Steer one after the other; the first refusal ends it, and says which one it was and what was done before."""
    bundle = _delivering(ports)
    for done, one in enumerate(ids):
        try:
            steer(bundle, account, one)
        except InvalidRequest as error:
            raise InvalidRequest(error.code, f"Delivery {one}: {error.public} ({verb} before it: {done}.)") from error
    return Answer({"ids": ids}, f"{verb} {len(ids)}.")


# --- suppressions ----------------------------------------------------------------------------------------------------


def _suppressing(ports: Ports) -> SuppressionPorts:
    return SuppressionPorts(ports.suppressions, ports.clock, ports.dice)


def list_suppressions(ports: Ports, arguments: Namespace) -> Answer:
    """List an account's suppressed addresses."""
    rows = [
        {
            "address": entry.original_address,
            "since": entry.created_at,
            "until": entry.expires_at,
            "kind": entry.kind,
            "reason": entry.reason,
        }
        for entry in suppression_list(_suppressing(ports), _account_id(ports, arguments))
    ]
    return Answer(rows, table(rows, "The list is empty."))


def add_suppression(ports: Ports, arguments: Namespace) -> Answer:
    """Put an address on the list."""
    account = _account_id(ports, arguments)
    address, days_ = arguments.address, arguments.days
    expires = None if days_ is None else ports.clock.now() + min(days_, A_THOUSAND_YEARS)
    suppression_add(
        _suppressing(ports),
        account,
        SuppressionAddRequest(email_address=address, manual=True, reason=arguments.reason, expires=expires),
    )
    until = "any more" if expires is None else f"until {cell(expires)}"
    return Answer({"added": address, "until": expires}, f"No mail of the account goes to {address} {until}.")


def remove_suppression(ports: Ports, arguments: Namespace) -> Answer:
    """Take an address off the list."""
    suppression_remove(_suppressing(ports), _account_id(ports, arguments), arguments.address)
    return Answer({"removed": arguments.address}, f"Mail may go to {arguments.address} again.")


# --- holds -----------------------------------------------------------------------------------------------------------


def _holding(ports: Ports) -> HoldPorts:
    return HoldPorts(ports.settings_writer, ports.settings, ports.store, ports.clock, ports.dice)


def add_hold(ports: Ports, arguments: Namespace) -> Answer:
    """Add a hold rule."""
    given = bool(arguments.account or arguments.sender or arguments.recipient)
    if given == arguments.everything:
        raise InvalidRequest("user", "Say what is to wait: --account, --sender, --recipient, or --everything.")
    account = account_named(ports.settings_writer, arguments.account).id if arguments.account else ""
    rule, held = hold_add(_holding(ports), HoldRule("", account, arguments.sender, arguments.recipient))
    return Answer({**asdict(rule), "held": held}, f"Rule {rule.id}; {held} deliveries that waited are on hold.")


def list_holds(ports: Ports, _: Namespace) -> Answer:
    """List every hold rule."""
    names = {account.id: account.name for account in ports.settings_writer.accounts()}
    rows = [
        {
            "id": rule.id,
            "account": names.get(rule.account, rule.account),
            "sender": rule.sender,
            "recipient": rule.recipient,
            "since": rule.created_at,
        }
        for rule in hold_list(_holding(ports))
    ]
    return Answer(rows, table(rows, "There is no hold rule."))


def remove_hold(ports: Ports, arguments: Namespace) -> Answer:
    """Remove a hold rule."""
    hold_remove(_holding(ports), arguments.rule)
    text = "Removed. What it held stays held until it is released: egret delivery release ACCOUNT --all"
    return Answer({"removed": arguments.rule}, text)


DELIVERY = Argument("ids", "id of the delivery (QueueMsgID)", {"type": int, "metavar": "delivery"})
DELIVERIES = Argument("ids", "ids of deliveries", {"type": int, "nargs": "+", "metavar": "delivery"})
SOME_DELIVERIES = Argument("ids", "ids of deliveries", {"type": int, "nargs": "*", "metavar": "delivery"})
ADDRESS = Argument("address", "the address, in any variant")
_TEXT = {"default": ""}

COMMANDS = (
    Command(
        "hold",
        "add",
        "Let mail wait: what waits already, and within a minute what is sent, if everything given matches.",
        (
            Argument("--account", "mail of this account", {**_TEXT, "metavar": "NAME"}),
            Argument("--sender", "mail with this From address or domain", {**_TEXT, "metavar": "ADDRESS"}),
            Argument("--recipient", "mail to this address or domain", {**_TEXT, "metavar": "ADDRESS"}),
            Argument("--everything", "all mail of all accounts", {"action": "store_true"}),
        ),
        add_hold,
    ),
    Command("hold", "list", "List every hold rule.", (), list_holds),
    Command(
        "hold",
        "remove",
        "Remove a rule; what it held stays held until it is released, a minute later at the earliest.",
        (Argument("rule", "id of the rule"),),
        remove_hold,
    ),
    Command(
        "delivery",
        "list",
        "List deliveries of an account, newest first.",
        (
            ACCOUNT,
            Argument(
                "--state",
                "only in this state, once for each",
                {"action": "append", "dest": "states", "choices": [s.value for s in State], "metavar": "STATE"},
            ),
            Argument("--recipient", "only to this address", {**_TEXT, "metavar": "ADDRESS"}),
            Argument(
                "--same-message-as", "only of the submission of this one", {"type": int, "default": 0, "metavar": "ID"}
            ),
            Argument("--since", "queued at this time or later", {**_TEXT, "metavar": "TIME"}),
            Argument("--until", "queued before this time", {**_TEXT, "metavar": "TIME"}),
            Argument("--limit", "how many at most (100)", {"type": int, "default": 100, "metavar": "N"}),
        ),
        list_deliveries,
    ),
    Command(
        "delivery",
        "show",
        "Show a delivery with its attempts, its events, and what was said when it was last tried.",
        (ACCOUNT, DELIVERY),
        show_delivery,
    ),
    Command(
        "delivery",
        "release",
        "Lift the hold of deliveries, so that they go at once, whatever rules there are.",
        (ACCOUNT, SOME_DELIVERIES, Argument("--all", "every one that is held", {"action": "store_true"})),
        release,
    ),
    Command("delivery", "cancel", "Withdraw deliveries that have not ended.", (ACCOUNT, DELIVERIES), cancel),
    Command(
        "suppression",
        "list",
        "List the addresses that an account's mail does not go to.",
        (ACCOUNT,),
        list_suppressions,
    ),
    Command(
        "suppression",
        "add",
        "Put an address on an account's list.",
        (
            ACCOUNT,
            ADDRESS,
            Argument("--reason", "why, for those who read the list", {**_TEXT, "metavar": "TEXT"}),
            Argument("--days", "for how many days (for good)", {"type": days, "metavar": "DAYS"}),
        ),
        add_suppression,
    ),
    Command("suppression", "remove", "Take an address off an account's list.", (ACCOUNT, ADDRESS), remove_suppression),
)
