"""What a benchmark says: tables of text, and bars that are kept or missed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Bar:
    """A promise about a figure: at most `limit`. is_counted: the same on every machine, so that missing it is a fault.

    Other bars are of time or memory, which a busy machine changes; they are reported.
    """

    what: str
    value: float
    limit: float
    is_counted: bool = True

    @property
    def is_kept(self) -> bool:
        """The figure is within the limit."""
        return self.value <= self.limit

    def __str__(self) -> str:
        verdict = "kept" if self.is_kept else "MISSED"
        kind = "counted" if self.is_counted else "measured"
        return f"bar ({kind}) {verdict:<6}  {self.what}: {figure(self.value)} (at most {figure(self.limit)})"


def figure(value: float) -> str:
    """Return a number with three significant digits or so."""
    if value and abs(value) < 0.1:
        return f"{value:.3f}"
    return f"{value:,.2f}" if abs(value) < 100 else f"{value:,.0f}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table whose first column stands left and whose others stand right; an empty row is a blank line."""
    widths = [max(len(row[i]) for row in [head, *rows] if i < len(row)) for i in range(len(head))]
    lines = [_line(head, widths), _line(["-" * width for width in widths], widths)]
    return "\n".join(lines + [_line(row, widths) for row in rows])


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    if not cells:
        return ""
    first = cells[0].ljust(widths[0])
    rest = (cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=False))
    return "  ".join([first, *rest]).rstrip()
