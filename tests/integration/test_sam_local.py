"""`sam local start-api` cannot run here; its environment file fits the template, and the function works with it."""

from __future__ import annotations

import json

import pytest

from egret.aws.webapi import webapi
from functions.send.handler import answer
from tests.api_service import event
from tests.sam_local import ENVIRONMENT, make
from tests.template import ROOT, variables

pytestmark = pytest.mark.emulator


def test_the_file_gives_every_variable_of_the_template_and_no_other() -> None:
    """Sam passes on only what the template has; what the file leaves out would be an unresolved reference."""
    given = json.loads(ENVIRONMENT.read_text())

    assert set(given) == {"SendFunction"}
    assert set(given["SendFunction"]) == set(variables("SendFunction")) - {"POWERTOOLS_SERVICE_NAME"}


def test_the_documented_steps_lead_to_a_message_that_is_accepted(moto_endpoint: str) -> None:
    """Resources and account are made twice, as by somebody who starts again; then Send answers 200."""
    make(moto_endpoint)
    app = make(moto_endpoint)
    request = json.dumps({"To": [{"Address": "ann@example.net"}], "Subject": "Hello", "Text": "It works."})
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Authorization": "Bearer egretegret"}
    got = answer(webapi(app), event("POST", "/webapi/v0/Send", f"request={request}".encode(), headers))

    assert (got["statusCode"], len(json.loads(got["body"])["Submissions"])) == (200, 1)


def test_the_page_says_that_nobody_ran_it() -> None:
    """And names the file."""
    page = (ROOT / "docs" / "sam-local.md").read_text()

    assert "was not run" in page
    assert "docs/sam-local.json" in page
