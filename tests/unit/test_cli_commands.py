"""Every command does what it says on an installation in memory."""

from __future__ import annotations

import json
from argparse import Namespace
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from egret.contracts.queues import Call, Hint
from egret.contracts.records import Acceptance, PostAnswer, StoredMail, Suspension
from egret.contracts.reports import ReceivedReport, ReportKind
from egret.contracts.settings import (
    Account,
    Direct,
    Fail,
    Installation,
    SendingDomain,
    Smarthost,
    SmarthostTls,
    Transport,
    WebhookSettings,
)
from egret.core.changes import Claim
from egret.core.delivery import Delivery, State
from egret.core.errors import Unavailable
from egret.core.ids import delivery_id, message_id_number
from egret.core.outcome import Bounced, Deferred, Outcome, Remote
from egret.core.reply import Reply
from egret.core.routing import Route
from egret.core.trace import NO_TRACE, SessionTrace
from egret.memory.blobs import MemoryBlobs
from egret.memory.calls import MemoryPoster
from egret.memory.clock import FakeClock
from egret.memory.dice import SeededDice
from egret.memory.mailboxes import MemoryMailboxes
from egret.memory.queue import MemoryQueue
from egret.memory.reports import MemoryReceivedReports, MemoryReportSuppressions
from egret.memory.settings import MemorySettings
from egret.memory.store import MemoryMailStore
from egret.memory.suppressions import MemorySuppressions
from egret.memory.units import MemoryUnits
from egret.usecases.change import change
from egret.usecases.record_outcome import RecordPorts, record_outcome
from egret_cli.__main__ import run
from egret_cli.command import Ports
from tests.unit.builders import (
    ACCOUNT,
    HOUR,
    LATER,
    MESSAGE_ID,
    NOW,
    OK,
    REMOTE,
    a_delivery,
    a_message,
    a_unit,
    an_attempt,
)
from tests.unit.reporting import a_row, a_tls_report, an_aggregate
from tests.unit.sending import WRAPPER

URL = "https://hooks.example.com/egret"


@dataclass
class Machine:
    """An installation in memory, and a terminal in front of it."""

    capture: pytest.CaptureFixture[str]
    installation: Installation = field(default_factory=lambda: Installation("mx.example.com"))
    clock: FakeClock = field(default_factory=lambda: FakeClock(NOW))
    dice: SeededDice = field(default_factory=lambda: SeededDice(1))
    settings: MemorySettings = field(default_factory=MemorySettings)
    store: MemoryMailStore = field(default_factory=MemoryMailStore)
    suppressions: MemorySuppressions = field(default_factory=MemorySuppressions)
    units: MemoryUnits = field(default_factory=MemoryUnits)
    received_reports: MemoryReceivedReports = field(default_factory=MemoryReceivedReports)
    report_suppressions: MemoryReportSuppressions = field(default_factory=MemoryReportSuppressions)
    hint_queue: MemoryQueue[Hint] = field(default_factory=MemoryQueue)
    call_queue: MemoryQueue[Call] = field(default_factory=MemoryQueue)
    poster: MemoryPoster = field(default_factory=MemoryPoster)
    blobs: MemoryBlobs = field(default_factory=MemoryBlobs)

    settings_writer = property(lambda self: self.settings)
    key_wrapper = WRAPPER
    mailboxes = property(lambda self: MemoryMailboxes(self.store.table))

    def __post_init__(self) -> None:
        """Make one account."""
        self.settings.put_account(Account(ACCOUNT, "acme", addresses=("app@example.com",)))

    def run(self, *words: str) -> tuple[int, str, str]:
        """Carry out `egret --stack s …`; return exit code, standard output, standard error."""

        def connect(_: Namespace) -> Ports:
            return self

        code = run(["--stack", "s", *words], connect)
        printed = self.capture.readouterr()
        return code, printed.out, printed.err

    def good(self, *words: str) -> str:
        """Carry out a command that must succeed; return what it printed."""
        code, out, err = self.run(*words)
        assert (code, err) == (0, "")
        return out

    def data(self, *words: str) -> Any:
        """Carry out a command that must succeed; return its JSON."""
        return json.loads(self.good(*words, "--json"))

    def bad(self, *words: str) -> str:
        """Carry out a command that must be refused; return its sentence."""
        code, out, err = self.run(*words)
        assert (code, out, err.count("\n")) == (1, "", 1)
        return err

    def accept(self, count: int = 1, **changes: Any) -> list[int]:
        """Store deliveries of one message; return their ids."""
        deliveries = [a_delivery(**{"id": delivery_id(MESSAGE_ID, i), **changes}) for i in range(count)]
        self.store.put_message(a_message(), b"content")
        for delivery in deliveries:
            self.store.accept(Acceptance(a_message(), (delivery,)))
        return [delivery.id for delivery in deliveries]

    def delivery(self, id_: int = MESSAGE_ID) -> Delivery:
        """Return a delivery as stored."""
        found = self.store.get(ACCOUNT, id_, self.clock.now())
        assert found is not None
        return found

    def account(self, name: str = "acme") -> Account:
        """Return an account as stored."""
        found = self.settings.account_by_name(name)
        assert found is not None
        return found


