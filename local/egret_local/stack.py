"""Read template.yaml: what local mode needs of it, with its intrinsic functions resolved. Pure.

The template stays the one source of truth: tables, queues, the bucket, the functions with their environment and their
event sources are made from it as they stand there. What has no meaning on one machine (roles, alarms, network) is
left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import yaml

ACCOUNT_ID = "000000000000"
STACK = "egret"

Node = Any
"""A piece of YAML: dict, list or scalar."""


class _Loader(yaml.SafeLoader):
    """Reads the short forms of intrinsic functions (`!Ref x`) as their long ones (`{"Ref": "x"}`)."""


def _intrinsic(loader: _Loader, suffix: str, node: yaml.Node) -> Node:
    if isinstance(node, yaml.ScalarNode):
        value: Node = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_mapping(node, deep=True)  # type: ignore[arg-type]
    if suffix == "GetAtt" and isinstance(value, str):
        value = value.split(".", 1)
    return {suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}": value}


_Loader.add_multi_constructor("!", _intrinsic)


@dataclass(frozen=True, slots=True)
class EventSource:
    """What invokes a function: kind is "SQS", "DynamoDB" or "Schedule"; source the logical id of queue or table."""

    kind: str
    source: str = ""
    batch_size: int = 10
    pattern: str = ""
    """Event filter (JSON) of a stream, or expression of a schedule; "" when there is none."""


@dataclass(frozen=True, slots=True)
class Function:
    """A Lambda function: where its code lies, what it is called with."""

    name: str
    folder: str
    entry: str
    timeout_s: int
    environment: Mapping[str, str]
    sources: tuple[EventSource, ...] = ()
    has_http: bool = False


@dataclass(frozen=True, slots=True)
class Stack:
    """The resolved resources by logical id; properties as in CloudFormation."""

    tables: Mapping[str, Node]
    queues: Mapping[str, Node]
    buckets: Mapping[str, Node]
    keys: tuple[str, ...]
    functions: Mapping[str, Function]


@dataclass(slots=True)
class _Resolver:
    """Resolves intrinsic functions; a resource's Ref and attributes are named as local mode names them."""

    template: Node
    parameters: dict[str, Node]
    names: Names
    conditions: dict[str, bool] = field(default_factory=dict)

    def resolve(self, node: Node) -> Node:
        """Return the node with every intrinsic function replaced by its value; AWS::NoValue drops the key."""
        if isinstance(node, list):
            items = [self.resolve(item) for item in node]
            return [item for item in items if item is not NO_VALUE]
        if not isinstance(node, dict):
            return node
        if len(node) == 1:
            ((name, argument),) = node.items()
            if name in _FUNCTIONS:
                return _FUNCTIONS[name](self, argument)
        resolved = {key: self.resolve(value) for key, value in node.items()}
        return {key: value for key, value in resolved.items() if value is not NO_VALUE}

    def condition(self, name: str) -> bool:
        """Return whether a named condition of the template holds."""
        if name not in self.conditions:
            self.conditions[name] = bool(self.resolve(self.template["Conditions"][name]))
        return self.conditions[name]

    def reference(self, name: str) -> Node:
        """Return what `Ref` gives."""
        if name in PSEUDO:
            return PSEUDO[name]
        if name in self.parameters:
            return self.parameters[name]
        return self.names.reference(name, self.template["Resources"][name]["Type"])

    def attribute(self, name: str, attribute: str) -> str:
        """Return what `Fn::GetAtt` gives."""
        return self.names.attribute(name, self.template["Resources"][name]["Type"], attribute)


class _NoValue:
    """The value that removes its key."""


NO_VALUE = _NoValue()
PSEUDO: dict[str, Node] = {
    "AWS::AccountId": ACCOUNT_ID,
    "AWS::StackName": STACK,
    "AWS::Partition": "aws",
    "AWS::URLSuffix": "amazonaws.com",
    "AWS::NoValue": NO_VALUE,
    "AWS::StackId": f"arn:aws:cloudformation:local:{ACCOUNT_ID}:stack/{STACK}/0",
}
_SUBSTITUTE = re.compile(r"\$\{([^!}][^}]*)\}")


