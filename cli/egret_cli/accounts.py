"""`egret account` and `egret key`."""

from __future__ import annotations

import shlex
from argparse import BooleanOptionalAction, Namespace
from dataclasses import asdict

from egret.contracts.settings import Account, ApiKey, Scope
from egret.usecases.accounts import (
    AccountChange,
    account_create,
    account_list,
    account_named,
    account_update,
    key_create,
    key_list,
    key_revoke,
)
from egret_cli.command import ACCOUNT, Answer, Argument, Command, Ports, days, hours, operator
from egret_cli.text import facts, table
from egret_cli.webhooks import webhook_facts

_SWITCH = {"action": BooleanOptionalAction, "default": None}
SETTINGS = (
    Argument("--full-name", "name in the From header of mail that gives none", {"metavar": "NAME"}),
    Argument(
        "--address",
        "login address; give it once for each, the main one first (an update replaces them all)",
        {"action": "append", "metavar": "ADDRESS", "dest": "addresses"},
    ),
    Argument("--messages-per-day", "recipients per UTC day, over all its keys", {"type": int, "metavar": "N"}),
    Argument("--keep-deliveries", "days for which ended deliveries are shown", {"type": days, "metavar": "DAYS"}),
    Argument("--keep-calls", "days for which webhook calls are kept", {"type": days, "metavar": "DAYS"}),
    Argument(
        "--idempotency-window",
        "hours for which an Idempotency-Key is remembered",
        {"type": hours, "metavar": "HOURS"},
    ),
    Argument(
        "--keep-mail",
        "days for which mail stays in its mailboxes, 0 = until it is deleted",
        {"type": days, "metavar": "DAYS"},
    ),
    Argument("--dsn-to-mailbox", "DSNs about its own deliveries are put into its Inbox", _SWITCH),
    Argument(
        "--unsubscribe",
        "mail gets List-Unsubscribe unless the call says otherwise; one for several recipients must",
        _SWITCH,
    ),
    Argument("--keeps-extra-headers", "X-Mox-Extra-* fields stay in submitted mail", _SWITCH),
    Argument("--uses-fromid", "a reverse-path of its own for every delivery, so that bounces find it", _SWITCH),
    Argument("--is-postmaster", "receives the mail for postmaster and abuse", _SWITCH),
    Argument("--disabled", "nobody can log in; what waits is still sent", _SWITCH),
)


def _wanted(arguments: Namespace, name: str | None) -> AccountChange:
    given = {
        field: getattr(arguments, field)
        for field in AccountChange.__slots__
        if field not in ("name", "addresses") and getattr(arguments, field) is not None
    }
    addresses = None if arguments.addresses is None else tuple(arguments.addresses)
    return AccountChange(name=name, addresses=addresses, **given)


def create(ports: Ports, arguments: Namespace) -> Answer:
    """Create an account."""
    return _shown(account_create(operator(ports), arguments.account, _wanted(arguments, None)))


def update(ports: Ports, arguments: Namespace) -> Answer:
    """Change an account."""
    return _shown(account_update(operator(ports), arguments.account, _wanted(arguments, arguments.name)))


def list_all(ports: Ports, _: Namespace) -> Answer:
    """List every account."""
    accounts = account_list(operator(ports))
    rows = [
        {
            "name": account.name,
            "id": account.id,
            "main address": next(iter(account.addresses), ""),
            "per day": account.messages_per_day,
            "webhook": _webhook_word(account),
            "disabled": account.disabled,
        }
        for account in accounts
    ]
    return Answer([_data(account) for account in accounts], table(rows, "There is no account yet."))


def show(ports: Ports, arguments: Namespace) -> Answer:
    """Show an account."""
    return _shown(account_named(ports.settings_writer, arguments.account))


def _webhook_word(account: Account) -> str:
    if account.webhook is None:
        return "none"
    return "disabled" if account.webhook.disabled else "set"


def _data(account: Account) -> dict[str, object]:
    """Return what may be shown of an account: all but what is secret of its webhook."""
    webhook = webhook_facts(account.webhook) if account.webhook else None
    incoming = webhook_facts(account.incoming_webhook) if account.incoming_webhook else None
    return {**asdict(account), "webhook": webhook, "incoming_webhook": incoming}


def _shown(account: Account) -> Answer:
    data = _data(account)
    urls = {
        "webhook": account.webhook.url if account.webhook else None,
        "incoming webhook": account.incoming_webhook.url if account.incoming_webhook else None,
    }
    keep_mail = account.keep_mail or "until it is deleted"
    shown = facts({**_named({**data, "keep_mail": keep_mail}), **urls})
    return Answer(data, shown if account.addresses else f"{shown}\n\n{_missing_address(account)}")


def _missing_address(account: Account) -> str:
    way = f"account update {shlex.quote(account.name)} --address ADDRESS"
    return f"It has no address to log in with, so it can have no key: `{way}` gives it one."


def _named(data: dict[str, object]) -> dict[str, object]:
    return {name.replace("_", " "): value for name, value in data.items()}


def make_key(ports: Ports, arguments: Namespace) -> Answer:
    """Make a key and print its text, this once."""
    wanted = ApiKey("", "", arguments.login, Scope(arguments.scope), arguments.name)
    made = key_create(operator(ports), arguments.account, wanted)
    data = {**_key(made.key), "key": made.text}
    return Answer(data, f"{made.text}\n\nThis is the only time that the key is shown. Its login is {made.key.login}.")


def list_keys(ports: Ports, arguments: Namespace) -> Answer:
    """List the keys of an account."""
    rows = [_key(key) for key in key_list(operator(ports), arguments.account)]
    return Answer(rows, table([{**_named(row), "hash": str(row["hash"])[:12]} for row in rows], "It has no key."))


def revoke_key(ports: Ports, arguments: Namespace) -> Answer:
    """Revoke a key."""
    key = key_revoke(operator(ports), arguments.account, arguments.hash)
    return Answer(_key(key), f"Revoked {key.name or key.hash[:12]}; it stops working within a minute.")


def _key(key: ApiKey) -> dict[str, object]:
    return {
        "hash": key.hash,
        "name": key.name,
        "login": key.login,
        "scope": key.scope.value,
        "created_at": key.created_at,
        "last_used_at": key.last_used_at,
    }


COMMANDS = (
    Command("account", "create", "Create an account.", (ACCOUNT, *SETTINGS), create),
    Command(
        "account",
        "update",
        "Change an account; what is not given stays as it is.",
        (ACCOUNT, Argument("--name", "its new name", {"metavar": "NAME"}), *SETTINGS),
        update,
    ),
    Command("account", "list", "List every account.", (), list_all),
    Command("account", "show", "Show an account with all its settings.", (ACCOUNT,), show),
    Command(
        "key",
        "create",
        "Make an API key and print it, this once: only its hash is stored.",
        (
            ACCOUNT,
            Argument("--login", "address it logs in as; the main one if not given", {"default": "", "metavar": "A"}),
            Argument(
                "--scope",
                "what it may do: everything, only send, or only read",
                {"choices": [scope.value for scope in Scope], "default": Scope.FULL.value},
            ),
            Argument("--name", "what it is for", {"default": "", "metavar": "NAME"}),
        ),
        make_key,
    ),
    Command("key", "list", "List the keys of an account by the beginning of their hashes.", (ACCOUNT,), list_keys),
    Command(
        "key",
        "revoke",
        "Revoke a key; it stops working within a minute.",
        (ACCOUNT, Argument("hash", "beginning of its hash, as `key list` shows it")),
        revoke_key,
    ),
)