@pytest.fixture
def machine(capsys: pytest.CaptureFixture[str]) -> Machine:
    """An installation with the account acme."""
    return Machine(capsys)


# --- accounts and keys


def test_an_account_is_created_with_what_is_given(machine: Machine) -> None:
    """Every option reaches the setting it names; the rest has its default."""
    options = ["--full-name", "New", "--address", "a@Example.org", "--address", "b@example.org"]
    limits = ["--messages-per-day", "7", "--keep-deliveries", "2", "--keep-calls", "1", "--idempotency-window", "5"]
    made = machine.data("account", "create", "new", *options, *limits, "--no-uses-fromid", "--is-postmaster")
    stored = machine.account("new")

    assert made["addresses"] == ["a@example.org", "b@example.org"]
    assert stored == replace(
        Account(stored.id, "new", "New", ("a@example.org", "b@example.org")),
        uses_fromid=False,
        is_postmaster=True,
        messages_per_day=7,
        keep_deliveries=timedelta(days=2),
        keep_calls=timedelta(days=1),
        idempotency_window=timedelta(hours=5),
        created_at=NOW,
    )


def test_an_account_without_an_address_says_what_it_lacks(machine: Machine) -> None:
    """How to go on is said until it has one; JSON says no more than the settings."""
    command = "`account update 'new one' --address ADDRESS`"
    assert command in machine.good("account", "create", "new one")
    assert command in machine.good("account", "show", "new one")
    assert machine.data("account", "show", "new one")["addresses"] == []

    assert "no key" not in machine.good("account", "update", "new one", "--address", "new@example.com")


@pytest.mark.parametrize(
    "words",
    [
        ("domain", "add", "acme", "bad_domain"),
        ("domain", "add", "acme", "example.com", "--return-path", "bad_domain"),
        ("domain", "remove", "acme", "bad_domain"),
        ("domain", "records", "acme", "bad_domain"),
        ("route", "add", "t", "--to-domain", "bad_domain"),
        ("route", "test", "a@example.com", "bad_domain"),
        ("hold", "add", "--recipient", "bad_domain"),
    ],
)
def test_what_is_no_domain_is_named(machine: Machine, words: tuple[str, ...]) -> None:
    """The sentence speaks of no address where there is none."""
    machine.good("transport", "add", "t", "fail")

    assert machine.bad(*words) == "egret: 'bad_domain' is not a valid domain name.\n"


def test_an_update_leaves_alone_what_is_not_given(machine: Machine) -> None:
    """Renaming keeps the addresses; disabling can be undone."""
    machine.good("account", "update", "acme", "--name", "acme2", "--disabled")
    assert (machine.account("acme2").addresses, machine.account("acme2").disabled) == (("app@example.com",), True)

    machine.good("account", "update", "acme2", "--no-disabled")
    assert machine.account("acme2").disabled is False


def test_accounts_are_listed_and_shown(machine: Machine) -> None:
    """One line each; show has every setting."""
    assert "acme" in machine.good("account", "list").splitlines()[1]
    assert "app@example.com" in machine.good("account", "show", "acme")
    assert "keep mail            until it is deleted\n" in machine.good("account", "show", "acme")
    assert "keep mail            7 d\n" in machine.good("account", "update", "acme", "--keep-mail", "7")
    assert [account["name"] for account in machine.data("account", "list")] == ["acme"]


def test_an_unknown_account_is_one_sentence(machine: Machine) -> None:
    """Exit 1, on standard error, with the name in it."""
    assert machine.bad("account", "show", "nobody") == "egret: There is no account named 'nobody'.\n"


def test_a_key_is_shown_once(machine: Machine) -> None:
    """Its text appears when it is made and in no listing; its hash revokes it."""
    text = machine.good("key", "create", "acme", "--name", "app", "--scope", "send").splitlines()[0]
    listed = machine.good("key", "list", "acme")
    found = machine.data("key", "list", "acme")

    assert text.startswith("eg_")
    assert text not in listed
    assert [(key["name"], key["scope"], "key" in key) for key in found] == [("app", "send", False)]

    machine.good("key", "revoke", "acme", found[0]["hash"][:12])
    assert machine.data("key", "list", "acme") == []


# --- domains


def test_adding_a_domain_prints_every_record_to_publish(machine: Machine) -> None:
    """DKIM of both kinds, MX and SPF of the return path, DMARC; `records` prints the same again."""
    added = machine.good("domain", "add", "acme", "example.com")
    lines = [line for line in added.splitlines() if line and not line.startswith(";")]

    assert [line.split()[:2] for line in lines] == [
        ["eg20260304-rsa._domainkey.example.com.", "TXT"],
        ["eg20260304-ed25519._domainkey.example.com.", "TXT"],
        ["bounces.example.com.", "MX"],
        ["bounces.example.com.", "TXT"],
        ["example.com.", "TXT"],
        ["_dmarc.example.com.", "TXT"],
    ]
    assert "bounces.example.com. MX 10 mx.example.com." in lines
    assert max(len(string) for line in lines for string in line.split('"')[1::2]) <= 255
    assert machine.good("domain", "records", "acme", "Example.com") == added


