"""Run in the judges' environment: for each file what parsedmarc reads in that mail, as a line of JSON.

Offline: no DNS, no network. What parsedmarc warns of is told as well. Knows nothing of Egret.
"""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Any


class Ear(logging.Handler):
    """Notes warnings."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.heard: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Note one."""
        self.heard.append(record.getMessage())


def read(path: Path, ear: Ear) -> dict[str, Any]:
    """Return what parsedmarc says of a mail."""
    import parsedmarc  # noqa: PLC0415 (only the judges' environment has it)

    ear.heard.clear()
    found = parsedmarc.parse_report_email(path.read_bytes(), offline=True)
    return {"type": found["report_type"], "report": found["report"], "warnings": list(ear.heard)}


def main() -> None:
    """Read every file that is named."""
    ear = Ear()
    logging.getLogger("parsedmarc").addHandler(ear)
    logging.getLogger("parsedmarc.log").addHandler(ear)
    for name in sys.argv[1:]:
        print(json.dumps(read(Path(name), ear), default=str))


if __name__ == "__main__":
    main()
