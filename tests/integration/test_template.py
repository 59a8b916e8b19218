"""template.yaml keeps what the design promises and what the code takes for granted."""

from __future__ import annotations

import json
import re
import stat
import subprocess
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cfnlint.api import lint
from cfnlint.config import ManualArgs

from egret.aws.clients import ATTEMPTS, CONNECT_TIMEOUT_S, READ_TIMEOUT_S, Clients, Target
from egret.aws.jsonapi import FIRST_PAUSE_S, LONGEST_PAUSE_S
from egret.aws.keys import DUE_INDEX, fromid_partition
from egret.aws.settings_items import AccountItem
from egret.contracts.settings import Fail, RetryPolicy, Transport
from egret.contracts.submission import STAGING
from egret_egress.session import Timeouts
from egret_egress.tls_results import SUCCESS_WAITS
from functions.sweep.handler import QUEUE_OLDEST, UNITS_ALIVE, UNITS_USABLE
from tests.template import ROOT, container_variables, of_type, permissions, resource, template, variables

FUNCTIONS = {
    "SendFunction": "SendRole",
    "SubmitFunction": "SubmitRole",
    "DeliverFunction": "DeliverRole",
    "SweepFunction": "SweepRole",
    "WebhookStreamFunction": "WebhookStreamRole",
    "WebhookCallsFunction": "WebhookCallsRole",
    "DsnIngestFunction": "DsnIngestRole",
    "ReportsFunction": "ReportsRole",
    "BuildImageFunction": "BuildImageRole",
}
MAX_MEMORY_MB = 512


def test_the_template_passes_every_rule() -> None:
    """Of cfn-lint, and our own."""
    found = lint(
        (ROOT / "template.yaml").read_text(),
        config=ManualArgs(append_rules=[str(ROOT / "lint" / "rules")], include_checks=["I"]),
    )

    assert [f"{match.rule.id} {match.message}" for match in found if match.rule.id[0] in "EW"] == []


def names_in_code(*folders: str) -> set[str]:
    """Return every EGRET_ variable that the sources of these folders mention as a string."""
    texts = [path.read_text() for folder in folders for path in (ROOT / folder).rglob("*.py")]
    return set(re.findall(r'"(EGRET_[A-Z0-9_]+)"', "".join(texts)))


def test_every_variable_in_the_template_is_read_and_every_one_read_is_set() -> None:
    """By the composition root of the functions. A deployment has no reason to change the lease."""
    of_the_container = {"EGRET_SUBMIT_FUNCTION"}
    local = {"EGRET_LOCAL", "EGRET_LEASE_S", "EGRET_SETTINGS_KEEP_S"}
    read = names_in_code("layers/common/egret/aws", "functions") - local - of_the_container
    given = {name for function in FUNCTIONS for name in variables(function) if name.startswith("EGRET_")}

    assert given == read


def test_every_variable_of_the_container_is_read_and_every_one_read_is_set() -> None:
    """The template leaves alone what the entrypoint finds out, what is local mode's, and what has one right answer.

    A certificate of one's own comes as one variable, and the entrypoint makes files of it.
    """
    found_out = {"EGRET_EGRESS_BIND", "EGRET_EGRESS_URL", "EGRET_TLS_CERT", "EGRET_TLS_KEY"}
    of_the_entrypoint = {"EGRET_TLS_PEM"}
    local = {"EGRET_LOCAL", "EGRET_LOCAL_SINK"}
    of_the_image = {"EGRET_RESOLVER", "EGRET_RESOLVER_VALIDATES"}
    left_alone = {"EGRET_SOURCE_ADDRESSES", "EGRET_ANSWER_TIMEOUT_S", "EGRET_REQUIRETLS"} | of_the_image
    app = {name for name in variables("DeliverFunction") if name.startswith("EGRET_")}
    by_the_app = {"EGRET_FROMID_SECRET", "EGRET_KMS_KEY_ID", "EGRET_SUBMIT_FUNCTION"}
    read = names_in_code("egress/egret_egress") | {"EGRET_DMARC_REPORTS"} | app | by_the_app
    given = {name for name in container_variables() if name.startswith("EGRET_")}

    assert given - of_the_entrypoint == read - found_out - local - left_alone
    assert found_out == set(re.findall(r"export (\w+)=", (ROOT / "egress/entrypoint.sh").read_text()))