def _sub(resolver: _Resolver, argument: Node) -> str:
    text, extra = (argument, {}) if isinstance(argument, str) else (argument[0], argument[1])

    def value(match: re.Match[str]) -> str:
        name = match[1]
        if name in extra:
            return str(resolver.resolve(extra[name]))
        head, dot, attribute = name.partition(".")
        return str(resolver.attribute(head, attribute) if dot else resolver.reference(name))

    return _SUBSTITUTE.sub(value, text).replace("${!", "${")


def _if(resolver: _Resolver, argument: Node) -> Node:
    name, yes, no = argument
    return resolver.resolve(yes if resolver.condition(name) else no)


_FUNCTIONS: dict[str, Callable[[_Resolver, Node], Node]] = {
    "Ref": lambda r, a: r.reference(a),
    "Condition": lambda r, a: r.condition(a),
    "Fn::GetAtt": lambda r, a: r.attribute(*a),
    "Fn::Sub": _sub,
    "Fn::If": _if,
    "Fn::Join": lambda r, a: a[0].join(str(item) for item in r.resolve(a[1])),
    "Fn::Select": lambda r, a: r.resolve(a[1])[int(r.resolve(a[0]))],
    "Fn::Split": lambda r, a: str(r.resolve(a[1])).split(a[0]),
    "Fn::Equals": lambda r, a: r.resolve(a[0]) == r.resolve(a[1]),
    "Fn::Not": lambda r, a: not r.resolve(a[0]),
    "Fn::And": lambda r, a: all(r.resolve(item) for item in a),
    "Fn::Or": lambda r, a: any(r.resolve(item) for item in a),
    "Fn::GetAZs": lambda _, __: ["a", "b"],
    "Fn::FindInMap": lambda r, a: r.template["Mappings"][a[0]][r.resolve(a[1])][r.resolve(a[2])],
}


@dataclass(frozen=True, slots=True)
class Names:
    """How resources are called on this machine. secret: text from which every generated secret is derived."""

    endpoint_url: str
    region: str
    secret: Callable[[str], str]
    kms_keys: Mapping[str, str] = field(default_factory=dict)

    def physical(self, logical_id: str) -> str:
        """Return the name of a table, queue or bucket."""
        return f"{STACK}-{logical_id.lower()}"

    def reference(self, logical_id: str, kind: str) -> str:
        """Return what `Ref` gives for a resource."""
        if kind == "AWS::SQS::Queue":
            return f"{self.endpoint_url}/{ACCOUNT_ID}/{self.physical(logical_id)}"
        if kind == "AWS::KMS::Key":
            return self.kms_keys.get(logical_id, logical_id)
        if kind == "AWS::SecretsManager::Secret":
            return f"secret/{logical_id}"
        return self.physical(logical_id)

    def attribute(self, logical_id: str, kind: str, attribute: str) -> str:
        """Return what `Fn::GetAtt` gives for a resource."""
        name = self.physical(logical_id)
        arns = {
            "AWS::SQS::Queue": f"arn:aws:sqs:{self.region}:{ACCOUNT_ID}:{name}",
            "AWS::S3::Bucket": f"arn:aws:s3:::{name}",
            "AWS::DynamoDB::Table": f"arn:aws:dynamodb:{self.region}:{ACCOUNT_ID}:table/{name}",
        }
        if attribute == "Arn":
            return arns.get(kind, f"arn:aws:local:{self.region}:{ACCOUNT_ID}:{name}")
        return name if attribute in ("QueueName", "Name") else f"{name}.{attribute}"


_SECRET = re.compile(r"\{\{resolve:secretsmanager:([^}]*)\}\}")


