"""The composition root: what it reads from the environment, and when."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import timedelta

import pytest

from egret.aws.app import App
from egret.contracts.settings import DEFAULT_RETRY, Installation, RetryPolicy
from egret.core import fromid

REGION = {"AWS_REGION": "eu-west-1", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}


def test_installation_has_the_defaults_of_the_product() -> None:
    """Only the host name must be said."""
    app = App.from_environment({"EGRET_HOSTNAME": "mx.example.com"})

    assert app.installation == Installation("mx.example.com", retry=DEFAULT_RETRY, local=False)


def test_installation_is_read_from_the_environment() -> None:
    """Seconds may have a fraction; empty means the default; local mode is "1" and nothing else."""
    environment = {
        "EGRET_HOSTNAME": "mx.example.com",
        "EGRET_RETRY_BASE_S": "0.5",
        "EGRET_MAX_AGE_S": "60",
        "EGRET_HINT_GRACE_S": "",
        "EGRET_LOCAL": "1",
    }

    retry = RetryPolicy(base=timedelta(seconds=0.5), max_age=timedelta(seconds=60))
    assert App.from_environment(environment).installation == Installation("mx.example.com", retry=retry, local=True)


def test_variable_is_missed_by_what_needs_it_only() -> None:
    """A function that queues nothing is given no queue."""
    app = App.from_environment(REGION | {"EGRET_MAIL_TABLE": "mail"})

    assert app.counters is app.counters
    with pytest.raises(KeyError, match="EGRET_HINT_QUEUE_URL"):
        _ = app.hint_queue
    with pytest.raises(KeyError, match="EGRET_SECRET"):
        _ = app.secrets


def test_who_recognises_fromids_needs_no_other_secret() -> None:
    """The egress is given the secret of fromids alone, and recognises what send minted."""
    secrets = {"EGRET_SECRET": "0123456789abcdef", "EGRET_FROMID_SECRET": "fedcba9876543210"}
    send = App.from_environment(secrets)
    egress = App.from_environment({"EGRET_FROMID_SECRET": secrets["EGRET_FROMID_SECRET"]})

    token = fromid.mint(send.secrets.fromid, "abcdefgh", 7)
    assert fromid.verify(egress.fromid_keys, token) == fromid.FromId("abcdefgh", 7)
    with pytest.raises(KeyError, match="EGRET_SECRET"):
        _ = egress.secrets


def test_no_client_is_made_before_it_is_used() -> None:
    """A cold start pays for the services that the function calls."""
    app = App.from_environment(
        REGION | {"EGRET_MAIL_TABLE": "mail", "EGRET_BUCKET": "b", "EGRET_CALL_QUEUE_URL": "https://sqs.example/q"}
    )
    ports = [app.store, app.due, app.suppressions, app.call_queue, app.blobs, app.units]
    made_by_ports = dict(app.clients._made)
    _ = app.clients.sqs

    assert len(ports) == 6
    assert made_by_ports == {}
    assert list(app.clients._made) == ["sqs"]


def test_only_who_asks_for_settings_imports_pynamodb() -> None:
    """A cold start of the others is shorter by the import."""
    code = """
import sys
from egret.aws.app import App
app = App.from_environment({"AWS_REGION": "eu-west-1", "EGRET_MAIL_TABLE": "mail", "EGRET_SETTINGS_TABLE": "settings"})
app.due, app.counters
before = "pynamodb" in sys.modules
app.settings
print(before, "pynamodb" in sys.modules, list(app.clients._made))
"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)

    assert run.stdout == "False True []\n"


def test_connections_are_as_many_as_the_process_wants() -> None:
    """The egress calls from more threads than a function."""
    app = App.from_environment(REGION, pool=40)

    assert app.clients.sqs.meta.config.max_pool_connections == 40  # type: ignore[attr-defined]  # the stubs omit it
