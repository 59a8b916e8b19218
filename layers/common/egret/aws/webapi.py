"""The HTTP API on AWS: which ports of the app each of its parts gets."""

from __future__ import annotations

from egret.api.auth import AuthPorts
from egret.api.router import Api
from egret.api.wiring import ApiPorts, api_of
from egret.aws.app import App
from egret.aws.sending import send_ports
from egret.usecases.attachments import UploadPorts
from egret.usecases.deliveries import DeliveryPorts
from egret.usecases.domain_tls import DomainTlsPorts
from egret.usecases.login import OnceAnHour
from egret.usecases.mailbox import MailboxPorts
from egret.usecases.reports import ReportListPorts
from egret.usecases.suppressions import SuppressionPorts
from egret.usecases.unsubscribe import UnsubscribePorts


def webapi(app: App) -> Api:
    """Return the API of an installation."""
    return api_of(
        ApiPorts(
            auth=AuthPorts(app.settings, OnceAnHour(app.settings_writer), app.auth_failures, app.clock),
            send=send_ports(app),
            uploads=UploadPorts(app.blobs, app.clock, app.dice, app.installation.max_message_bytes),
            deliveries=DeliveryPorts(app.store, app.settings, app.units, app.hint_queue, app.clock, app.secrets.cursor),
            domain_tls=DomainTlsPorts(app.domain_tls, app.clock),
            suppression=SuppressionPorts(app.suppressions, app.clock, app.dice, app.secrets.cursor),
            mailbox=MailboxPorts(app.mailboxes, app.blobs, app.clock, app.secrets.cursor, app.installation.pedantic),
            reports=ReportListPorts(app.received_reports, app.clock, app.secrets.cursor),
            unsubscribe=UnsubscribePorts(app.store, app.suppressions, app.clock),
        )
    )