@pytest.mark.parametrize(
    ("parameter", "value"),
    [("RetryBaseSeconds", "base"), ("MaxAgeSeconds", "max_age"), ("HintGraceSeconds", "hint_grace")],
)
def test_defaults_of_the_queue_are_those_of_the_code(parameter: str, value: str) -> None:
    """One truth, written down where people look for it and where the code has it."""
    assert timedelta(seconds=template()["Parameters"][parameter]["Default"]) == getattr(RetryPolicy(), value)


def test_all_parameters_but_the_host_name_have_defaults() -> None:
    """A first deploy asks for one thing."""
    assert [name for name, each in template()["Parameters"].items() if "Default" not in each] == ["Hostname"]


def test_the_questions_of_a_guided_deploy_can_be_answered_by_enter() -> None:
    """It asks for what has NoEcho until something is typed, and Enter refuses an API that says nothing of Auth."""
    assert [name for name, each in template()["Parameters"].items() if "NoEcho" in each] == []
    assert [name for name, each in of_type("AWS::Serverless::HttpApi").items() if not each.get("Auth")] == []


def test_the_password_of_the_smarthost_is_in_a_secret_that_ecs_alone_reads() -> None:
    """When one is named; neither the template nor the role of the container's own code has it."""
    read = "secretsmanager:GetSecretValue"

    assert container_variables()["EGRET_SMARTHOST_PASSWORD"] == {"Ref": "SmarthostPasswordSecret"}
    assert template()["Conditions"]["LogsIntoSmarthost"]["Fn::And"] == [
        {"Condition": "HasSmarthost"},
        {"Fn::Not": [{"Fn::Equals": [{"Ref": "SmarthostPasswordSecret"}, ""]}]},
    ]
    assert {place for action, place in permissions("EgressExecutionRole").allowed if action == read} == {
        *("FromidSecret", "HandoffSecret", "SmarthostPasswordSecret", "TlsCertificate")
    }
    assert permissions("EgressTaskRole").actions("secretsmanager") == set()


@pytest.mark.parametrize(
    ("given", "is_taken"),
    [
        ("", True),
        ("arn:aws:secretsmanager:eu-west-1:123456789012:secret:egret/smarthost-AbCdEf", True),
        ("hunter2", False),
        ("arn:aws:secretsmanager:eu-west-1:123456789012:secret:egret-AbCdEf:password::", False),
    ],
)
def test_a_password_itself_is_refused_where_the_name_of_its_secret_belongs(given: str, is_taken: bool) -> None:
    """So is a part of a secret, which no role could be let read."""
    pattern = template()["Parameters"]["SmarthostPasswordSecret"]["AllowedPattern"]

    assert bool(re.search(pattern, given)) is is_taken


def test_a_login_has_a_user_and_a_password() -> None:
    """One without the other is refused before anything is made."""
    user, secret = (
        {"Fn::Not": [{"Fn::Equals": [{"Ref": name}, ""]}]} for name in ("SmarthostUser", "SmarthostPasswordSecret")
    )
    rules = [(each.get("RuleCondition"), each["Assertions"][0]["Assert"]) for each in template()["Rules"].values()]

    assert (user, secret) in rules
    assert (secret, user) in rules


