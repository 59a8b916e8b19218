"""Check a message that came by SMTP, and take from it what is for us: everything that can be refused before it is kept.

Implements: RFC 6409 section 6 (whose mail it is), RFC 4865 (future release), RFC 8689 section 5 (TLS-Required).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from egret.contracts.caller import Caller
from egret.contracts.ports import SettingsReader
from egret.contracts.settings import SendingDomain
from egret.contracts.submission import Submission, SubmissionRecipient, Trouble
from egret.contracts.webapi import ErrorCode
from egret.core.address import Address, AddressError
from egret.core.errors import InvalidRequest
from egret.core.ids import MAX_RECIPIENTS
from egret.core.mime import Entity, read_entity
from egret.core.parse import parse_addresses
from egret.core.rawmessage import Field, MalformedMessage, RawMessage, read_message
from egret.usecases.admission import MAX_FUTURE_RELEASE, MAX_QUOTED, check_extra, owns, sending_domain
from egret.usecases.recipients import ReturnPath

EXTRA: Final = "x-mox-extra-"
IDEMPOTENCY_KEY: Final = "egret-idempotency-key"
REMOVED: Final = frozenset({"bcc", "resent-bcc", "return-path", IDEMPOTENCY_KEY})
"""Fields that are for us, or that only who delivers may write."""

# One address, bare or behind a name: programs differ in which of several they show, or take for the author.
_QUOTED_OR_COMMENT = re.compile(r'"(?:[^"\\]|\\.)*"|\((?:[^()\\]|\\.)*\)')
_ONE_MAILBOX = re.compile(r"[^<>,;:]*<\s*([^<>,;:\s]+)\s*>\s*|\s*([^<>,;:\s]+)\s*")
_HELD = re.compile(r"for;(\d{1,9})|until;(.+)")


@dataclass(frozen=True, slots=True)
class AdmittedRaw:
    """A submission that may be sent.

    message: without the fields that are for us. from_, domain: as in `admission.Admitted`. return_path: of a fromid of
    ours, if the account uses them. own_fromid: the submitter's, "" without one. recipients: each once.
    needs_smtputf8: the header or an address of it is not ASCII.
    """

    message: RawMessage
    from_: Address
    domain: SendingDomain | None
    return_path: ReturnPath
    own_fromid: str
    recipients: tuple[tuple[Address, SubmissionRecipient], ...]
    extra: dict[str, str]
    not_before: datetime
    require_tls: bool | None
    needs_smtputf8: bool


def read_raw(content: bytes) -> RawMessage:
    """Read what was submitted. Raises InvalidRequest `malformedMessage`."""
    try:
        return read_message(content)
    except MalformedMessage as error:
        raise InvalidRequest(Trouble.MALFORMED, str(error)) from error


def idempotency_key(message: RawMessage) -> str:
    """Return the Idempotency-Key that the message carries, "" without one. Raises InvalidRequest for several."""
    values = message.values(IDEMPOTENCY_KEY)
    if len(values) > 1:
        raise InvalidRequest(Trouble.MALFORMED, "A message has one Egret-Idempotency-Key.")
    return values[0] if values else ""


def admit_raw(
    settings: SettingsReader, caller: Caller, submission: Submission, message: RawMessage, now: datetime
) -> AdmittedRaw:
    """Return what is to be sent, or raise InvalidRequest. Size and the daily limit are not looked at here."""
    recipients = _recipients(submission.recipients)
    from_ = _author(message, "from")
    if from_ is None:
        raise InvalidRequest(Trouble.MALFORMED, "The message has no From field.")
    domain = sending_domain(settings, caller, from_)
    _check_sender(settings, caller, message)
    return_path, own_fromid = _return_path(settings, caller, submission.mail_from, ReturnPath(from_, domain))
    if own_fromid and len(recipients) > 1:
        raise InvalidRequest(Trouble.FROMID_ALONE, "A fromid of your own in the reverse-path is for one recipient.")
    addresses = [address for address, _ in recipients]
    extra = _extra(message.fields)
    return AdmittedRaw(
        message=_without_ours(message, keeps_extra=caller.account.keeps_extra_headers),
        from_=from_,
        domain=domain,
        return_path=return_path,
        own_fromid=own_fromid,
        recipients=recipients,
        extra=extra,
        not_before=_not_before(submission.future_release, now),
        require_tls=_require_tls(submission, message),
        needs_smtputf8=_needs_smtputf8(submission, message, [from_, *addresses]),
    )


def _recipients(given: Sequence[SubmissionRecipient]) -> tuple[tuple[Address, SubmissionRecipient], ...]:
    """Return the recipients; one that was given twice gets the message once, as it was asked for first."""
    if not given:
        raise InvalidRequest(ErrorCode.NO_RECIPIENTS, "A message needs a recipient.")
    if len(given) > MAX_RECIPIENTS:
        raise InvalidRequest(ErrorCode.TOO_MANY_RECIPIENTS, f"A message has at most {MAX_RECIPIENTS} recipients.")
    found: dict[str, tuple[Address, SubmissionRecipient]] = {}
    for recipient in given:
        address = _address(f"The recipient {recipient.address[:MAX_QUOTED]!r}", recipient.address)
        found.setdefault(str(address), (address, recipient))
    return tuple(found.values())


def _address(where: str, text: str) -> Address:
    try:
        return Address.parse(text)
    except AddressError as error:
        raise InvalidRequest(ErrorCode.BAD_ADDRESS, f"{where}: {error}") from error


def _author(message: RawMessage, name: str) -> Address | None:
    """Return the one address of From or Sender, None without such a field."""
    values = message.values(name)
    if not values:
        return None
    plain = _QUOTED_OR_COMMENT.sub(" ", values[0])
    addresses = parse_addresses(values[0])
    if len(addresses) > 1:
        raise InvalidRequest(ErrorCode.MULTIPLE_FROM, f"A message has one {name.title()} address.")
    one = _ONE_MAILBOX.fullmatch(plain)
    if not addresses or one is None:
        raise InvalidRequest(ErrorCode.BAD_ADDRESS, f"{name.title()} must be one address, like Ann <ann@example.com>.")
    # What readers of mail decode for people is no address on the wire (RFC 2047 section 5).
    written = one[1] or one[2]
    return _address(name.title(), written if "=?" in written else addresses[0].address)


def _check_sender(settings: SettingsReader, caller: Caller, message: RawMessage) -> None:
    sender = _author(message, "sender")
    if sender is not None and not owns(caller, sender, settings.domain(sender.domain)):
        raise InvalidRequest(ErrorCode.BAD_FROM, "The Sender is not one of the account's addresses or domains.")


def _return_path(
    settings: SettingsReader, caller: Caller, mail_from: str, of_author: ReturnPath
) -> tuple[ReturnPath, str]:
    """Return where bounces go, and the submitter's own fromid if the reverse-path has one.

    of_author: where they go with a fromid of ours.
    """
    if not mail_from:
        return ReturnPath(of_author.address, is_null=True), ""
    try:
        address = Address.parse(mail_from)
    except AddressError as error:
        raise InvalidRequest(Trouble.BAD_SENDER, f"The reverse-path: {error}") from error
    of_bounces = settings.domain_of_return_path(address.domain)
    if of_bounces is not None and of_bounces.account == caller.account.id:
        return ReturnPath(address), address.local_part
    domain = settings.domain(address.domain)
    local_part, own_fromid = address.local_part, ""
    if domain is not None and domain.separator:
        local_part, _, own_fromid = address.local_part.partition(domain.separator)
    if not owns(caller, Address(local_part or "-", address.domain), domain) and not owns(caller, address, domain):
        raise InvalidRequest(
            Trouble.BAD_SENDER, "The reverse-path (MAIL FROM) is not one of the account's addresses or domains."
        )
    if own_fromid and local_part:
        return ReturnPath(address), own_fromid
    return (of_author if caller.account.uses_fromid else ReturnPath(address)), ""


def _extra(fields: Sequence[Field]) -> dict[str, str]:
    """Return the metadata of X-Mox-Extra-* fields, keys in canonical form, as `Order-Id`."""
    extra: dict[str, str] = {}
    for field in fields:
        if not field.name.startswith(EXTRA):
            continue
        key = "-".join(word[:1].upper() + word[1:] for word in field.name.removeprefix(EXTRA).split("-"))
        if not key or key in extra:
            what = "is named twice" if key else "has no name"
            raise InvalidRequest(Trouble.MALFORMED, f"The field X-Mox-Extra-{key} {what}.")
        extra[key] = field.text
    check_extra(extra)
    return extra


def _without_ours(message: RawMessage, *, keeps_extra: bool) -> RawMessage:
    kept = tuple(
        field
        for field in message.fields
        if field.name not in REMOVED and (keeps_extra or not field.name.startswith(EXTRA))
    )
    return RawMessage(kept, message.body)


def _not_before(future_release: str, now: datetime) -> datetime:
    """Return when the first attempt may be made. An instant that is past means now."""
    if not future_release:
        return now
    held = _HELD.fullmatch(future_release)
    try:
        wanted = now + timedelta(seconds=int(held[1])) if held and held[1] else _instant(held[2] if held else "")
    except ValueError as error:
        raise InvalidRequest(ErrorCode.USER, "The time of a future release cannot be read.") from error
    if wanted > now + MAX_FUTURE_RELEASE:
        raise InvalidRequest(ErrorCode.USER, f"A future release is at most {MAX_FUTURE_RELEASE.days} days ahead.")
    return max(now, wanted)


def _instant(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError("an instant needs its zone")
    return at.astimezone(UTC)


def _require_tls(submission: Submission, message: RawMessage) -> bool | None:
    """Return what is asked of TLS on the way; REQUIRETLS wins over the header field (RFC 8689 section 4.1)."""
    if submission.require_tls:
        return True
    asked = [value.strip().lower() for value in message.values("tls-required")]
    return False if asked == ["no"] else None


def _needs_smtputf8(submission: Submission, message: RawMessage, addresses: Sequence[Address]) -> bool:
    """Tell whether only SMTPUTF8 can carry it. Raises InvalidRequest where the client did not ask for that."""
    headers = message.headers
    is_needed = not headers.isascii() or any(address.needs_smtputf8 for address in addresses)
    if is_needed and not submission.smtputf8:
        raise InvalidRequest(
            Trouble.NEEDS_SMTPUTF8,
            "The header or an address is not ASCII: write encoded words (RFC 2047), or send it with SMTPUTF8.",
        )
    try:
        headers.decode()
    except UnicodeDecodeError as error:
        raise InvalidRequest(Trouble.MALFORMED, "The header is neither ASCII nor UTF-8.") from error
    if is_needed or not submission.smtputf8 or message.body.isascii():
        return is_needed
    return _has_international_part(read_entity(headers + b"\r\n" + message.body))


def _has_international_part(entity: Entity) -> bool:
    """Tell whether the header of a part is not ASCII."""
    own = any(not value.isascii() for _, value in entity.headers)
    return own or any(map(_has_international_part, entity.parts))