def test_domains_are_listed_and_removed(machine: Machine) -> None:
    """A domain of another account is not there."""
    machine.good("domain", "add", "acme", "example.com", "--return-path", "r.example.com")
    assert [domain["return_path_domain"] for domain in machine.data("domain", "list", "acme")] == ["r.example.com"]

    machine.good("domain", "remove", "acme", "example.com")
    assert machine.data("domain", "list", "acme") == []
    assert "no domain 'example.com'" in machine.bad("domain", "records", "acme", "example.com")


# --- webhooks


def test_a_signing_secret_is_shown_when_it_is_made_and_never_again(machine: Machine) -> None:
    """At the first set and at each rotation; neither `show`, a later set nor `account show` has it."""
    first = machine.data("webhook", "set", "acme", URL)["secret"]
    second = machine.data("webhook", "rotate", "acme")["secret"]
    later = [
        machine.good("webhook", "set", "acme", URL + "2", "--event", "failed", "--in-order"),
        machine.good("webhook", "show", "acme"),
        machine.good("webhook", "show", "acme", "--json"),
        machine.good("account", "show", "acme", "--json"),
        machine.good("account", "list", "--json"),
    ]

    webhook = machine.account().webhook
    assert webhook == WebhookSettings(URL + "2", "", frozenset({"failed"}), (second, first), in_order=True)
    assert [printed for printed in later if "whsec_" in printed] == []


def test_the_authorization_value_comes_from_a_file_and_is_never_shown(machine: Machine, tmp_path: Path) -> None:
    """An argument could be read in the list of processes."""
    (tmp_path / "token").write_text("Bearer t0ken\n")
    printed = machine.good("webhook", "set", "acme", URL, "--authorization-file", str(tmp_path / "token"), "--json")

    assert machine.account().webhook == replace(
        machine.account().webhook or WebhookSettings(""), authorization="Bearer t0ken"
    )
    assert "t0ken" not in printed + machine.good("webhook", "show", "acme", "--json")
    assert "cannot be read" in machine.bad("webhook", "set", "acme", URL, "--authorization-file", str(tmp_path / "no"))


def test_a_webhook_is_tested_disabled_and_removed(machine: Machine) -> None:
    """A disabled webhook keeps its secrets and is called again once it is set."""
    machine.good("webhook", "set", "acme", URL)
    machine.poster.answer = lambda _: PostAnswer(418, body=b"teapot")
    assert (machine.data("webhook", "test", "acme")["status"], machine.poster.posted[0].url) == (418, URL)

    assert machine.data("webhook", "disable", "acme")["disabled"] is True
    assert "secret" not in machine.data("webhook", "set", "acme", URL)
    assert machine.data("webhook", "show", "acme")["disabled"] is False

    machine.good("webhook", "remove", "acme")
    for name in ("show", "rotate", "test", "disable"):
        assert machine.bad("webhook", name, "acme") == "egret: The account 'acme' has no webhook.\n"


def test_a_webhook_that_does_not_answer_fails_its_test(machine: Machine) -> None:
    """The exit status says so, and no status is shown; what is known of the call is printed all the same."""
    machine.good("webhook", "set", "acme", URL)
    machine.poster.answer = lambda _: PostAnswer(0, error="Connection refused")

    code, out, err = machine.run("webhook", "test", "acme")
    assert (code, err) == (1, "egret: The webhook gave no answer.\n")
    assert [line.split() for line in out.splitlines()[:2]] == [["status", "-"], ["error", "Connection", "refused"]]

    code, out, _ = machine.run("webhook", "test", "acme", "--json")
    assert (code, json.loads(out)["status"]) == (1, None)


def test_a_new_transport_says_what_it_is_for(machine: Machine) -> None:
    """No mail goes over one that fails it."""
    failing = machine.good("transport", "add", "f", "fail", "--code", "550", "--message", "closed")
    assert failing == "f fails mail with 550 closed, once a route leads to it.\n"
    direct = machine.good("transport", "add", "d", "direct")
    assert direct == "Mail may go over d, direct to the MX hosts, once a route leads to it.\n"


def test_the_incoming_webhook_is_another_one(machine: Machine) -> None:
    """With secrets of its own; each is shown, tested, rotated, disabled and removed by itself."""
    incoming = "https://hooks.example.com/mail"
    first = machine.data("webhook", "set", "acme", URL)["secret"]
    second = machine.data("webhook", "set", "acme", incoming, "--incoming")["secret"]
    machine.good("webhook", "test", "acme", "--incoming")
    told = json.loads(machine.poster.posted[0].body)
    machine.good("webhook", "rotate", "acme", "--incoming")
    machine.good("webhook", "disable", "acme", "--incoming")
    shown = [machine.data("webhook", "show", "acme", *which) for which in ((), ("--incoming",))]

    assert first != second
    assert (machine.poster.posted[0].url, told["Subject"], told["Text"]) == (
        incoming,
        "A test of the webhook",
        "This is a test.\n",
    )
    assert [(one["url"], one["signing_secrets"], one["disabled"]) for one in shown] == [
        (URL, 1, False),
        (incoming, 2, True),
    ]
    machine.good("webhook", "remove", "acme", "--incoming")
    assert "has no incoming webhook" in machine.bad("webhook", "show", "acme", "--incoming")
    assert machine.account().webhook is not None
    assert "no events" in machine.bad("webhook", "set", "acme", incoming, "--incoming", "--event", "delivered")
    assert "no order" in machine.bad("webhook", "set", "acme", incoming, "--incoming", "--in-order")


