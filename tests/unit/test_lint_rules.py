"""Each of our own template rules fires on what it is against, and is silent on its remedy."""

from __future__ import annotations

import textwrap

import pytest
from cfnlint.api import lint
from cfnlint.rules import CloudFormationLintRule, RulesCollection

from lint.rules.alarms import Alarm
from lint.rules.failure_destinations import FailureDestination
from lint.rules.log_groups import LogGroupWithRetention
from lint.rules.permissions import WildcardAction, WildcardResource
from lint.rules.timeouts import TimeoutBelowVisibility

FUNCTION = """
Send:
  Type: AWS::Lambda::Function
  Properties: {Handler: h.h, Runtime: python3.13, Role: r, Timeout: 30, Code: {ZipFile: x}}
"""
SERVERLESS = """
Send:
  Type: AWS::Serverless::Function
  Properties:
    Handler: h.h
    Runtime: python3.13
    InlineCode: x
    Policies:
      - Version: "2012-10-17"
        Statement: [{Effect: Allow, Action: "dynamodb:*", Resource: "*"}]
    Events:
      Tick: {Type: ScheduleV2, Properties: {ScheduleExpression: rate(1 minute)}}
"""
QUEUES = """
Hints:
  Type: AWS::SQS::Queue
  Properties:
    VisibilityTimeout: 180
    RedrivePolicy: {deadLetterTargetArn: !GetAtt Dead.Arn, maxReceiveCount: 5}
Dead:
  Type: AWS::SQS::Queue
"""
MAPPING = """
Feed:
  Type: AWS::Lambda::EventSourceMapping
  Properties: {FunctionName: !Ref Send, EventSourceArn: !GetAtt Hints.Arn}
"""
STREAM = """
Feed:
  Type: AWS::Lambda::EventSourceMapping
  Properties:
    FunctionName: !Ref Send
    EventSourceArn: !GetAtt Table.StreamArn
    StartingPosition: LATEST
"""
SCHEDULE = """
Tick:
  Type: AWS::Scheduler::Schedule
  Properties:
    ScheduleExpression: rate(1 minute)
    FlexibleTimeWindow: {Mode: "OFF"}
    Target:
      Arn: !GetAtt Send.Arn
      RoleArn: r
"""
TICK_DEAD_LETTER = "      DeadLetterConfig: {Arn: !GetAtt Dead.Arn}\n"
ON_FAILURE = """
Invoke:
  Type: AWS::Lambda::EventInvokeConfig
  Properties:
    FunctionName: !Ref Send
    Qualifier: $LATEST
    DestinationConfig: {OnFailure: {Destination: !GetAtt Dead.Arn}}
"""
BUCKET = """
Inbound:
  Type: AWS::S3::Bucket
  Properties:
    NotificationConfiguration:
      LambdaConfigurations: [{Event: "s3:ObjectCreated:*", Function: !GetAtt Send.Arn}]
"""
RULE = """
Changed:
  Type: AWS::Events::Rule
  Properties:
    EventPattern: {source: [aws.ecs]}
    Targets: [{Id: one, Arn: !GetAtt Hints.Arn}]
"""
SUBSCRIPTION = """
Told:
  Type: AWS::SNS::Subscription
  Properties: {Protocol: sqs, TopicArn: t, Endpoint: !GetAtt Hints.Arn}
"""


def _alarm(name: str, dimension: str, extra: str = ", AlarmActions: [arn]") -> str:
    return f"""
{name}:
  Type: AWS::CloudWatch::Alarm
  Properties: {{ComparisonOperator: GreaterThanThreshold, EvaluationPeriods: 1, Dimensions: [{dimension}]{extra}}}
"""


def _log_group(properties: str) -> str:
    return f"\nLogs:\n  Type: AWS::Logs::LogGroup\n  Properties: {{{properties}}}\n"


def _role(statement: str) -> str:
    return f"""
Role:
  Type: AWS::IAM::Role
  Properties:
    AssumeRolePolicyDocument: {{}}
    Policies:
      - PolicyName: p
        PolicyDocument: {{Statement: [{{{statement}}}]}}
"""


