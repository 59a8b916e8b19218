"""Recognise every mail of a folder: `make bounces BOUNCES=folder`.

Reads `<folder>/emails/*.eml` (or `<folder>/*.eml`) and writes one JSON object a line: name, kind, format and what each
recipient's mail came to. Prints how many mails a second one core reads, and whether CRLF, LF and CR as line ends give
the same answers.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from pathlib import Path

from egret.core.mimescan import normalise_lines
from egret.core.recognise import Recognised, recognise

ROUNDS = 5
LINE_ENDS = {"CRLF": b"\r\n", "LF": b"\n", "CR": b"\r"}


def row(name: str, found: Recognised) -> dict[str, object]:
    """Return what is written of one mail."""
    recipients = [
        {
            "address": one.address or one.original_address,
            "action": one.action,
            "status": one.status or None,
            "class": one.failure.value,
        }
        for one in found.recipients
    ]
    return {"name": name, "kind": found.kind.value, "format": found.format, "recipients": recipients}


def differing(mails: dict[str, bytes]) -> list[str]:
    """Return the names of mails that line ends change the answer of."""
    wrong = []
    for name, raw in mails.items():
        plain = normalise_lines(raw)
        if len({recognise(plain.replace(b"\n", line_end)) for line_end in LINE_ENDS.values()}) > 1:
            wrong.append(name)
    return wrong


def speed(mails: dict[str, bytes]) -> float:
    """Return mails per second of CPU."""
    begin = time.process_time()
    for _ in range(ROUNDS):
        for raw in mails.values():
            recognise(raw)
    return ROUNDS * len(mails) / max(time.process_time() - begin, 1e-9)


def main() -> int:
    """Run; 1 if line ends matter, 2 if there are no mails."""
    parser = argparse.ArgumentParser(description="Recognise every mail of a folder.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, default=Path(".bounces/predicted.jsonl"))
    options = parser.parse_args()
    folder = options.folder / "emails" if (options.folder / "emails").is_dir() else options.folder
    mails = {path.stem: path.read_bytes() for path in sorted(folder.glob("*.eml"))}
    if not mails:
        print(f"no *.eml in {folder}: name another folder, make bounces BOUNCES=folder", file=sys.stderr)
        return 2
    found = {name: recognise(raw) for name, raw in mails.items()}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text("".join(json.dumps(row(name, one)) + "\n" for name, one in found.items()))
    kinds = Counter(one.kind.value for one in found.values())
    print(f"{len(mails)} mails: " + ", ".join(f"{count} {kind}" for kind, count in kinds.most_common()))
    print(f"{speed(mails):,.0f} mails/s on one core")
    wrong = differing(mails)
    print(f"{', '.join(LINE_ENDS)}: {'the same answers' if not wrong else 'differ in ' + ' '.join(wrong)}")
    print(f"answers in {options.out}")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