# --- mailboxes

MAIL = (
    b"From: Ann <ann@example.net>\r\nTo: app@example.com\r\nSubject: Hello\r\n"
    b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
    b"--b\r\n\r\nGood morning.\r\n--b\r\nContent-Disposition: attachment; filename=a.pdf\r\n\r\nx\r\n--b--\r\n"
)


def a_mail(machine: Machine, number: int = 0) -> str:
    """Put a mail into the Inbox; return its id."""
    mail_id = message_id_number(NOW, number)
    machine.blobs.put(f"content/{number}", MAIL)
    machine.mailboxes.put(
        StoredMail(ACCOUNT, mail_id, "Inbox", f"content/{number}", len(MAIL), NOW, "ann@example.net", thread="t")
    )
    return str(mail_id)


def test_mail_is_found_shown_and_saved(machine: Machine, tmp_path: Path) -> None:
    """As people read it, and as it came; a file that is there is not overwritten."""
    mails = [a_mail(machine, number) for number in (1, 2)]
    file = tmp_path / "mail.eml"

    assert [str(row["MsgID"]) for row in machine.data("mailbox", "search", "acme")] == mails[::-1]
    grouped = machine.data("mailbox", "search", "acme", "--group-by-thread", "--from", "ANN@", "--since", "1d")
    assert [str(row["MsgID"]) for row in grouped] == mails[1:]
    assert machine.good("mailbox", "search", "acme", "--flag", "none", "--dsn") == "No mail matches.\n"
    shown = machine.good("mailbox", "show", "acme", mails[0])
    assert all(text in shown for text in ("Good morning.", "a.pdf", "ann@example.net", "multipart/mixed"))
    machine.good("mailbox", "raw", "acme", mails[0], str(file))
    assert file.read_bytes() == MAIL
    assert "cannot be written" in machine.bad("mailbox", "raw", "acme", mails[0], str(file))
    assert "no such message" in machine.bad("mailbox", "show", "acme", "7")


def test_mail_is_flagged_moved_and_removed(machine: Machine) -> None:
    """And mailboxes are made and removed."""
    mail = a_mail(machine)
    machine.good("mailbox", "create", "acme", "Bills")
    flags = machine.data("mailbox", "flag", "acme", mail, "--add", "\\Seen", "--add", "paid")["flags"]
    machine.good("mailbox", "move", "acme", mail, "Bills")
    found = machine.data("mailbox", "search", "acme", "--mailbox", "Bills", "--limit", "1")

    assert (flags, [one["Flags"] for one in found]) == ([r"\seen", "paid"], [[r"\seen", "paid"]])
    assert machine.good("mailbox", "flag", "acme", mail, "--remove", "paid") == "\\seen\n"
    assert "Say which" in machine.bad("mailbox", "flag", "acme", mail)
    assert "mail in Bills" in machine.bad("mailbox", "delete", "acme", "Bills")
    machine.good("mailbox", "remove", "acme", mail)
    machine.good("mailbox", "delete", "acme", "Bills")
    assert machine.good("mailbox", "list", "acme").split() == ["Inbox", "Sent", "Archive", "Trash", "Rejects"]


def test_only_local_mode_calls_this_machine(machine: Machine) -> None:
    """Plain http on a loopback address is refused on a deployed stack."""
    url = "http://127.0.0.1:1082/webhook"
    assert "https://" in machine.bad("webhook", "set", "acme", url)

    machine.installation = replace(machine.installation, local=True)
    assert machine.data("webhook", "set", "acme", url)["url"] == url


# --- deliveries


def test_deliveries_are_listed_with_what_they_wait_for(machine: Machine) -> None:
    """Newest first, filtered by state and time, as many as asked for."""
    machine.accept(3)
    printed = machine.good("delivery", "list", "acme")

    assert "sending part (the egress) does not run" in " ".join(printed.split())
    assert [found["QueueMsgID"] & 1023 for found in machine.data("delivery", "list", "acme", "--limit", "2")] == [2, 1]
    assert machine.data("delivery", "list", "acme", "--state", "held") == []
    assert len(machine.data("delivery", "list", "acme", "--since", "1h")) == 3
    assert machine.data("delivery", "list", "acme", "--until", "2026-03-04T05:00Z") == []


def test_a_delivery_is_shown_with_attempts_and_events(machine: Machine) -> None:
    """The remote's own words are there."""
    machine.accept()
    assert "No attempt has ended yet." in machine.good("delivery", "show", "acme", str(MESSAGE_ID))

    _attempt(machine)
    printed = machine.good("delivery", "show", "acme", str(MESSAGE_ID))

    assert "  451 4.3.0 try later\n" in printed
    assert "delayed" in printed
    assert "conversation" not in printed


