"""HTTP requests and answers as values, whatever brought them: API Gateway, the local gateway, a test."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from egret.contracts.webapi import UNSUBSCRIBE_PATH

TEXT: Final = "text/plain; charset=utf-8"
HTML: Final = "text/html; charset=utf-8"
JSON: Final = "application/json; charset=utf-8"
RAW: Final = "text/plain"
"""Of raw messages, whose charsets are told by their own headers."""
PART: Final = "application/octet-stream"
"""Of parts of messages: whatever a stranger attached, no browser takes it for a page of ours."""

SECURITY_HEADERS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "X-Frame-Options": "deny",
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "default-src 'self' 'unsafe-inline' data:",
        "Referrer-Policy": "same-origin",
        "Cache-Control": "no-store",
    }
)
"""On every answer, errors included."""


class Headers(Mapping[str, str]):
    """Header fields whose names are compared without regard to case."""

    __slots__ = ("_fields",)

    def __init__(self, fields: Mapping[str, str]) -> None:
        self._fields = {name.lower(): value for name, value in fields.items()}

    def __getitem__(self, name: str) -> str:
        return self._fields[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)


@dataclass(frozen=True, slots=True)
class Request:
    """An HTTP request.

    path: decoded, without the query. body: as sent. source_ip: of the client, "" when unknown. id: for the log.
    host: the name that was called, as the gateway knows it, "" when unknown.
    """

    method: str
    path: str
    headers: Headers = field(default_factory=lambda: Headers({}))
    body: bytes = b""
    source_ip: str = ""
    query: str = ""
    id: str = ""
    host: str = ""

    @property
    def shown_path(self) -> str:
        """The path for logs: without the token of a link to unsubscribe, with which anybody could."""
        return f"{UNSUBSCRIBE_PATH}…" if self.path.startswith(UNSUBSCRIBE_PATH) else self.path


@dataclass(frozen=True, slots=True)
class Response:
    """An HTTP answer. facts: for the request's log line (account, code, ids); never content or credentials."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""
    facts: Mapping[str, object] = field(default_factory=dict)


def text_response(status: int, sentence: str, headers: Mapping[str, str] | None = None) -> Response:
    """Return an answer of one sentence in plain text."""
    return Response(status, {"Content-Type": TEXT, **(headers or {})}, sentence.encode() + b"\n")


def redirect(location: str) -> Response:
    """Return a 303: fetch that instead, with GET."""
    return text_response(303, "See other.", {"Location": location})
