"""One invocation of a function in a process of its own: `python -m bench.memory_function FOLDER ENTRY < event`.

Prints the answer's status and the peak of memory. A Lambda environment holds the runtime's client besides (some 10 MB).
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from bench.processes import peak_bytes
from egret_local.handlers import Context, load


def main() -> None:
    """Invoke once."""
    folder, entry = sys.argv[1:]
    stdout, sys.stdout = sys.stdout, sys.stderr  # the function's log goes where it disturbs nobody
    handler = load(Path(__file__).parent.parent, folder, entry)
    answer = handler(json.loads(sys.stdin.buffer.read()), Context(folder, 60))
    json.dump({"answer": _verdict(answer), "peak_bytes": peak_bytes()}, stdout)
    stdout.flush()
    os._exit(0)  # pools of threads would be waited for


def _verdict(answer: object) -> object:
    """Return what tells whether it went well."""
    return answer.get("statusCode", answer.get("batchItemFailures")) if isinstance(answer, dict) else answer


if __name__ == "__main__":
    main()
