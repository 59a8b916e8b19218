"""How answers of the HTTP API and bodies of webhook calls are written as JSON."""

from __future__ import annotations

from datetime import datetime

import msgspec

from egret.contracts.webapi import Wire


def go_time(instant: datetime) -> str:
    """Return an aware instant as Go's JSON does: RFC 3339, trailing zeros of the fraction dropped, `Z` for UTC."""
    text = instant.isoformat()
    head, dot, rest = text.partition(".")
    if dot:
        digits, zone = rest[:6].rstrip("0"), rest[6:]
        text = f"{head}.{digits}{zone}" if digits else head + zone
    return text.removesuffix("+00:00") + "Z" if text.endswith("+00:00") else text


def encode(answer: Wire) -> bytes:
    """Return an answer as compact JSON and a newline, without HTML escapes."""
    return _encode(answer) + b"\n"


def encode_webhook(payload: Wire) -> bytes:
    """Return the body of a webhook call: compact JSON in which `<`, `>` and `&` are escaped, as Go's encoder does.

    These bytes stand only inside strings of JSON, so replacing them is safe.
    """
    escaped = _encode(payload).replace(b"<", rb"\u003c").replace(b">", rb"\u003e").replace(b"&", rb"\u0026")
    return escaped.replace(b"\xe2\x80\xa8", rb"\u2028").replace(b"\xe2\x80\xa9", rb"\u2029")


def _encode(value: Wire) -> bytes:
    return msgspec.json.encode(_with_go_times(msgspec.to_builtins(value, builtin_types=(datetime,))))


def _with_go_times(value: object) -> object:
    match value:
        case dict():
            return {key: _with_go_times(item) for key, item in value.items()}
        case list() | tuple():
            return [_with_go_times(item) for item in value]
        case datetime():
            return go_time(value)
        case _:
            return value
