"""Peak memory: the functions with the largest messages there are, the egress with a thousand open TLS connections."""

from __future__ import annotations

import argparse
import base64
import json
import os
import random
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.installation import Installation, installed
from bench.messages import SMALL_BYTES, Kind, request
from bench.report import Bar, figure, table
from bench.walk import send_event
from egret.api.gateway import request_of
from egret.aws.webapi import webapi
from egret.contracts.queues import Inbound, InboundRecipient, pack_inbound

FUNCTION_BYTES: Final = 512 * 1024 * 1024
EGRESS_BYTES: Final = 300 * 1024 * 1024
CONNECTIONS: Final = 1000
MESSAGE_BYTES: Final = 25 * 1024 * 1024
REQUEST_BYTES: Final = 4_400_000
"""The largest request that Lambda takes: 6 MB with the base64 in which API Gateway hands bodies over."""
BASE64_GROWTH: Final = 78 / 57
"""Lines of 76 characters and CRLF for 57 octets."""


@dataclass(frozen=True, slots=True)
class Invocation:
    """A function and the event that it is given."""

    name: str
    folder: str
    entry: str
    event: dict[str, Any]


def invocations(installation: Installation) -> Iterator[Invocation]:
    """Yield the largest invocations, with what they refer to put in place."""
    yield Invocation("send, 25 MB by an upload", "functions/send", "handle", _with_upload(installation))
    yield Invocation("send, a request of 4.4 MB", "functions/send", "handle", _with_data())
    yield Invocation("dsn_ingest, a mail of 25 MB", "functions/dsn_ingest", "handle", _inbound(installation))
    yield Invocation("webhook, ten calls with 8 KB each", "functions/webhook", "handle_calls", _calls(installation))


def _with_upload(installation: Installation) -> dict[str, Any]:
    """Put a file and return the Send that makes of it a message of just under 25 MB."""
    size = int((MESSAGE_BYTES - 64 * 1024) / BASE64_GROWTH)
    wish = send_event(json.dumps({"Size": size})) | {"rawPath": "/webapi/v0/UploadCreate"}
    upload = _call(installation, wish)
    put = urllib.request.Request(upload["URL"], random.Random(1).randbytes(size), method="PUT")
    with urllib.request.urlopen(put, timeout=60):
        pass
    wanted = {
        **request(Kind(1, SMALL_BYTES), 1),
        "AttachedFiles": [{"Name": "film.mp4", "UploadID": upload["UploadID"]}],
    }
    return send_event(json.dumps(wanted))


def _call(installation: Installation, event: dict[str, Any]) -> Any:
    """Call the API in this process and return the decoded answer."""
    return json.loads(webapi(installation.app).handle(request_of(event)).body or b"null")


