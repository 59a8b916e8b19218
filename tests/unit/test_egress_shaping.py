"""The shaping table: what is packaged, what an operator lays over it, and what is wrong with a file."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from egret.core.reply import Reply
from egret.core.tls_policy import TlsKind
from egret_egress.own_words import own_words
from egret_egress.providers import Provider, Providers, organisation
from egret_egress.shaping import Action, Rule, Scope, Warmup
from egret_egress.shaping_file import ShapingError, load

PROVIDERS = Providers(load())


def rule_for(mx_host: str, code: int, text: str) -> Rule | None:
    """Return the rule of the packaged table about a reply of a host."""
    reply = own_words(Reply(code, tuple(text.split("\n"))))
    return next((rule for rule in PROVIDERS.of(mx_host).rules if rule.fits(reply)), None)


@pytest.mark.parametrize(
    ("mx_host", "name"),
    [
        ("aspmx.l.google.com", "google"),
        ("gmr-smtp-in.l.google.com", "google"),
        ("mta5.am0.yahoodns.net", "yahoo"),
        ("hotmail-com.olc.protection.outlook.com", "outlook"),
        ("example-com.mail.protection.outlook.com", "office365"),
        ("example-com.a-v1.mx.microsoft", "office365-dane"),
        ("mx01.mail.icloud.com", "apple"),
        ("mx2h1.comcast.net", "comcast"),
        ("us-smtp-inbound-1.mimecast.com", "mimecast"),
        ("127.0.0.1", "loopback"),
        ("notgoogle.com", "notgoogle.com"),
        ("mx1.example.org", "example.org"),
        ("mx1.mail.example.co.uk", "example.co.uk"),
        ("example.org", "example.org"),
        ("uk", "uk"),
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::1"),
        ("ec2-192-0-2-1.compute-1.amazonaws.com", "ec2-192-0-2-1.compute-1.amazonaws.com"),
    ],
)
def test_a_provider_is_known_by_the_names_of_its_hosts(mx_host: str, name: str) -> None:
    """By a row of the table, else by what the name shows of the organisation."""
    assert PROVIDERS.of(mx_host).name == name


def test_hosts_of_one_organisation_are_one_provider() -> None:
    """They share limits, and what was learned."""
    assert PROVIDERS.of("mx1.example.org") is not PROVIDERS.of("mx1.example.net")
    assert organisation("mx1.example.org") == organisation("mx2.example.org")


@pytest.mark.parametrize(
    ("mx_host", "code", "text", "action", "scope", "hours"),
    [
        ("x.yahoodns.net", 421, "4.7.0 [TSS04] Messages from 192.0.2.1 deferred", Action.SUSPEND, Scope.SOURCE, 2.0),
        ("x.yahoodns.net", 421, "4.7.0 [TS04] Messages", Action.SUSPEND, Scope.SOURCE, 2.0),
        ("x.yahoodns.net", 421, "4.7.0 [TS02] unusual traffic", Action.SLOW, Scope.SOURCE, 0.5),
        ("x.yahoodns.net", 553, "5.7.1 [BL21] Connections not accepted", Action.SUSPEND, Scope.SOURCE, 2.0),
        ("l.google.com", 450, "4.2.1 The user is receiving mail too quickly", Action.SUSPEND, Scope.RECIPIENT, 1.0),
        ("l.google.com", 421, "4.7.28 unusual rate", Action.SLOW, Scope.SOURCE, 0.5),
        ("l.google.com", 421, "4.7.27 SPF", Action.IGNORE, Scope.SOURCE, 0.0),
        ("x.olc.protection.outlook.com", 451, "4.7.652 exceeded connections (S3115)", Action.SLOW, Scope.SOURCE, 1.0),
        ("x.olc.protection.outlook.com", 451, "4.7.500 Server busy (S77719)", Action.SLOW, Scope.SOURCE, 0.0),
        ("x.olc.protection.outlook.com", 550, "5.7.1 on our block list (S3140).", Action.SUSPEND, Scope.SOURCE, 2.0),
        ("x.olc.protection.outlook.com", 550, "5.7.606 Access denied, banned IP", Action.SUSPEND, Scope.SOURCE, 2.0),
        ("x.olc.protection.outlook.com", 421, "RP-001 unusual volume", Action.SLOW, Scope.SOURCE, 0.5),
        ("mx.comcast.net", 421, "Too many connections RL000003", Action.SLOW, Scope.SOURCE, 2.0),
        ("mx.example.org", 421, "temporarily deferred due to IP reputation", Action.SLOW, Scope.SOURCE, 1.5),
        ("mx.example.org", 451, "4.7.1 Greylisting in action", Action.IGNORE, Scope.SOURCE, 0.0),
        ("mx.example.org", 452, "4.2.2 over quota", Action.IGNORE, Scope.SOURCE, 0.0),
        ("mx.example.org", 421, "too many messages in this session", Action.SLOW, Scope.SOURCE, 1.0),
        ("mx.example.org", 421, "4.3.2 closing", Action.SLOW, Scope.SOURCE, 0.0),
        ("mx.example.org", 451, "4.7.0 Too many connections", Action.SLOW, Scope.SOURCE, 0.0),
    ],
)
def test_replies_mean_what_providers_say(
    mx_host: str, code: int, text: str, action: Action, scope: Scope, hours: float
) -> None:
    """The rules of the packaged table, in their order."""
    rule = rule_for(mx_host, code, text)

    assert rule is not None
    assert (rule.action, rule.scope, rule.duration_s / 3600) == (action, scope, hours)


@pytest.mark.parametrize(
    ("code", "text"),
    [(550, "5.1.1 no such user"), (450, "4.3.0 try later"), (554, "5.7.1 spam"), (550, "5.7.1 [TSS04] of another")],
)
def test_other_replies_mean_nothing_for_the_pace(code: int, text: str) -> None:
    """A tag of one provider means nothing at another one."""
    assert rule_for("mx.example.org", code, text) is None


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (550, "5.1.1 <exchange.rate.1@gmx.net>: Recipient address rejected: User unknown in virtual mailbox table"),
        (550, "5.1.1 no mailbox throttle here"),
        (554, "5.2.1 mailbox rate is disabled"),
        (550, '5.7.1 <"temporarily deferred due to IP reputation"@gmx.net> refused'),
        (550, "5.7.1 temporarily deferred due to IP reputation is no mailbox"),
        (550, "5.7.1 RL0000 is no mailbox"),
        (503, "too many messages in this session"),
    ],
)
def test_what_a_sender_chose_means_nothing_for_the_pace(code: int, text: str) -> None:
    """An address may be any words, and a server that refuses it repeats it: nobody else's mail waits for that."""
    assert rule_for("mx00.gmx.net", code, text) is None