def _findings(rule: CloudFormationLintRule, *resources: str) -> list[tuple[str, str]]:
    """What one rule says of a template with these resources: (rule id, sentence) pairs."""
    rules = RulesCollection()
    rules.register(rule)
    body = textwrap.indent("".join(resources), "  ")
    text = f"AWSTemplateFormatVersion: '2010-09-09'\nTransform: AWS::Serverless-2016-10-31\nResources:\n{body}"
    return sorted((found.rule.id, found.message) for found in lint(text, rules, ["eu-west-1"]))


@pytest.mark.parametrize(
    ("rule", "resources", "sentences"),
    [
        (LogGroupWithRetention(), [FUNCTION], ["Send has no AWS::Logs::LogGroup in the template"]),
        (LogGroupWithRetention(), [SERVERLESS], ["Send has no AWS::Logs::LogGroup in the template"]),
        (
            LogGroupWithRetention(),
            [FUNCTION, _log_group('LogGroupName: !Sub "/aws/lambda/${Send}"')],
            ["Logs has no RetentionInDays"],
        ),
        (FailureDestination(), [FUNCTION, STREAM], ["Feed has no DestinationConfig.OnFailure"]),
        (
            FailureDestination(),
            [FUNCTION, MAPPING, "\nHints: {Type: AWS::SQS::Queue}\n"],
            ["Hints is the source of Feed and has no RedrivePolicy"],
        ),
        (
            FailureDestination(),
            [FUNCTION, SCHEDULE],
            [
                "Send is called asynchronously and has neither OnFailure nor DeadLetterConfig",
                "Tick has no Target.DeadLetterConfig",
            ],
        ),
        (
            FailureDestination(),
            [SERVERLESS],
            [
                "Send is called asynchronously and has neither OnFailure nor DeadLetterConfig",
                "SendTick has no Target.DeadLetterConfig",
            ],
        ),
        (
            FailureDestination(),
            [FUNCTION, BUCKET],
            ["Send is called asynchronously and has neither OnFailure nor DeadLetterConfig"],
        ),
        (FailureDestination(), [QUEUES, RULE], ["Changed has a target without DeadLetterConfig"]),
        (FailureDestination(), [QUEUES, SUBSCRIPTION], ["Told has no RedrivePolicy"]),
        (Alarm(), [FUNCTION], ["Send has no AWS::CloudWatch::Alarm"]),
        (Alarm(), [QUEUES], ["Dead has no AWS::CloudWatch::Alarm"]),
        (
            Alarm(),
            [QUEUES, _alarm("Deep", "{Name: QueueName, Value: !GetAtt Dead.QueueName}", "")],
            ["Deep has no AlarmActions: nobody hears it"],
        ),
        (
            TimeoutBelowVisibility(),
            [FUNCTION, MAPPING, QUEUES.replace("180", "30")],
            ["Hints hides a message for 30 s, Send may run 30 s: 180 s is advised"],
        ),
        (
            TimeoutBelowVisibility(),
            [FUNCTION, MAPPING, "\nHints: {Type: AWS::SQS::Queue}\n"],
            ["Hints hides a message for 30 s, Send may run 30 s: 180 s is advised"],
        ),
        (
            WildcardAction(),
            [_role('Effect: Allow, Action: ["s3:GetObject", "s3:Put*"], Resource: arn')],
            ["wildcard action s3:Put*"],
        ),
        (WildcardAction(), [SERVERLESS], ["wildcard action dynamodb:*"]),
        (
            WildcardAction(),
            [_role('Effect: Allow, NotAction: "s3:GetObject", Resource: arn')],
            ["NotAction allows everything else"],
        ),
        (
            WildcardResource(),
            [_role('Effect: Allow, Action: "s3:GetObject", Resource: "*"')],
            ["wildcard resource for s3:GetObject"],
        ),
        (
            WildcardResource(),
            [_role('Effect: Allow, Action: ["sqs:SendMessage"], Resource: [!Sub "arn:aws:sqs:*:*:*"]')],
            ["wildcard resource for sqs:SendMessage"],
        ),
        (
            WildcardResource(),
            [_role('Effect: Allow, Action: ["cloudwatch:PutMetricData", "s3:GetObject"], Resource: "*"')],
            ["wildcard resource for s3:GetObject"],
        ),
        (
            WildcardResource(),
            [_role('Effect: Allow, Action: "s3:GetObject", NotResource: arn')],
            ["wildcard resource for s3:GetObject"],
        ),
    ],
)
def test_a_rule_fires_on_what_it_is_against(
    rule: CloudFormationLintRule, resources: list[str], sentences: list[str]
) -> None:
    """Each finding is reported once, under the rule's id, in a sentence that names the resource."""
    assert _findings(rule, *resources) == [(rule.id, sentence) for sentence in sentences]


