"""docs/operations.md names every alarm and every metric."""

from __future__ import annotations

import re

from egret.contracts.metrics import Counter, Gauge, Histogram
from egret.core.lifecycle import GIVEN_UP
from egret.usecases.deliver import SUPPRESSED
from egret.usecases.waiting import BUSY, DUE, NO_UNIT, PORT25_CLOSED
from egret_egress import metrics as egress
from egret_egress.reasons import GREYLISTED, POLICY
from egret_egress.register import DOMAIN_FULL
from functions.deliver.handler import METRICS
from functions.sweep.handler import QUEUE_DUE, QUEUE_OLDEST, UNITS_ALIVE, UNITS_USABLE
from tests.template import ROOT, of_type


def named() -> set[str]:
    """Return the names that the page shows as code, of its chapter on metrics."""
    page = (ROOT / "docs" / "operations.md").read_text()
    chapter = page.partition("\n## Metrics\n")[2].partition("\n## ")[0]
    return set(re.findall(r"`([A-Za-z0-9_-]+)`", chapter))


def test_every_alarm_is_on_the_page_and_none_that_is_not_there() -> None:
    """By its logical id."""
    assert {name for name in named() if name.endswith("Alarm")} == set(of_type("AWS::CloudWatch::Alarm"))


def test_every_metric_of_the_egress_is_on_the_page_and_none_that_is_not_there() -> None:
    """As a scraper sees it: counters end in _total."""
    metrics = [value for value in vars(egress).values() if isinstance(value, Counter | Histogram | Gauge)]
    exposed = {f"{one.name}_total" if isinstance(one, Counter) else one.name for one in metrics}

    assert {name for name in named() if name.startswith("egret_")} == exposed


def test_the_metrics_of_the_functions_are_on_the_page() -> None:
    """Those that the code has names for."""
    assert {*METRICS, UNITS_ALIVE, UNITS_USABLE, QUEUE_DUE, QUEUE_OLDEST} <= named()


def test_the_readme_counts_the_alarms() -> None:
    """As many as the template has."""
    assert f"{len(of_type('AWS::CloudWatch::Alarm'))} alarms" in (ROOT / "README.md").read_text()


def test_the_page_has_the_sentences_that_an_account_reads() -> None:
    """As they are said, at least their first part."""
    page = (ROOT / "docs" / "operations.md").read_text().partition("\n## Why is my message not there yet?\n")[2]
    sentences = (
        DUE,
        BUSY,
        NO_UNIT.partition(". ")[0],
        PORT25_CLOSED.partition(". ")[0],
        DOMAIN_FULL,
        GREYLISTED,
        POLICY,
        GIVEN_UP,
        f"| {SUPPRESSED}: … |",
        "| the server closed the connection; whether the message arrived cannot be known |",
        "| the server ended the connection, transient: 421 … |",
        "| the server refused the message … |",
        "(RequireTLS), for which … is not set up |",
        "the server did not want to talk to us",
        "the server refused the sender",
        "does not let us send: ",
        "the server's answer is not an SMTP reply",
        "the mail server does not offer encryption (STARTTLS), which is demanded of this server",
        "in the DNS name no valid host",
    )

    assert [sentence for sentence in sentences if sentence not in page] == []
