"""Somebody hears of failures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cfnlint.rules import CloudFormationLintRule, RuleMatch

from lint.rules._resources import Stack, references, stack_of

if TYPE_CHECKING:
    from cfnlint.template import Template


class Alarm(CloudFormationLintRule):
    """A function that fails and a dead letter that waits must ring, and an alarm must tell somebody."""

    id = "E9103"
    shortdesc = "Every function and every dead-letter queue has an alarm"
    description = "Functions need an alarm on their metrics, dead-letter queues one on their depth, alarms an action"
    tags = ["egret"]  # noqa: RUF012 - as cfn-lint declares it

    def match(self, cfn: Template) -> list[RuleMatch]:
        """Find functions and dead-letter queues that no alarm watches, and alarms without AlarmActions."""
        stack = stack_of(cfn)
        alarms = stack.properties("AWS::CloudWatch::Alarm")
        watched = references([[alarm.get("Dimensions"), alarm.get("Metrics")] for alarm in alarms.values()])
        must_be_watched = [*stack.properties("AWS::Lambda::Function"), *sorted(_dead_letter_queues(stack))]
        return [
            RuleMatch(stack.path_to(name), f"{name} has no AWS::CloudWatch::Alarm")
            for name in must_be_watched
            if name not in watched
        ] + [
            RuleMatch(stack.path_to(name), f"{name} has no AlarmActions: nobody hears it")
            for name, alarm in alarms.items()
            if not alarm.get("AlarmActions")
        ]


def _dead_letter_queues(stack: Stack) -> set[str]:
    queues = stack.properties("AWS::SQS::Queue")
    named = {queue for each in stack.resources.values() for queue in references(_failure_targets(each))}
    return named & queues.keys()


def _failure_targets(value: Any) -> list[Any]:
    """The values of every RedrivePolicy, DeadLetterConfig and OnFailure inside a resource."""
    if isinstance(value, list):
        return [target for inner in value for target in _failure_targets(inner)]
    if not isinstance(value, dict):
        return []
    found = [value[key] for key in ("RedrivePolicy", "DeadLetterConfig", "OnFailure") if key in value]
    return found + [target for inner in value.values() for target in _failure_targets(inner)]
