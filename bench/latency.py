"""Time from the call of Send until DeliveryGet says delivered, on the product as `make serve` runs it."""

from __future__ import annotations

import http.client
import json
import statistics
import time
from base64 import b64encode
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote_plus

from bench.cpu import serving
from bench.report import Bar, figure, table
from egret_local.seed import KEY, LOGIN

MESSAGES: Final = 20
MAX_S: Final = 1.0
PAUSE_S: Final = 0.01
"""Between two questions, each of which takes the machine from the product for a moment."""
GIVE_UP_S: Final = 30.0


class Caller:
    """One connection to the API that stays open."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        self._headers = {
            "Authorization": "Basic " + b64encode(f"{LOGIN}:{KEY}".encode()).decode(),
            "Content-Type": "application/x-www-form-urlencoded",
        }

    def call(self, method: str, **request: Any) -> dict[str, Any]:
        """Return a method's answer. Raises RuntimeError on a refusal."""
        body = "request=" + quote_plus(json.dumps(request))
        self._connection.request("POST", f"/webapi/v0/{method}", body, self._headers)
        answer = self._connection.getresponse()
        text = answer.read()
        if answer.status != http.HTTPStatus.OK:
            raise RuntimeError(f"{method} answered {answer.status}: {text[:200]!r}")
        decoded: dict[str, Any] = json.loads(text)
        return decoded


def deliver_one(caller: Caller, recipient: str) -> float:
    """Send a message; return the seconds until it is delivered. Raises TimeoutError."""
    started = time.monotonic()
    sent = caller.call("Send", To=[{"Address": recipient}], Subject="Hello", Text="It works.")
    wanted = sent["Submissions"][0]["QueueMsgID"]
    while time.monotonic() - started < GIVE_UP_S:
        if caller.call("DeliveryGet", QueueMsgID=wanted)["Delivery"]["State"] == "delivered":
            return time.monotonic() - started
        time.sleep(PAUSE_S)
    raise TimeoutError(f"not delivered within {GIVE_UP_S} s")


def report(root: Path) -> list[Bar]:
    """Measure, print, and return the bar. The first message, which pays for cold starts, is shown apart."""
    with serving(root) as local:
        caller = Caller(local.port)
        first = deliver_one(caller, "first@example.net")
        times = [deliver_one(caller, f"ann@customer{number}.example.net") for number in range(MESSAGES)]
    median = statistics.median(times)
    rows = [["first of all", figure(first)], [f"median of {MESSAGES}", figure(median)], ["longest", figure(max(times))]]
    print(table(["from Send to delivered", "s"], rows))
    return [Bar("s from Send to delivered (median)", median, MAX_S, is_counted=False)]
