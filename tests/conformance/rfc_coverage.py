"""Writes docs/rfc-coverage.md: which clause of which RFC each SMTP dialogue holds the client to.

`python tests/conformance/rfc_coverage.py` writes it; a test fails while it is not up to date.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent / "dialogues"
DOCUMENT = Path(__file__).parents[2] / "docs" / "rfc-coverage.md"
TITLES = {
    1870: "SIZE",
    2920: "PIPELINING",
    3207: "STARTTLS",
    3461: "DSN",
    3463: "enhanced status codes",
    4954: "AUTH",
    5321: "SMTP",
    5802: "SCRAM",
    6152: "8BITMIME",
    6531: "SMTPUTF8",
    6533: "internationalized DSN",
    7435: "opportunistic security",
    7677: "SCRAM-SHA-256",
    8689: "REQUIRETLS",
    9422: "LIMITS",
}
_CITATION = re.compile(r"# RFC (\d+) sections? ([\d.]+(?:(?:, | and )[\d.]+)*): (.+)")
HEAD = """\
# What of which RFC the SMTP dialogues cover

Each file in `tests/conformance/dialogues` is one conversation, played to the client over loopback, and names the clause
that it holds the client to. This page is made from the files by `python tests/conformance/rfc_coverage.py`.
"""


@dataclass(frozen=True, slots=True)
class Citation:
    """What a file holds the client to. section: as written, of which "4.5.3.1.10" sorts by its numbers."""

    rfc: int
    section: str
    promise: str
    name: str

    @property
    def order(self) -> tuple[int, list[int], str]:
        """By RFC, section and file."""
        return self.rfc, [int(number) for number in re.findall(r"\d+", self.section)], self.name


def citation(path: Path) -> Citation:
    """Read a file's first line. Raises ValueError when it cites no clause."""
    first = path.read_text(encoding="utf-8").partition("\n")[0]
    match = _CITATION.fullmatch(first)
    if match is None or int(match[1]) not in TITLES:
        raise ValueError(f"{path.name} must begin with '# RFC <number> section <number>: <promise>', not {first!r}")
    return Citation(int(match[1]), match[2], match[3], path.stem)


def document(paths: Iterable[Path]) -> str:
    """Return the page."""
    lines = [HEAD]
    rfc = 0
    for cited in sorted(map(citation, paths), key=lambda one: one.order):
        if cited.rfc != rfc:
            rfc = cited.rfc
            lines.append(f"\n## RFC {rfc}: {TITLES[rfc]}\n\n| Section | Promise | Dialogue |\n|---|---|---|\n")
        lines.append(f"| {cited.section} | {cited.promise.replace('|', chr(92) + '|')} | `{cited.name}` |\n")
    return "".join(lines)


def main() -> int:
    """Write the page."""
    DOCUMENT.write_text(document(FOLDER.glob("*.txt")), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
