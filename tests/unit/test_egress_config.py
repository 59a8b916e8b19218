"""What the environment tells an egress unit."""

from __future__ import annotations

import io
import json
import logging
from pathlib import Path
from typing import Any

import pytest

from egret.aws.table import WORKERS
from egret.core.tls_policy import PLAIN, TlsKind, TlsPolicy
from egret_egress.__main__ import app_of, main, resolver_of
from egret_egress.config import DRAIN_S, LOCAL_DRAIN_S, ConfigError, from_environment, host_port
from egret_egress.destinations import Host
from egret_egress.health import check
from egret_egress.logs import JsonFormatter
from egret_egress.own_certificate import CertificateFiles
from egret_egress.recorder import THREADS
from egret_egress.session import Credentials, Timeouts
from egret_egress.unit import HELP_THREADS, INBOUND_THREADS, SUBMISSION_THREADS

STARTTLS = TlsPolicy(TlsKind.PKIX, "smarthost")
IMPLICIT = TlsPolicy(TlsKind.IMPLICIT, "smarthost")

LEAST = {"EGRET_JOURNAL_DIR": "/journal", "EGRET_HOSTNAME": "mx.example.com", "EGRET_HANDOFF_SECRET": "s3cret"}


def test_the_least_is_enough() -> None:
    """Three variables make a unit that sends direct and receives nothing."""
    config = from_environment(LEAST)

    assert (config.bind, config.url) == (("127.0.0.1", 1081), "http://127.0.0.1:1081")
    assert (config.next_hop, config.smtp_listen, config.probe) == (None, None, ())
    assert (config.journal_dir, config.drain_s) == (Path("/journal"), DRAIN_S)
    assert "s3cret" not in repr(config)


@pytest.mark.parametrize(
    ("route", "host"),
    [
        ("direct", None),
        ("smarthost:mail.example:587", Host("mail.example", 587, STARTTLS, Credentials("u", "p"))),
        ("smarthost:mail.example:465:tls", Host("mail.example", 465, IMPLICIT, Credentials("u", "p"))),
        ("smarthost:[::1]:587", Host("::1", 587, STARTTLS, Credentials("u", "p"))),
    ],
)
def test_a_route_is_direct_or_a_smarthost(route: str, host: Host | None) -> None:
    """TLS to a smarthost is always verified, by STARTTLS or from the start."""
    environ = {**LEAST, "EGRET_ROUTE": route, "EGRET_SMARTHOST_USER": "u", "EGRET_SMARTHOST_PASSWORD": "p"}

    assert from_environment(environ).next_hop == host


def test_the_sink_of_local_mode_wins() -> None:
    """In local mode everything goes to the sink in plain text, port 25 is not probed, and the end is quick."""
    environ = {
        **LEAST,
        "EGRET_LOCAL": "1",
        "EGRET_LOCAL_SINK": "127.0.0.1:2525",
        "EGRET_ROUTE": "direct",
        "EGRET_PORT25_PROBE": "mx.example:25",
        "EGRET_SMTP_LISTEN": "127.0.0.1:1025",
    }

    config = from_environment(environ)

    assert config.next_hop == Host("127.0.0.1", 2525, PLAIN)
    assert (config.probe, config.drain_s) == ((), LOCAL_DRAIN_S)
    assert (config.allow_loopback, from_environment(LEAST).allow_loopback) == (True, False)
    assert (config.is_sink, from_environment(LEAST).is_sink) == (True, False)
    assert config.smtp_listen == ("127.0.0.1", 1025)


def test_direct_mode_probes_port_25() -> None:
    """The targets of the probe are a list."""
    environ = {**LEAST, "EGRET_PORT25_PROBE": "a.example:25, b.example:25"}

    assert from_environment(environ).probe == (("a.example", 25), ("b.example", 25))


def test_a_dns_server_and_shorter_waits_can_be_set() -> None:
    """The limit holds for every answer, and lengthens none."""
    config = from_environment({**LEAST, "EGRET_RESOLVER": "[::1]:5353", "EGRET_ANSWER_TIMEOUT_S": "200"})

    assert config.resolver == ("::1", 5353)
    assert not config.resolver_validates
    assert from_environment({**LEAST, "EGRET_RESOLVER_VALIDATES": "1"}).resolver_validates
    assert config.timeouts == Timeouts(greeting=200, hello=200, mail=200, rcpt=200, data=120, final=200)
    assert (from_environment(LEAST).resolver, from_environment(LEAST).timeouts) == (None, Timeouts())


def test_what_our_own_servers_show_and_refuse_can_be_set() -> None:
    """A certificate is made, nothing is refused for DMARC, and REQUIRETLS is offered, unless somebody says else."""
    own = {"EGRET_TLS_CERT": "/c.pem", "EGRET_TLS_KEY": "/k.pem", "EGRET_REJECT_DMARC": "1", "EGRET_REQUIRETLS": "0"}
    config, least = from_environment({**LEAST, **own}), from_environment(LEAST)

    assert config.certificate == CertificateFiles(Path("/c.pem"), Path("/k.pem"))
    assert (config.rejects_dmarc, config.has_requiretls) == (True, False)
    assert (least.certificate, least.rejects_dmarc, least.has_requiretls) == (None, False, True)


