"""Find addresses in free text, in linear time. Does not check them; `address` does."""

from __future__ import annotations

import re

MAX_TEXT_CHARS = 16 * 1024
_LOCAL = r"[^\s<>()\[\],;:\"@\\]"
# Begins only where a word begins, so that a long text without `@` is looked at once.
ADDRESS = re.compile(rf'(?<!{_LOCAL})("[^"\n]{{1,64}}"|{_LOCAL}{{1,128}})@([\w][\w.-]{{0,254}}|\[[\w.:]{{3,60}}\])')


def find_addresses(text: str) -> list[str]:
    """Return the addresses of a text, in order."""
    if "@" not in text:
        return []
    return [match[0] for match in ADDRESS.finditer(text[:MAX_TEXT_CHARS])]


def find_address(text: str) -> str:
    """Return the first address of a text, or ""."""
    if "@" not in text:
        return ""
    match = ADDRESS.search(text[:MAX_TEXT_CHARS])
    return match[0] if match else ""