def read_stack(text: str, parameters: Mapping[str, Node], names: Names) -> Stack:
    """Resolve a template (YAML). parameters: values that replace its defaults. Raises KeyError, yaml.YAMLError."""
    template = yaml.load(text, Loader=_Loader)  # noqa: S506 (a SafeLoader)
    given = {name: node.get("Default", "") for name, node in template.get("Parameters", {}).items()}
    resolver = _Resolver(template, {**given, "AWS::Region": names.region, **parameters}, names)
    found: dict[str, dict[str, Node]] = {}
    for logical_id, resource in template["Resources"].items():
        if "Condition" in resource and not resolver.condition(resource["Condition"]):
            continue
        found.setdefault(resource["Type"], {})[logical_id] = resource.get("Properties", {})
    defaults = resolver.resolve(template.get("Globals", {}).get("Function", {}))
    mapped = _mappings(resolver, found.get("AWS::Lambda::EventSourceMapping", {}))
    return Stack(
        tables=_resolved(resolver, found, "AWS::DynamoDB::Table"),
        queues=_resolved(resolver, found, "AWS::SQS::Queue"),
        buckets=_resolved(resolver, found, "AWS::S3::Bucket"),
        keys=tuple(found.get("AWS::KMS::Key", {})),
        functions={
            name: replace(function, sources=(*function.sources, *mapped.get(name, ())))
            for name, node in found.get("AWS::Serverless::Function", {}).items()
            for function in [_function(resolver, name, defaults, node)]
        },
    )


def _mappings(resolver: _Resolver, found: Mapping[str, Node]) -> dict[str, tuple[EventSource, ...]]:
    """Return the event sources that stand beside their functions, by the function's logical id."""
    mapped: dict[str, tuple[EventSource, ...]] = {}
    for node in found.values():
        reference = node["EventSourceArn"]["Fn::GetAtt"]
        kind = {"StreamArn": "DynamoDB", "Arn": "SQS"}[reference[1]]
        source = _event_source(resolver, kind, reference[0], node)
        name = _logical_id(node["FunctionName"])
        mapped[name] = (*mapped.get(name, ()), source)
    return mapped


def _logical_id(node: Node) -> str:
    """Return the logical id that a Ref or GetAtt names."""
    ((_, target),) = node.items()
    return str(target if isinstance(target, str) else target[0]).split(".")[0]


def _resolved(resolver: _Resolver, found: Mapping[str, Mapping[str, Node]], kind: str) -> dict[str, Node]:
    return {name: resolver.resolve(node) for name, node in found.get(kind, {}).items()}


def _function(resolver: _Resolver, name: str, defaults: Node, node: Node) -> Function:
    events = node.get("Events", {}).values()
    variables: dict[str, Node] = dict(defaults.get("Environment", {}).get("Variables", {}))
    variables |= resolver.resolve(node.get("Environment", {}).get("Variables", {}))
    sources = tuple(source for event in events if (source := _source(resolver, event)))
    handler = str(resolver.resolve(node.get("Handler", defaults.get("Handler", "handler.handle"))))
    return Function(
        name=name,
        folder=str(node.get("CodeUri", "")),
        entry=handler.rpartition(".")[2],
        timeout_s=int(resolver.resolve(node.get("Timeout", defaults.get("Timeout", 3)))),
        environment={key: _with_secrets(resolver, str(value)) for key, value in variables.items()},
        sources=sources,
        has_http=any(event["Type"] == "HttpApi" for event in events),
    )


def _with_secrets(resolver: _Resolver, value: str) -> str:
    """Replace a dynamic reference to a secret by the secret that stands for it on this machine."""
    return _SECRET.sub(lambda match: resolver.names.secret(match[1]), value)


def _source(resolver: _Resolver, event: Node) -> EventSource | None:
    kind, properties = event["Type"], event.get("Properties", {})
    if kind in ("Schedule", "ScheduleV2"):
        return EventSource("Schedule", pattern=str(properties.get("ScheduleExpression", "")))
    if kind not in ("SQS", "DynamoDB"):
        return None
    return _event_source(resolver, kind, _logical_id(properties["Queue" if kind == "SQS" else "Stream"]), properties)


def _event_source(resolver: _Resolver, kind: str, source: str, properties: Node) -> EventSource:
    filters = resolver.resolve(properties.get("FilterCriteria", {})).get("Filters", [])
    patterns = [entry["Pattern"] for entry in filters]
    pattern = "[" + ",".join(patterns) + "]" if patterns else ""
    return EventSource(kind, source, int(properties.get("BatchSize", 10)), pattern)
