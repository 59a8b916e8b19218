"""The table of methods: what each is called, takes, answers and allows. Pages, OpenAPI and routing are made from it."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from egret.api.http import PART, RAW
from egret.contracts import webapi as w
from egret.contracts.settings import Scope


class Group(enum.StrEnum):
    """What a method deals with."""

    SENDING = "Sending"
    DELIVERIES = "Deliveries"
    SUPPRESSION = "Suppression list"
    MAILBOX = "Mailbox"
    REPORTS = "Reports"


_ANY: Final = frozenset(Scope)
_SENDING: Final = frozenset({Scope.FULL, Scope.SEND})
_READING: Final = frozenset({Scope.FULL, Scope.READ})
_FULL: Final = frozenset({Scope.FULL})

_COMMON_ERRORS: Final = (w.ErrorCode.PROTOCOL, w.ErrorCode.USER, w.ErrorCode.SERVER)


@dataclass(frozen=True, slots=True)
class Method:
    """One method of the API.

    summary: one sentence. scopes: which keys may call it. answer: None = octets.
    takes_files: file parts of a multipart are accepted. idempotent: takes an Idempotency-Key. errors: its own codes.
    """

    name: str
    group: Group
    summary: str
    request: type[w.Wire]
    answer: type[w.Wire] | None
    scopes: frozenset[Scope]
    errors: tuple[w.ErrorCode, ...] = ()
    takes_files: bool = False
    idempotent: bool = False
    octets: str = RAW
    """Content type of an answer that is octets."""

    @property
    def all_errors(self) -> tuple[w.ErrorCode, ...]:
        """Codes that it may answer with status 400."""
        return _COMMON_ERRORS + self.errors


_C = w.ErrorCode

_TABLE: Final = (
    Method(
        name="Send",
        group=Group.SENDING,
        summary="Queue a message, one delivery for each recipient. When this answers 200, the message is safe.",
        request=w.SendRequest,
        answer=w.SendResult,
        scopes=_SENDING,
        errors=(
            *(_C.BAD_ADDRESS, _C.MISSING_BODY, _C.MULTIPLE_FROM, _C.BAD_FROM, _C.DOMAIN_DISABLED),
            *(_C.NO_RECIPIENTS, _C.TOO_MANY_RECIPIENTS, _C.MESSAGE_LIMIT_REACHED, _C.RECIPIENT_LIMIT_REACHED),
            *(_C.MESSAGE_TOO_LARGE, _C.MALFORMED_MESSAGE_ID, _C.UPLOAD_NOT_FOUND),
        ),
        takes_files=True,
        idempotent=True,
    ),
    Method(
        name="UploadCreate",
        group=Group.SENDING,
        summary="Get a URL to PUT a large file to; Send then refers to it by UploadID.",
        request=w.UploadCreateRequest,
        answer=w.UploadCreateResult,
        scopes=_SENDING,
    ),
    Method(
        name="DeliveryGet",
        group=Group.DELIVERIES,
        summary="Show a delivery: its state, every attempt with the full reply, every event.",
        request=w.DeliveryGetRequest,
        answer=w.DeliveryGetResult,
        scopes=_ANY,
        errors=(_C.DELIVERY_NOT_FOUND,),
    ),
    Method(
        name="DeliveryList",
        group=Group.DELIVERIES,
        summary="List deliveries, newest first, a page at a time.",
        request=w.DeliveryListRequest,
        answer=w.DeliveryListResult,
        scopes=_ANY,
        errors=(_C.BAD_ADDRESS,),
    ),
    Method(
        name="DeliveryCancel",
        group=Group.DELIVERIES,
        summary="Withdraw a delivery that still waits.",
        request=w.DeliveryCancelRequest,
        answer=w.Empty,
        scopes=_SENDING,
        errors=(_C.DELIVERY_NOT_FOUND, _C.ERROR),
    ),
    Method(
        name="DomainTLSGet",
        group=Group.DELIVERIES,
        summary="Show how well a recipient's domain protects mail on its way, as the account's mail last found it.",
        request=w.DomainTLSGetRequest,
        answer=w.DomainTLSGetResult,
        scopes=_ANY,
        errors=(_C.DOMAIN_NOT_FOUND,),
    ),
    Method(
        name="SuppressionList",
        group=Group.SUPPRESSION,
        summary="List the addresses that the account's mail no longer goes to.",
        request=w.SuppressionListRequest,
        answer=w.SuppressionListResult,
        scopes=_READING,
    ),
    Method(
        name="SuppressionAdd",
        group=Group.SUPPRESSION,
        summary="Put an address on the list.",
        request=w.SuppressionAddRequest,
        answer=w.Empty,
        scopes=_FULL,
        errors=(_C.BAD_ADDRESS, _C.ERROR),
    ),
    Method(
        name="SuppressionRemove",
        group=Group.SUPPRESSION,
        summary="Take an address, or a variant of it, off the list.",
        request=w.SuppressionRemoveRequest,
        answer=w.Empty,
        scopes=_FULL,
        errors=(_C.BAD_ADDRESS, _C.ERROR),
    ),
    Method(
        name="SuppressionPresent",
        group=Group.SUPPRESSION,
        summary="Tell whether an address, or a variant of it, is on the list.",
        request=w.SuppressionPresentRequest,
        answer=w.SuppressionPresentResult,
        scopes=_READING,
        errors=(_C.BAD_ADDRESS,),
    ),
    Method(
        name="MessageList",
        group=Group.MAILBOX,
        summary="List or search stored mail, newest first, a page at a time.",
        request=w.MessageListRequest,
        answer=w.MessageListResult,
        scopes=_READING,
    ),
    Method(
        name="MessageGet",
        group=Group.MAILBOX,
        summary="Show a stored message: addresses, text, structure.",
        request=w.MessageGetRequest,
        answer=w.MessageGetResult,
        scopes=_READING,
        errors=(_C.MESSAGE_NOT_FOUND,),
    ),
    Method(
        name="MessageRawGet",
        group=Group.MAILBOX,
        summary="Get a stored message as it is, with CRLF line ends. A large one is a redirect (303) to its content.",
        request=w.MessageRawGetRequest,
        answer=None,
        scopes=_READING,
        errors=(_C.MESSAGE_NOT_FOUND,),
    ),
    Method(
        name="MessagePartGet",
        group=Group.MAILBOX,
        summary="Get the body of a part as it was attached. A large one is a redirect (303) to its content.",
        request=w.MessagePartGetRequest,
        answer=None,
        octets=PART,
        scopes=_READING,
        errors=(_C.MESSAGE_NOT_FOUND, _C.PART_NOT_FOUND),
    ),
    Method(
        name="MessageDelete",
        group=Group.MAILBOX,
        summary="Remove a stored message for good.",
        request=w.MessageDeleteRequest,
        answer=w.Empty,
        scopes=_FULL,
        errors=(_C.MESSAGE_NOT_FOUND,),
    ),
    Method(
        name="MessageFlagsAdd",
        group=Group.MAILBOX,
        summary="Add flags to a stored message.",
        request=w.MessageFlagsAddRequest,
        answer=w.Empty,
        scopes=_FULL,
        errors=(_C.MESSAGE_NOT_FOUND,),
    ),
    Method(
        name="MessageFlagsRemove",
        group=Group.MAILBOX,
        summary="Remove flags from a stored message.",
        request=w.MessageFlagsRemoveRequest,
        answer=w.Empty,
        scopes=_FULL,
        errors=(_C.MESSAGE_NOT_FOUND,),
    ),
    Method(
        name="MessageMove",
        group=Group.MAILBOX,
        summary="Move a stored message to another mailbox; it keeps its MsgID.",
        request=w.MessageMoveRequest,
        answer=w.Empty,
        scopes=_FULL,
        errors=(_C.MESSAGE_NOT_FOUND,),
    ),
    Method(
        name="MailboxList",
        group=Group.MAILBOX,
        summary="List the mailboxes of the account.",
        request=w.Empty,
        answer=w.MailboxListResult,
        scopes=_READING,
    ),
    Method(
        name="MailboxCreate",
        group=Group.MAILBOX,
        summary="Make a mailbox.",
        request=w.MailboxCreateRequest,
        answer=w.Empty,
        scopes=_FULL,
        errors=(_C.ERROR,),
    ),
    Method(
        name="MailboxDelete",
        group=Group.MAILBOX,
        summary="Remove an empty mailbox that the account made.",
        request=w.MailboxDeleteRequest,
        answer=w.Empty,
        scopes=_FULL,
        errors=(_C.ERROR,),
    ),
    Method(
        name="DMARCReportList",
        group=Group.REPORTS,
        summary="List the DMARC aggregate reports that others sent about the account's domains, the latest first.",
        request=w.ReportListRequest,
        answer=w.DMARCReportListResult,
        scopes=_READING,
    ),
    Method(
        name="TLSReportList",
        group=Group.REPORTS,
        summary="List the TLS reports that others sent about the account's domains, the latest first.",
        request=w.ReportListRequest,
        answer=w.TLSReportListResult,
        scopes=_READING,
    ),
)

METHODS: Final = MappingProxyType({method.name: method for method in sorted(_TABLE, key=lambda method: method.name)})
"""Every method by name, in alphabetical order."""
