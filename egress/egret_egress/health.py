"""The container's health check: asks the unit's own /healthz. Exit code 0 when it serves or drains."""

from __future__ import annotations

import http.client
import json
import os
import sys
from collections.abc import Mapping

from egret_egress.config import ConfigError, host_port

TIMEOUT_S = 4.0


def check(environ: Mapping[str, str]) -> bool:
    """Whether the unit of this environment answers; one that drains is well, too: it must not be killed for it."""
    host, port = host_port("EGRET_EGRESS_BIND", environ.get("EGRET_EGRESS_BIND") or "127.0.0.1:1081")
    connection = http.client.HTTPConnection("127.0.0.1" if host == "0.0.0.0" else host, port, timeout=TIMEOUT_S)  # noqa: S104
    try:
        connection.request("GET", "/healthz")
        return "room" in json.loads(connection.getresponse().read())
    except (OSError, http.client.HTTPException, ValueError):
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    try:
        sys.exit(0 if check(os.environ) else 1)
    except ConfigError as error:
        print(error, file=sys.stderr)
        sys.exit(1)