def test_a_delivery_is_shown_with_the_way_of_its_attempts_and_the_last_conversation(machine: Machine) -> None:
    """Transport, protection, and every line that was said; strangers' control characters do nothing."""
    machine.accept()
    lines = ("S: 220 mx.example.net \x1b[2J", "C: EHLO mail.example.com", "S: 451 4.3.0 try later")
    _attempt(machine, SessionTrace("relay", "smarthost", "TLSv1.3", lines))
    printed = machine.good("delivery", "show", "acme", str(MESSAGE_ID))
    (attempt,) = machine.data("delivery", "show", "acme", str(MESSAGE_ID))["Attempts"]

    assert "relay      smarthost  TLSv1.3" in printed
    assert printed.endswith(
        "The last conversation:\n  S: 220 mx.example.net  [2J\n  C: EHLO mail.example.com\n  S: 451 4.3.0 try later\n"
    )
    shown = {name: attempt[name] for name in ("Transport", "TLSPolicy", "TLS", "Transcript")}
    assert shown == {
        "Transport": "relay",
        "TLSPolicy": "smarthost",
        "TLS": "TLSv1.3",
        "Transcript": list(lines),
    }


@pytest.mark.parametrize(
    ("outcome", "conversation", "shown"),
    [
        (Bounced("it is refused", Reply(550, ("mail", "denied")), REMOTE), ("S: 550 denied",), "550 mail / denied"),
        (Bounced("it is refused", Reply(550, ("",)), REMOTE), (), "550"),
        (OK, (), "250 2.0.0 queued as 1"),
        (Deferred("nobody answered", None, REMOTE), (), "Egret: nobody answered"),
        (
            Bounced("the domain takes no mail", Reply(556, ("5.1.10 null MX",))),
            (),
            "Egret: the domain takes no mail, permanent: 556 5.1.10 null MX",
        ),
        (
            Bounced("no host can be proven", Reply(554, ("5.7.30 no",)), Remote("[192.0.2.1]")),
            (),
            "Egret: no host can be proven, permanent: 554 5.7.30 no",
        ),
        (
            Bounced("it is too large", Reply(552, ("5.3.4 too large",)), REMOTE),
            ("S: 250 SIZE 9", "[Egret asked for nothing: it is too large]"),
            "Egret: it is too large, permanent: 552 5.3.4 too large",
        ),
    ],
)  # fmt: skip
def test_what_the_server_said_is_shown_with_its_code_and_nothing_else_is(
    machine: Machine, outcome: Outcome, conversation: tuple[str, ...], shown: str
) -> None:
    """Egret's own words never look as if a server had said them."""
    machine.accept()
    _attempt(machine, SessionTrace("", "", "", conversation), outcome)

    printed = machine.good("delivery", "show", "acme", str(MESSAGE_ID))

    assert f"  {shown}\n" in printed


def _attempt(machine: Machine, trace: SessionTrace = NO_TRACE, outcome: Outcome = LATER) -> None:
    """Claim the delivery and record an outcome, a deferral unless another is given."""
    change(machine.store, ACCOUNT, MESSAGE_ID, lambda _: Claim("unit-1", NOW, NOW + HOUR), NOW)
    ports = RecordPorts(machine.store, machine.clock, machine.installation.retry)
    record_outcome(ports, ACCOUNT, MESSAGE_ID, msgspec.structs.replace(an_attempt(1, outcome), trace=trace))


def test_another_accounts_delivery_is_not_there(machine: Machine) -> None:
    """Ids are looked up within the account that is named."""
    machine.accept()
    machine.good("account", "create", "other")

    assert machine.bad("delivery", "show", "other", str(MESSAGE_ID)) == "egret: There is no such delivery.\n"


def test_deliveries_are_canceled(machine: Machine) -> None:
    """Several at once; the one that cannot be is named, with how many were."""
    ids = [str(one) for one in machine.accept(2)]
    machine.good("delivery", "cancel", "acme", ids[0])

    sentence = machine.bad("delivery", "cancel", "acme", ids[0], ids[1], "77")
    assert sentence == "egret: Delivery 77: There is no such delivery. (Canceled before it: 2.)\n"
    assert {machine.delivery(int(one)).state for one in ids} == {State.CANCELED}


def test_a_hold_holds_what_waits_and_is_released(machine: Machine) -> None:
    """The rule holds both; after its removal one is released by id, the rest by --all, with a hint each."""
    first, second, third = machine.accept(3)
    rule = machine.data("hold", "add", "--account", "acme", "--recipient", "example.net")
    assert (rule["held"], machine.data("hold", "list")[0]["account"]) == (3, "acme")

    machine.good("hold", "remove", rule["id"])
    machine.good("delivery", "release", "acme", str(first))
    machine.good("delivery", "release", "acme", "--all")

    assert {machine.delivery(one).state for one in (first, second, third)} == {State.QUEUED}
    assert sorted(id_ for hint in machine.hint_queue.waiting for id_ in hint.ids) == [first, second, third]


@pytest.mark.parametrize(
    "words",
    [
        ["hold", "add"],
        ["hold", "add", "--everything", "--sender", "example.com"],
        ["hold", "add", "--sender", "not a domain"],
        ["hold", "remove", "nothing"],
        ["delivery", "release", "acme"],
        ["delivery", "release", "acme", "5", "--all"],
    ],
)
def test_what_is_too_much_or_too_little_is_refused(machine: Machine, words: list[str]) -> None:
    """Nothing is held or released by an empty filter."""
    machine.accept()
    machine.bad(*words)

    assert (machine.delivery().state, machine.data("hold", "list")) == (State.QUEUED, [])