@pytest.mark.rfc("5321", "4.5.3.2")
def test_the_times_of_rfc_5321_are_the_defaults_and_each_can_be_set() -> None:
    """In minutes: greeting 5, MAIL 5, RCPT 5, DATA 2, a block of the message 3, the final answer 10."""
    own = Timeouts()
    config = from_environment({**LEAST, "EGRET_SMTP_TIMEOUTS": "mail=30, block=7.5,final=60 connect=3"})

    assert (own.greeting, own.mail, own.rcpt, own.data, own.block, own.final) == (300, 300, 300, 120, 180, 600)
    assert config.timeouts == Timeouts(mail=30, block=7.5, final=60, connect=3)


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {**LEAST, "EGRET_EGRESS_BIND": "1081"},
        {**LEAST, "EGRET_TLS_CERT": "/cert.pem"},
        {**LEAST, "EGRET_TLS_KEY": "/key.pem"},
        {**LEAST, "EGRET_EGRESS_BIND": "127.0.0.1:99999"},
        {**LEAST, "EGRET_ROUTE": "pigeon:coop"},
        {**LEAST, "EGRET_ROUTE": "smarthost:mail.example"},
        {**LEAST, "EGRET_SOURCE_ADDRESSES": "mail.example"},
        {**LEAST, "EGRET_RESOLVER": "ns.example:53"},
        {**LEAST, "EGRET_RESOLVER": "127.0.0.1"},
        {**LEAST, "EGRET_ANSWER_TIMEOUT_S": "soon"},
        {**LEAST, "EGRET_ANSWER_TIMEOUT_S": "nan"},
        {**LEAST, "EGRET_ANSWER_TIMEOUT_S": "0"},
        {**LEAST, "EGRET_SMTP_TIMEOUTS": "300"},
        {**LEAST, "EGRET_SMTP_TIMEOUTS": "lunch=60"},
        {**LEAST, "EGRET_SMTP_TIMEOUTS": "final=inf"},
        {**LEAST, "EGRET_SMTP_TIMEOUTS": "attempt=1200"},
    ],
)
def test_what_cannot_be_understood_names_its_variable(environ: dict[str, str]) -> None:
    """An error of configuration says which variable to look at."""
    with pytest.raises(ConfigError, match=r"EGRET_[A-Z_]+"):
        from_environment(environ)


def test_a_wrong_environment_ends_with_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """The process ends with 2 and a sentence, not with a traceback."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        assert main({}) == 2
    finally:
        root.handlers[:], root.level = handlers, level

    assert capsys.readouterr().err == "egret_egress: EGRET_JOURNAL_DIR is not set\n"


def test_health_is_bad_where_nobody_listens() -> None:
    """A unit that does not answer is not well."""
    assert not check({"EGRET_EGRESS_BIND": "127.0.0.1:1"})


def test_ports_are_numbers() -> None:
    """Digits of other scripts are no port."""
    with pytest.raises(ConfigError):
        host_port("X", "a:²")


def test_a_log_line_is_one_json_object() -> None:
    """Extras become fields, line ends do not end the line, values that JSON does not know become text."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    logger = logging.getLogger("egret.test.logs")
    logger.addHandler(handler)

    logger.warning("two\nlines", extra={"delivery": 7, "path": Path("/x")})
    logger.removeHandler(handler)

    (line,) = stream.getvalue().splitlines()
    fields = json.loads(line)
    found = [fields[name] for name in ("message", "delivery", "path", "level")]
    assert found == ["two\nlines", 7, "/x", "WARNING"]


def test_every_thread_has_a_connection_to_each_service() -> None:
    """Recording, writing side by side and receiving mail do not wait for each other's connections."""
    environ = {"AWS_REGION": "eu-west-1", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}

    config: Any = app_of(environ).clients.s3.meta.config

    assert config.max_pool_connections == THREADS + HELP_THREADS + INBOUND_THREADS + SUBMISSION_THREADS + WORKERS


@pytest.mark.parametrize(
    ("resolver", "is_believed"), [("127.0.0.1:5335", True), ("192.0.2.53:53", False)], ids=["here", "far"]
)
def test_a_resolver_that_cannot_be_believed_is_reported(
    caplog: pytest.LogCaptureFixture, resolver: str, *, is_believed: bool
) -> None:
    """DANE would be off, and nobody would know."""
    config = from_environment({**LEAST, "EGRET_RESOLVER": resolver, "EGRET_RESOLVER_VALIDATES": "1"})

    assert resolver_of(config).is_believed is is_believed
    assert [record.levelname for record in caplog.records] == ([] if is_believed else ["WARNING"])
