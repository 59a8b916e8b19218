"""The way of one message through all functions on an emulator, each with its own environment and permissions.

An emulator asks nobody for permissions, so every request is noted and held against the role in template.yaml; and each
app is given the variables of its own function, no more.
"""

from __future__ import annotations

import base64
import json
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest

from egret.aws.app import App
from egret.aws.jsonapi import DYNAMODB
from egret.aws.sending import send_ports
from egret.aws.webapi import webapi
from egret.contracts.caller import Caller
from egret.contracts.handoff import Handoff, HandoffAnswer
from egret.contracts.queues import Hint, Inbound, InboundRecipient, decode_call, encode_queue_body, pack_inbound
from egret.contracts.records import DeliveryFilter, PostAnswer, StsPolicy, Unit
from egret.contracts.reports import ReportKind
from egret.contracts.settings import ApiKey, Scope, StoredDkimKey, WebhookSettings
from egret.contracts.submission import STAGING, Submission, SubmissionRecipient, Trouble
from egret.contracts.submission import encode as encode_submission
from egret.contracts.tls import TlsSupport
from egret.contracts.verdicts import Verdicts
from egret.core import fromid
from egret.core.apikey import key_hash
from egret.core.delivery import Attempt, Delivery
from egret.core.dmarc import DmarcRecord
from egret.core.dmarc_report import compose_xml, compressed
from egret.core.ids import message_of
from egret.core.mtasts import StsMode
from egret.core.outcome import Bounced, Deferred, Delivered, Outcome, Remote
from egret.core.reply import Reply
from egret.core.report_mail import dmarc_mail
from egret.core.tlsrpt import AppliedPolicy, PolicyType, TlsResult, TlsSession
from egret.memory.calls import MemoryPoster
from egret.memory.units import MemoryEgress
from egret.usecases.login import log_in
from egret.usecases.record_outcome import RecordPorts, record_outcome
from egret.usecases.submit import submit
from egret.usecases.tls_reports import TlsReporting
from egret_egress.inbound import Recipients
from egret_local import resources as local_resources
from egret_local.sources import matches
from functions.deliver import handler as deliver_function
from functions.dsn_ingest import handler as ingest_function
from functions.reports import handler as reports_function
from functions.send import handler as send_function
from functions.submit import handler as submit_function
from functions.sweep import handler as sweep_function
from functions.webhook import handler as webhook_function
from tests.api_service import event
from tests.aws_events import event_file, failed, s3_notification, sqs_event
from tests.aws_resources import Resources, create_resources
from tests.emulators import client_arguments
from tests.template import container_variables, permissions, resource, variables
from tests.unit.builders import ACCOUNT, a_unit
from tests.unit.reporting import an_aggregate
from tests.unit.sending import LOGIN, WRAPPER, a_domain, an_account, dkim_keys
from tests.unit.test_report_mail import LETTER

pytestmark = pytest.mark.emulator

