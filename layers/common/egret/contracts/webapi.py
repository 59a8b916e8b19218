"""Wire types of the HTTP API: requests and answers as JSON objects.

Keys are Go-like names (`QueueMsgID`), made from the Python names by `go_name`. Every field has its zero value as
default, so that a missing key, and `null`, mean zero. Answers always carry every key; empty lists are `[]`, never null.
Keys that the reference does not know stand behind those it knows. `contracts.encoding` writes them.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Final

import msgspec

MAX_ANSWER_BYTES: Final = 4_400_000
"""Larger raw answers are redirected to a presigned URL: a Lambda answers 6 MB, base64 included."""
UNSUBSCRIBE_PATH: Final = "/unsubscribe/"
"""Before the token of a link of List-Unsubscribe."""
MAX_LIST: Final = 1000
"""The most items that a listing returns at once."""

_ACRONYMS: Final = frozenset(
    {"id", "cc", "bcc", "html", "dsn", "url", "tls", "smtp", "ip", "dkim", "mx", "starttls", "dmarc", "spf"}
)


def go_name(name: str) -> str:
    """Return the key of a field: `queue_msg_id` -> `QueueMsgID`, `from_` -> `From`."""
    return "".join(word.upper() if word in _ACRONYMS else word.capitalize() for word in name.split("_"))


Instant = Annotated[datetime, msgspec.Meta(tz=True)]
"""An aware instant; RFC 3339 on the wire."""
Int64 = Annotated[int, msgspec.Meta(ge=-(1 << 63), le=(1 << 63) - 1)]
"""A Go int64. Ids of ours stay below 2^53."""


class Wire(msgspec.Struct, frozen=True, kw_only=True, rename=go_name, forbid_unknown_fields=True):
    """The base of everything on the wire."""


class ErrorCode(enum.StrEnum):
    """Codes of API errors. Clients switch on these; the sentences beside them are free text."""

    PROTOCOL = "protocol"
    """The HTTP request, its form or its JSON has not the agreed form."""
    USER = "user"
    """The caller's fault in general; the message says what."""
    SERVER = "server"
    """Our fault, or that of a setting of the account (a domain that cannot sign)."""
    ERROR = "error"
    """The thing asked for is so already, or is not there to be removed."""
    BAD_ADDRESS = "badAddress"
    MISSING_BODY = "missingBody"
    MULTIPLE_FROM = "multipleFrom"
    BAD_FROM = "badFrom"
    DOMAIN_DISABLED = "domainDisabled"
    NO_RECIPIENTS = "noRecipients"
    TOO_MANY_RECIPIENTS = "tooManyRecipients"
    MESSAGE_LIMIT_REACHED = "messageLimitReached"
    RECIPIENT_LIMIT_REACHED = "recipientLimitReached"
    MESSAGE_TOO_LARGE = "messageTooLarge"
    MALFORMED_MESSAGE_ID = "malformedMessageID"
    MESSAGE_NOT_FOUND = "messageNotFound"
    PART_NOT_FOUND = "partNotFound"
    DELIVERY_NOT_FOUND = "deliveryNotFound"
    DOMAIN_NOT_FOUND = "domainNotFound"
    """None of the account's mail has met a mail server of that domain within a year."""
    UPLOAD_NOT_FOUND = "uploadNotFound"
    FORBIDDEN = "forbidden"
    """HTTP 403: the key's scope does not allow the method, or a page of another site called."""
    IDEMPOTENCY_CONFLICT = "idempotencyConflict"
    """HTTP 409: the Idempotency-Key was used with another request."""
    IDEMPOTENCY_IN_FLIGHT = "idempotencyInFlight"
    """HTTP 409: the request with this Idempotency-Key is still being worked on."""


class Error(Wire, frozen=True, kw_only=True):
    """Every error of a method."""

    code: str = ""
    message: str = ""


class Empty(Wire, frozen=True, kw_only=True):
    """`{}`: a request without arguments, an answer without a result."""


class NameAddress(Wire, frozen=True, kw_only=True):
    """A person: display name (may be empty) and address."""

    name: str = ""
    address: str = ""


# --- Send ------------------------------------------------------------------------------------------------------------