def test_a_rule_may_search_what_is_said_about_one_address() -> None:
    """Where it names the enhanced code, or concerns only that recipient."""
    reply = Reply(451, ("4.2.1 too fast",))
    named = 'enhanced = ["4.2.1"]\naction = "ignore"'
    alone = 'action = "suspend"\nscope = "recipient"\nduration = "1h"'

    for more, fits in ((named, True), (alone, True), ('action = "ignore"', False)):
        assert load(f'[[rule]]\ncodes = [451]\ntext = "too fast"\n{more}').rules[0].fits(reply) is fits


def test_a_packaged_rule_that_searches_text_says_for_which_codes() -> None:
    """Words are not enough."""
    assert [rule for rule in load().rules if rule.text is not None and not rule.codes] == []


def test_tls_of_a_provider_is_a_kind() -> None:
    """Encryption by whoever answers ("required"), or a right certificate ("verified")."""
    table = load('[provider.x]\nhosts = ["x.example"]\ntls = "verified"')

    assert PROVIDERS.of("aspmx.l.google.com").tls is TlsKind.ENCRYPTED
    assert Providers(table).of("mx.x.example").tls is TlsKind.PKIX
    assert PROVIDERS.of("mx.example.org").tls is None


def limits_of(provider: Provider) -> tuple[int, int, float]:
    """Return connections, messages for each, messages per second."""
    assert provider.limits is not None
    return provider.limits.connections, provider.limits.messages_per_connection, provider.limits.message_rate


def test_an_operator_changes_single_values() -> None:
    """Everything else stays as packaged."""
    table = load('[provider.google]\nconnections = 20\n[default]\nmessage_rate = "600/min"')

    assert limits_of(Providers(table).of("aspmx.l.google.com")) == (20, 50, 10.0)
    assert limits_of(Providers(table).of("mx.example.org")) == (10, 100, 10.0)


def test_rules_of_an_operator_come_first() -> None:
    """So that one of them can take the place of a packaged one."""
    table = load('[[rule]]\nprovider = "yahoo"\ntext = "TSS04"\naction = "ignore"')
    rules = Providers(table).of("x.yahoodns.net").rules

    assert next(rule for rule in rules if rule.fits(Reply(421, ("4.7.0 [TSS04]",)))).action is Action.IGNORE


@pytest.mark.parametrize(
    ("text", "lifted"),
    [("lift_all = true", True), ("[default]\nlifted = true", True), ("[provider.google]\nlifted = true", False)],
)
def test_limits_can_be_lifted(text: str, lifted: bool) -> None:
    """All, those of unknown providers, or those of one."""
    providers = Providers(load(text))

    assert (providers.of("mx.example.org").limits is None) is lifted
    assert (providers.of("aspmx.l.google.com").limits is None) is ("default" not in text)


