"""What a command is: its arguments, and a function from them to an answer."""

from __future__ import annotations

import re
from argparse import ArgumentTypeError, Namespace
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol

from egret.contracts.ports import (
    Blobs,
    CallQueue,
    Clock,
    Dice,
    HintQueue,
    KeyWrapper,
    Mailboxes,
    MailStore,
    SettingsReader,
    SettingsWriter,
    Suppressions,
    Units,
    WebhookPoster,
)
from egret.contracts.reports import ReceivedReports, ReportSuppressions
from egret.contracts.settings import Installation
from egret.usecases.accounts import OperatorPorts


class Ports(Protocol):
    """The part of the composition root that commands use; only what a command touches needs to exist."""

    @property
    def installation(self) -> Installation:
        """The facts of the deployment."""
        ...

    @property
    def clock(self) -> Clock:
        """The time of day."""
        ...

    @property
    def dice(self) -> Dice:
        """Randomness."""
        ...

    @property
    def settings(self) -> SettingsReader:
        """Settings, to be read."""
        ...

    @property
    def settings_writer(self) -> SettingsWriter:
        """Settings, to be changed."""
        ...

    @property
    def store(self) -> MailStore:
        """The queue."""
        ...

    @property
    def mailboxes(self) -> Mailboxes:
        """Mail of the accounts."""
        ...

    @property
    def blobs(self) -> Blobs:
        """Objects."""
        ...

    @property
    def suppressions(self) -> Suppressions:
        """The suppression lists."""
        ...

    @property
    def received_reports(self) -> ReceivedReports:
        """Reports of others."""
        ...

    @property
    def report_suppressions(self) -> ReportSuppressions:
        """Addresses that get no reports."""
        ...

    @property
    def units(self) -> Units:
        """The egress units."""
        ...

    @property
    def hint_queue(self) -> HintQueue:
        """Hints for deliver."""
        ...

    @property
    def call_queue(self) -> CallQueue:
        """Calls for the webhook poster."""
        ...

    @property
    def key_wrapper(self) -> KeyWrapper:
        """Encryption of DKIM keys."""
        ...

    @property
    def poster(self) -> WebhookPoster:
        """HTTP to a webhook."""
        ...


def operator(ports: Ports) -> OperatorPorts:
    """Return the bundle that most of the operator's use cases take."""
    return OperatorPorts(ports.settings_writer, ports.clock, ports.dice)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command prints. data: for machines, of JSON's types and datetimes. text: for people.

    failure: not "" = a sentence that says why what was asked was not done, printed beside it.
    """

    data: object
    text: str
    failure: str = ""


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument. name: `account` is positional, `--login` an option. options: for `argparse.add_argument`.

    summary: what it means, a phrase for the help and the reference.
    """

    name: str
    summary: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Command:
    """`egret <group> <name>`. summary: one sentence. run: reads the parsed arguments, calls one use case."""

    group: str
    name: str
    summary: str
    arguments: tuple[Argument, ...]
    run: Callable[[Ports, Namespace], Answer]


ACCOUNT = Argument("account", "name of the account")
A_THOUSAND_YEARS: Final = timedelta(days=365_250)
"""The longest period that is added to the time of day: later instants have no name."""

_AGO = re.compile(r"(\d{1,6})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def instant(now: datetime) -> Callable[[str], datetime]:
    """Return a reader of instants: RFC 3339 (UTC unless it says otherwise), or `90m`, `36h`, `7d` before now."""

    def read(text: str) -> datetime:
        ago = _AGO.fullmatch(text)
        try:
            if ago:
                return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
            at = datetime.fromisoformat(text)
        except (ValueError, OverflowError):
            raise ArgumentTypeError(f"{text!r} is no time: write 2026-01-31T12:00Z, or 36h for 36 hours ago") from None
        return at if at.tzinfo else at.replace(tzinfo=UTC)

    return read


def days(text: str) -> timedelta:
    """Read a number of days."""
    return _period(text, "days")


def hours(text: str) -> timedelta:
    """Read a number of hours."""
    return _period(text, "hours")


def _period(text: str, unit: str) -> timedelta:
    try:
        return timedelta(**{unit: float(text)})
    except (ValueError, OverflowError):
        raise ArgumentTypeError(f"{text!r} is no number of {unit}") from None