class File(Wire, frozen=True, kw_only=True):
    """A file of a message.

    data: standard base64 with padding. upload_id: instead of data, the id that UploadCreate gave.
    content_type: "" = judged by the first bytes. content_id: with <>, for inline files that the HTML refers to.
    """

    name: str = ""
    content_type: str = ""
    content_id: str = ""
    data: str = ""
    upload_id: str = ""


class SendRequest(Wire, frozen=True, kw_only=True):
    """A message to send.

    from_: at most one; empty = the login address. message_id: with <>; "" = made by us. references: oldest first.
    date: the Date header. headers: (name, value), added behind the standard ones. extra: echoed in webhooks.
    require_tls: true = REQUIRETLS, false = `TLS-Required: No`, null = the recipient's policy decides.
    future_release: no attempt earlier, up to 60 days ahead. save_sent: keep a copy in the mailbox Sent.
    unsubscribe: an addition to the reference: true = add List-Unsubscribe with a link of one click (RFC 8058), for one
    recipient; null = as the account is set.
    """

    from_: tuple[NameAddress, ...] = ()
    to: tuple[NameAddress, ...] = ()
    cc: tuple[NameAddress, ...] = ()
    bcc: tuple[NameAddress, ...] = ()
    reply_to: tuple[NameAddress, ...] = ()
    message_id: str = ""
    references: tuple[str, ...] = ()
    date: Instant | None = None
    subject: str = ""
    text: str = ""
    html: str = ""
    extra: dict[str, str] = {}
    headers: tuple[tuple[str, str], ...] = ()
    alternative_files: tuple[File, ...] = ()
    inline_files: tuple[File, ...] = ()
    attached_files: tuple[File, ...] = ()
    require_tls: bool | None = None
    future_release: Instant | None = None
    save_sent: bool = False
    unsubscribe: bool | None = None


class Submission(Wire, frozen=True, kw_only=True):
    """One recipient of an accepted message. address: as the caller gave it. from_id: "" where it is not used."""

    address: str = ""
    queue_msg_id: Int64 = 0
    from_id: str = ""


class SendResult(Wire, frozen=True, kw_only=True):
    """What was accepted: one submission for each recipient, in the order To, CC, BCC."""

    message_id: str = ""
    submissions: tuple[Submission, ...] = ()


class UploadCreateRequest(Wire, frozen=True, kw_only=True):
    """Asks for a place to PUT a file of exactly `size` bytes, the body being the file itself: `curl -T FILE URL`.

    A Send afterwards refers to it in one of its lists of files, instead of by data: `[{"UploadID": "…"}]`.
    """

    name: str = ""
    content_type: str = ""
    size: Int64 = 0


class UploadCreateResult(Wire, frozen=True, kw_only=True):
    """Where to PUT the file, until when, and what to call it in Send."""

    upload_id: str = ""
    url: str = ""
    expires: Instant | None = None


# --- suppression -----------------------------------------------------------------------------------------------------


class SuppressionInfo(Wire, frozen=True, kw_only=True):
    """An address that the account's mail no longer goes to.

    account: the account's name. From `kind` on: additions to the reference. kind: bounce, complaint, unsubscribe or
    manual. source_event: the event that put it here, as in the webhook, "" without one. evidence: what the server, the
    report or the recipient said. expires: when mail goes to it again, null = not by itself.
    """

    id: Int64 = 0
    created: Instant | None = None
    account: str = ""
    base_address: str = ""
    original_address: str = ""
    manual: bool = False
    reason: str = ""
    kind: str = ""
    source_event: str = ""
    evidence: str = ""
    expires: Instant | None = None


class SuppressionListRequest(Wire, frozen=True, kw_only=True):
    """Asks for every suppressed address, as the reference does, or for a page of a long list (an addition).

    cursor: of the page before. limit: 0 = all; an answer holds some 5,000.
    """

    cursor: str = ""
    limit: Int64 = 0


class SuppressionListResult(Wire, frozen=True, kw_only=True):
    """Suppressed addresses of the account, oldest first. cursor: "" at the end, or when all were asked for."""

    suppressions: tuple[SuppressionInfo, ...] = ()
    cursor: str = ""


class SuppressionAddRequest(Wire, frozen=True, kw_only=True):
    """Puts an address on the list. manual: a person did it. expires: until when, null = for good.

    An entry for good takes the place of one that expires, and a longer one that of a shorter one.
    """

    email_address: str = ""
    manual: bool = False
    reason: str = ""
    expires: Instant | None = None


