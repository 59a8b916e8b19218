"""Check a request to send: everything that can be refused, in the order of the reference, before anything is stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from egret.contracts.caller import Caller
from egret.contracts.ports import SettingsReader
from egret.contracts.settings import SendingDomain
from egret.contracts.webapi import ErrorCode, NameAddress, SendRequest
from egret.core.address import Address, AddressError, Mailbox
from egret.core.errors import InvalidRequest
from egret.core.header import check_header_name, refuse_controls
from egret.core.ids import MAX_RECIPIENTS

MAX_FUTURE_RELEASE: Final = timedelta(days=60)
MAX_EXTRA_BYTES: Final = 8192
"""Extra is stored beside each message and repeated in each webhook call."""
MAX_SUBJECT_BYTES: Final = 4096
"""So is the subject."""
MAX_MESSAGE_ID_BYTES: Final = 512
"""A Message-ID cannot be folded, and others quote it in theirs."""

MAX_QUOTED: Final = 80
"""Characters of an address that an error repeats."""
MAX_LIST_ITEMS: Final = 1000
"""Of Headers, References, ReplyTo and each kind of file: far more than mail programs show, and quickly composed."""


@dataclass(frozen=True, slots=True)
class Recipients:
    """Who a message goes to; as given and parsed, in the order To, CC, BCC."""

    to: tuple[Mailbox, ...]
    cc: tuple[Mailbox, ...]
    bcc: tuple[Mailbox, ...]
    given: tuple[str, ...]
    """The addresses as the caller wrote them."""

    @property
    def addresses(self) -> tuple[Address, ...]:
        """The forward-paths, in order."""
        return tuple(mailbox.address for mailbox in (*self.to, *self.cc, *self.bcc))


@dataclass(frozen=True, slots=True)
class Admitted:
    """A request that may be sent.

    domain: the sending domain of the From address, None where the account sends unsigned and without fromid.
    not_before: when the first attempt may be made.
    """

    from_: Mailbox
    domain: SendingDomain | None
    recipients: Recipients
    reply_to: tuple[Mailbox, ...]
    headers: tuple[tuple[str, str], ...]
    not_before: datetime


def admit(settings: SettingsReader, caller: Caller, request: SendRequest, now: datetime) -> Admitted:
    """Return what is to be sent, or raise InvalidRequest with the code of the first thing that is wrong.

    Files, size and the daily limit are not looked at here.
    """
    if not request.text and not request.html:
        raise InvalidRequest(ErrorCode.MISSING_BODY, "A message needs Text or HTML.")
    if len(request.from_) > 1:
        raise InvalidRequest(ErrorCode.MULTIPLE_FROM, "A message has one From address.")
    count = len(request.to) + len(request.cc) + len(request.bcc)
    if count > MAX_RECIPIENTS:
        raise InvalidRequest(ErrorCode.TOO_MANY_RECIPIENTS, f"A message has at most {MAX_RECIPIENTS} recipients.")
    from_ = _from(caller, request)
    recipients = _recipients(request)
    domain = sending_domain(settings, caller, from_.address)
    if not count:
        raise InvalidRequest(ErrorCode.NO_RECIPIENTS, "A message needs a recipient in To, CC or BCC.")
    _check_lists(request)
    reply_to = _mailboxes("ReplyTo", request.reply_to)
    _check_headers(request)
    check_extra(request.extra)
    return Admitted(from_, domain, recipients, reply_to, _headers(request), _not_before(request, now))


def _check_lists(request: SendRequest) -> None:
    lists = {
        "ReplyTo": request.reply_to,
        "References": request.references,
        "Headers": request.headers,
        "AlternativeFiles": request.alternative_files,
        "InlineFiles": request.inline_files,
        "AttachedFiles": request.attached_files,
    }
    for name, items in lists.items():
        if len(items) > MAX_LIST_ITEMS:
            raise InvalidRequest(ErrorCode.USER, f"{name} has more than {MAX_LIST_ITEMS} items.")


def _from(caller: Caller, request: SendRequest) -> Mailbox:
    if request.from_:
        return _mailboxes("From", request.from_)[0]
    refuse_controls("The full name of the account", caller.account.full_name)
    return Mailbox(caller.account.full_name, Address.parse(caller.login))


def _recipients(request: SendRequest) -> Recipients:
    return Recipients(
        to=_mailboxes("To", request.to),
        cc=_mailboxes("CC", request.cc),
        bcc=_mailboxes("BCC", request.bcc),
        given=tuple(person.address for person in (*request.to, *request.cc, *request.bcc)),
    )


def _mailboxes(field: str, people: tuple[NameAddress, ...]) -> tuple[Mailbox, ...]:
    mailboxes = []
    for number, person in enumerate(people, 1):
        refuse_controls(f"The Name in {field}", person.name)
        try:
            mailboxes.append(Mailbox(person.name, Address.parse(person.address)))
        except AddressError as error:
            where = f"{field}, address {number} ({person.address[:MAX_QUOTED]!r})"
            raise InvalidRequest(ErrorCode.BAD_ADDRESS, f"{where}: {error}") from error
    return tuple(mailboxes)


def sending_domain(settings: SettingsReader, caller: Caller, header_from: Address) -> SendingDomain | None:
    """Return the domain to send from, None for an address without one.

    Raises InvalidRequest: `badFrom`, `domainDisabled`, `user` when bounces of an account with fromids cannot return.
    """
    domain = settings.domain(header_from.domain)
    if not owns(caller, header_from, domain):
        raise InvalidRequest(ErrorCode.BAD_FROM, "The From address is not one of the account's addresses or domains.")
    if domain is not None and domain.disabled:
        raise InvalidRequest(ErrorCode.DOMAIN_DISABLED, f"Sending from {header_from.u_label_domain} is disabled.")
    if caller.account.uses_fromid and (domain is None or not (domain.separator or domain.return_path_domain)):
        raise InvalidRequest(
            ErrorCode.USER,
            f"Bounces could not come back: {header_from.u_label_domain} is not set up as a sending domain "
            "with a return-path domain.",
        )
    return domain


def owns(caller: Caller, address: Address, domain: SendingDomain | None) -> bool:
    """Tell whether an address is the account's to write from. domain: the sending domain that it is at."""
    owns_domain = domain is not None and domain.account == caller.account.id
    return owns_domain or str(address).lower() in caller.account.addresses