def test_the_due_index_is_sparse_and_of_keys_only() -> None:
    """Under the name, and of the attributes, that the adapters write."""
    (index,) = resource("MailTable")["GlobalSecondaryIndexes"]

    assert index == {
        "IndexName": DUE_INDEX,
        "KeySchema": [
            {"AttributeName": "due_shard", "KeyType": "HASH"},
            {"AttributeName": "due_at", "KeyType": "RANGE"},
        ],
        "Projection": {"ProjectionType": "KEYS_ONLY"},
    }


@pytest.mark.parametrize("name", ["MailTable", "SettingsTable"])
def test_tables_are_kept_and_can_be_restored(name: str) -> None:
    """Deleting the stack deletes no mail, and any second of the last 35 days can be had back."""
    table = template()["Resources"][name]

    assert (table["DeletionPolicy"], table["UpdateReplacePolicy"]) == ("Retain", "Retain")
    assert table["Properties"]["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}


def test_content_is_never_removed_by_age() -> None:
    """Only uploads and what was staged do, and unfinished multiparts; nothing has versions that would stay."""
    rules = resource("Bucket")["LifecycleConfiguration"]["Rules"]
    expiring = [rule.get("Prefix") for rule in rules if "ExpirationInDays" in rule]

    assert expiring == ["uploads/", "submission/"]
    assert "VersioningConfiguration" not in resource("Bucket")


def test_nothing_in_the_bucket_is_public() -> None:
    """Nor does it speak without TLS."""
    (statement,) = resource("BucketPolicy")["PolicyDocument"]["Statement"]

    assert set(resource("Bucket")["PublicAccessBlockConfiguration"].values()) == {True}
    assert (statement["Effect"], statement["Condition"]) == ("Deny", {"Bool": {"aws:SecureTransport": "false"}})


def queues_that_feed_functions() -> dict[str, str]:
    """Return the function of each queue."""
    fed = {}
    for name, function in of_type("AWS::Serverless::Function").items():
        for event in function.get("Events", {}).values():
            if event["Type"] == "SQS":
                fed[event["Properties"]["Queue"]["Fn::GetAtt"].removesuffix(".Arn")] = name
    return fed


def test_queues_hide_messages_six_times_as_long_as_their_function_may_run() -> None:
    """AWS's advice; and a message that always fails still reaches the dead letters before it is dropped."""
    fed = queues_that_feed_functions()

    assert set(fed) == {"HintQueue", "CallQueue", "InboundQueue"}
    for name, function in fed.items():
        queue = resource(name)
        assert queue["VisibilityTimeout"] >= 6 * resource(function)["Timeout"]
        assert queue["MessageRetentionPeriod"] > queue["RedrivePolicy"]["maxReceiveCount"] * queue["VisibilityTimeout"]


def test_a_call_is_not_dead_before_a_day_of_trouble_is_over() -> None:
    """A hint is given again by the sweep, and mail that came in lies in the bucket; a first call is in its queue."""
    tries = {name: resource(name)["RedrivePolicy"]["maxReceiveCount"] for name in queues_that_feed_functions()}

    assert tries == {"HintQueue": 5, "CallQueue": 50, "InboundQueue": 5}
    assert tries["CallQueue"] * resource("CallQueue")["VisibilityTimeout"] > timedelta(days=1).total_seconds()


def test_the_stream_is_read_again_for_as_long_as_its_records_may_be_old() -> None:
    """Not a number of tries, which is over in minutes: half a day, of the day that DynamoDB keeps records."""
    source = resource("WebhookStreamSource")

    assert source["MaximumRetryAttempts"] == -1
    assert timedelta(hours=6) <= timedelta(seconds=source["MaximumRecordAgeInSeconds"]) < timedelta(hours=24)


def test_the_poster_writes_no_settings_but_accounts() -> None:
    """It speaks to strangers: no key, domain or hold rule can be made with its role."""
    role = permissions("WebhookCallsRole")
    writes = {action for action, place in role.allowed if place.startswith("SettingsTable#")}

    assert writes == {"dynamodb:PutItem"}
    assert role.allow("dynamodb:PutItem", f"SettingsTable#{AccountItem.KIND}")
    assert not role.allow("dynamodb:PutItem", "SettingsTable#KEY")
    assert not [
        action
        for action, place in role.allowed
        if place == "SettingsTable" and action not in ("dynamodb:GetItem", "dynamodb:BatchGetItem", "dynamodb:Query")
    ]


def test_a_batch_of_calls_fits_into_its_function() -> None:
    """Ten calls of one account, one after the other, 30 s each."""
    function = resource("WebhookCallsFunction")

    assert function["Timeout"] > 30 * function["Events"]["Calls"]["Properties"]["BatchSize"]


def test_a_mail_that_ends_its_function_takes_no_other_with_it() -> None:
    """What strangers write may be slow to read, or large; others of its batch would end among the dead letters too."""
    assert resource("DsnIngestFunction")["Events"]["Inbound"]["Properties"]["BatchSize"] == 1


def test_every_function_fits_into_512_mb_and_has_a_role_of_its_own() -> None:
    """The role that carries its name."""
    functions = of_type("AWS::Serverless::Function")
    memory = template()["Globals"]["Function"]["MemorySize"]

    assert {name: each["Role"]["Fn::GetAtt"] for name, each in functions.items()} == {
        name: f"{role}.Arn" for name, role in FUNCTIONS.items()
    }
    assert max(each.get("MemorySize", memory) for each in functions.values()) <= MAX_MEMORY_MB


def test_only_the_stream_of_news_and_removals_invokes_the_webhook_function() -> None:
    """A poison record stands alone after some halvings, and its data is kept."""
    source = resource("WebhookStreamSource")
    patterns = [json.loads(each["Pattern"]) for each in source["FilterCriteria"]["Filters"]]

    assert [(pattern.get("eventName"), pattern["dynamodb"]["Keys"]) for pattern in patterns] == [
        (None, {"sk": {"S": [{"prefix": "D#"}]}}),
        (["REMOVE"], {"sk": {"S": [{"prefix": "D#"}]}}),
        (["INSERT"], {"sk": {"S": [{"prefix": "X#"}]}}),
        (["REMOVE"], {"sk": {"S": [{"prefix": "X#"}]}}),
    ]
    assert source["BisectBatchOnFunctionError"] is True
    assert source["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert source["DestinationConfig"] == {"OnFailure": {"Destination": {"Fn::GetAtt": "Bucket.Arn"}}}


def test_deliver_can_call_nothing_that_its_subnets_do_not_reach() -> None:
    """Of SQS it has what Lambda's poller needs in its name; nothing of SSM, Secrets Manager or KMS."""
    role = permissions("DeliverRole")

    assert role.actions("sqs") == {"sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"}
    assert {action.partition(":")[0] for action, _ in role.allowed} == {"logs", "dynamodb", "s3", "sqs", "ec2"}


def test_there_is_no_nat_gateway() -> None:
    """It would cost more than everything else; the private subnets have gateway endpoints."""
    assert of_type("AWS::EC2::NatGateway") == {}
    assert all({"Ref": "PrivateRoutes"} in each["RouteTableIds"] for each in of_type("AWS::EC2::VPCEndpoint").values())
    assert not [
        each for each in of_type("AWS::EC2::Route").values() if each["RouteTableId"] == {"Ref": "PrivateRoutes"}
    ]


@pytest.mark.parametrize("role", [*FUNCTIONS.values(), "EgressTaskRole", "EgressExecutionRole", "InstanceRole"])
def test_no_role_names_a_whole_service(role: str) -> None:
    """Every action is written out; a wildcard resource only where the lint knows a reason."""
    allowed = permissions(role).allowed

    assert [action for action, _ in allowed if "*" in action] == []
    assert {action.partition(":")[0] for action, place in allowed if place == "*"} <= {"ec2", "ecr", "ecs"}


def test_the_egress_opens_passwords_of_smarthosts_and_no_dkim_key() -> None:
    """It faces the internet: whoever breaks into it must not be able to sign in the name of a domain."""
    role = permissions("EgressTaskRole")

    assert role.allow("kms:Decrypt", "DkimKey#transport:relay")
    assert not role.allow("kms:Decrypt", "DkimKey#example.com")
    assert role.actions("kms") == {"kms:Decrypt"}


@pytest.mark.parametrize("role", ["SendRole", "SubmitRole", "ReportsRole"])
def test_who_signs_opens_dkim_keys_and_no_password_of_a_smarthost(role: str) -> None:
    """One key of KMS wraps both; the context says which."""
    assert permissions(role).allow("kms:Decrypt", "DkimKey#example.com")
    assert not permissions(role).allow("kms:Decrypt", "DkimKey#" + Transport("relay", Fail()).context)


def test_reports_are_sent_when_the_sessions_of_the_day_are_written() -> None:
    """The egress keeps successes for some minutes; a report is made once."""
    (event,) = resource("ReportsFunction")["Events"].values()
    found = re.fullmatch(r"cron\((\d+) \* \* \* \? \*\)", event["Properties"]["ScheduleExpression"])
    assert found is not None

    assert timedelta(minutes=int(found[1])) >= SUCCESS_WAITS + timedelta(minutes=5)


def test_secrets_never_reach_a_function_that_has_no_use_for_them() -> None:
    """Send and submit mint, ingest reads whose mail came back, deliver hands over; egress recognises both by ECS."""
    given = {(function, name) for function in FUNCTIONS for name in variables(function) if name.endswith("SECRET")}

    assert given == {
        ("SendFunction", "EGRET_SECRET"),
        ("SendFunction", "EGRET_FROMID_SECRET"),
        ("SubmitFunction", "EGRET_SECRET"),
        ("SubmitFunction", "EGRET_FROMID_SECRET"),
        ("DeliverFunction", "EGRET_HANDOFF_SECRET"),
        ("ReportsFunction", "EGRET_FROMID_SECRET"),
        ("DsnIngestFunction", "EGRET_SECRET"),
        ("DsnIngestFunction", "EGRET_FROMID_SECRET"),
    }
    assert {name for name in container_variables() if name.endswith("SECRET")} == {
        "EGRET_FROMID_SECRET",
        "EGRET_HANDOFF_SECRET",
    }
    assert not permissions("EgressExecutionRole").allow("secretsmanager:GetSecretValue", "Secret")


def test_the_egress_sees_of_the_tables_what_it_works_with() -> None:
    """It faces the internet: no API keys are listed with its role, no delivery removed, no settings are written."""
    role = permissions("EgressTaskRole")
    tables = {(action, place) for action, place in role.allowed if action.startswith("dynamodb:")}

    assert [place for _, place in tables if "#" not in place] == []
    assert {action for action, place in tables if place.startswith("SettingsTable")} == {
        "dynamodb:GetItem",
        "dynamodb:Query",
    }
    assert role.allow("dynamodb:GetItem", "SettingsTable#KEY")
    assert not role.allow("dynamodb:Query", "SettingsTable#KEY")
    assert role.allow("dynamodb:PutItem", "MailTable#A#abcdefgh#3")
    assert not role.allow("dynamodb:DeleteItem", "MailTable#A#abcdefgh#3")
    assert not role.allow("dynamodb:BatchWriteItem", "MailTable#A#abcdefgh#3")
    assert not role.allow("dynamodb:GetItem", "MailTable#A#abcdefgh")
    assert role.allow("dynamodb:GetItem", "MailTable#" + fromid_partition("abcdefgh"))


def test_the_egress_calls_the_submission_function_and_stages_for_it() -> None:
    """And reads back nothing of it; the function removes what it has read."""
    egress, submit = permissions("EgressTaskRole"), permissions("SubmitRole")

    assert [place for action, place in egress.allowed if action == "lambda:InvokeFunction"] == ["SubmitFunction"]
    assert egress.allow("s3:PutObject", f"Bucket/{STAGING}x")
    assert not egress.allow("s3:GetObject", f"Bucket/{STAGING}x")
    assert submit.allow("s3:GetObject", f"Bucket/{STAGING}x")
    assert submit.allow("s3:DeleteObject", f"Bucket/{STAGING}x")


def test_submission_can_be_switched_off() -> None:
    """Ports, function and listeners go together."""
    of_submission = {name for name, each in template()["Resources"].items() if each.get("Condition") == "HasSubmission"}

    assert of_submission == {
        *("SubmitFunction", "SubmitLogs", "SubmitRole", "SubmitFunctionAlarm", "SubmissionIn", "SubmissionsIn")
    }
    assert [resource(name)["FromPort"] for name in ("SubmissionIn", "SubmissionsIn")] == [587, 465]


def test_the_instance_takes_the_address_and_the_journal_to_itself_only() -> None:
    """Its role names both, and the instance and its interface by a tag that the launch template gives them."""
    launched = resource("LaunchTemplate")["LaunchTemplateData"]
    tags = {
        each["ResourceType"]: {tag["Key"]: tag["Value"] for tag in each["Tags"]}
        for each in launched["TagSpecifications"]
    }
    places = {
        (action, place.partition("AWS::AccountId:")[2])
        for action, place in permissions("InstanceRole").allowed
        if action.startswith("ec2:")
    }

    ours = {"Ref": "AWS::StackName"}
    assert {kind: of["egret:egress"] for kind, of in tags.items()} == {"instance": ours, "network-interface": ours}
    assert places == {
        ("ec2:AssociateAddress", "elastic-ip/ElasticIp.AllocationId"),
        ("ec2:AssociateAddress", "instance/*#AWS::StackName"),
        ("ec2:AssociateAddress", "network-interface/*#AWS::StackName"),
        ("ec2:AttachVolume", "volume/JournalVolume"),
        ("ec2:AttachVolume", "instance/*#AWS::StackName"),
    }


def test_the_egress_reaches_mail_servers_dns_and_aws() -> None:
    """By port: whatever is made of the container, it speaks to no database or SSH of somebody else."""
    rules = resource("EgressSecurityGroup")["SecurityGroupEgress"]
    ports = {(each["IpProtocol"], str(each["FromPort"])) for each in rules if each["FromPort"] == each["ToPort"]}

    assert len(ports) == len(rules)
    assert ports == {
        *(("tcp", port) for port in ("25", "53", "443", "465", "587", "{'Ref': 'SmarthostPort'}")),
        ("udp", "53"),
    }
    assert template()["Parameters"]["SmarthostPort"]["Default"] == 2525


def test_the_container_cannot_take_the_role_of_its_instance() -> None:
    """In the host's network no hop limit stops it: its user, whatever the image is, cannot reach the metadata.

    The rules are there before the agent is told its cluster, and again after each reboot before it starts.
    """
    launched = resource("LaunchTemplate")["LaunchTemplateData"]
    user_data = launched["UserData"]["Fn::Base64"]["Fn::Sub"]
    rule = r"^ExecStart=-?/usr/sbin/(\w+) -w -I OUTPUT -d (\S+) -m owner --uid-owner (\d+) -j DROP$"
    rules = re.findall(rule, user_data, re.MULTILINE)
    user = container()["User"]

    assert f"--uid {user}" in (ROOT / "egress/Dockerfile").read_text()
    assert rules == [("iptables", "169.254.169.254", user), ("ip6tables", "fd00:ec2::254", user)]
    assert (launched["MetadataOptions"]["HttpTokens"], launched["MetadataOptions"]["HttpProtocolIpv6"]) == (
        "required",
        "disabled",
    )
    assert "Before=ecs.service" in user_data
    assert "RequiredBy=ecs.service" in user_data
    assert user_data.index("enable --now egret-metadata.service") < user_data.index("ECS_CLUSTER=")
    assert container()["LinuxParameters"]["Capabilities"] == {"Drop": ["ALL"]}


def test_what_cannot_be_made_again_outlives_the_stack() -> None:
    """The address has the reputation, the secret the fromids, the key the DKIM keys, the volume what was being sent."""
    kept = {name for name, each in template()["Resources"].items() if each.get("DeletionPolicy") == "Retain"}

    assert kept == {
        *("MailTable", "SettingsTable", "Bucket", "DkimKey", "Secret", "FromidSecret", "ElasticIp", "JournalVolume"),
    }


def container() -> dict[str, Any]:
    """Return the egress container."""
    (found,) = resource("EgressTask")["ContainerDefinitions"]
    assert isinstance(found, dict)
    return found


def test_a_deploy_stops_the_old_egress_before_it_starts_the_new() -> None:
    """Both want the same ports, and the old one has 120 s to drain."""
    deployment = resource("EgressService")["DeploymentConfiguration"]

    assert (deployment["MinimumHealthyPercent"], deployment["MaximumPercent"]) == (0, 100)
    assert container()["StopTimeout"] == 120
    assert container()["ReadonlyRootFilesystem"] is True


def test_the_journal_of_the_image_is_where_the_volume_is_mounted() -> None:
    """And it belongs to the user of the image."""
    (mount,) = container()["MountPoints"]
    user_data = resource("LaunchTemplate")["LaunchTemplateData"]["UserData"]["Fn::Base64"]["Fn::Sub"]
    (volume,) = resource("EgressTask")["Volumes"]
    uid = re.search(r"--uid (\d+)", (ROOT / "egress/Dockerfile").read_text())

    assert mount["ContainerPath"] == container_variables()["EGRET_JOURNAL_DIR"]
    assert uid is not None
    assert f"-o {uid[1]} {volume['Host']['SourcePath']}" in user_data


def test_the_image_brings_its_validating_resolver() -> None:
    """Engine, entrypoint and unbound agree on where it is; it listens on loopback only."""
    address = "127.0.0.1:5335"
    config = (ROOT / "egress/unbound.conf").read_text()

    assert f"EGRET_RESOLVER={address} EGRET_RESOLVER_VALIDATES=1" in (ROOT / "egress/Dockerfile").read_text()
    assert f"= {address} ]" in (ROOT / "egress/entrypoint.sh").read_text()
    assert re.findall(r"^\s+interface: (\S+)$", config, re.MULTILINE) == [address.replace(":", "@")]


def test_makefiles_have_a_target_for_each_resource_that_sam_builds() -> None:
    """`sam build` calls build-<logical id> in the folder of the code."""
    built = {**of_type("AWS::Serverless::Function"), **of_type("AWS::Serverless::LayerVersion")}
    for name, each in built.items():
        makefile = (ROOT / (each.get("CodeUri") or each["ContentUri"]) / "Makefile").read_text()
        assert re.search(rf"^[^#\n]*\bbuild-{name}\b.*:", makefile, re.MULTILINE), name


def test_the_alarms_on_our_own_metrics_look_at_what_the_sweep_counts() -> None:
    """Same namespace, names and dimension; no heartbeat is an alarm, too."""
    watched = [each for each in of_type("AWS::CloudWatch::Alarm").values() if "Egret" in str(each.get("Namespace"))]

    missing = {each["MetricName"]: each["TreatMissingData"] for each in watched}
    assert missing == {UNITS_ALIVE: "breaching", UNITS_USABLE: "breaching", QUEUE_OLDEST: "notBreaching"}
    for each in watched:
        assert each["Namespace"] == variables("SweepFunction")["POWERTOOLS_METRICS_NAMESPACE"]
        assert each["Dimensions"] == [{"Name": "service", "Value": "sweep"}]


def test_the_queue_is_old_only_when_no_attempt_can_take_so_long() -> None:
    """What is under way stays due until it is recorded."""
    grace_s = template()["Parameters"]["HintGraceSeconds"]["Default"]

    assert Timeouts().attempt + grace_s < resource("QueueAgeAlarm")["Threshold"]


def test_every_function_that_counts_has_the_namespace() -> None:
    """The one of the image builds only while a stack is made."""
    named = {name for name in of_type("AWS::Serverless::Function") if "POWERTOOLS_METRICS_NAMESPACE" in variables(name)}

    assert named == {*of_type("AWS::Serverless::Function")} - {"BuildImageFunction"}


def test_the_page_on_deploying_lists_what_is_left_when_the_stack_is_gone() -> None:
    """Whoever removes an installation pays for it until it is removed by hand."""
    chapter = (ROOT / "docs" / "deploying.md").read_text().partition("\n## Remove it\n")[2]
    named = {
        name for row in re.findall(r"^\| (`[^|]*) \|", chapter, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)
    }

    assert named == {name for name, each in template()["Resources"].items() if each.get("DeletionPolicy") == "Retain"}


def test_the_pages_count_what_costs() -> None:
    """An alarm costs by the metrics that it looks at."""
    alarms = of_type("AWS::CloudWatch::Alarm").values()
    metrics = sum(
        len([each for each in alarm.get("Metrics", [{"MetricStat": {}}]) if "MetricStat" in each]) for alarm in alarms
    )
    secrets = len(of_type("AWS::SecretsManager::Secret"))
    page = (ROOT / "docs" / "cost.md").read_text()

    assert (f"alarms ({metrics} metrics)" in page, f"secrets ({secrets})" in page) == (True, True)


def test_the_entrypoint_makes_a_file_of_the_certificate(tmp_path: Path) -> None:
    """For its owner alone; the unit does not have it in its environment any more."""
    script = (ROOT / "egress" / "entrypoint.sh").read_text()
    begin, end = script.index('if [ -z "${1:-}" ] && [ -n "${EGRET_TLS_PEM'), script.index("# The resolver of")
    part = script[begin:end].replace("/tmp/", f"{tmp_path}/")
    told = subprocess.run(
        ["sh", "-euc", part + 'echo "$EGRET_TLS_CERT ${EGRET_TLS_PEM-gone}"'],
        env={"EGRET_TLS_PEM": "a key\na certificate"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    path = tmp_path / "tls.pem"

    assert told == f"{path} gone\n"
    assert path.read_text() == "a key\na certificate\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    subprocess.run(["sh", "-euc", part], env={}, check=True)


def test_the_entrypoint_can_be_run() -> None:
    """The Dockerfile copies it with its mode."""
    assert (ROOT / "egress" / "entrypoint.sh").stat().st_mode & 0o111 == 0o111


def test_a_call_that_hangs_is_given_up_before_its_function_is() -> None:
    """An AWS service that does not answer is a 503 of ours, with Retry-After, not the end of the function."""
    shortest_s = min(resource(name)["Timeout"] for name in of_type("AWS::Serverless::Function"))
    pauses_s = sum(min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2**attempt) for attempt in range(1, ATTEMPTS))

    assert ATTEMPTS * (CONNECT_TIMEOUT_S + READ_TIMEOUT_S) + pauses_s < 20 < shortest_s
    clients = Clients(Target("eu-west-1", access_key_id="AKID", secret_access_key="secret"))
    made: list[Any] = [clients.s3, clients.kms, clients.dynamodb]
    for config in (each.meta.config for each in made):
        attempts = config.retries["total_max_attempts"]
        pauses_s = sum(2**attempt for attempt in range(attempts - 1))  # botocore's standard mode, at the longest
        assert attempts * (config.connect_timeout + config.read_timeout) + pauses_s < shortest_s - 2
