"""Kill each process of local mode with SIGKILL while mail is sent, and see that nothing is lost; run by hand.

    make kill SENDS=2000

Every process is killed in turn, as often as --rounds says, while messages are sent from four threads; the supervisor
starts it again. The emulator stands for AWS and is left alone. Then every message whose sender heard 200 must be
delivered, once, or carry an attempt that is marked unknown for each further copy, and its event must have been told.
Prints what happened; the exit code is 0 when all of this holds. 2,000 sends take some five minutes on two busy cores.
`tests/e2e/test_killed_processes.py` does the same with fewer messages.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path

from tests.e2e.installation import TERMINAL, Installation, installed, wait_until

VICTIMS = (
    "SendFunction",
    "DeliverFunction",
    "SweepFunction",
    "WebhookStreamFunction",
    "WebhookCallsFunction",
    "DsnIngestFunction",
    "egress",
    "sink",
)
THREADS = 4
SETTLE_S = 240.0


@dataclass(slots=True)
class Report:
    """What became of a run. accepted: Message-ID by delivery id. failures: sentences; none = every promise was kept."""

    accepted: dict[int, str] = field(default_factory=dict)
    refused: int = 0
    killed: Counter[str] = field(default_factory=Counter)
    copies: int = 0
    unknown: int = 0
    failures: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [
            f"accepted {len(self.accepted)}, without an answer {self.refused}",
            f"killed {', '.join(f'{name} {count}' for name, count in self.killed.items())}",
            f"copies in the mailbox {self.copies}, attempts marked unknown {self.unknown}",
            *self.failures[:20],
        ]
        return "\n".join(lines)


class _Sending:
    """Sends from several threads until enough was accepted; remembers who heard 200."""

    def __init__(self, installation: Installation, sends: int, report: Report) -> None:
        self._installation, self._sends, self._report = installation, sends, report
        self._lock = threading.Lock()
        self._begun = 0

    def run(self) -> None:
        """Send until there is nothing more to send; nobody who hears nothing asks for the same again."""
        while (number := self._next()) is not None:
            request = {"To": [{"Address": f"{number}-to@example.net"}], "Subject": f"Number {number}", "Text": "Hello."}
            try:
                answer = self._installation.call("Send", request)
            except (OSError, HTTPException):
                with self._lock:
                    self._report.refused += 1
                time.sleep(0.2)  # it is being started again
                continue
            with self._lock:
                if answer.status == 200:
                    queue_msg_id = answer.content["Submissions"][0]["QueueMsgID"]
                    self._report.accepted[queue_msg_id] = answer.content["MessageID"]
                else:
                    self._report.failures.append(f"Send answered {answer}")

    def _next(self) -> int | None:
        with self._lock:
            if len(self._report.accepted) >= self._sends:
                return None
            self._begun += 1
            return self._begun


def run(installation: Installation, sends: int, victims: Sequence[str] = VICTIMS) -> Report:
    """Send, kill the victims one after the other in between, wait for the end of everything, check."""
    report = Report()
    sending = _Sending(installation, sends, report)
    with ThreadPoolExecutor(THREADS) as pool:
        jobs = [pool.submit(sending.run) for _ in range(THREADS)]
        for number, victim in enumerate(victims):
            threshold = sends * (number + 0.5) / len(victims)
            wait_until(lambda mark=threshold: len(report.accepted) >= mark, "sent", SETTLE_S, 0.01)  # type: ignore[misc]
            _kill(installation, victim)
            report.killed[victim] += 1
        for job in jobs:
            job.result()
    _check(installation, report)
    return report


def _kill(installation: Installation, victim: str) -> None:
    """Kill one process and wait until the supervisor has started it again."""
    before = installation.processes()[victim]
    installation.kill(victim)
    wait_until(lambda: installation.processes()[victim] != before, f"{victim} started again", pause_s=0.02)


def _check(installation: Installation, report: Report) -> None:
    """Wait until every accepted message has reached its end; compare with what arrived and what was told."""

    def states() -> dict[int, dict[str, object]]:
        found = installation.pages("DeliveryList", {}, "Deliveries")
        return {one["QueueMsgID"]: one for one in found if one["QueueMsgID"] in report.accepted}

    def all_ended() -> bool:
        found = states()
        return len(found) == len(report.accepted) and all(one["State"] in TERMINAL for one in found.values())

    try:
        wait_until(all_ended, "every delivery at its end", SETTLE_S, 1.0)
    except AssertionError as error:
        report.failures.append(str(error))
    _check_copies(installation, report, states())
    _check_events(installation, report)


def _check_copies(installation: Installation, report: Report, deliveries: dict[int, dict[str, object]]) -> None:
    wanted = set(report.accepted.values())

    def copies() -> Counter[str]:
        found = installation.pages("MessageList", {}, "Messages")
        return Counter(message["MessageID"] for message in found if message["MessageID"] in wanted)

    try:
        wait_until(lambda: set(copies()) == wanted, "every message in the mailbox", SETTLE_S, 1.0)
    except AssertionError as error:
        report.failures.append(str(error))
    arrived = copies()
    report.copies = arrived.total()
    for queue_msg_id, message_id in report.accepted.items():
        one = deliveries.get(queue_msg_id, {})
        attempts = one.get("Attempts", [])
        assert isinstance(attempts, list)
        unknown = sum(attempt["Outcome"] == "unknown" for attempt in attempts)
        report.unknown += unknown
        if one.get("State") != "delivered" or not 1 <= arrived[message_id] <= 1 + unknown:
            report.failures.append(f"{arrived[message_id]} copies of {queue_msg_id}: {one or 'it is not listed'}")


def _check_events(installation: Installation, report: Report) -> None:
    def untold() -> list[int]:
        lines = [line.split() for line in installation.output.splitlines()]
        told = {word for words in lines if words[:2] == ["webhook", "delivered"] for word in words}
        return [queue_msg_id for queue_msg_id in report.accepted if f"#{queue_msg_id}" not in told]

    try:
        wait_until(lambda: not untold(), "every event told", SETTLE_S, 0.5)
    except AssertionError as error:
        report.failures.append(f"{error}: {untold()[:10]}")


def main() -> int:
    """Run as a program; 1 when a promise was broken."""
    parser = argparse.ArgumentParser(description="Kill the processes of local mode while mail is sent.")
    parser.add_argument("--sends", type=int, default=2000, help="messages to be accepted")
    parser.add_argument("--rounds", type=int, default=3, help="how often each process is killed")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="egret-") as folder:
        with installed(Path(folder), {"RETRY_BASE_S": "1"}) as installation:
            begun = time.monotonic()
            report = run(installation, arguments.sends, (*VICTIMS, "receiver") * arguments.rounds)
        print(f"{report}\n{time.monotonic() - begun:.0f} s, {'FAILED' if report.failures else 'ok'}")
    return 1 if report.failures else 0


if __name__ == "__main__":
    sys.exit(main())
