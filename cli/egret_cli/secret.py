"""Secrets that a command needs: never an argument, which could be seen in the list of processes."""

from __future__ import annotations

import getpass
import sys
from pathlib import Path

from egret.core.errors import InvalidRequest


def secret_in(path: str) -> str:
    """Return the text of a file ("-": of standard input) without space around it, "" without a path."""
    if not path:
        return ""
    try:
        text = sys.stdin.read() if path == "-" else Path(path).read_text()
    except OSError as error:
        raise InvalidRequest("user", f"{path} cannot be read: {error.strerror}.") from error
    return text.strip()


def asked(prompt: str, path: str, option: str) -> str:
    """Return what is in the file, or what a person types unseen. Raises InvalidRequest where nobody can type."""
    if path:
        return secret_in(path)
    if not sys.stdin.isatty():
        raise InvalidRequest("user", f"Give the password with {option}: a file, or - for standard input.")
    return getpass.getpass(prompt)