def test_what_is_known_of_a_provider_is_not_learned_from_the_start() -> None:
    """An unknown one begins with little."""
    known, unknown = PROVIDERS.of("aspmx.l.google.com").limits, PROVIDERS.of("mx.example.org").limits
    assert known is not None
    assert unknown is not None

    assert (known.start_connections, unknown.start_connections) == (5, 2)
    assert (known.start_message_rate, unknown.start_message_rate) == (100.0, 5.0)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x = ", "mine.toml is not valid TOML: Invalid value (at end of document)"),
        ("version = 2", "mine.toml: version must be 1, not 2"),
        ("conections = 3", "mine.toml: the top has a key that nobody knows: conections"),
        ("provider = 3", "mine.toml: [provider] must be a table"),
        ("[provider]\ngoogle = 3", "mine.toml: [provider.google] must be a table"),
        ("[rule]\n", "mine.toml: rule must be written [[rule]]"),
        ("separate = 3", "mine.toml: separate must be a list of texts"),
        ("lift_all = 1", "mine.toml: lift_all must be true or false, not 1"),
        ("[default]\nhosts = []", "mine.toml: [default] has a key that nobody knows: hosts"),
        ("[provider.x]\nconnections = 1", "mine.toml: [provider.x] hosts must name the provider's mail servers"),
        ("[provider.google]\nconnections = 0", "mine.toml: [provider.google] connections must be a whole number"),
        ('[provider.google]\nmessage_rate = "fast"', "message_rate must be like \"100/min\", not 'fast'"),
        ('[provider.google]\nmessage_rate = "0/s"', 'message_rate must be like "100/min"'),
        ("[provider.google]\nidle = 3", 'idle must be like "90m", not 3'),
        ('[provider.google]\nidle = "366d"', "idle must be at most 365d, not '366d'"),
        ('[provider.google]\ntls = "yes"', 'tls must be "required" or "verified", not \'yes\''),
        ("[provider.google]\ntitle = 3", "title must be text, not 3"),
        ("[provider.google]\nwarmup = { first = 9, last = 3, days = 2 }", "last is less than first"),
        ("[provider.google]\nwarmup = { first = 9 }", "last must be a whole number of at least 1, not 0"),
        ('[[rule]]\naction = "stop"', '[[rule]] number 1 action must be one of "slow", "suspend", "resume", "ignore"'),
        ('[[rule]]\naction = "slow"', "must say which replies it is about"),
        ('[[rule]]\naction = "suspend"\ncodes = [421]', "must have a duration"),
        ('[[rule]]\naction = "slow"\ncodes = [421]\nconnections = 1', "must have a duration"),
        ('[[rule]]\naction = "slow"\ncodes = [421]\nscope = "recipient"', "can only suspend or resume a recipient"),
        ('[[rule]]\naction = "slow"\ncodes = ["421"]', "codes must be a list of numbers from 200 to 599"),
        ('[[rule]]\naction = "slow"\nenhanced = ["4.7"]', "enhanced must be like \"4.7.5xx\", not '4.7'"),
        ('[[rule]]\naction = "slow"\ntext = "("', "text is not a regular expression"),
        ('[[rule]]\naction = "slow"\nprovider = "me"\ncodes = [421]', "names 'me', of which there is no row"),
    ],
)
def test_an_error_is_one_sentence_that_names_the_key(text: str, words: str) -> None:
    """With the name of the file."""
    with pytest.raises(ShapingError) as caught:
        load(text, "mine.toml")

    assert words in str(caught.value)
    assert str(caught.value).startswith("mine.toml")
    assert "\n" not in str(caught.value)


def test_the_example_of_the_manual_is_a_table() -> None:
    """docs/operations.md shows a file that can be used as it stands."""
    manual = (Path(__file__).parents[2] / "docs" / "operations.md").read_text("utf-8")
    (example,) = re.findall(r"```toml\n(.*?)```", manual, re.DOTALL)
    providers = Providers(load(example, "the example"))

    assert limits_of(providers.of("aspmx.l.google.com"))[0] == 20
    assert providers.of("mx.partner.example").tls is TlsKind.PKIX


def test_a_warmup_grows_evenly_and_ends() -> None:
    """From the first number to the last, by the same factor each day."""
    warmup = Warmup(1000, 100_000, 10)
    days = [warmup.ceiling(day) for day in range(12)]

    assert days[0] == 1000
    assert days[5] == 10_000
    assert days[10:] == [None, None]
    assert days[:10] == sorted(days[:10], key=lambda ceiling: ceiling or 0)


def test_no_reply_takes_long_to_understand() -> None:
    """A server cannot choose words that cost time by their square: no pattern repeats anything without a bound."""
    patterns = [rule.text.pattern for rule in load().rules if rule.text is not None]
    assert [pattern for pattern in patterns if re.search(r"[*+]|,\}", pattern)] == []


def test_what_microsoft_says_means_nothing_from_others() -> None:
    """Codes of one provider in another's answer, which a customer of it may have chosen, suspend nothing."""
    reply = Reply(550, ("5.7.1 S3150",))
    assert [rule for rule in PROVIDERS.of("mx.hoster.example").rules if rule.fits(reply)] == []


def test_customers_of_a_registry_are_not_one_provider() -> None:
    """What a host below a name that anybody can have answers goes for that host only."""
    assert PROVIDERS.of("a.duckdns.org").name != PROVIDERS.of("b.duckdns.org").name
