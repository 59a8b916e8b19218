"""A small webhook receiver: prints each event as it comes. `python -m egret_local.receiver PORT`."""

from __future__ import annotations

import json
import sys
from typing import Any

from aiohttp import web

from egret_local.settings import HOST


def line(payload: dict[str, Any]) -> str:
    """Return the line that is printed for an event, or for mail that came in."""
    if "Meta" in payload:
        sender = ", ".join(one["Address"] for one in payload["From"])
        to = payload["Meta"]["RcptTo"]
        return f"webhook  incoming      {sender} to {to}  #{payload['Meta']['MsgID']}  {payload['Subject']!r}"
    parts = [f"{payload.get('Event', '?'):<12}", str(payload.get("Recipient", "")), f"#{payload.get('QueueMsgID', 0)}"]
    error, code = str(payload.get("Error", "")), ""
    if payload.get("SMTPCode"):
        code = f"{payload['SMTPCode']} {payload.get('SMTPEnhancedCode', '')}".rstrip()
    parts += [said for said in ("" if code in error else code, error) if said]
    if payload.get("Suppressing"):
        parts.append("(address suppressed)")
    return "webhook  " + "  ".join(parts)


async def receive(request: web.Request) -> web.Response:
    """Print one event."""
    try:
        payload = json.loads(await request.read())
    except json.JSONDecodeError:
        return web.Response(status=400, text="not JSON\n")
    print(line(payload), flush=True)
    return web.Response(text="ok\n")


def main() -> None:
    """Serve until interrupted."""
    app = web.Application(client_max_size=16 << 20)
    app.router.add_post("/webhook", receive)
    web.run_app(app, host=HOST, port=int(sys.argv[1]), print=None, access_log=None)


if __name__ == "__main__":
    main()