# --- transports and routes


@pytest.fixture
def password_file(tmp_path: Path) -> str:
    """A file with a password."""
    path = tmp_path / "password"
    path.write_text("s3cret\n")
    return str(path)


def test_a_smarthost_is_added_and_its_password_never_shown(machine: Machine, password_file: str) -> None:
    """It is wrapped for this transport, and neither an answer nor a listing tells it."""
    login = ["--user", "egret", "--password-file", password_file]
    made = machine.good("transport", "add", "relay", "smarthost", "--host", "Relay.Example.COM", *login)
    (stored,) = machine.settings.transports()
    listed = machine.data("transport", "list")

    assert isinstance(stored.way, Smarthost)
    assert stored.way == Smarthost("relay.example.com", 587, SmarthostTls.STARTTLS, "egret", stored.way.password)
    assert WRAPPER.unwrap(stored.way.password, "transport:relay") == b"s3cret"
    assert listed == [
        {"name": "relay", "way": "smarthost", "host": "relay.example.com", "port": 587, "tls": "starttls"}
        | {"user": "egret"}
    ]
    assert "relay.example.com:587 (STARTTLS, verified) as egret" in made
    assert "s3cret" not in made + machine.good("transport", "list") + repr(stored)


@pytest.mark.parametrize(
    ("words", "way"),
    [
        (["direct"], Direct()),
        (["direct", "--disable-ipv6"], Direct(disable_ipv6=True)),
        (["smarthost", "--host", "r.example", "--tls", "implicit"], Smarthost("r.example", 465, SmarthostTls.IMPLICIT)),
        (["smarthost", "--host", "[::1]", "--tls", "none"], Smarthost("::1", 25, SmarthostTls.NONE)),
        (
            ["smarthost", "--host", "r.example", "--tls", "unverified", "--port", "26"],
            Smarthost("r.example", 26, SmarthostTls.UNVERIFIED),
        ),
        (["fail"], Fail()),
        (["fail", "--code", "450", "--message", "Later."], Fail(450, "Later.")),
    ],
)
def test_every_kind_of_transport_can_be_added(
    machine: Machine, words: list[str], way: Direct | Smarthost | Fail
) -> None:
    """The port follows the protection unless it is given; adding again replaces."""
    machine.good("transport", "add", "t", "fail")
    machine.good("transport", "add", "t", *words)

    assert [Transport("t", way)] == list(machine.settings.transports())
    assert machine.good("transport", "list").startswith("name  way\nt     ")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["Relay", "direct"], "lower-case letters"),
        (["t", "direct", "--host", "x.example"], "--host is not for a transport that is direct"),
        (["t", "fail", "--disable-ipv4"], "--disable-ipv4 is not for a transport that is fail"),
        (["t", "direct", "--disable-ipv4", "--disable-ipv6"], "no server can be reached"),
        (["t", "smarthost"], "neither the name of a host nor an IP address"),
        (["t", "smarthost", "--host", "x.example", "--port", "70000"], "1 to 65535"),
        (["t", "smarthost", "--host", "x.example", "--user", "u"], "Give the password with --password-file"),
        (["t", "smarthost", "--host", "x.example", "--user", "u", "--password-file", "/nowhere"], "cannot be read"),
        (["t", "fail", "--code", "250"], "400 to 499"),
        (["t", "fail", "--message", "a\nb"], "on one line"),
    ],
)
def test_a_transport_that_cannot_be_is_refused_in_a_sentence(machine: Machine, words: list[str], sentence: str) -> None:
    """And nothing is stored."""
    assert sentence in machine.bad("transport", "add", *words)
    assert list(machine.settings.transports()) == []


@pytest.mark.parametrize("tls", ["none", "unverified"])
def test_a_password_is_only_for_a_smarthost_that_proves_who_it_is(
    machine: Machine, password_file: str, tls: str
) -> None:
    """Whoever answers would have it."""
    words = ["smarthost", "--host", "x.example", "--user", "u", "--password-file", password_file, "--tls", tls]

    assert "only sent over verified TLS" in machine.bad("transport", "add", "t", *words)


def test_routes_are_added_listed_in_their_order_and_removed(machine: Machine) -> None:
    """The account's first, then the sending domain's, then the installation's; domains as they are compared."""
    machine.settings.put_domain(SendingDomain("example.com", ACCOUNT, "bounces.example.com"))
    machine.good("transport", "add", "relay", "fail")
    common = machine.data("route", "add", "relay", "--to-domain", ".Bücher.example", "--order", "-1")
    last = machine.data("route", "add", "relay", "--minimum-attempts", "3", "--from-domain", "example.org")
    of_domain = machine.data("route", "add", "relay", "--domain", "Example.com")
    own = machine.data("route", "add", "relay", "--account", "acme")

    assert machine.data("route", "list") == [own, of_domain, common, last]
    assert (own["account"], of_domain["domain"], common["to"]) == ("acme", "example.com", [".xn--bcher-kva.example"])
    assert (last["minimum_attempts"], last["from"]) == (3, ["example.org"])
    machine.good("route", "remove", own["id"])
    assert machine.data("route", "list") == [of_domain, common, last]
    assert "There is no route" in machine.bad("route", "remove", own["id"])


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["nothing"], "There is no transport 'nothing'; add it first."),
        (["relay", "--account", "nobody"], "no account named"),
        (["relay", "--account", "acme", "--domain", "example.com"], "not both"),
        (["relay", "--domain", "example.com"], "No account sends from"),
        (["relay", "--to-domain", "a@example.com"], "'a@example.com' is not a valid domain name"),
        (["relay", "--minimum-attempts", "-1"], "must not be negative"),
    ],
)
def test_a_route_that_cannot_be_is_refused_in_a_sentence(machine: Machine, words: list[str], sentence: str) -> None:
    """And nothing is stored."""
    machine.good("transport", "add", "relay", "fail")

    assert sentence in machine.bad("route", "add", *words)
    assert machine.data("route", "list") == []


