"""How our rules look at a template: as CloudFormation will deploy it, SAM's shorthand written out.

cfn-lint loads every module of this folder that does not start with an underscore and takes the rules out of it. It
hands over a SAM template as it is written; a schedule or a role that SAM makes is only seen after its transform.
"""

from __future__ import annotations

import functools
import json
import re
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import boto3
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cfnlint.template import Template

SERVERLESS = "AWS::Serverless-2016-10-31"
SUBSTITUTION = re.compile(r"\$\{([A-Za-z0-9]+)[^}]*\}")
LOCAL_CODE = ("CodeUri", "ContentUri", "DefinitionUri")
ANY_REGION = "eu-west-1"  # SAM wants one to spell ARNs; no rule looks at it

Path = list[str | int]


@dataclass(frozen=True, eq=False)
class Stack:
    """The resources that a template deploys."""

    resources: dict[str, dict[str, Any]]
    """By logical id, as CloudFormation gets them."""
    written: dict[str, Any]
    """The resources that stand in the template itself, by logical id."""
    defaults: dict[str, Any]
    """The default of each parameter that has one."""

    def properties(self, kind: str) -> dict[str, dict[str, Any]]:
        """The properties of every resource of a type, by logical id."""
        return {name: each.get("Properties") or {} for name, each in self.resources.items() if each["Type"] == kind}

    def path_to(self, name: str, *rest: str | int) -> Path:
        """The place of a resource, or of a part of it, in the template; for the line that a finding shows.

        What SAM made is shown at the resource that it was made for: its logical id is a prefix.
        """
        if name in self.written:
            return ["Resources", name, *rest]
        makers = [each for each in self.written if name.startswith(each)]
        return ["Resources", max(makers, key=len)] if makers else ["Resources"]

    def seconds(self, value: Any) -> int | None:
        """A number of seconds: written out, or the default of the parameter it refers to; None when neither."""
        if isinstance(value, dict) and set(value) == {"Ref"}:
            value = self.defaults.get(value["Ref"])
        try:
            return int(value)
        except (TypeError, ValueError):
            return None


_STACKS: weakref.WeakKeyDictionary[Template, Stack] = weakref.WeakKeyDictionary()


def stack_of(cfn: Template) -> Stack:
    """What a template deploys; the transform is done once for all rules.

    Raises samtranslator's InvalidDocumentException, which cfn-lint reports, when SAM refuses the template.
    """
    if cfn not in _STACKS:
        plain = json.loads(json.dumps(cfn.template, default=str))
        written = plain.get("Resources") or {}
        resources = _transformed(plain) if SERVERLESS in as_list(plain.get("Transform")) else written
        defaults = {name: each.get("Default") for name, each in (plain.get("Parameters") or {}).items()}
        _STACKS[cfn] = Stack(resources, written, defaults)
    return _STACKS[cfn]


def _transformed(template: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """SAM's own transform, offline. cfn-lint has already merged Globals; local code gets an address SAM accepts."""
    copy = json.loads(json.dumps(template))
    copy.pop("Globals", None)
    for resource in copy["Resources"].values():
        properties = resource.get("Properties") or {}
        properties.update({name: "s3://bucket/key" for name in LOCAL_CODE if isinstance(properties.get(name), str)})
    resources: dict[str, dict[str, Any]] = _translator().translate(copy, parameter_values={})["Resources"]
    return resources


@functools.cache
def _translator() -> Translator:
    return Translator({}, Parser(), boto_session=boto3.Session(region_name=ANY_REGION))


def references(value: Any) -> set[str]:
    """Every logical id that a value mentions by Ref, GetAtt or Sub, at any depth."""
    return set(_references(value))


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _named_by(key, inner)
            yield from _references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _references(inner)


def _named_by(function: str, argument: Any) -> Iterator[str]:
    if function == "Ref" and isinstance(argument, str):
        yield argument
    elif function == "Fn::GetAtt" and argument:
        yield argument.split(".")[0] if isinstance(argument, str) else str(argument[0])
    elif function == "Fn::Sub":
        text = argument[0] if isinstance(argument, list) else argument
        yield from SUBSTITUTION.findall(str(text))


def as_list(value: Any) -> list[Any]:
    """IAM and CloudFormation write a list of one without its brackets."""
    return value if isinstance(value, list) else [] if value is None else [value]
