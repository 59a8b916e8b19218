"""Local mode reads the template that is deployed, and finds in it what it needs."""

from __future__ import annotations

from pathlib import Path

import pytest

from egret_local.stack import ACCOUNT_ID, EventSource, Names, Stack, read_stack

TEMPLATE = (Path(__file__).parents[2] / "template.yaml").read_text()
NAMES = Names("http://127.0.0.1:1", "eu-west-1", lambda reference: f"secret of {reference}", {"DkimKey": "key-1"})


@pytest.fixture(scope="module")
def stack() -> Stack:
    """The project's own template."""
    return read_stack(TEMPLATE, {"Hostname": "mail.example.com"}, NAMES)


def test_every_function_has_what_invokes_it(stack: Stack) -> None:
    """Queues, the stream, the schedule and the API are found, wherever the template names them."""
    kinds = {
        name: "HttpApi" if function.has_http else function.sources[0].kind
        for name, function in stack.functions.items()
        if function.has_http or function.sources
    }

    assert {"SQS", "DynamoDB", "Schedule", "HttpApi"} == set(kinds.values())
    assert {"send", "deliver", "sweep", "webhook", "dsn_ingest"} <= {
        Path(function.folder).name for function in stack.functions.values()
    }


def test_environments_are_resolved_to_local_names(stack: Stack) -> None:
    """References become the names of the emulator's resources, dynamic references the local secrets."""
    send = next(function for function in stack.functions.values() if function.has_http)

    assert send.environment["EGRET_MAIL_TABLE"] == "egret-mailtable"
    assert f"http://127.0.0.1:1/{ACCOUNT_ID}/egret-hintqueue" == send.environment["EGRET_HINT_QUEUE_URL"]
    assert send.environment["EGRET_KMS_KEY_ID"] == "key-1"
    assert send.environment["EGRET_SECRET"].startswith("secret of ")
    assert not [value for value in send.environment.values() if "{{" in value]


def test_the_bucket_notifies_the_inbound_queue(stack: Stack) -> None:
    """Incoming mail finds its way by the template's notification."""
    (bucket,) = stack.buckets.values()
    (configuration,) = bucket["NotificationConfiguration"]["QueueConfigurations"]

    assert configuration["Queue"].endswith(":egret-inboundqueue")


INTRINSICS = """
Parameters:
  Name: {Default: ""}
Mappings:
  Sizes: {small: {memory: 128}}
Conditions:
  Named: !Not [!Equals [!Ref Name, ""]]
  Both: !And [!Condition Named, !Equals ["a", "a"]]
Resources:
  Jobs:
    Type: AWS::SQS::Queue
    Properties:
      DelaySeconds: !If [Named, 1, !Ref AWS::NoValue]
      VisibilityTimeout: !FindInMap [Sizes, small, memory]
      A: !Sub "${Name}-${AWS::Region}-${Jobs.Arn}-${Extra}"
      B: !Sub ["${X}!", {X: !Join ["+", [a, !Ref Name]]}]
      C: !Select [1, !Split [",", "a,b"]]
      D: [!Ref AWS::NoValue, 1]
  Spare:
    Type: AWS::SQS::Queue
    Condition: Both
    Properties: {}
  Extra:
    Type: AWS::S3::Bucket
  Work:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: functions/work
      Handler: handler.run
      Timeout: 7
      Events:
        Queue: {Type: SQS, Properties: {Queue: !GetAtt Jobs.Arn, BatchSize: 3}}
"""


def test_intrinsic_functions_are_resolved() -> None:
    """Each function that the template may use gives what CloudFormation gives."""
    named = read_stack(INTRINSICS, {"Name": "n"}, NAMES)
    jobs = named.queues["Jobs"]

    assert {"Jobs", "Spare"} == set(named.queues)
    assert {
        "DelaySeconds": 1,
        "VisibilityTimeout": 128,
        "A": f"n-eu-west-1-arn:aws:sqs:eu-west-1:{ACCOUNT_ID}:egret-jobs-egret-extra",
        "B": "a+n!",
        "C": "b",
        "D": [1],
    } == jobs


def test_no_value_and_conditions_drop_things() -> None:
    """A property without value and a resource whose condition fails are not there."""
    plain = read_stack(INTRINSICS, {}, NAMES)

    assert {"Jobs"} == set(plain.queues)
    assert "DelaySeconds" not in plain.queues["Jobs"]


def test_a_function_is_read_with_its_source() -> None:
    """Folder, entry, timeout and batch size are the template's."""
    work = read_stack(INTRINSICS, {}, NAMES).functions["Work"]

    assert (work.folder, work.entry, work.timeout_s) == ("functions/work", "run", 7)
    assert (EventSource("SQS", "Jobs", 3),) == work.sources
