"""What cannot be processed is put somewhere."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from cfnlint.rules import CloudFormationLintRule, RuleMatch

from lint.rules._resources import Path, Stack, references, stack_of

if TYPE_CHECKING:
    from cfnlint.template import Template

Finding = tuple[Path, str]


class FailureDestination(CloudFormationLintRule):
    """An event that failed for good must not vanish: queue, stream, schedule and asynchronous call alike."""

    id = "E9102"
    shortdesc = "Every source of events has a failure destination"
    description = (
        "Event source mappings, schedules, rules, subscriptions and asynchronous calls need a DLQ or OnFailure"
    )
    tags = ["egret"]  # noqa: RUF012 - as cfn-lint declares it

    def match(self, cfn: Template) -> list[RuleMatch]:
        """Find sources of events whose failures go nowhere."""
        stack = stack_of(cfn)
        findings = [
            *_mappings(stack),
            *_schedules(stack),
            *_rules(stack),
            *_subscriptions(stack),
            *_asynchronous(stack),
        ]
        return [RuleMatch(path, sentence) for path, sentence in findings]


def _mappings(stack: Stack) -> Iterator[Finding]:
    """A queue keeps its own failures; a stream's mapping names where they go."""
    queues = stack.properties("AWS::SQS::Queue")
    for name, mapping in stack.properties("AWS::Lambda::EventSourceMapping").items():
        sources = references(mapping.get("EventSourceArn")) & queues.keys()
        for queue in sources:
            if not queues[queue].get("RedrivePolicy"):
                yield stack.path_to(queue), f"{queue} is the source of {name} and has no RedrivePolicy"
        if not sources and not _on_failure(mapping):
            yield stack.path_to(name), f"{name} has no DestinationConfig.OnFailure"


def _schedules(stack: Stack) -> Iterator[Finding]:
    for name, schedule in stack.properties("AWS::Scheduler::Schedule").items():
        if not (schedule.get("Target") or {}).get("DeadLetterConfig"):
            yield stack.path_to(name), f"{name} has no Target.DeadLetterConfig"


def _rules(stack: Stack) -> Iterator[Finding]:
    for name, rule in stack.properties("AWS::Events::Rule").items():
        for number, target in enumerate(rule.get("Targets") or []):
            if not target.get("DeadLetterConfig"):
                yield (
                    stack.path_to(name, "Properties", "Targets", number),
                    f"{name} has a target without DeadLetterConfig",
                )


def _subscriptions(stack: Stack) -> Iterator[Finding]:
    for name, subscription in stack.properties("AWS::SNS::Subscription").items():
        if subscription.get("Protocol") in ("sqs", "lambda", "firehose") and not subscription.get("RedrivePolicy"):
            yield stack.path_to(name), f"{name} has no RedrivePolicy"


def _asynchronous(stack: Stack) -> Iterator[Finding]:
    """Lambda drops an asynchronous event after its retries, unless the function says where to put it."""
    covered = {
        function
        for config in stack.properties("AWS::Lambda::EventInvokeConfig").values()
        if _on_failure(config)
        for function in references(config.get("FunctionName"))
    }
    callers = _asynchronous_callers(stack)
    for name, function in stack.properties("AWS::Lambda::Function").items():
        if name in callers and name not in covered and not function.get("DeadLetterConfig"):
            yield stack.path_to(name), f"{name} is called asynchronously and has neither OnFailure nor DeadLetterConfig"


def _asynchronous_callers(stack: Stack) -> set[str]:
    """What schedules, rules, subscriptions and bucket notifications point at."""
    targets: list[Any] = [schedule.get("Target") for schedule in stack.properties("AWS::Scheduler::Schedule").values()]
    targets += [rule.get("Targets") for rule in stack.properties("AWS::Events::Rule").values()]
    targets += [each.get("Endpoint") for each in stack.properties("AWS::SNS::Subscription").values()]
    for bucket in stack.properties("AWS::S3::Bucket").values():
        targets.append((bucket.get("NotificationConfiguration") or {}).get("LambdaConfigurations"))
    return references(targets)


def _on_failure(holder: dict[str, Any]) -> bool:
    on_failure = (holder.get("DestinationConfig") or {}).get("OnFailure") or {}
    return bool(on_failure.get("Destination"))