class SuppressionRemoveRequest(Wire, frozen=True, kw_only=True):
    """Takes an address, or a variant of it, off the list."""

    email_address: str = ""


class SuppressionPresentRequest(Wire, frozen=True, kw_only=True):
    """Asks whether an address, or a variant of it, is on the list."""

    email_address: str = ""


class SuppressionPresentResult(Wire, frozen=True, kw_only=True):
    """Whether it is."""

    present: bool = False


# --- mailbox ---------------------------------------------------------------------------------------------------------


class MessageListRequest(Wire, frozen=True, kw_only=True):
    """Lists stored mail; what is empty does not restrict.

    mailbox: exact name. cursor: of the page before, with the same search. limit: 0 = 100, at most 1,000.
    from_, to, subject: parts of addresses or subject, in any case; to: in To and Cc too. flags: has all of these.
    without_flags: has none of these. since (inclusive), until (exclusive): when it was stored. dsn: null = both.
    thread_id: mail of this conversation. group_by_thread: of each conversation only the newest that is found; limit: at
    most 100 then.
    """

    mailbox: str = ""
    cursor: str = ""
    limit: Int64 = 0
    from_: str = ""
    to: str = ""
    subject: str = ""
    flags: tuple[str, ...] = ()
    without_flags: tuple[str, ...] = ()
    since: Instant | None = None
    until: Instant | None = None
    dsn: bool | None = None
    thread_id: str = ""
    group_by_thread: bool = False


class MessageSummary(Wire, frozen=True, kw_only=True):
    """A stored message in a listing. from_: the From address. mail_from, rcpt_to: of the envelope. size: bytes.

    thread_id: the conversation it belongs to, whatever its subject says; "" for none.
    """

    msg_id: Int64 = 0
    mailbox_name: str = ""
    from_: str = ""
    mail_from: str = ""
    rcpt_to: str = ""
    subject: str = ""
    message_id: str = ""
    received: Instant | None = None
    size: Int64 = 0
    dsn: bool = False
    flags: tuple[str, ...] = ()
    thread_id: str = ""


class MessageListResult(Wire, frozen=True, kw_only=True):
    """A page, newest first. cursor: "" at the end."""

    messages: tuple[MessageSummary, ...] = ()
    cursor: str = ""


class MessageGetRequest(Wire, frozen=True, kw_only=True):
    """Names a stored message."""

    msg_id: Int64 = 0


class MessageRawGetRequest(Wire, frozen=True, kw_only=True):
    """Names a stored message."""

    msg_id: Int64 = 0


class MessagePartGetRequest(Wire, frozen=True, kw_only=True):
    """Names a part of a stored message: indexes from 0 into Structure.Parts, level by level; none = the whole body."""

    msg_id: Int64 = 0
    part_path: tuple[Int64, ...] = ()


class MessageDeleteRequest(Wire, frozen=True, kw_only=True):
    """Names a stored message."""

    msg_id: Int64 = 0


class MessageFlagsAddRequest(Wire, frozen=True, kw_only=True):
    r"""Flags for a stored message: `\answered`, `\deleted`, `\draft`, `\flagged`, `\seen`, or words of one's own."""

    msg_id: Int64 = 0
    flags: tuple[str, ...] = ()


class MessageFlagsRemoveRequest(Wire, frozen=True, kw_only=True):
    """Flags that a stored message is to have no longer."""

    msg_id: Int64 = 0
    flags: tuple[str, ...] = ()


class MessageMoveRequest(Wire, frozen=True, kw_only=True):
    """Names a stored message and the mailbox that it goes to, which must exist."""

    msg_id: Int64 = 0
    dest_mailbox_name: str = ""


class MailboxInfo(Wire, frozen=True, kw_only=True):
    """A mailbox. standard: every account has it, and it stays."""

    name: str = ""
    standard: bool = False


class MailboxListResult(Wire, frozen=True, kw_only=True):
    """The mailboxes: the standard ones first, then the account's own by name."""

    mailboxes: tuple[MailboxInfo, ...] = ()


class MailboxCreateRequest(Wire, frozen=True, kw_only=True):
    """Names a new mailbox; slashes make it look like one within another."""

    mailbox_name: str = ""


