"""Each method's use case: what a call gives it, and what its result is on the wire."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from egret.api import unsubscribe
from egret.api.auth import AuthPorts
from egret.api.router import Api, Call, Operation
from egret.api.unsubscribe import PagePorts
from egret.contracts import webapi as w
from egret.contracts.settings import Suppression
from egret.core.errors import InvalidRequest
from egret.core.unsubscribe import keys_of
from egret.usecases import attachments, deliveries, domain_tls, mailbox, reports, suppressions
from egret.usecases.accept import SendPorts
from egret.usecases.send import send
from egret.usecases.unsubscribe import UnsubscribePorts


@dataclass(frozen=True, slots=True)
class ApiPorts:
    """What authentication and the use cases of the API need."""

    auth: AuthPorts
    send: SendPorts
    uploads: attachments.UploadPorts
    deliveries: deliveries.DeliveryPorts
    domain_tls: domain_tls.DomainTlsPorts
    suppression: suppressions.SuppressionPorts
    mailbox: mailbox.MailboxPorts
    reports: reports.ReportListPorts
    unsubscribe: UnsubscribePorts


def api_of(ports: ApiPorts) -> Api:
    """Return the API on these ports."""
    operations = {
        **_sending(ports.send, ports.uploads),
        **_deliveries(ports.deliveries),
        **_domains(ports.domain_tls),
        **_suppression(ports.suppression),
        **_mailbox(ports.mailbox),
        **_reports(ports.reports),
    }
    links = PagePorts(ports.unsubscribe, ports.auth.failures, keys_of(ports.send.secrets.fromid))
    pages = {w.UNSUBSCRIBE_PATH: lambda request: unsubscribe.answer(links, request)}
    return Api(ports.auth, MappingProxyType(operations), MappingProxyType(pages))


def _sending(ports: SendPorts, uploads: attachments.UploadPorts) -> Mapping[str, Operation]:
    return {
        "Send": lambda call: send(ports, call.caller, call.request, call.idempotency_key, call.facts),
        "UploadCreate": lambda call: attachments.upload_create(uploads, _account(call), call.request),
    }


def _deliveries(ports: deliveries.DeliveryPorts) -> Mapping[str, Operation]:
    def get(call: Call) -> w.DeliveryGetResult:
        return w.DeliveryGetResult(delivery=deliveries.delivery_get(ports, _account(call), _delivery(call)))

    def cancel(call: Call) -> None:
        deliveries.delivery_cancel(ports, _account(call), _delivery(call))

    return {
        "DeliveryGet": get,
        "DeliveryList": lambda call: deliveries.delivery_list(ports, _account(call), call.request),
        "DeliveryCancel": cancel,
    }


def _domains(ports: domain_tls.DomainTlsPorts) -> Mapping[str, Operation]:
    def get(call: Call) -> w.DomainTLSGetResult:
        return w.DomainTLSGetResult(domain_tls=domain_tls.domain_tls_get(ports, _account(call), call.request.domain))

    return {"DomainTLSGet": get}


def _suppression(ports: suppressions.SuppressionPorts) -> Mapping[str, Operation]:
    def listed(call: Call) -> w.SuppressionListResult:
        entries, sealed = suppressions.suppression_page(ports, _account(call), call.request)
        infos = tuple(_suppression_info(entry, call.caller.account.name) for entry in entries)
        return w.SuppressionListResult(suppressions=infos, cursor=sealed)

    def add(call: Call) -> None:
        suppressions.suppression_add(ports, _account(call), call.request)

    def remove(call: Call) -> None:
        suppressions.suppression_remove(ports, _account(call), call.request.email_address)

    def present(call: Call) -> w.SuppressionPresentResult:
        found = suppressions.suppression_present(ports, _account(call), call.request.email_address)
        return w.SuppressionPresentResult(present=found)

    return {
        "SuppressionList": listed,
        "SuppressionAdd": add,
        "SuppressionRemove": remove,
        "SuppressionPresent": present,
    }


def _suppression_info(entry: Suppression, account_name: str) -> w.SuppressionInfo:
    return w.SuppressionInfo(
        id=entry.id,
        created=entry.created_at,
        account=account_name,
        base_address=entry.base_address,
        original_address=entry.original_address,
        manual=entry.manual,
        reason=entry.reason,
        kind=entry.kind,
        source_event=entry.source_event,
        evidence=entry.evidence,
        expires=entry.expires_at,
    )


def _mailbox(ports: mailbox.MailboxPorts) -> Mapping[str, Operation]:
    return {**_reading_mail(ports), **_changing_mail(ports), **_mailboxes(ports)}


def _reading_mail(ports: mailbox.MailboxPorts) -> Mapping[str, Operation]:
    def part(call: Call) -> w.RawContent:
        request: w.MessagePartGetRequest = call.request
        return mailbox.message_part_get(ports, _account(call), request.msg_id, request.part_path)

    return {
        "MessageList": lambda call: mailbox.message_list(ports, _account(call), call.request),
        "MessageGet": lambda call: mailbox.message_get(ports, _account(call), call.request.msg_id),
        "MessageRawGet": lambda call: mailbox.message_raw_get(ports, _account(call), call.request.msg_id),
        "MessagePartGet": part,
    }


def _changing_mail(ports: mailbox.MailboxPorts) -> Mapping[str, Operation]:
    def delete(call: Call) -> None:
        mailbox.message_delete(ports, _account(call), call.request.msg_id)

    def add(call: Call) -> None:
        mailbox.message_flags_add(ports, _account(call), call.request.msg_id, call.request.flags)

    def remove(call: Call) -> None:
        mailbox.message_flags_remove(ports, _account(call), call.request.msg_id, call.request.flags)

    def move(call: Call) -> None:
        mailbox.message_move(ports, _account(call), call.request.msg_id, call.request.dest_mailbox_name)

    return {"MessageDelete": delete, "MessageFlagsAdd": add, "MessageFlagsRemove": remove, "MessageMove": move}


def _mailboxes(ports: mailbox.MailboxPorts) -> Mapping[str, Operation]:
    def create(call: Call) -> None:
        mailbox.mailbox_create(ports, _account(call), call.request.mailbox_name)

    def delete(call: Call) -> None:
        mailbox.mailbox_delete(ports, _account(call), call.request.mailbox_name)

    return {
        "MailboxList": lambda call: mailbox.mailbox_list(ports, _account(call)),
        "MailboxCreate": create,
        "MailboxDelete": delete,
    }


def _reports(ports: reports.ReportListPorts) -> Mapping[str, Operation]:
    return {
        "DMARCReportList": lambda call: reports.dmarc_report_list(ports, _account(call), call.request),
        "TLSReportList": lambda call: reports.tls_report_list(ports, _account(call), call.request),
    }


def _account(call: Call) -> str:
    return call.caller.account.id


def _delivery(call: Call) -> int:
    """Return the id of the delivery that a request names. Raises InvalidRequest when it names none."""
    delivery_id: int = call.request.queue_msg_id
    if not delivery_id:
        raise InvalidRequest(w.ErrorCode.DELIVERY_NOT_FOUND, "QueueMsgID is missing: it names the delivery.")
    return delivery_id
