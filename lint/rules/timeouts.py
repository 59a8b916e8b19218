"""A function is done with its messages before SQS gives them to the next one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cfnlint.rules import CloudFormationLintRule, RuleMatch

from lint.rules._resources import references, stack_of

if TYPE_CHECKING:
    from cfnlint.template import Template

DEFAULT_VISIBILITY_S = 30  # of SQS
DEFAULT_TIMEOUT_S = 3  # of Lambda
ADVISED_FACTOR = 6  # AWS's advice for queues that feed Lambda: room for its own retries of a throttled poll


class TimeoutBelowVisibility(CloudFormationLintRule):
    """Otherwise a slow run is not over when its messages become visible, and they are worked on twice at once."""

    id = "E9104"
    shortdesc = "A function's timeout is below the visibility timeout of the queue that feeds it"
    description = "VisibilityTimeout of a source queue must exceed the function's Timeout; six times as long is advised"
    tags = ["egret"]  # noqa: RUF012 - as cfn-lint declares it

    def match(self, cfn: Template) -> list[RuleMatch]:
        """Find queues that hide a message for less time than their function may run."""
        stack = stack_of(cfn)
        queues, functions = stack.properties("AWS::SQS::Queue"), stack.properties("AWS::Lambda::Function")
        matches = []
        for mapping in stack.properties("AWS::Lambda::EventSourceMapping").values():
            for queue in references(mapping.get("EventSourceArn")) & queues.keys():
                for function in references(mapping.get("FunctionName")) & functions.keys():
                    visibility_s = stack.seconds(queues[queue].get("VisibilityTimeout", DEFAULT_VISIBILITY_S))
                    timeout_s = stack.seconds(functions[function].get("Timeout", DEFAULT_TIMEOUT_S))
                    if visibility_s is not None and timeout_s is not None and visibility_s <= timeout_s:
                        matches.append(
                            RuleMatch(stack.path_to(queue), _sentence(queue, visibility_s, function, timeout_s))
                        )
        return matches


def _sentence(queue: str, visibility_s: int, function: str, timeout_s: int) -> str:
    return (
        f"{queue} hides a message for {visibility_s} s, {function} may run {timeout_s} s: "
        f"{ADVISED_FACTOR * timeout_s} s is advised"
    )