def _with_data() -> dict[str, Any]:
    """Return a Send whose body has the size that Lambda can take."""
    boundary = "a-boundary-of-the-bench"
    room = REQUEST_BYTES - 4 * SMALL_BYTES
    data = base64.b64encode(random.Random(2).randbytes(room * 3 // 4)).decode()
    text = json.dumps({**request(Kind(1, SMALL_BYTES), 2), "AttachedFiles": [{"Name": "a.pdf", "Data": data}]})
    body = f'--{boundary}\r\nContent-Disposition: form-data; name="request"\r\n\r\n{text}\r\n--{boundary}--\r\n'
    event = send_event("")
    event["headers"]["content-type"] = f"multipart/form-data; boundary={boundary}"
    return {**event, "body": base64.b64encode(body.encode()).decode(), "isBase64Encoded": True}


def _inbound(installation: Installation) -> dict[str, Any]:
    """Store a bounce that returns a message of 25 MB and return S3's notification of it."""
    app = installation.app
    attachment = base64.encodebytes(random.Random(3).randbytes(int(MESSAGE_BYTES / BASE64_GROWTH))).replace(
        b"\n", b"\r\n"
    )
    raw = BOUNCE.encode().replace(b"\n", b"\r\n") % attachment
    recipient = InboundRecipient("orders@shop.example.com", installation.account)
    mail = Inbound("mail-of-the-bench", app.clock.now().isoformat(), "", [recipient], remote_ip="192.0.2.7")
    key = "inbound/2026-01-02/mail-of-the-bench"
    app.blobs.put(key, pack_inbound(mail, raw[:MESSAGE_BYTES]))
    notification = {"Records": [{"s3": {"object": {"key": key}}}]}
    return {"Records": [{"messageId": "1", "body": json.dumps(notification)}]}


BOUNCE: Final = """\
From: mailer-daemon@example.org
To: orders@shop.example.com
Subject: Undelivered mail
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary="b"

--b
Content-Type: text/plain

It could not be delivered.
--b
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.example.org

Final-Recipient: rfc822; ann@example.org
Action: failed
Status: 5.1.1

--b
Content-Type: message/rfc822

From: orders@shop.example.com
Subject: your order
MIME-Version: 1.0
Content-Transfer-Encoding: base64

%b
--b--
"""


def _calls(installation: Installation) -> dict[str, Any]:
    """Send ten messages with as much extra data as there may be, and return a batch with a call for each.

    Their recipients are suppressed, so that each has an event to tell.
    """
    bodies = []
    for seed in range(10):
        wanted = request(Kind(1, SMALL_BYTES), seed) | {"Extra": {"note": "x" * 8000}}
        address = {"EmailAddress": wanted["To"][0]["Address"]}
        _call(installation, send_event(json.dumps(address)) | {"rawPath": "/webapi/v0/SuppressionAdd"})
        (one,) = _call(installation, send_event(json.dumps(wanted)))["Submissions"]
        call = {"account": installation.account, "delivery_id": one["QueueMsgID"], "seq": 1, "queued_at": "2026-01-02"}
        bodies.append(json.dumps(call))
    return {"Records": [{"messageId": str(number), "body": body} for number, body in enumerate(bodies)]}


def measured(installation: Installation, invocation: Invocation, root: Path) -> int:
    """Invoke in a fresh process and return the peak in bytes. Raises RuntimeError when the function refused."""
    environment = os.environ | installation.resources.environment(installation.endpoint_url) | {"EGRET_LOCAL": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "bench.memory_function", invocation.folder, invocation.entry],
        input=json.dumps(invocation.event).encode(),
        capture_output=True,
        check=False,
        cwd=root,
        env=environment,
    )
    if done.returncode:
        raise RuntimeError(f"{invocation.name} failed: {done.stderr.decode(errors='replace')[-2000:]}")
    result = json.loads(done.stdout)
    if result["answer"] not in (200, []):
        raise RuntimeError(f"{invocation.name} answered {result['answer']}: {done.stderr.decode()[-2000:]}")
    peak: int = result["peak_bytes"]
    return peak


def egress(root: Path) -> dict[str, int]:
    """Return the figures of an egress with its connections open. Raises CalledProcessError."""
    sink = subprocess.Popen(
        [sys.executable, "-m", "bench.tls_sink", str(CONNECTIONS)],
        cwd=root,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with sink:
        port = sink.stdout.readline().decode().strip() if sink.stdout else ""
        done = subprocess.run(
            [sys.executable, "-m", "bench.memory_egress", port, str(CONNECTIONS)],
            cwd=root,
            capture_output=True,
            check=True,
        )
        if sink.stdin:
            sink.stdin.close()
    figures: dict[str, int] = json.loads(done.stdout)
    return figures


def report(root: Path) -> list[Bar]:
    """Measure what lies under `root`, print, and return the bars."""
    with installed() as installation:
        peaks = {one.name: measured(installation, one, root) for one in invocations(installation)}
    found = egress(root)
    mb = 1024 * 1024
    rows = [[name, figure(peak / mb)] for name, peak in peaks.items()]
    rows.append([f"egress, {found['open']:,} open TLS connections", figure(found["peak_bytes"] / mb)])
    rows.append(["egress, before the first connection", figure(found["before_bytes"] / mb)])
    print(table(["peak of memory", "MB"], rows))
    return [
        *(Bar(f"MB of {name}", peak / mb, FUNCTION_BYTES / mb) for name, peak in peaks.items()),
        Bar("MB of the egress", found["peak_bytes"] / mb, EGRESS_BYTES / mb),
        Bar("connections of the egress that were not open", CONNECTIONS - found["delivered"], 0),
    ]


def main(arguments: list[str] | None = None) -> int:
    """Print the peaks; 1 when a bar is missed."""
    argparse.ArgumentParser(description=__doc__).parse_args(arguments)
    found = report(Path(__file__).parent.parent)
    print("\n" + "\n".join(map(str, found)))
    return int(not all(bar.is_kept for bar in found))


if __name__ == "__main__":
    sys.exit(main())
