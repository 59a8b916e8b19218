"""The first minutes of a newcomer: the README's curl, and the recipients that ask for a failure."""

from __future__ import annotations

import base64
import json
import shlex
import urllib.parse
import urllib.request
from typing import Any

import pytest

from tests.e2e.installation import ROOT, Installation, wait_until

Found = dict[str, Any]


def first_curl() -> list[str]:
    """Return the arguments of the first curl of the README that sends."""
    lines = (ROOT / "README.md").read_text().splitlines()
    return shlex.split(next(line for line in lines if line.startswith("curl ") and "/Send " in line))


def run(curl: list[str], http_port: int) -> Found:
    """Make the request that curl would make, on the port of an installation."""
    program, user_flag, user, url, data_flag, data = curl
    assert (program, user_flag, data_flag) == ("curl", "-u", "--data-urlencode")
    field, _, value = data.partition("=")
    request = urllib.request.Request(
        url.replace(":1080/", f":{http_port}/"),
        urllib.parse.urlencode({field: value}).encode(),
        {"Authorization": "Basic " + base64.b64encode(user.encode()).decode()},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        result: Found = json.loads(answer.read())
    return result


def test_the_curl_of_the_readme_delivers_a_message(shared: Installation) -> None:
    """The command as printed is answered, delivered, in the mailbox, and told to the receiver."""
    result = run(first_curl(), shared.ports["HTTP_PORT"])

    (submission,) = result["Submissions"]
    delivery = shared.await_end(submission["QueueMsgID"])
    assert delivery["State"] == "delivered"
    assert [attempt["Outcome"] for attempt in delivery["Attempts"]] == ["delivered"]

    def listed() -> list[Found]:
        messages = shared.ask("MessageList", {})["Messages"]
        return [message for message in messages if message["MessageID"] == result["MessageID"]]

    (message,) = wait_until(listed, "in the mailbox")
    assert message["MailboxName"] == "Inbox"
    wait_until(lambda: shared.is_told("delivered", submission["QueueMsgID"]), "told")
    content = shared.ask("MessageGet", {"MsgID": message["MsgID"]})
    assert content["Message"]["Text"].strip() == "It works."


def test_the_banner_prints_the_curl_of_the_readme(shared: Installation) -> None:
    """What is printed at the start and what is written in the README are the same command."""
    printed = next(line.strip() for line in shared.output.splitlines() if line.strip().startswith("curl "))

    expected = [part.replace(":1080/", f":{shared.ports['HTTP_PORT']}/") for part in first_curl()]
    assert shlex.split(printed) == expected


def notifications(installation: Installation, queue_msg_id: int) -> list[Found]:
    """Return the DSNs in the Inbox about a delivery."""
    listed = installation.ask("MessageList", {})["Messages"]
    own = [one["MsgID"] for one in listed if one["DSN"] and f"_{queue_msg_id:x}_" in one["MessageID"]]
    return [installation.ask("MessageGet", {"MsgID": msg_id})["Message"] for msg_id in own]


@pytest.mark.parametrize("local_part", ["permerror", "550", "rcpttopermerror"])
def test_a_permanent_error_fails_at_once_and_suppresses(shared: Installation, local_part: str) -> None:
    """One attempt with the whole answer, the event failed, the address on the list; the next mail is not tried."""
    address = f"test-{local_part}@example.net" if not local_part.startswith("rcptto") else f"{local_part}@example.net"
    delivery = shared.await_end(shared.send(address)["QueueMsgID"])

    assert delivery["State"] == "failed"
    assert [(a["Outcome"], a["Code"], a["EnhancedCode"]) for a in delivery["Attempts"]] == [("bounced", 550, "5.1.1")]
    assert [(e["Event"], e["SMTPCode"], e["DSN"]) for e in delivery["Events"]] == [("failed", 550, False)]
    wait_until(lambda: shared.ask("SuppressionPresent", {"EmailAddress": address})["Present"], "suppressed")
    wait_until(lambda: shared.is_told("failed", delivery["QueueMsgID"]), "told")
    dsn = wait_until(lambda: notifications(shared, delivery["QueueMsgID"]), "notified")
    assert len(dsn) == 1
    assert f"Your message to {address} could not be delivered." in " ".join(dsn[0]["Text"].split())

    again = shared.await_end(shared.send(address)["QueueMsgID"])
    assert (again["State"], again["Attempts"]) == ("suppressed", [])
    assert [event["Event"] for event in again["Events"]] == ["suppressed"]


@pytest.mark.parametrize(
    ("local_part", "outcome", "code"),
    [("temperror", "deferred", 451), ("450", "deferred", 450), ("timeout", "unknown", 0), ("disconnect", "unknown", 0)],
)
def test_trouble_that_may_pass_is_tried_again(shared: Installation, local_part: str, outcome: str, code: int) -> None:
    """Each attempt is on record and told as delayed, the address stays off the list; it can be canceled."""
    address = f"test-{local_part}@example.net"
    queue_msg_id = shared.send(address)["QueueMsgID"]

    delivery = shared.await_delivery(queue_msg_id, lambda found: len(found["Attempts"]) >= 2)

    assert {(attempt["Outcome"], attempt["Code"]) for attempt in delivery["Attempts"]} == {(outcome, code)}
    assert {(event["Event"], event["DSN"]) for event in delivery["Events"]} == {("delayed", False)}
    assert len(delivery["Events"]) == len(delivery["Attempts"])
    wait_until(lambda: shared.is_told("delayed", queue_msg_id), "told")
    assert not shared.ask("SuppressionPresent", {"EmailAddress": address})["Present"]
    wait_until(lambda: shared.call("DeliveryCancel", {"QueueMsgID": queue_msg_id}).status == 200, "canceled", 30)
    assert shared.delivery(queue_msg_id)["State"] == "canceled"


def test_greylisting_is_overcome_by_the_second_attempt(shared: Installation) -> None:
    """Put off once, then taken: two attempts, delayed and delivered."""
    delivery = shared.await_end(shared.send("test-greylist@example.net")["QueueMsgID"])

    assert delivery["State"] == "delivered"
    assert [(a["Outcome"], a["Code"]) for a in delivery["Attempts"]] == [("deferred", 451), ("delivered", 250)]
    assert [event["Event"] for event in delivery["Events"]] == ["delayed", "delivered"]
