"""template.yaml as tests look at it: plain data, its permissions as lists of (action, resource)."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent


class _Loader(yaml.SafeLoader):
    """Reads CloudFormation's short forms."""


def _long_form(loader: _Loader, suffix: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.ScalarNode):
        value: Any = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        assert isinstance(node, yaml.MappingNode)
        value = loader.construct_mapping(node, deep=True)
    if suffix == "GetAtt" and isinstance(value, list):
        value = ".".join(value)
    return {suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}": value}


_Loader.add_multi_constructor("!", _long_form)


@cache
def template() -> dict[str, Any]:
    """Return template.yaml, short forms written out; GetAtt as "Name.Attribute"."""
    loaded: dict[str, Any] = yaml.load((ROOT / "template.yaml").read_text(), Loader=_Loader)  # noqa: S506 (a SafeLoader)
    return loaded


def resource(name: str) -> dict[str, Any]:
    """Return the properties of a resource."""
    properties: dict[str, Any] = template()["Resources"][name].get("Properties", {})
    return properties


def of_type(kind: str) -> dict[str, dict[str, Any]]:
    """Return the properties of every resource of a type, by logical id."""
    return {name: each.get("Properties", {}) for name, each in template()["Resources"].items() if each["Type"] == kind}


def variables(function: str) -> dict[str, Any]:
    """Return the environment of a function."""
    found: dict[str, Any] = resource(function)["Environment"]["Variables"]
    return found


def container_variables() -> dict[str, Any]:
    """Return the environment of the egress container, secrets included; conditional ones as if their condition held."""
    (container,) = resource("EgressTask")["ContainerDefinitions"]
    listed = [*container["Environment"], *container["Secrets"]]
    plain = [each["Fn::If"][1] if "Fn::If" in each else each for each in listed]
    return {each["Name"]: each.get("Value", each.get("ValueFrom")) for each in plain}


@dataclass(frozen=True, slots=True)
class Permissions:
    """What a role allows."""

    allowed: tuple[tuple[str, str], ...]
    """(action, resource): resources as `Name`, `Name.Attribute`, `Name/prefix/*`, "*" or an ARN.

    Where only some partitions of a table may be touched: `Name#PARTITION`, with wildcards. A key that is only for some
    things: `Name#context`, with a wildcard; for all but some: `Name#not context`. What must have our tag: `ARN#value of
    the tag`.
    """

    def allow(self, action: str, place: str) -> bool:
        """Tell whether an action is allowed at `Bucket/content/abc/1`, `MailTable` or `SettingsTable#ACCOUNT`."""
        return any(action == each and _covers(pattern, place) for each, pattern in self.allowed)

    def actions(self, service: str) -> set[str]:
        """Return the actions of a service, such as `sqs`."""
        return {action for action, _ in self.allowed if action.startswith(f"{service}:")}


def _covers(pattern: str, place: str) -> bool:
    name, is_limited, excluded = pattern.partition("#not ")
    if is_limited:
        of, _, context = place.partition("#")
        return of == name and bool(context) and not fnmatch.fnmatchcase(context, excluded)
    return any(fnmatch.fnmatchcase(one, pattern) for one in (place, place.partition("#")[0]))


def permissions(role: str) -> Permissions:
    """Return what a role allows, conditional statements included."""
    allowed = []
    for policy in resource(role)["Policies"]:
        for each in policy["PolicyDocument"]["Statement"]:
            statement = each["Fn::If"][1] if "Fn::If" in each else each
            assert statement["Effect"] == "Allow"
            for action in _listed(statement["Action"]):
                for place in _listed(statement["Resource"]):
                    allowed += [(action, _place(place) + limit) for limit in _limits(statement)]
    return Permissions(tuple(allowed))


def _limits(statement: dict[str, Any]) -> list[str]:
    """Return what is added to a statement's resources: `#` and a partition or context, for each it is limited to."""
    match statement.get("Condition"):
        case None:
            return [""]
        case {"ForAllValues:StringEquals": {"dynamodb:LeadingKeys": partitions}, **rest} if not rest:
            return [f"#{partition}" for partition in _listed(partitions)]
        case {"ForAllValues:StringLike": {"dynamodb:LeadingKeys": partitions}, **rest} if not rest:
            return [f"#{partition}" for partition in _listed(partitions)]
        case {"StringEquals": {"aws:ResourceTag/egret:egress": value}, **rest} if not rest:
            return [f"#{_place(value)}"]
        case {"StringLike": {"kms:EncryptionContext:egret": contexts}, **rest} if not rest:
            return [f"#{context}" for context in _listed(contexts)]
        case {"StringNotLike": {"kms:EncryptionContext:egret": context}, **rest} if not rest:
            return [f"#not {context}"]
        case other:
            raise AssertionError(f"a condition that nobody has thought of: {other}")


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _place(value: Any) -> str:
    """Return a policy's resource in short: the ARN of a resource of ours is its name."""
    if isinstance(value, str):
        return value
    ((kind, argument),) = value.items()
    match kind:
        case "Fn::GetAtt":
            return str(argument).removesuffix(".Arn")
        case "Fn::Sub":
            return str(argument).replace(".Arn}", "}").replace("${", "").replace("}", "")
        case "Fn::If":
            return _place(argument[1])
        case _:
            return str(argument)