@pytest.mark.parametrize(
    ("rule", "resources"),
    [
        (
            LogGroupWithRetention(),
            [FUNCTION, _log_group('LogGroupName: !Sub "/aws/lambda/${Send}", RetentionInDays: 30')],
        ),
        (
            LogGroupWithRetention(),
            [
                FUNCTION.replace("Code:", "LoggingConfig: {LogGroup: !Ref Logs}, Code:"),
                _log_group("RetentionInDays: 30"),
            ],
        ),
        (FailureDestination(), [FUNCTION, MAPPING, QUEUES]),
        (
            FailureDestination(),
            [FUNCTION, STREAM + "    DestinationConfig: {OnFailure: {Destination: !GetAtt Dead.Arn}}\n"],
        ),
        (FailureDestination(), [FUNCTION, QUEUES, SCHEDULE + TICK_DEAD_LETTER, ON_FAILURE]),
        (FailureDestination(), [FUNCTION, QUEUES, BUCKET, ON_FAILURE]),
        (
            FailureDestination(),
            [QUEUES, RULE.replace("Id: one", "Id: one, DeadLetterConfig: {Arn: !GetAtt Dead.Arn}")],
        ),
        (
            FailureDestination(),
            [QUEUES, SUBSCRIPTION.replace("TopicArn: t", "TopicArn: t, RedrivePolicy: {deadLetterTargetArn: d}")],
        ),
        (Alarm(), [FUNCTION, _alarm("Errors", "{Name: FunctionName, Value: !Ref Send}")]),
        (Alarm(), [QUEUES, _alarm("Deep", "{Name: QueueName, Value: !GetAtt Dead.QueueName}")]),
        (TimeoutBelowVisibility(), [FUNCTION, MAPPING, QUEUES]),
        (
            TimeoutBelowVisibility(),
            [FUNCTION.replace("Timeout: 30, ", ""), MAPPING, "\nHints: {Type: AWS::SQS::Queue}\n"],
        ),
        (WildcardAction(), [_role('Effect: Allow, Action: ["s3:GetObject"], Resource: "*"')]),
        (WildcardAction(), [_role('Effect: Deny, Action: "*", Resource: "*"')]),
        (WildcardResource(), [_role('Effect: Allow, Action: "s3:GetObject", Resource: "arn:aws:s3:::bucket/*"')]),
        (WildcardResource(), [_role('Effect: Allow, Action: "ecr:GetAuthorizationToken", Resource: "*"')]),
        (WildcardResource(), [_role('Effect: Deny, Action: "s3:GetObject", Resource: "*"')]),
    ],
)
def test_a_rule_is_silent_on_the_remedy(rule: CloudFormationLintRule, resources: list[str]) -> None:
    """What is right is not reported."""
    assert _findings(rule, *resources) == []


def test_a_timeout_given_by_parameter_counts_with_its_default() -> None:
    """A queue's visibility that is a parameter is checked by the parameter's default."""
    rules = RulesCollection()
    rules.register(TimeoutBelowVisibility())
    body = textwrap.indent(FUNCTION + MAPPING + QUEUES.replace("180", "!Ref Hidden"), "  ")
    text = f"Parameters:\n  Hidden: {{Type: Number, Default: 20}}\nResources:\n{body}"
    assert [found.message for found in lint(text, rules, ["eu-west-1"])] == [
        "Hints hides a message for 20 s, Send may run 30 s: 180 s is advised"
    ]
