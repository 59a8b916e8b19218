"""What a server is asked to take, as the commands of one transaction say it."""

from __future__ import annotations

import msgspec


class Envelope(msgspec.Struct, frozen=True, gc=False):
    """What the server is asked to take. Paths without <>; reverse_path "" is null. size_bytes: before dot-stuffing.

    smtputf8: the headers are not ASCII. envid: ENVID, decoded; ret: RET, "" = not asked for; notify, orcpts:
    NOTIFY and ORCPT by position of the recipient, () or "" = not asked for (RFC 3461 section 4).
    """

    reverse_path: str
    forward_paths: tuple[str, ...]
    size_bytes: int
    is_8bit: bool = False
    smtputf8: bool = False
    require_tls: bool | None = None
    envid: str = ""
    ret: str = ""
    notify: tuple[str, ...] = ()
    orcpts: tuple[str, ...] = ()