class MailboxDeleteRequest(Wire, frozen=True, kw_only=True):
    """Names a mailbox of the account's own."""

    mailbox_name: str = ""


class MessageContent(Wire, frozen=True, kw_only=True):
    """A message as people read it. text, html: UTF-8 with LF, at most 1 MiB each."""

    from_: tuple[NameAddress, ...] = ()
    to: tuple[NameAddress, ...] = ()
    cc: tuple[NameAddress, ...] = ()
    bcc: tuple[NameAddress, ...] = ()
    reply_to: tuple[NameAddress, ...] = ()
    message_id: str = ""
    references: tuple[str, ...] = ()
    date: Instant | None = None
    subject: str = ""
    text: str = ""
    html: str = ""


class Structure(Wire, frozen=True, kw_only=True):
    """A MIME part and its parts. content_type: lower case `type/sub`. decoded_size: bytes, 0 for multiparts."""

    content_type: str = ""
    content_type_params: dict[str, str] = {}
    content_id: str = ""
    content_disposition: str = ""
    filename: str = ""
    decoded_size: Int64 = 0
    parts: tuple[Structure, ...] = ()


class MessageMeta(Wire, frozen=True, kw_only=True):
    """What is known of a stored message beside its content.

    mail_from_validated: SPF of the reverse-path passed. msg_from_validated: DMARC of the From domain passed. thread_id,
    received: additions to the reference.
    """

    size: Int64 = 0
    dsn: bool = False
    flags: tuple[str, ...] = ()
    mail_from: str = ""
    mail_from_validated: bool = False
    rcpt_to: str = ""
    msg_from: str = ""
    msg_from_validated: bool = False
    dkim_verified_domains: tuple[str, ...] = ()
    remote_ip: str = ""
    mailbox_name: str = ""
    thread_id: str = ""
    received: Instant | None = None


class MessageGetResult(Wire, frozen=True, kw_only=True):
    """A stored message."""

    message: MessageContent = MessageContent()
    structure: Structure = Structure()
    meta: MessageMeta = MessageMeta()


@dataclass(frozen=True, slots=True)
class RawContent:
    """The answer of MessageRawGet and MessagePartGet: octets, or, above MAX_ANSWER_BYTES, a presigned URL of them."""

    body: bytes = b""
    url: str = ""


# --- deliveries ------------------------------------------------------------------------------------------------------


class AttemptInfo(Wire, frozen=True, kw_only=True):
    """One finished attempt.

    duration: seconds. remote: MX host and address, "" when no connection was made. code: SMTP code or 0.
    reply: every line of the answer. outcome: delivered, deferred, bounced or unknown.
    transport: name of the one that a route chose, "" without a route. tls_policy: protection that was asked of the
    connection ("opportunistic", "mta-sts", "dane", …). tls: version that was agreed on, "" in plain text.
    transcript: the SMTP conversation ("S: " the server, "C: " we), of the newest attempt unless it delivered; without
    the message and without credentials.
    """

    start: Instant | None = None
    duration: float = 0
    remote: str = ""
    code: Int64 = 0
    enhanced_code: str = ""
    reply: tuple[str, ...] = ()
    outcome: str = ""
    error: str = ""
    transport: str = ""
    tls_policy: str = ""
    tls: str = ""
    transcript: tuple[str, ...] = ()


class EventInfo(Wire, frozen=True, kw_only=True):
    """An event of a delivery. id: as in the webhook. attempt: the attempt that caused it, 0 if none did."""

    seq: Int64 = 0
    id: str = ""
    event: str = ""
    time: Instant | None = None
    attempt: Int64 = 0
    smtp_code: Int64 = 0
    smtp_enhanced_code: str = ""
    error: str = ""
    dsn: bool = False
    failure: str = ""
    """Why it failed or was delayed: one of the classes of docs/bounces.md."""


class DeliveryInfo(Wire, frozen=True, kw_only=True):
    """A message to one recipient, and all that became of it.

    state: queued, held, attempting, delivered, failed, suppressed or canceled. due: the next attempt, null when none is
    to come. waiting: a sentence that says what it waits for, "" when it does not. expires: the end of its maximum age.
    """

    queue_msg_id: Int64 = 0
    from_id: str = ""
    message_id: str = ""
    subject: str = ""
    from_: str = ""
    recipient: str = ""
    state: str = ""
    waiting: str = ""
    due: Instant | None = None
    queued: Instant | None = None
    expires: Instant | None = None
    ended: Instant | None = None
    attempts: tuple[AttemptInfo, ...] = ()
    events: tuple[EventInfo, ...] = ()
    extra: dict[str, str] = {}


