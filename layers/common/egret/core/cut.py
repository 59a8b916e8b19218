"""Cut texts of strangers to the bytes that there is room for."""

from __future__ import annotations


def cut(text: str, size_bytes: int) -> str:
    """Return the beginning of a text, at most so many bytes of UTF-8, no character broken."""
    return text.encode("utf-8", "replace")[:size_bytes].decode(errors="ignore")
