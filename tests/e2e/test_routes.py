"""From the command line to the attempt: what a route says is what happens."""

from __future__ import annotations

from typing import Any

from tests.e2e.installation import Installation, wait_until


def test_mail_takes_the_transport_of_its_route(shared: Installation) -> None:
    """Within a minute, for the domain that it names and no other; the attempt names the transport."""
    shared.cli("transport", "add", "closed", "fail", "--code", "550", "--message", "We do not write to them.")
    route = shared.cli("route", "add", "closed", "--to-domain", ".routed.example")

    def failed() -> list[dict[str, Any]]:
        sent = shared.send("ann@mail.routed.example")
        delivery = shared.await_end(sent["QueueMsgID"])
        return [delivery] if delivery["State"] == "failed" else []

    (delivery,) = wait_until(failed, "routed", pause_s=2)
    shared.cli("route", "remove", route["id"])
    shared.cli("transport", "remove", "closed")
    other = shared.send("ann@unrouted.example")
    (attempt,) = delivery["Attempts"]

    assert (attempt["Outcome"], attempt["Code"], attempt["EnhancedCode"]) == ("bounced", 550, "5.7.0")
    assert (attempt["Transport"], attempt["Remote"]) == ("closed", "")
    assert attempt["Reply"] == ["5.7.0 We do not write to them."]
    assert shared.await_end(other["QueueMsgID"])["State"] == "delivered"