class DeliveryGetRequest(Wire, frozen=True, kw_only=True):
    """Names a delivery."""

    queue_msg_id: Int64 = 0


class DeliveryGetResult(Wire, frozen=True, kw_only=True):
    """The delivery."""

    delivery: DeliveryInfo = DeliveryInfo()


class DeliveryListRequest(Wire, frozen=True, kw_only=True):
    """Lists deliveries; what is empty does not restrict.

    states: any of these. recipient: exact address. queue_msg_id: deliveries of the same submission as this one.
    since (inclusive), until (exclusive): when it was queued. cursor: of the page before, with the same filters.
    limit: 0 = 100, at most 1,000.
    """

    states: tuple[str, ...] = ()
    recipient: str = ""
    queue_msg_id: Int64 = 0
    since: Instant | None = None
    until: Instant | None = None
    cursor: str = ""
    limit: Int64 = 0


class DeliveryListResult(Wire, frozen=True, kw_only=True):
    """A page, newest first. cursor: "" at the end."""

    deliveries: tuple[DeliveryInfo, ...] = ()
    cursor: str = ""


class DeliveryCancelRequest(Wire, frozen=True, kw_only=True):
    """Withdraws a delivery that has not ended and is not being attempted right now."""

    queue_msg_id: Int64 = 0


class DomainTLSGetRequest(Wire, frozen=True, kw_only=True):
    """Names a recipient domain, international ones in either form (`bücher.example`, `xn--bcher-kva.example`)."""

    domain: str = ""


class DomainTLSInfo(Wire, frozen=True, kw_only=True):
    """What a mail server of a recipient domain offered when mail of the account last connected to one.

    domain: international ones in Unicode. starttls: it encrypts connections (STARTTLS). require_tls: it passes mail on
    only over verified encryption when asked to (REQUIRETLS). Not updated by mail that goes through a smarthost.
    updated: when it was seen; exact to a day while nothing changes.
    """

    domain: str = ""
    updated: Instant | None = None
    starttls: bool = False
    require_tls: bool = False


class DomainTLSGetResult(Wire, frozen=True, kw_only=True):
    """What was seen last."""

    domain_tls: DomainTLSInfo = DomainTLSInfo()


# --- reports ---------------------------------------------------------------------------------------------------------


class ReportListRequest(Wire, frozen=True, kw_only=True):
    """Lists reports. cursor: of the page before. limit: 0 = 15, which is the most."""

    cursor: str = ""
    limit: Int64 = 0


class DMARCReportRow(Wire, frozen=True, kw_only=True):
    """Messages that had all this in common.

    dkim, spf: pass or fail, of an identifier that is aligned with the From domain. dkim_results, spf_results: all
    results, in the form of Authentication-Results. reasons: why the policy was not applied.
    """

    source_ip: str = ""
    count: Int64 = 0
    disposition: str = ""
    dkim: str = ""
    spf: str = ""
    header_from: str = ""
    envelope_from: str = ""
    envelope_to: str = ""
    reasons: tuple[str, ...] = ()
    dkim_results: tuple[str, ...] = ()
    spf_results: tuple[str, ...] = ()


class DMARCReportInfo(Wire, frozen=True, kw_only=True):
    """A DMARC aggregate report about a domain of the account.

    reporter: From domain of the mail that it came in; verified: DMARC vouches for that. begin, end: the first and the
    last second that it is about. messages: of the rows shown. rows: those of most messages; rows_left_out: others.
    """

    report_id: str = ""
    organization: str = ""
    contact: str = ""
    reporter: str = ""
    verified: bool = False
    received: Instant | None = None
    begin: Instant | None = None
    end: Instant | None = None
    domain: str = ""
    policy: str = ""
    subdomain_policy: str = ""
    nonexistent_policy: str = ""
    dkim_alignment: str = ""
    spf_alignment: str = ""
    testing: bool = False
    errors: tuple[str, ...] = ()
    messages: Int64 = 0
    rows: tuple[DMARCReportRow, ...] = ()
    rows_left_out: Int64 = 0