KEY = "egretegret"
LINK = re.compile(rb"<https://[^/]+(/[^>]+)>,\s+<mailto:([^?]+)\?subject=([a-z2-7]+)>")
DOMAIN = "example.com"
REMOTE = Remote("mx.example.net", "192.0.2.1")
AWS_VARIABLES = {"AWS_ENDPOINT_URL", "AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
WRITES = {"Put": "PutItem", "Update": "UpdateItem", "Delete": "DeleteItem", "ConditionCheck": "ConditionCheckItem"}


@dataclass
class Stack:
    """An installation on an emulator; every request of every app is noted."""

    endpoint_url: str
    resources: Resources
    refused: list[tuple[str, str, str]] = field(default_factory=list)
    asked: set[tuple[str, str]] = field(default_factory=set)

    def app(self, function: str, role: str, given: dict[str, Any]) -> App:
        """Return the app of a function: its variables, and an ear for what its role does not allow."""
        known = self.resources.environment(self.endpoint_url)
        app = App.from_environment({name: known[name] for name in known if name in given or name in AWS_VARIABLES})
        allowed = permissions(role)

        def note(service: str, operation: str, request: Mapping[str, Any]) -> None:
            for action, place in self._actions(service, operation, request):
                self.asked.add((function, action))
                if not allowed.allow(action, place):
                    self.refused.append((function, action, place))

        def note_botocore(**call: Any) -> None:
            note(call["model"].service_model.service_name, call["model"].name, call["params"])

        app.clients.observers.append(note)
        app.clients.session.register("before-parameter-build", note_botocore)
        return app

    def function(self, name: str) -> App:
        """Return the app of a function of the template."""
        return self.app(name, name.replace("Function", "Role"), variables(name))

    def egress(self) -> App:
        """Return the app of the egress container."""
        return self.app("egress", "EgressTaskRole", container_variables())

    def _actions(self, service: str, operation: str, params: Mapping[str, Any]) -> list[tuple[str, str]]:
        """Return the IAM actions of a request, each with the resource of the template that it is for."""
        names = {
            self.resources.mail_table: "MailTable",
            self.resources.settings_table: "SettingsTable",
            self.resources.bucket: "Bucket",
            self.resources.hint_queue_url: "HintQueue",
            self.resources.call_queue_url: "CallQueue",
            self.resources.kms_key_id: "DkimKey",
        }
        match service, operation:
            case "dynamodb", "TransactWriteItems":
                parts = [next(iter(part.items())) for part in params["TransactItems"]]
                return [
                    (f"dynamodb:{WRITES[kind]}", f"{names[part['TableName']]}#{_partition(part)}")
                    for kind, part in parts
                ]
            case "dynamodb", ("GetItem" | "PutItem" | "UpdateItem" | "DeleteItem"):
                return [(f"dynamodb:{operation}", f"{names[params['TableName']]}#{_partition(params)}")]
            case "dynamodb", ("BatchGetItem" | "BatchWriteItem"):
                return [
                    (f"dynamodb:{operation}", f"{names[table]}#{partition}")
                    for table, wanted in params["RequestItems"].items()
                    for partition in _partitions(wanted)
                ]
            case "dynamodb", "Query" if "IndexName" not in params:
                # Whoever queries names one partition, whatever the placeholder is called.
                first = next(iter(params["ExpressionAttributeValues"].values()))["S"]
                return [("dynamodb:Query", f"{names[params['TableName']]}#{first}")]
            case "dynamodb", _:
                index = f"/index/{params['IndexName']}" if "IndexName" in params else ""
                return [(f"dynamodb:{operation}", names[params["TableName"]] + index)]
            case "s3", _:
                # A GET of what may not be there needs ListBucket, or S3 answers 403.
                listed = [("s3:ListBucket", "Bucket")] if operation in ("GetObject", "HeadObject") else []
                action = operation.replace("HeadObject", "GetObject")
                return [(f"s3:{action}", f"Bucket/{params['Key']}"), *listed]
            case "sqs", _:
                return [(f"sqs:{operation.replace('MessageBatch', 'Message')}", names[params["QueueUrl"]])]
            case "kms", _:
                return [(f"kms:{operation}", f"{names[params['KeyId']]}#{params['EncryptionContext']['egret']}")]
        return [(f"{service}:{operation}", "?")]


def _partition(request: Mapping[str, Any]) -> str:
    """Return the partition that a read or write is for."""
    key = request["Item"] if "Item" in request else request["Key"]
    return str(key["pk"]["S"])


def _partitions(batch: Any) -> set[str]:
    """Return the partitions of a table's part of a batch."""
    if "Keys" in batch:
        return {str(key["pk"]["S"]) for key in batch["Keys"]}
    return {_partition(request) for each in batch for request in each.values()}


@pytest.fixture
def stack(moto_endpoint: str) -> Stack:
    """An installation with an account, its key, domain and webhook, and one live unit."""
    made = Stack(moto_endpoint, create_resources(moto_endpoint))
    operator = App.from_environment(made.resources.environment(moto_endpoint))
    operator.settings_writer.put_account(an_account(webhook=WebhookSettings("https://hooks.example.com/")))
    operator.settings_writer.put_key(ApiKey(hash=key_hash(KEY), account=ACCOUNT, login=LOGIN))
    operator.settings_writer.put_domain(
        a_domain(dkim_keys=tuple(rewrapped(operator, key) for key in dkim_keys(DOMAIN)))
    )
    return made


def rewrapped(operator: App, key: StoredDkimKey) -> StoredDkimKey:
    """Return a DKIM key wrapped by the installation's KMS key."""
    return replace(key, wrapped=operator.key_wrapper.wrap(WRAPPER.unwrap(key.wrapped, DOMAIN), DOMAIN))


def call(app: App, method: str, request: dict[str, Any]) -> dict[str, Any]:
    """Call a method of the API through the send function."""
    form = {"Content-Type": "application/x-www-form-urlencoded", "Authorization": f"Bearer {KEY}"}
    body = b"request=" + json.dumps(request).replace("+", "%2B").replace("&", "%26").encode()
    answer = send_function.answer(webapi(app), event("POST", f"/webapi/v0/{method}", body, form))
    raw = base64.b64decode(answer["body"]) if answer.get("isBase64Encoded") else answer["body"]
    assert answer["statusCode"] == 200, raw
    result: dict[str, Any] = json.loads(raw)
    return result


def send(app: App, *recipients: str, **fields: Any) -> list[int]:
    """Send a message and return the ids of its deliveries."""
    to = [{"Address": recipient} for recipient in recipients]
    answer = call(app, "Send", {"To": to, "Subject": "Hello", "Text": "Good morning.\n", **fields})
    return [submission["QueueMsgID"] for submission in answer["Submissions"]]


def hand_over(app: App, ids: list[int]) -> list[Handoff]:
    """Run deliver on the hint of these deliveries; return what it handed to the unit."""
    handed: list[Handoff] = []

    def take(_: Unit, handoff: Handoff) -> HandoffAnswer:
        handed.append(handoff)
        return HandoffAnswer([True] * len(handoff.transactions), 100)

    ports = replace(deliver_function.ports_of(app), egress=MemoryEgress(take))
    assert failed(deliver_function.run(ports, sqs_event(encode_queue_body(Hint(ACCOUNT, ids))))) == []
    return handed


def announce(app: App) -> None:
    """Be an egress unit for the next minute."""
    app.units.put(a_unit(valid_until=datetime.now(UTC) + timedelta(seconds=60)))


def record(app: App, ids: list[int], number: int, outcome: Outcome) -> None:
    """Record the outcome of an attempt at these deliveries, as the egress does."""
    ports = RecordPorts(app.store, app.clock, app.installation.retry)
    attempt = Attempt(number, datetime.now(UTC), timedelta(seconds=1), outcome)
    for delivery_id in ids:
        assert isinstance(record_outcome(ports, ACCOUNT, delivery_id, attempt), Delivery)


def stream_records(stack: Stack) -> list[dict[str, Any]]:
    """Return everything that the table's stream has, as Lambda hands it over."""
    named = {"TableName": stack.resources.mail_table}
    arn = local_resources.api(DYNAMODB, stack.endpoint_url).call("DescribeTable", named)["Table"]["LatestStreamArn"]
    streams = local_resources.api(local_resources.STREAMS, stack.endpoint_url)
    found: list[dict[str, Any]] = []
    for shard in streams.call("DescribeStream", {"StreamArn": arn})["StreamDescription"]["Shards"]:
        oldest = {"StreamArn": arn, "ShardId": shard["ShardId"], "ShardIteratorType": "TRIM_HORIZON"}
        found += streams.call("GetRecords", streams.call("GetShardIterator", oldest))["Records"]
    return found


def passes_filter(record: dict[str, Any]) -> bool:
    """Tell whether a stream record invokes the webhook function."""
    patterns = [each["Pattern"] for each in resource("WebhookStreamSource")["FilterCriteria"]["Filters"]]
    return matches(f"[{','.join(patterns)}]", record)


def queued_calls(stack: Stack) -> list[str]:
    """Return the bodies in the call queue."""
    sqs = boto3.client("sqs", **client_arguments(stack.endpoint_url))
    answer = sqs.receive_message(QueueUrl=stack.resources.call_queue_url, MaxNumberOfMessages=10)
    return [message["Body"] for message in answer.get("Messages", [])]


def mail_back(app: App, delivery: Delivery) -> str:
    """Store a DSN that came for a delivery, as the egress does; return its key."""
    dsn = (
        b"From: MAILER-DAEMON@mx.example.net\r\nSubject: failure\r\nMIME-Version: 1.0\r\n"
        b'Content-Type: multipart/report; report-type=delivery-status; boundary="b"\r\n\r\n'
        b"--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.example.net\r\n\r\n"
        b"Final-Recipient: rfc822; ann@example.net\r\nAction: failed\r\nStatus: 5.1.1\r\n"
        b"Diagnostic-Code: smtp; 550 5.1.1 no such user\r\n\r\n--b--\r\n"
    )
    recipient = InboundRecipient(delivery.reverse_path, ACCOUNT, delivery.id)
    envelope = Inbound("in-1", datetime.now(UTC).isoformat(), "", [recipient])
    key = "inbound/2026-03-04/in-1"
    app.blobs.put(key, pack_inbound(envelope, dsn))
    return key


def publish(stack: Stack) -> None:
    """Run the stream function on what passes its filter."""
    records = [record for record in stream_records(stack) if passes_filter(record)]
    ports = webhook_function.publish_ports_of(stack.function("WebhookStreamFunction"))
    assert failed(webhook_function.run_stream(ports, {"Records": records})) == []


def post(stack: Stack, status: int) -> int:
    """Run the calls function on what is queued; return how many calls were made."""
    poster = MemoryPoster(lambda _: PostAnswer(status))
    ports = replace(webhook_function.post_ports_of(stack.function("WebhookCallsFunction")), poster=poster)
    assert failed(webhook_function.run_calls(ports, sqs_event(*queued_calls(stack)))) == []
    return len(poster.posted)


def test_one_message_all_the_way_with_the_permissions_of_the_template(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sent, delivered, told; bounced later by a DSN, and suppressed: nobody asks for what its role does not allow."""
    monkeypatch.setenv("POWERTOOLS_METRICS_NAMESPACE", "Egret/test")
    sender, egress = stack.function("SendFunction"), stack.egress()
    announce(egress)
    ids = send(sender, "ann@example.net", SaveSent=True)
    assert len(hand_over(stack.function("DeliverFunction"), ids)) == 1
    record(egress, ids, 1, Delivered(Reply(250, ("2.0.0 ok",)), REMOTE))
    publish(stack)
    assert post(stack, 410) == 1  # which disables the webhook: a write to the settings

    delivery = egress.store.get(ACCOUNT, ids[0], datetime.now(UTC))
    assert delivery is not None
    ports = ingest_function.ports_of(stack.function("DsnIngestFunction"))
    assert failed(ingest_function.run(ports, sqs_event(s3_notification(mail_back(egress, delivery))))) == []
    publish(stack)
    assert [each["Account"] for each in call(sender, "SuppressionList", {})["Suppressions"]] != []
    assert call(sender, "MessageList", {})["Messages"] != []
    sweep_function.run(sweep_function.ports_of(stack.function("SweepFunction")))

    assert stack.refused == []
    assert ("SendFunction", "kms:Decrypt") in stack.asked
    assert {name for name, _ in stack.asked} == {
        *("SendFunction", "DeliverFunction", "egress", "WebhookStreamFunction", "WebhookCallsFunction"),
        *("DsnIngestFunction", "SweepFunction"),
    }


def test_mail_that_comes_in_with_the_permissions_of_the_template(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """Taken in, told, shown, changed by every method, removed, its object too; no role lacks anything."""
    monkeypatch.setenv("POWERTOOLS_METRICS_NAMESPACE", "Egret/test")
    sender = stack.function("SendFunction")
    hook = WebhookSettings("https://hooks.example.com/mail")
    operator = App.from_environment(stack.resources.environment(stack.endpoint_url))
    operator.settings_writer.put_account(an_account(incoming_webhook=hook))
    envelope = Inbound("in-2", datetime.now(UTC).isoformat(), "ann@example.net", [InboundRecipient(LOGIN, ACCOUNT)])
    key = "inbound/2026-03-04/in-2"
    raw = b"From: ann@example.net\r\nIn-Reply-To: <1@x>\r\nSubject: Hello\r\n\r\nGood morning.\r\n"
    operator.blobs.put(key, pack_inbound(envelope, raw))
    ports = ingest_function.ports_of(stack.function("DsnIngestFunction"))
    for _ in range(2):
        assert failed(ingest_function.run(ports, sqs_event(s3_notification(key)))) == []
    publish(stack)
    assert post(stack, 200) == 1

    (mail,) = call(sender, "MessageList", {"Subject": "HELLO", "GroupByThread": True})["Messages"]
    named = {"MsgID": mail["MsgID"]}
    call(sender, "MailboxCreate", {"MailboxName": "Clients"})
    call(sender, "MessageFlagsAdd", {**named, "Flags": [r"\seen"]})
    call(sender, "MessageMove", {**named, "DestMailboxName": "Clients"})
    call(sender, "MessageFlagsRemove", {**named, "Flags": [r"\seen"]})
    assert call(sender, "MessageGet", named)["Meta"]["MailboxName"] == "Clients"
    quiet = [each for each in stream_records(stack) if each["eventName"] == "MODIFY"]
    assert [passes_filter(each) for each in quiet] == [False] * len(quiet)
    call(sender, "MessageDelete", named)
    call(sender, "MailboxDelete", {"MailboxName": "Clients"})
    assert [one["Name"] for one in call(sender, "MailboxList", {})["Mailboxes"]][-1] == "Rejects"
    assert operator.blobs.size(key) is not None
    publish(stack)

    assert operator.blobs.size(key) is None
    assert stack.refused == []


def test_large_and_many_with_the_permissions_of_the_template(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """Content in S3, several recipients, a lost submission repaired, a failing webhook, a cancelled delivery."""
    monkeypatch.setenv("POWERTOOLS_METRICS_NAMESPACE", "Egret/test")
    sender, egress = stack.function("SendFunction"), stack.egress()
    announce(egress)
    text = base64.encodebytes(random.Random(1).randbytes(400_000)).decode()  # too large for the table, even compressed
    ids = send(sender, "ann@example.net", "bob@example.net", Text=text)
    (handed,) = hand_over(stack.function("DeliverFunction"), ids)
    assert egress.blobs.get(handed.transactions[0].content.key) is not None
    record(egress, ids[:1], 1, Deferred("later", Reply(451, ("4.3.0 later",)), REMOTE))
    record(egress, ids[1:], 1, Bounced("no", Reply(550, ("5.1.1 no such user",)), REMOTE))
    publish(stack)
    assert post(stack, 500) >= 1
    call(sender, "DeliveryCancel", {"QueueMsgID": ids[0]})
    upload = call(sender, "UploadCreate", {"Size": 3})
    assert upload["URL"].startswith("http")
    sweep_function.run(sweep_function.ports_of(stack.function("SweepFunction")))

    assert stack.refused == []


def test_a_sender_by_smtp_is_told_with_the_permissions_of_the_template(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A notification in the Inbox, and one that is queued as any mail, by a function that has no keys."""
    monkeypatch.setenv("POWERTOOLS_METRICS_NAMESPACE", "Egret/test")
    sender, egress = stack.function("SendFunction"), stack.egress()
    announce(egress)
    account = sender.settings.account(ACCOUNT)
    assert account is not None
    submission = Submission(
        key_hash=key_hash(KEY),
        mail_from=account.addresses[0],
        recipients=(SubmissionRecipient("ann@example.net", notify="FAILURE"),),
        content=f"From: {account.addresses[0]}\r\nSubject: Hello\r\n\r\nGood day.\r\n".encode(),
    )
    result = submit(send_ports(sender), Caller(account, account.addresses[0], Scope.FULL), submission)
    ids = [one.queue_msg_id for one in result.submissions]
    hand_over(stack.function("DeliverFunction"), ids)
    record(egress, ids, 1, Bounced("no", Reply(550, ("5.1.1 no such user",)), REMOTE))
    publish(stack)

    mails = call(sender, "MessageList", {})["Messages"]
    assert [(mail["DSN"], mail["MailFrom"]) for mail in mails] == [(True, "")]
    assert "550 5.1.1 no such user" in call(sender, "MessageGet", {"MsgID": mails[0]["MsgID"]})["Message"]["Text"]
    queued = [each for each in call(sender, "DeliveryList", {})["Deliveries"] if each["QueueMsgID"] not in ids]
    assert [each["Recipient"] for each in queued] == [account.addresses[0]]
    assert stack.refused == []


def test_who_unsubscribes_with_the_permissions_of_the_template(stack: Stack) -> None:
    """By the link, and by mail that the egress knows and ingest reads with the secret of fromids alone."""
    sender, egress, ingest = stack.function("SendFunction"), stack.egress(), stack.function("DsnIngestFunction")
    ids = [send(sender, name, Unsubscribe=True)[0] for name in ("ann@example.net", "bob@example.net")]
    links = [LINK.search(egress.store.content(ACCOUNT, message_of(one)) or b"") for one in ids]
    ann, bob = (link.groups() for link in links if link is not None)
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    got = send_function.answer(webapi(sender), event("POST", ann[0].decode(), b"List-Unsubscribe=One-Click", form))
    assert got["statusCode"] == 200

    recipient = Recipients(egress.settings, egress.fromid_keys).find(bob[1].decode())
    assert recipient == InboundRecipient(bob[1].decode(), ACCOUNT, ids[1], unsubscribes=True)
    key = "inbound/2026-03-04/in-2"
    envelope = Inbound("in-2", datetime.now(UTC).isoformat(), "bob@example.net", [recipient])
    egress.blobs.put(key, pack_inbound(envelope, b"Subject: " + bob[2] + b"\r\n\r\n"))
    assert failed(ingest_function.run(ingest_function.ports_of(ingest), sqs_event(s3_notification(key)))) == []

    listed = call(sender, "SuppressionList", {})["Suppressions"]
    assert [(one["BaseAddress"], one["Kind"]) for one in listed] == [
        ("ann@example.net", "unsubscribe"),
        ("bob@example.net", "unsubscribe"),
    ]
    assert stack.refused == []


def test_a_missing_permission_is_noticed(stack: Stack) -> None:
    """The tests above can fail: sweep's role may not read settings, and has no secret to send with."""
    app = stack.app("SendFunction", "SweepRole", variables("SendFunction"))
    send(app, "ann@example.net")

    assert ("SendFunction", "dynamodb:GetItem", "SettingsTable#KEY") in stack.refused


def test_whose_mail_it_is_with_the_permissions_of_the_template(stack: Stack) -> None:
    """The egress finds accounts by domain and address, transports, and withdraws a unit that has ended."""
    egress = stack.egress()
    announce(egress)
    keys = egress.fromid_keys
    recipients = Recipients(egress.settings, keys)
    ours = fromid.mint(keys, ACCOUNT, 1025)

    assert recipients.find(f"{ours}@bounces.{DOMAIN}") == InboundRecipient(f"{ours}@bounces.{DOMAIN}", ACCOUNT, 1025)
    assert recipients.find(LOGIN) == InboundRecipient(LOGIN, ACCOUNT)
    assert list(egress.settings.transports()) == []
    egress.units.remove(a_unit().id)
    assert stack.refused == []


def test_a_submission_with_the_permissions_of_the_template(stack: Stack) -> None:
    """The egress checks the login and stages; the function takes it, removes what was staged; a bounce leads back."""
    egress, function = stack.egress(), stack.function("SubmitFunction")
    found = log_in(egress.settings, LOGIN, KEY)
    assert found is not None
    content = f"From: {LOGIN}\r\nSubject: Hi\r\n\r\n".encode() + b"x\r\n" * 200_000
    egress.blobs.put(STAGING + "1", content)
    path = f"Order-17@bounces.{DOMAIN}"
    submission = Submission(
        key_hash=found[0].hash, mail_from=path, recipients=(SubmissionRecipient("ann@example.net"),), key=STAGING + "1"
    )
    called = json.loads(encode_submission(submission))
    answer = submit_function.answer(submit_function.ports_of(function), called)
    own = egress.own_fromids
    recipients = Recipients(
        egress.settings, egress.fromid_keys, own=lambda account, text: own.find(account, text, egress.clock.now())
    )

    assert set(answer) == {"id", "message_id"}
    assert recipients.find(path) == InboundRecipient(path, ACCOUNT, answer["id"])
    assert function.blobs.get(STAGING + "1") is None
    assert submit_function.answer(submit_function.ports_of(function), called)["code"] == Trouble.UNAVAILABLE
    assert stack.refused == []


def test_the_egress_reads_nothing_that_it_has_no_use_for(stack: Stack) -> None:
    """No list of API keys, no hold rules and routes, no suppressions; and no secret but that of fromids."""
    egress = stack.egress()
    egress.settings_writer.keys(ACCOUNT)
    egress.settings_writer.hold_rules()
    egress.settings_writer.routes()
    list(egress.suppressions.list(ACCOUNT, egress.clock.now()))

    assert [place for _, _, place in stack.refused] == [
        "SettingsTable#KEY",
        "SettingsTable#HOLD",
        "SettingsTable#ROUTE",
        f"MailTable#A#{ACCOUNT}",
    ]
    with pytest.raises(KeyError, match="EGRET_SECRET"):
        _ = egress.secrets


def test_only_news_and_removals_pass_the_filter(stack: Stack) -> None:
    """A new delivery, a claim and a release bring no event: they invoke nothing."""
    sender, egress = stack.function("SendFunction"), stack.egress()
    announce(egress)
    ids = send(sender, "ann@example.net")
    hand_over(stack.function("DeliverFunction"), ids)
    quiet = stream_records(stack)
    record(egress, ids, 1, Delivered(Reply(250, ("2.0.0 ok",)), REMOTE))
    loud = stream_records(stack)[len(quiet) :]
    remove(stack, ids[0])
    removal = stream_records(stack)[len(quiet) + len(loud) :]

    assert quiet
    assert [passes_filter(each) for each in quiet] == [False] * len(quiet)
    assert [passes_filter(each) for each in loud] == [True]
    assert [(each["eventName"], passes_filter(each)) for each in removal] == [("REMOVE", True)]


def remove(stack: Stack, delivery_id: int) -> None:
    """Delete a delivery, as time to live does."""
    client = boto3.client("dynamodb", **client_arguments(stack.endpoint_url))
    (item,) = client.scan(
        TableName=stack.resources.mail_table,
        FilterExpression="sk = :sk",
        ExpressionAttributeValues={":sk": {"S": f"D#{delivery_id:016d}"}},
    )["Items"]
    client.delete_item(TableName=stack.resources.mail_table, Key={"pk": item["pk"], "sk": item["sk"]})


def test_the_last_removal_takes_the_content_with_it(stack: Stack) -> None:
    """The stream function reaps."""
    sender = stack.function("SendFunction")
    (delivery_id,) = send(sender, "ann@example.net")
    remove(stack, delivery_id)
    assert sender.store.message(ACCOUNT, delivery_id) is not None
    publish(stack)

    assert sender.store.message(ACCOUNT, delivery_id) is None
    assert stack.refused == []


def test_what_the_egress_learns_of_tls_with_the_permissions_of_the_template(stack: Stack) -> None:
    """It keeps policies, notes and results, none of which is news; the account that met a domain reads about it."""
    sender, egress = stack.function("SendFunction"), stack.egress()
    now = sender.clock.now()
    day = timedelta(days=1)
    policy = StsPolicy("example.net", "1", StsMode.ENFORCE, ("mx.example.net",), day, now, now + day, now)
    egress.sts_policies.put(policy)
    egress.domain_tls.put([TlsSupport(ACCOUNT, "example.net", True, False, now)])
    session = TlsSession("example.net", "example.net", AppliedPolicy(PolicyType.STS))
    egress.tls_results.add(TlsResult(session.key(now), session.tally))
    operator = App.from_environment(stack.resources.environment(stack.endpoint_url))

    shown = call(sender, "DomainTLSGet", {"Domain": "example.net"})["DomainTLS"]
    assert (shown["STARTTLS"], shown["RequireTLS"]) == (True, False)
    assert egress.sts_policies.get("example.net", now) == policy
    assert egress.sts_policies.stale(now + timedelta(hours=13)) == [policy]
    assert [result.tally.successes for result in operator.tls_results.list(now.date(), "", 10, now).items] == [1]
    assert [record for record in stream_records(stack) if passes_filter(record)] == []
    assert stack.refused == []


def test_the_stream_goes_on_from_the_first_record_that_cannot_be_read(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What lies before it is published; of records that are no deliveries it takes no notice. All are counted."""
    monkeypatch.setenv("POWERTOOLS_METRICS_NAMESPACE", "Egret/test")
    sender, egress = stack.function("SendFunction"), stack.egress()
    announce(egress)
    ids = send(sender, "ann@example.net")
    hand_over(stack.function("DeliverFunction"), ids)
    record(egress, ids, 1, Delivered(Reply(250, ("2.0.0 ok",)), REMOTE))
    news = [each for each in stream_records(stack) if passes_filter(each)]
    other, corrupt = event_file("dynamodb_stream")["Records"]
    ports = webhook_function.publish_ports_of(stack.function("WebhookStreamFunction"))
    answer = webhook_function.run_stream(ports, {"Records": [other, *news, corrupt, *news]})

    assert failed(answer) == ["222"]
    assert [decode_call(body).delivery_id for body in queued_calls(stack)] == ids
    (line,) = [vars(each) for each in caplog.records if each.getMessage() == "publish"]
    assert (line["Records"], line["Calls"]) == ([2.0 + 2 * len(news)], [1.0])


def test_reports_with_the_permissions_of_the_template(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mail that comes in is evaluated; its domain gets a report, signed; a report of others is kept."""
    monkeypatch.setenv("POWERTOOLS_METRICS_NAMESPACE", "Egret/test")
    egress, now = stack.egress(), datetime.now(UTC)
    operator = App.from_environment(stack.resources.environment(stack.endpoint_url))
    account = operator.settings.account(ACCOUNT)
    domain = operator.settings.domain(DOMAIN)
    assert account is not None
    assert domain is not None
    operator.settings_writer.put_account(replace(account, is_postmaster=True))
    own = tuple(
        replace(
            key,
            wrapped=operator.key_wrapper.wrap(WRAPPER.unwrap(key.wrapped, "egret.test"), "egret.test"),
        )
        for key in dkim_keys("egret.test")
    )
    operator.settings_writer.put_domain(
        replace(domain, domain="egret.test", return_path_domain="b.egret.test", dkim_keys=own)
    )
    record_of_domain = DmarcRecord("example.net", rua=("mailto:d@example.net",))
    verdicts = Verdicts(dmarc="pass", header_from="example.net", record=record_of_domain)
    written = dmarc_mail(LETTER, "a.xml.gz", compressed(compose_xml(an_aggregate())))
    for number, raw in enumerate((written.headers + b"\r\n" + written.body, b"From: a@example.net\r\n\r\nHello.\r\n")):
        recipient = InboundRecipient(f"postmaster@{DOMAIN}", ACCOUNT)
        envelope = Inbound(
            f"in-r{number}", now.isoformat(), "x@example.net", [recipient], "192.0.2.1", verdicts=verdicts
        )
        key = f"inbound/2026-03-04/in-r{number}"
        egress.blobs.put(key, pack_inbound(envelope, raw))
        ports = ingest_function.ports_of(stack.function("DsnIngestFunction"))
        assert failed(ingest_function.run(ports, sqs_event(s3_notification(key)))) == []
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    reporting = replace(reports_function.ports_of(stack.function("ReportsFunction")), dns=lambda _: ())
    for _ in range(2):
        event, time = {"time": midnight.isoformat()}, timedelta(minutes=13)
        reports_function.run(reporting, event, dmarc=True, tls=TlsReporting.ALL, time=time)

    queued = operator.store.list(ACCOUNT, DeliveryFilter(), "", 10, now).items
    assert [delivery.recipient for delivery in queued] == ["d@example.net"]
    content = operator.store.content(ACCOUNT, queued[0].message_id)
    assert content is not None
    assert content.count(b"d=egret.test;") == 2
    assert len(operator.received_reports.list(ACCOUNT, ReportKind.DMARC, "", 10, now).items) == 1
    assert stack.refused == []
    assert ("ReportsFunction", "kms:Decrypt") in stack.asked