def test_a_transport_in_use_is_not_removed(machine: Machine) -> None:
    """Mail on its routes would wait for it."""
    machine.good("transport", "add", "relay", "fail")
    route = machine.data("route", "add", "relay")["id"]

    assert f"remove them first: {route}." in machine.bad("transport", "remove", "relay")
    machine.good("route", "remove", route)
    machine.good("transport", "remove", "relay")
    assert "There is no transport 'relay'" in machine.bad("transport", "remove", "relay")


def test_where_mail_would_go_is_told(machine: Machine) -> None:
    """Of addresses or domains; the account is the one that has the sender."""
    machine.settings.put_domain(SendingDomain("example.com", ACCOUNT, "bounces.example.com"))
    machine.good("transport", "add", "relay", "smarthost", "--host", "relay.example.com")
    own = machine.data("route", "add", "relay", "--account", "acme", "--to-domain", ".example.net")["id"]
    machine.settings.put_route(Route("zz", "gone", minimum_attempts=2))

    found = machine.data("route", "test", "app@example.com", "ann@mail.example.net")
    assert (found["account"], found["route"], found["transport"]) == ("acme", own, "relay")
    assert found["way"]["host"] == "relay.example.com"
    assert "smarthost relay.example.com:587" in machine.good("route", "test", "example.com", "example.net")
    assert "own way" in machine.good("route", "test", "example.com", "example.org")
    assert "own way" in machine.good("route", "test", "other.example", "example.net")
    assert "smarthost" in machine.good("route", "test", "other.example", "example.net", "--account", "acme")
    assert "does not exist" in machine.good("route", "test", "other.example", "example.net", "--attempts", "2")


# --- suppressions, replay, units


def test_the_suppression_list_is_kept(machine: Machine) -> None:
    """Add, list, remove by a variant; twice is an error."""
    machine.good("suppression", "add", "acme", "Ann@example.net", "--reason", "asked")
    assert "already" in machine.bad("suppression", "add", "acme", "ann+x@example.net")
    assert [(one["address"], one["reason"]) for one in machine.data("suppression", "list", "acme")] == [
        ("Ann@example.net", "asked")
    ]

    machine.good("suppression", "remove", "acme", "ann+y@example.net")
    assert machine.data("suppression", "list", "acme") == []


def test_an_address_can_be_suppressed_for_some_days(machine: Machine) -> None:
    """The list says until when; then it is off by itself. A time that is over is refused."""
    machine.good("suppression", "add", "acme", "ann@example.net", "--days", "2")
    machine.bad("suppression", "add", "acme", "bob@example.net", "--days", "-1")
    machine.good("suppression", "add", "acme", "eve@example.net", "--days", "999999999")
    ann, eve = machine.data("suppression", "list", "acme")
    machine.clock.advance(timedelta(days=2))

    assert ann["until"].startswith("20")
    assert eve["until"].startswith("3")
    assert [one["address"] for one in machine.data("suppression", "list", "acme")] == ["eve@example.net"]


def test_replay_queues_the_events_since_a_time(machine: Machine) -> None:
    """For the webhook that is set now; an account can be named."""
    machine.good("webhook", "set", "acme", URL)
    machine.accept()
    _attempt(machine)
    machine.clock.advance(HOUR)

    assert machine.data("replay", "--since", "2h", "--account", "acme")["calls"] == 1
    assert machine.data("replay", "--since", "30m")["calls"] == 0
    assert [call.seq for call in machine.call_queue.waiting] == [1]


def test_units_are_listed_with_what_is_wrong(machine: Machine) -> None:
    """Dead ones too, and suspensions with their reason."""
    machine.units.put(a_unit(suspensions=(Suspension("example.net", NOW + HOUR, "slow down"),), port25=False))
    machine.units.put(a_unit(id="unit-3", suspensions=(Suspension("*", NOW + HOUR, "full", "aaaaaaaa"),)))
    relayed = Suspension("", NOW + HOUR, "slow down", host="relay.example")
    machine.units.put(a_unit(id="unit-2", valid_until=NOW, port25_asked=False, suspensions=(relayed,)))

    assert [(unit["id"], unit["alive"], unit["port 25"]) for unit in machine.data("unit", "list")] == [
        ("unit-1", True, "closed"),
        ("unit-2", False, "not asked"),
        ("unit-3", True, "open"),
    ]
    assert "example.net until 06:06Z: slow down" in machine.good("unit", "list")
    assert "* of account aaaaaaaa until 06:06Z: full" in machine.good("unit", "list")
    assert "what routes send to relay.example until 06:06Z: slow down" in machine.good("unit", "list")


