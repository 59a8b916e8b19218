"""Every function has a log group of its own in the template, and every log group forgets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cfnlint.rules import CloudFormationLintRule, RuleMatch

from lint.rules._resources import references, stack_of

if TYPE_CHECKING:
    from cfnlint.template import Template


class LogGroupWithRetention(CloudFormationLintRule):
    """Without one, Lambda makes a log group that keeps everything, outlives the stack, and costs for ever."""

    id = "E9101"
    shortdesc = "Every function has a log group with retention"
    description = "A function without LogGroup logs into one that Lambda makes, which keeps everything for ever"
    tags = ["egret"]  # noqa: RUF012 - as cfn-lint declares it

    def match(self, cfn: Template) -> list[RuleMatch]:
        """Find functions without a log group, and log groups without RetentionInDays."""
        stack = stack_of(cfn)
        groups = stack.properties("AWS::Logs::LogGroup")
        matches = [
            RuleMatch(stack.path_to(name), f"{name} has no RetentionInDays")
            for name, group in groups.items()
            if not group.get("RetentionInDays")
        ]
        for name, function in stack.properties("AWS::Lambda::Function").items():
            if not _logs_to(function) & groups.keys() and not _is_named_for(name, groups):
                matches.append(RuleMatch(stack.path_to(name), f"{name} has no AWS::Logs::LogGroup in the template"))
        return matches


def _logs_to(function: dict[str, Any]) -> set[str]:
    return references((function.get("LoggingConfig") or {}).get("LogGroup"))


def _is_named_for(function: str, groups: dict[str, dict[str, Any]]) -> bool:
    return any(function in references(group.get("LogGroupName")) for group in groups.values())
