"""Submission in local mode: the README's commands, and the way from the listener by the function to the mailbox."""

from __future__ import annotations

import re
import shlex
import shutil
import smtplib
import ssl
import subprocess
from typing import Any

import pytest

from egret_local.seed import KEY, LOGIN
from tests.e2e.installation import ROOT, Installation, wait_until

README = (ROOT / "README.md").read_text()
SWAKS = [shlex.split(line) for line in README.splitlines() if line.startswith("swaks ")]


def on(installation: Installation, text: str) -> str:
    """Return a text of the README with the ports of an installation."""
    ports = {"1587": "SUBMISSION_PORT", "1465": "SUBMISSIONS_PORT"}
    return re.sub(r"\b(1587|1465)\b", lambda match: str(installation.ports[ports[match[1]]]), text)


def connected(installation: Installation) -> smtplib.SMTP:
    """Return a client that is logged in."""
    client = smtplib.SMTP("127.0.0.1", installation.ports["SUBMISSION_PORT"], timeout=30)
    unverified = ssl.create_default_context()
    unverified.check_hostname, unverified.verify_mode = False, ssl.CERT_NONE
    client.starttls(context=unverified)
    client.login(LOGIN, KEY)
    return client


def submitted(client: smtplib.SMTP, mail_from: str, recipient: str, content: bytes) -> int:
    """Submit; return the id of the delivery, as the reply tells it."""
    client.mail(mail_from)
    client.rcpt(recipient)
    code, text = client.data(content)
    assert code == 250, text
    return int(text.split()[-1])


def newest(installation: Installation) -> dict[str, Any]:
    """Return the newest delivery."""
    (found,) = installation.ask("DeliveryList", {"Limit": 1})["Deliveries"]
    return dict(found)


def test_the_program_of_the_readme_submits(shared: Installation) -> None:
    """As printed, but for the port."""
    (program,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    exec(on(shared, program), {})  # noqa: S102 - that is the test

    assert shared.await_end(newest(shared)["QueueMsgID"])["State"] == "delivered"


@pytest.mark.skipif(shutil.which("swaks") is None, reason="swaks is not installed")
@pytest.mark.parametrize("command", SWAKS, ids=["starttls", "tls"])
def test_the_swaks_of_the_readme_submits(shared: Installation, command: list[str]) -> None:
    """As printed, but for the port."""
    ended = subprocess.run([on(shared, word) for word in command], capture_output=True, text=True, check=False)

    assert ended.returncode == 0, ended.stdout
    delivery = shared.await_end(int(re.findall(r"Queued as (\d+)", ended.stdout)[0]))
    assert delivery["State"] == "delivered"
    assert delivery["Extra"] == ({"Order": "17"} if "--header" in command else {})


def test_the_banner_prints_the_swaks_of_the_readme(shared: Installation) -> None:
    """What is printed at the start and what is written in the README are the same command."""
    printed = next(line.strip() for line in shared.output.splitlines() if line.strip().startswith("swaks "))

    assert shlex.split(printed) == [on(shared, word) for word in SWAKS[0]]


def test_a_message_too_large_for_a_call_goes_by_the_bucket(shared: Installation) -> None:
    """8 bits and all."""
    line = "ü" * 400 + "\r\n"
    content = f"From: {LOGIN}\r\nMessage-ID: <large@example.com>\r\n\r\n{line * 6000}".encode()
    with connected(shared) as client:
        delivery = shared.await_end(submitted(client, LOGIN, "ann@example.net", content))

    assert delivery["State"] == "delivered"
    messages = wait_until(
        lambda: [one for one in shared.ask("MessageList", {})["Messages"] if one["MessageID"] == "<large@example.com>"],
        "in the mailbox",
    )
    assert messages[0]["Size"] > len(content)


def test_a_bounce_to_a_fromid_of_the_submitters_own_finds_its_delivery(shared: Installation) -> None:
    """Any mail to it is told, even in another case of letters."""
    path = "Order-17@bounces.localhost"
    with connected(shared) as client:
        content = f"From: {LOGIN}\r\n\r\nHello.\r\n".encode()
        queue_msg_id = submitted(client, path, "ann@example.net", content)
        client.mail(path)
        client.rcpt("ann@example.net")
        assert client.data(content)[0] == 554
    assert shared.await_end(queue_msg_id)["FromID"] == "Order-17"

    with smtplib.SMTP("127.0.0.1", shared.ports["SMTP_PORT"], timeout=30) as client:
        client.sendmail("", path.upper(), b"Subject: Out of office\r\n\r\n")

    def told() -> list[str]:
        return [event["Event"] for event in shared.delivery(queue_msg_id)["Events"]]

    wait_until(lambda: "unrecognized" in told(), "told")
