"""Least privilege: no wildcard action, and a wildcard resource only where AWS knows no other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from cfnlint.rules import CloudFormationLintRule, RuleMatch

from lint.rules._resources import Path, Stack, as_list, stack_of

if TYPE_CHECKING:
    from cfnlint.template import Template

WILDCARD_RESOURCES = {
    "cloudwatch:PutMetricData": "metrics have no ARN",
    "ec2:AssignPrivateIpAddresses": "as ec2:CreateNetworkInterface",
    "ec2:CreateNetworkInterface": "Lambda makes its network interfaces itself: their ids are not known here",
    "ec2:DeleteNetworkInterface": "as above",
    "ec2:DescribeAddresses": "EC2 describes without resource-level permissions",
    "ec2:DescribeInstances": "as above",
    "ec2:DescribeNetworkInterfaces": "as above",
    "ec2:DescribeSubnets": "as above",
    "ec2:UnassignPrivateIpAddresses": "as ec2:CreateNetworkInterface",
    "ecr:GetAuthorizationToken": "the token is the account's, not a repository's",
    "ecs:DiscoverPollEndpoint": "the agent asks where to poll before it belongs to a cluster",
}
"""Actions that may stand beside a wildcard resource, each with its reason."""

POLICY_HOLDERS = {
    "AWS::IAM::Role": "Policies",
    "AWS::IAM::User": "Policies",
    "AWS::IAM::Group": "Policies",
    "AWS::IAM::Policy": "",
    "AWS::IAM::ManagedPolicy": "",
    "AWS::S3::BucketPolicy": "",
    "AWS::SNS::TopicPolicy": "",
    "AWS::SQS::QueuePolicy": "",
}
"""Resource types and the property that lists their policies; "" when they are one themselves.

Key policies are left out: in one, `Resource: "*"` is the key itself, and `kms:*` for the account's root is how IAM
comes to govern the key at all.
"""
IDENTITY = "AWS::IAM::"


class WildcardAction(CloudFormationLintRule):
    """`s3:*` grants what AWS invents tomorrow."""

    id = "E9105"
    shortdesc = "No wildcard in the actions of a policy"
    description = "Every allowed action is named in full"
    tags = ["egret"]  # noqa: RUF012 - as cfn-lint declares it

    def match(self, cfn: Template) -> list[RuleMatch]:
        """Find allowing statements with a wildcard action, or with NotAction."""
        stack = stack_of(cfn)
        matches = []
        for path, _, statement in _allowing_statements(stack):
            if "NotAction" in statement:
                matches.append(RuleMatch(path, "NotAction allows everything else"))
            wild = [str(action) for action in as_list(statement.get("Action")) if "*" in str(action)]
            if wild:
                matches.append(RuleMatch(path, f"wildcard action {', '.join(wild)}"))
        return matches


class WildcardResource(CloudFormationLintRule):
    """A permission names what it is for."""

    id = "E9106"
    shortdesc = "A wildcard resource only for actions that know no other"
    description = "Resource may be a wildcard only for the actions of a short list, each with its reason"
    tags = ["egret"]  # noqa: RUF012 - as cfn-lint declares it

    def match(self, cfn: Template) -> list[RuleMatch]:
        """Find identity policies that allow an action on every resource without being in the list."""
        stack = stack_of(cfn)
        matches = []
        for path, kind, statement in _allowing_statements(stack):
            if not kind.startswith(IDENTITY):
                continue  # in a resource's own policy the wildcard reaches no further than the resource
            unlisted = [str(each) for each in as_list(statement.get("Action")) if each not in WILDCARD_RESOURCES]
            if "NotResource" in statement or (unlisted and _is_wild(statement.get("Resource"))):
                matches.append(RuleMatch(path, f"wildcard resource for {', '.join(unlisted) or 'NotResource'}"))
        return matches


def _is_wild(resource: Any) -> bool:
    """`*`, or an ARN whose service-specific part is nothing but a wildcard: `arn:aws:sqs:*:*:*`."""
    for each in as_list(resource):
        text = each.get("Fn::Sub") if isinstance(each, dict) else each
        if isinstance(text, str) and (text == "*" or text.split(":", 5)[5:] == ["*"]):
            return True
    return False


def _allowing_statements(stack: Stack) -> Iterator[tuple[Path, str, dict[str, Any]]]:
    """Each statement that allows something, with its place and the type of the resource that holds it."""
    for path, kind, document in _documents(stack):
        for number, statement in enumerate(as_list(document.get("Statement"))):
            if isinstance(statement, dict) and statement.get("Effect") == "Allow":
                yield [*path, "Statement", number], kind, statement


def _documents(stack: Stack) -> Iterator[tuple[Path, str, dict[str, Any]]]:
    for kind, listed in POLICY_HOLDERS.items():
        for name, held in stack.properties(kind).items():
            if not listed:
                yield stack.path_to(name, "Properties", "PolicyDocument"), kind, held.get("PolicyDocument") or {}
            for number, policy in enumerate(as_list(held.get(listed)) if listed else []):
                path = stack.path_to(name, "Properties", listed, number, "PolicyDocument")
                if isinstance(policy, dict):
                    yield path, kind, policy.get("PolicyDocument") or {}