def _check_headers(request: SendRequest) -> None:
    refuse_controls("Subject", request.subject)
    if len(request.subject.encode()) > MAX_SUBJECT_BYTES:
        raise InvalidRequest(ErrorCode.USER, f"Subject is longer than {MAX_SUBJECT_BYTES} bytes.")
    if request.message_id and not (request.message_id.startswith("<") and request.message_id.endswith(">")):
        raise InvalidRequest(ErrorCode.MALFORMED_MESSAGE_ID, "MessageID must stand in < and >.")
    refuse_controls("MessageID", request.message_id)
    if len(request.message_id.encode()) > MAX_MESSAGE_ID_BYTES:
        raise InvalidRequest(ErrorCode.MALFORMED_MESSAGE_ID, f"MessageID is longer than {MAX_MESSAGE_ID_BYTES} bytes.")
    for reference in request.references:
        refuse_controls("References", reference)
    for name, value in request.headers:
        refuse_controls("A header name", name)
        check_header_name(name)
        refuse_controls(f"The header {name}", value)


def check_extra(extra: Mapping[str, str]) -> None:
    """Refuse metadata that is too large or no Unicode. Raises InvalidRequest."""
    try:
        size = sum(len(key.encode()) + len(value.encode()) for key, value in extra.items())
    except UnicodeEncodeError as error:
        raise InvalidRequest(ErrorCode.USER, "Extra has characters that are not valid Unicode.") from error
    if size > MAX_EXTRA_BYTES:
        raise InvalidRequest(ErrorCode.USER, f"Extra is larger than {MAX_EXTRA_BYTES} bytes.")


def _headers(request: SendRequest) -> tuple[tuple[str, str], ...]:
    """Return the caller's headers; RequireTLS false is said in the message itself (RFC 8689 5)."""
    if request.require_tls is not False or any(name.lower() == "tls-required" for name, _ in request.headers):
        return request.headers
    return (*request.headers, ("TLS-Required", "No"))


def _not_before(request: SendRequest, now: datetime) -> datetime:
    if request.future_release is None:
        return now
    if request.future_release > now + MAX_FUTURE_RELEASE:
        raise InvalidRequest(ErrorCode.USER, f"FutureRelease is more than {MAX_FUTURE_RELEASE.days} days ahead.")
    return max(now, request.future_release.astimezone(now.tzinfo))
