"""Unsubscribing in local mode: the README's commands, and mail through the listener."""

from __future__ import annotations

import base64
import json
import re
import shutil
import smtplib
import subprocess
import urllib.parse
import urllib.request
from typing import Any

import pytest

from egret_local.seed import KEY, LOGIN
from tests.e2e.installation import ROOT, Installation, wait_until

README = (ROOT / "README.md").read_text()
BLOCK = re.compile(r"```\n(A=http.*?)```", re.DOTALL)
MAILTO = re.compile(r"<mailto:([^?]+)\?subject=([^>]+)>")


def entry(installation: Installation, address: str) -> dict[str, Any]:
    """Return what the suppression list says of an address, {} when nothing."""
    listed = installation.ask("SuppressionList", {})["Suppressions"]
    return next((one for one in listed if one["BaseAddress"] == address), {})


def raw_message(installation: Installation, message_id: int) -> str:
    """Return a stored message as it is."""
    token = base64.b64encode(f"{LOGIN}:{KEY}".encode()).decode()
    body = urllib.parse.urlencode({"request": json.dumps({"MsgID": message_id})}).encode()
    url = f"http://127.0.0.1:{installation.ports['HTTP_PORT']}/webapi/v0/MessageRawGet"
    request = urllib.request.Request(url, body, {"Authorization": f"Basic {token}"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return str(answer.read().decode())


@pytest.mark.skipif(not (shutil.which("bash") and shutil.which("curl")), reason="bash or curl is not installed")
def test_the_commands_of_the_readme_unsubscribe(shared: Installation) -> None:
    """As printed, but for the port."""
    (block,) = BLOCK.findall(README)
    commands = block.replace(":1080/", f":{shared.ports['HTTP_PORT']}/")
    ended = subprocess.run(["bash", "-euc", commands], capture_output=True, text=True, check=False, timeout=60)

    assert ended.returncode == 0, ended.stderr
    assert "<h1>Unsubscribed</h1>" in ended.stdout
    assert entry(shared, "eve@example.net")["Kind"] == "unsubscribe"


def test_mail_to_the_address_unsubscribes(shared: Installation) -> None:
    """Through port 25, the bucket and the function; the delivery hears of it."""
    to = [{"Address": "dan@example.net"}]
    request = {"To": to, "Subject": "News", "Text": "Much is new.", "Unsubscribe": True, "SaveSent": True}
    delivery = shared.ask("Send", request)["Submissions"][0]["QueueMsgID"]
    shared.await_end(delivery)
    sent = shared.ask("MessageList", {"Mailbox": "Sent", "Limit": 1})["Messages"][0]["MsgID"]
    found = MAILTO.search(raw_message(shared, sent))
    assert found is not None
    with smtplib.SMTP("127.0.0.1", shared.ports["SMTP_PORT"], timeout=30) as client:
        client.sendmail("dan@example.net", [found[1]], f"Subject: {found[2]}\r\n\r\n")

    wait_until(lambda: bool(entry(shared, "dan@example.net")), "on the list")
    assert "unsubscribed" in [event["Event"] for event in shared.delivery(delivery)["Events"]]
