"""What comes back in local mode, by the README's commands: a bounce suppresses, a complaint too, a reply is told."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import Any

import pytest

from tests.e2e.installation import ROOT, Installation, wait_until

BLOCK = re.compile(r"```\n(curl [^`]*ann\.bounce@[^`]*)```")


def suppressed(installation: Installation) -> dict[str, Any]:
    """Return the kinds of the suppression list by address."""
    listed = installation.ask("SuppressionList", {})["Suppressions"]
    return {one["BaseAddress"]: one["Kind"] for one in listed}


@pytest.mark.skipif(not (shutil.which("bash") and shutil.which("curl")), reason="bash or curl is not installed")
def test_the_commands_of_the_readme_bring_a_bounce_and_a_reply(shared: Installation) -> None:
    """As printed, but for the port."""
    (block,) = BLOCK.findall((ROOT / "README.md").read_text())
    commands = block.replace(":1080/", f":{shared.ports['HTTP_PORT']}/").replace("sleep 5\n", "")
    ended = subprocess.run(["bash", "-euc", commands], capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == 0, ended.stderr

    wait_until(lambda: suppressed(shared).get("ann.bounce@example.net") == "bounce", "suppressed")
    reply = re.compile(r"webhook +incoming +joe\.reply@example\.net to egret@localhost .*'Re: Hello'")
    wait_until(lambda: reply.search(shared.output), "told")
    failed = re.compile(r"webhook +failed +ann\.bounce@example\.net .*550 5\.1\.1 .*\(address suppressed\)")
    wait_until(lambda: failed.search(shared.output), "told")


def test_a_complaint_suppresses(shared: Installation) -> None:
    """The event is there, also in the terminal, and the list says of what kind it is."""
    queue_msg_id = shared.send("eve.complaint@example.net")["QueueMsgID"]

    wait_until(lambda: suppressed(shared).get("eve.complaint@example.net") == "complaint", "suppressed")
    assert [event["Event"] for event in shared.delivery(queue_msg_id)["Events"]] == ["delivered", "complained"]
    complained = re.compile(r"webhook +complained +eve\.complaint@example\.net .*\(address suppressed\)")
    wait_until(lambda: complained.search(shared.output), "told")
