"""Headers that mark mail for the providers of its recipients: List-Unsubscribe (RFC 8058) and Feedback-ID.

Both are signed (`core.dkim`). What the caller writes himself is never written a second time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from egret.contracts.caller import Caller
from egret.contracts.settings import Installation, SendingDomain
from egret.contracts.webapi import UNSUBSCRIBE_PATH, ErrorCode, SendRequest
from egret.core import unsubscribe
from egret.core.errors import InvalidRequest
from egret.core.fromid import FromIdKeys
from egret.core.unsubscribe import Wish
from egret.usecases.admission import Admitted

Headers = tuple[tuple[str, str], ...]

UNSUBSCRIBE_HEADERS: Final = frozenset({"list-unsubscribe", "list-unsubscribe-post"})
SENDER: Final = "egret"
"""The last field of Feedback-ID; Gmail wants 5 to 15 characters that are the same on all mail of a service."""


def base_url_of(installation: Installation, host: str) -> str:
    """Return the URL that the API has for the world, without a slash at the end; "" when there is none.

    host: the name, and in local mode the port, at which the API was called.
    """
    if installation.public_url:
        return installation.public_url.rstrip("/")
    if not host:
        return ""
    return f"http://{host}" if installation.local else f"https://{host}"


def unsubscribes(caller: Caller, request: SendRequest, admitted: Admitted, base_url: str) -> bool:
    """Tell whether the message is to have List-Unsubscribe; raise InvalidRequest `user` where it cannot have it.

    A caller who writes the header himself does without ours, unless he asks for both.
    """
    if not (caller.account.unsubscribe if request.unsubscribe is None else request.unsubscribe):
        return False
    if any(name.lower() in UNSUBSCRIBE_HEADERS for name, _ in request.headers):
        if request.unsubscribe:
            raise _refused("Headers has a List-Unsubscribe of its own; leave it out, or Unsubscribe.")
        return False
    if len(admitted.recipients.addresses) > 1:
        raise _refused(
            "With Unsubscribe a message has one recipient, since the link in it is theirs alone: call Send for each, or"
            " say Unsubscribe false."
        )
    if admitted.domain is None or not (admitted.domain.dkim_keys and _return_domain(admitted.domain)):
        raise _refused("Unsubscribe needs a From domain that is set up for sending: the link must be signed.")
    if not base_url:
        raise _refused("Unsubscribe needs to know the public URL of the API.")
    return True


def _refused(sentence: str) -> InvalidRequest:
    return InvalidRequest(ErrorCode.USER, sentence)


def _return_domain(domain: SendingDomain) -> str:
    """Return the domain where mail reaches Egret."""
    return domain.return_path_domain or (domain.domain if domain.separator else "")


def list_unsubscribe(fromids: FromIdKeys, domain: SendingDomain, wish: Wish, base_url: str) -> Headers:
    """Return both headers for the one recipient of a message."""
    token = unsubscribe.seal(unsubscribe.keys_of(fromids), wish)
    mailbox = unsubscribe.mailbox_of(fromids, wish.account, wish.delivery_id, _return_domain(domain))
    return (
        ("List-Unsubscribe", f"<{base_url}{UNSUBSCRIBE_PATH}{token}>, <mailto:{mailbox}?subject={token}>"),
        ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"),
    )


def feedback_id(account: str, headers: Sequence[tuple[str, str]], *, is_list: bool) -> Headers:
    """Return the header, none where the caller has written it: no campaign, the account, kind of mail, the service.

    What providers count of complaints then tells one account from another, also where they share a domain.
    """
    if any(name.lower() == "feedback-id" for name, _ in headers):
        return ()
    return (("Feedback-ID", f":{account}:{'list' if is_list else 'mail'}:{SENDER}"),)