class DMARCReportListResult(Wire, frozen=True, kw_only=True):
    """A page, the latest first. cursor: "" at the end."""

    reports: tuple[DMARCReportInfo, ...] = ()
    cursor: str = ""


class TLSReportFailure(Wire, frozen=True, kw_only=True):
    """Sessions that failed in one way. result_type: a word of RFC 8460 section 4.3."""

    result_type: str = ""
    count: Int64 = 0
    sending_ip: str = ""
    receiving_mx: str = ""
    receiving_ip: str = ""
    reason_code: str = ""
    additional_information: str = ""


class TLSReportPolicy(Wire, frozen=True, kw_only=True):
    """Sessions under one policy of a domain. policy_type: sts, tlsa or no-policy-found. policy: its lines."""

    domain: str = ""
    policy_type: str = ""
    policy: tuple[str, ...] = ()
    mx_hosts: tuple[str, ...] = ()
    successful_sessions: Int64 = 0
    failed_sessions: Int64 = 0
    failures: tuple[TLSReportFailure, ...] = ()


class TLSReportInfo(Wire, frozen=True, kw_only=True):
    """A TLS report about domains of the account; reporter and verified as in a DMARC report."""

    report_id: str = ""
    organization: str = ""
    contact: str = ""
    reporter: str = ""
    verified: bool = False
    received: Instant | None = None
    begin: Instant | None = None
    end: Instant | None = None
    policies: tuple[TLSReportPolicy, ...] = ()
    policies_left_out: Int64 = 0


class TLSReportListResult(Wire, frozen=True, kw_only=True):
    """A page, the latest first. cursor: "" at the end."""

    reports: tuple[TLSReportInfo, ...] = ()
    cursor: str = ""


# --- webhooks --------------------------------------------------------------------------------------------------------


class OutgoingEvent(Wire, frozen=True, kw_only=True):
    """The body of a webhook call about a delivery.

    webhook_queued: when the call was made up. From `recipient` on: additions to the reference.
    attempt: number of the attempt that caused the event, 0 if none did. remote_mx: the MX host that answered.
    reply: every line of its answer; of `unsubscribed`, how the recipient asked. event_id: the same for every repeat of
    the event. failure: why it failed or was delayed, one of the classes of docs/bounces.md, "" for other events.
    """

    version: int = 0
    event: str = ""
    dsn: bool = False
    suppressing: bool = False
    queue_msg_id: Int64 = 0
    from_id: str = ""
    message_id: str = ""
    subject: str = ""
    webhook_queued: Instant | None = None
    smtp_code: int = 0
    smtp_enhanced_code: str = ""
    error: str = ""
    extra: dict[str, str] = {}
    recipient: str = ""
    attempt: int = 0
    remote_mx: str = ""
    reply: tuple[str, ...] = ()
    event_id: str = ""
    failure: str = ""


class IncomingMeta(Wire, frozen=True, kw_only=True):
    """What is known of mail that came in. automated: a machine seems to have written it. thread_id: as in listings."""

    msg_id: Int64 = 0
    mail_from: str = ""
    mail_from_validated: bool = False
    msg_from_validated: bool = False
    rcpt_to: str = ""
    dkim_verified_domains: tuple[str, ...] = ()
    remote_ip: str = ""
    received: Instant | None = None
    mailbox_name: str = ""
    automated: bool = False
    thread_id: str = ""


class IncomingMessage(Wire, frozen=True, kw_only=True):
    """The body of a webhook call about mail that came in. text, html: at most 1 MiB each. references: in lower case.

    event_id: an addition to the reference, the same for every repeat of the call.
    """

    version: int = 0
    from_: tuple[NameAddress, ...] = ()
    to: tuple[NameAddress, ...] = ()
    cc: tuple[NameAddress, ...] = ()
    bcc: tuple[NameAddress, ...] = ()
    reply_to: tuple[NameAddress, ...] = ()
    subject: str = ""
    message_id: str = ""
    in_reply_to: str = ""
    references: tuple[str, ...] = ()
    date: Instant | None = None
    text: str = ""
    html: str = ""
    structure: Structure = Structure()
    meta: IncomingMeta = IncomingMeta()
    event_id: str = ""
