"""The page behind the link of List-Unsubscribe: a button for people, one POST for mail programs.

Implements: RFC 8058 section 3. No login, cookie or redirect; only a POST with the agreed field changes anything, since
scanners of mail fetch every link. A link that is not ours gets the same answer whatever is wrong with it, and networks
that try many are refused as those that guess keys.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from egret.api.forms import read_field
from egret.api.http import HTML, Request, Response, text_response
from egret.contracts.ports import AuthFailures
from egret.contracts.webapi import UNSUBSCRIBE_PATH
from egret.core.cut import cut
from egret.core.errors import InvalidRequest
from egret.core.unsubscribe import unseal
from egret.usecases.unsubscribe import Heard, UnsubscribePorts, unsubscribe

FIELD: Final = "List-Unsubscribe"
VALUE: Final = "One-Click"
MAX_HOW_BYTES: Final = 200
"""Of how it was asked for: it is kept in the delivery and beside the address."""

_STYLE: Final = (
    "body{font:1.125rem/1.5 system-ui,sans-serif;max-width:36rem;margin:4rem auto;padding:0 1rem;color:#222;"
    "background:#fff}h1{font-size:1.5rem}button{font:inherit;padding:.6rem 1.5rem;color:#fff;background:#0b57a4;"
    "border:0;border-radius:4px;cursor:pointer}button:focus-visible{outline:3px solid #222;outline-offset:2px}"
)
_STYLE_HASH: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_HEADERS: Final = {
    "Content-Type": HTML,
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; form-action 'self'; base-uri 'none';"
        " frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Robots-Tag": "noindex, nofollow",
}
_BUTTON: Final = (
    f'<form method="post"><input type="hidden" name="{FIELD}" value="{VALUE}"><button>Unsubscribe</button></form>'
)


@dataclass(frozen=True, slots=True)
class PagePorts:
    """What the page needs. keys: of the tokens (`core.unsubscribe.keys_of`)."""

    unsubscribe: UnsubscribePorts
    failures: AuthFailures
    keys: Sequence[bytes]


def answer(ports: PagePorts, request: Request) -> Response:
    """Answer a request below UNSUBSCRIBE_PATH. Raises Unavailable."""
    if request.method not in ("GET", "HEAD", "POST"):
        return text_response(405, "This method of HTTP is not possible here.", {"Allow": "GET, HEAD, POST"})
    wish = unseal(ports.keys, request.path.removeprefix(UNSUBSCRIBE_PATH))
    if wish is None:
        return _unknown(ports, request)
    facts = {"account": wish.account, "delivery": wish.delivery_id}
    if request.method != "POST":
        return _page(200, "Unsubscribe", "<p>Do you want no more mail from this sender?</p>" + _BUTTON, facts)
    if not _is_one_click(request):
        return _page(400, "Unsubscribe", "<p>Please press the button.</p>" + _BUTTON, facts)
    is_new = unsubscribe(ports.unsubscribe, wish, _heard(ports, request))
    done = "<p>You are unsubscribed: this sender writes to you no more.</p>"
    return _page(200, "Unsubscribed", done, {**facts, "unsubscribed": is_new})


def _unknown(ports: PagePorts, request: Request) -> Response:
    if not ports.failures.record(request.source_ip, ports.unsubscribe.clock.now()):
        return text_response(429, "Too many wrong links from this network. Try again later.", {"Retry-After": "60"})
    sentence = "<p>This link is not complete, or not ours. Please open it from the mail that it came with.</p>"
    return _page(404, "Unsubscribe", sentence, {})


def _is_one_click(request: Request) -> bool:
    """Tell whether the form says what RFC 8058 section 3.2 wants it to say; some end its line."""
    try:
        return read_field(request, FIELD).strip() == VALUE.encode()
    except InvalidRequest:
        return False


def _heard(ports: PagePorts, request: Request) -> Heard:
    how = f"POST from {request.source_ip or 'an unknown address'}, {request.headers.get('User-Agent', 'no User-Agent')}"
    shown = "".join(character if character.isprintable() else " " for character in how)
    return Heard(ports.unsubscribe.clock.now(), cut(shown, MAX_HOW_BYTES))


def _page(status: int, title: str, body: str, facts: dict[str, object]) -> Response:
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1"><meta name="robots" content="noindex">'
        f"<title>{title}</title><style>{_STYLE}</style></head><body><main><h1>{title}</h1>{body}</main></body></html>\n"
    )
    return Response(status, _HEADERS, page.encode(), facts)
