"""`egret webhook`."""

from __future__ import annotations

from argparse import Namespace

from egret.contracts.settings import WebhookSettings
from egret.core.events import EventKind
from egret.core.netguard import UrlPolicy
from egret.usecases.accounts import account_named
from egret.usecases.webhooks import (
    WebhookWish,
    webhook_clear,
    webhook_disable,
    webhook_of,
    webhook_rotate,
    webhook_set,
    webhook_test,
)
from egret_cli.command import ACCOUNT, Answer, Argument, Command, Ports, operator
from egret_cli.secret import secret_in
from egret_cli.text import facts

_ONCE = "This is the only time that the signing secret is shown."


def webhook_facts(webhook: WebhookSettings) -> dict[str, object]:
    """Return what may be shown of a webhook: how many secrets it has, not which."""
    return {
        "url": webhook.url,
        "events": sorted(webhook.events),
        "in_order": webhook.in_order,
        "disabled": webhook.disabled,
        "has_authorization": bool(webhook.authorization),
        "signing_secrets": len(webhook.secrets),
    }


def set_webhook(ports: Ports, arguments: Namespace) -> Answer:
    """Set the webhook; a secret that is made now is printed."""
    account = account_named(ports.settings_writer, arguments.account)
    before = account.incoming_webhook if arguments.incoming else account.webhook
    wish = WebhookWish(
        arguments.url,
        authorization=secret_in(arguments.authorization_file),
        events=frozenset(arguments.events or ()),
        in_order=arguments.in_order,
        incoming=arguments.incoming,
    )
    local = ports.installation.local
    made = webhook_set(operator(ports), arguments.account, wish, UrlPolicy(allow_http=local, allow_loopback=local))
    return _answer(made, known=before.secrets if before else ())


def show(ports: Ports, arguments: Namespace) -> Answer:
    """Show the webhook."""
    return _answer(_webhook(ports, arguments), known=None)


def rotate(ports: Ports, arguments: Namespace) -> Answer:
    """Add a new secret and print it."""
    known = _webhook(ports, arguments).secrets
    rotated = webhook_rotate(operator(ports), arguments.account, incoming=arguments.incoming)
    return _answer(rotated, known=known)


def disable(ports: Ports, arguments: Namespace) -> Answer:
    """Call it no longer."""
    return _answer(webhook_disable(operator(ports), arguments.account, incoming=arguments.incoming), known=None)


def remove(ports: Ports, arguments: Namespace) -> Answer:
    """Forget the webhook."""
    webhook_clear(operator(ports), arguments.account, incoming=arguments.incoming)
    return Answer({"removed": True}, "Removed the webhook and its secrets.")


def test(ports: Ports, arguments: Namespace) -> Answer:
    """Call it once and print what it answered, whatever that is; no answer is a failure."""
    answer, duration = webhook_test(operator(ports), ports.poster, arguments.account, incoming=arguments.incoming)
    body = answer.body.decode("utf-8", "replace")
    data = {"status": answer.status or None, "error": answer.error, "duration": duration, "body": body}
    return Answer(data, facts(data), "" if answer.status else "The webhook gave no answer.")


def _webhook(ports: Ports, arguments: Namespace) -> WebhookSettings:
    return webhook_of(account_named(ports.settings_writer, arguments.account), incoming=arguments.incoming)


def _answer(webhook: WebhookSettings, *, known: tuple[str, ...] | None) -> Answer:
    """Return the settings, with the newest secret if it was not known before. known: None shows none at all."""
    data = webhook_facts(webhook)
    shown = facts({**{name.replace("_", " "): value for name, value in data.items()}, "events": _events(webhook)})
    if known is None or webhook.secrets[0] in known:
        return Answer(data, shown)
    return Answer({**data, "secret": webhook.secrets[0]}, f"{shown}\n\n{webhook.secrets[0]}\n\n{_ONCE}")


def _events(webhook: WebhookSettings) -> object:
    return sorted(webhook.events) or "all but complained and unsubscribed"


INCOMING = Argument("--incoming", "the one that hears of mail that comes in", {"action": "store_true"})
_WHICH = (ACCOUNT, INCOMING)

COMMANDS = (
    Command(
        "webhook",
        "set",
        "Set the webhook of an account, all of it; a disabled one is called again. The first time, its secret is made.",
        (
            *_WHICH,
            Argument("url", "https:// URL that is called for every event; http:// with --local too"),
            Argument(
                "--event",
                "event to be told, once for each; all of the reference's if not given",
                {
                    "action": "append",
                    "dest": "events",
                    "choices": [kind.value for kind in EventKind],
                    "metavar": "EVENT",
                },
            ),
            Argument(
                "--in-order",
                "every event, one after the other, instead of only the newest of a delivery",
                {"action": "store_true"},
            ),
            Argument(
                "--authorization-file",
                "file with the value of the Authorization header, - for standard input",
                {"default": "", "metavar": "FILE"},
            ),
        ),
        set_webhook,
    ),
    Command("webhook", "show", "Show the webhook of an account, without its secrets.", _WHICH, show),
    Command(
        "webhook",
        "test",
        "Post an invented event to the webhook and show the answer; it fails when there is none.",
        _WHICH,
        test,
    ),
    Command(
        "webhook",
        "rotate",
        "Make a new signing secret and print it; the one before signs too, until the next rotation.",
        _WHICH,
        rotate,
    ),
    Command("webhook", "disable", "Call the webhook no longer, until it is set again.", _WHICH, disable),
    Command("webhook", "remove", "Forget the webhook with its secrets.", _WHICH, remove),
)