# --- the command line itself


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["account"],
        ["account", "delete", "acme"],
        ["account", "create"],
        ["--local", "account", "list"],
        ["key", "create", "acme", "--scope", "root"],
        ["replay"],
        ["replay", "--since", "yesterday"],
        ["delivery", "list", "acme", "--since", "2026-02-30"],
        ["account", "create", "x", "--keep-calls", "some"],
        ["account", "list", "--js"],
    ],
)
def test_a_wrong_command_line_exits_with_2(machine: Machine, words: list[str]) -> None:
    """So do argparse's own answers, and those about times and about which installation is meant."""
    with pytest.raises(SystemExit) as raised:
        machine.run(*words)
    assert raised.value.code == 2


def test_no_installation_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is assumed about which installation is meant."""
    with pytest.raises(SystemExit) as raised:
        run(["account", "list"], lambda _: Machine(capsys))
    assert (raised.value.code, "--stack NAME, or --local" in capsys.readouterr().err) == (2, True)


def test_an_outage_is_one_sentence(machine: Machine) -> None:
    """What AWS said stands in it, for the operator."""

    def connect(_: Namespace) -> Ports:
        raise Unavailable(detail="dynamodb Query: ThrottlingException")

    assert run(["--stack", "s", "account", "list"], connect) == 1
    assert "dynamodb Query: ThrottlingException" in machine.capture.readouterr().err


def test_json_may_stand_before_the_command(machine: Machine) -> None:
    """Both places mean the same."""
    assert machine.good("--json", "account", "list") == machine.good("account", "list", "--json")


def test_a_delivered_delivery_cannot_be_canceled(machine: Machine) -> None:
    """The sentence says why."""
    machine.accept(state=State.DELIVERED, ended_at=NOW, due_at=None, attempts=(an_attempt(1, OK),))

    assert "has already ended" in machine.bad("delivery", "cancel", "acme", str(MESSAGE_ID))


# --- reports ---------------------------------------------------------------------------------------------------------


def test_reports_of_others_are_listed(machine: Machine) -> None:
    """How much failed, at a glance; everything with --json."""
    failed = replace(an_aggregate(), rows=((a_row(), 5), (a_row(dkim="fail"), 2)))
    machine.received_reports.put(ReceivedReport(ACCOUNT, NOW, failed, "google.com", is_verified=True))
    machine.received_reports.put(ReceivedReport(ACCOUNT, NOW, a_tls_report()))

    text = machine.good("reports", "dmarc", "acme")
    assert [line.split()[-5:] for line in text.splitlines()[1:]] == [["yes", "example.net", "reject", "7", "2"]]
    text = machine.good("reports", "tls", "acme", "--limit", "1")
    assert "certificate-expired (2), starttls-not-supported (1)" in text
    (shown,) = json.loads(machine.good("reports", "dmarc", "acme", "--json"))
    assert (shown["Messages"], len(shown["Rows"])) == (7, 2)
    assert "No TLS report" in machine.good("reports", "tls", "acme", "--limit", "0")


def test_many_reports_are_listed_page_by_page(machine: Machine) -> None:
    """As many as are asked for."""
    for at in range(40):
        report = replace(an_aggregate(), report_id=str(at))
        machine.received_reports.put(ReceivedReport(ACCOUNT, NOW, report))

    assert len(json.loads(machine.good("reports", "dmarc", "acme", "--json"))) == 40
    assert len(json.loads(machine.good("reports", "dmarc", "acme", "--limit", "17", "--json"))) == 17


def test_addresses_get_no_reports_and_again(machine: Machine) -> None:
    """For good or for some days, whatever the letter case."""
    assert "Every address" in machine.good("reports", "suppressed")
    assert "until it is taken" in machine.good("reports", "suppress", "dmarc", "D@example.net", "--comment", "bounces")
    assert "until 2026-03-" in machine.good("reports", "suppress", "tls", "t@example.net", "--days", "2")
    listed = json.loads(machine.good("reports", "suppressed", "--json"))
    assert [(one["kind"], one["address"]) for one in listed] == [("dmarc", "d@example.net"), ("tls", "t@example.net")]
    assert [entry.kind for entry in machine.report_suppressions.list(NOW + timedelta(days=3))] == [ReportKind.DMARC]

    assert "again" in machine.good("reports", "unsuppress", "dmarc", "d@EXAMPLE.net")
    assert machine.run("reports", "unsuppress", "dmarc", "d@example.net")[0] == 1
    assert machine.run("reports", "suppress", "dmarc", "no address")[0] == 1


@pytest.mark.parametrize("command", [("reports", "suppress", "tls"), ("suppression", "add", "acme")])
def test_addresses_are_suppressed_for_a_time_that_makes_sense(machine: Machine, command: tuple[str, ...]) -> None:
    """However many days somebody types; never until yesterday."""
    assert "until 3" in machine.good(*command, "t@example.net", "--days", "99999999")
    assert machine.run(*command, "u@example.net", "--days=-1")[0] == 1
    with pytest.raises(SystemExit):
        machine.run(*command, "v@example.net", "--days", "some")
