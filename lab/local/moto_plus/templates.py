"""What CloudFormation refuses of a template and its parameters before it makes anything.

Stock moto takes templates of any size, parameters that a template does not declare or would refuse,
and references to nothing. Rules and sources: docs/internals/aws-rules.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from functools import lru_cache
from graphlib import CycleError, TopologicalSorter
from typing import Any

from moto.cloudformation.exceptions import ValidationError
from moto.cloudformation.models import CloudFormationBackend, Stack
from moto.cloudformation.responses import CloudFormationResponse

from lab.local.moto_plus.correcting import instead_of
from lab.local.moto_plus.quicker import parse_template

MAX_BODY_BYTES = 51_200  # of a template that travels in the call
NAMES = {  # property and greatest length
    "AWS::DynamoDB::Table": ("TableName", 255),
    "AWS::KMS::Alias": ("AliasName", 256),
    "AWS::SecretsManager::Secret": ("Name", 512),
    "AWS::SNS::Topic": ("TopicName", 256),
    "AWS::CloudWatch::Alarm": ("AlarmName", 255),
    "AWS::CloudWatch::Dashboard": ("DashboardName", 255),
}
_VARIABLE = re.compile(r"\$\{([^!][^}.]*)(?:\.[^}]*)?\}")


_parsed = lru_cache(maxsize=32)(parse_template)
# Stock moto parses the YAML of a stack at each look at it: 50 ms each time for ours.
Stack.parse_template = staticmethod(lambda template: deepcopy(_parsed(template)))


@instead_of(CloudFormationResponse, "create_stack", "update_stack", "create_change_set")
def _check(self: Any, stock: Any) -> Any:
    if body := self._get_param("TemplateBody"):
        before = _values_before(self.cloudformation_backend, self._get_param("StackName"))
        for why in _refusals(body, self._get_param("Parameters", []), before):
            raise ValidationError(message=why)
    return stock()


def _values_before(backend: CloudFormationBackend, name: str) -> Mapping[str, Any]:
    known = [stack for stack in backend.stacks.values() if name in (stack.name, stack.stack_id)]
    return known[0].stack_parameters if known else {}


def _refusals(
    body: str, given: Iterable[Mapping[str, Any]], before: Mapping[str, Any]
) -> Iterator[str]:
    if len(body.encode()) > MAX_BODY_BYTES:
        yield (
            "1 validation error detected: Value at 'templateBody' failed to satisfy constraint: "
            f"Member must have length less than or equal to {MAX_BODY_BYTES}"
        )
    template = Stack.parse_template(body)
    declared = template.get("Parameters", {})
    values = {key: one["Default"] for key, one in declared.items() if "Default" in one}
    for row in given:
        value = before.get(row["ParameterKey"]) if row.get("UsePreviousValue") else None
        values[row["ParameterKey"]] = row.get("ParameterValue", "") if value is None else value
    if unknown := sorted(set(values) - set(declared)):
        yield f"Parameters: [{', '.join(unknown)}] do not exist in the template"
    if missing := sorted(set(declared) - set(values)):
        yield f"Parameters: [{', '.join(missing)}] must have values"
    for key, one in declared.items():
        if why := _broken_rule(one, str(values[key])):
            told = one.get("ConstraintDescription")
            text = f"{key} failed to satisfy constraint: {told}" if told else f"'{key}' {why}"
            yield f"Parameter {text}"
    yield from _broken_references(template, set(declared))


def _broken_rule(declared: Mapping[str, Any], value: str) -> str:
    """What the value has against it; "" for nothing."""
    allowed = [str(one) for one in declared.get("AllowedValues", [])]
    if allowed and value not in allowed:
        return f"must be one of {allowed}"
    if declared["Type"] == "Number":
        try:
            number = float(value)
        except ValueError:
            return "must be a number"
        low, high, what = declared.get("MinValue"), declared.get("MaxValue"), "a number"
    else:
        if not re.fullmatch(declared.get("AllowedPattern", "(?s).*"), value):
            return f"must match pattern {declared['AllowedPattern']}"
        number, what = len(value), "as long as"
        low, high = declared.get("MinLength"), declared.get("MaxLength")
    if (low is not None and number < float(low)) or (high is not None and number > float(high)):
        return f"must be {what} {low or 0} to {high or 'any'}"
    return ""


def _broken_references(template: Mapping[str, Any], parameters: set[str]) -> Iterator[str]:
    resources = template["Resources"]
    needs = {name: set(_references(one)) for name, one in resources.items()}
    of_outputs = set(_references(template.get("Outputs", {})))
    for block, asked in (("Resources", set().union(*needs.values())), ("Outputs", of_outputs)):
        unknown = sorted(one for one in asked - parameters - set(resources) if one[:5] != "AWS::")
        if unknown:
            named = ", ".join(unknown)
            yield (
                f"Template format error: Unresolved resource dependencies [{named}] in the "
                f"{block} block of the template"
            )
    try:
        TopologicalSorter(needs).prepare()
    except CycleError as error:
        yield f"Circular dependency between resources: [{', '.join(error.args[1][1:])}]"


def _references(node: Any) -> Iterator[str]:
    """Names of resources and parameters that a part of a template asks for."""
    if isinstance(node, list):
        for one in node:
            yield from _references(one)
    if not isinstance(node, dict):
        return
    for key, value in node.items():
        if key == "Ref":
            yield value
        elif key == "Fn::GetAtt":
            yield value[0]
        elif key == "DependsOn":
            yield from [value] if isinstance(value, str) else value
        elif key == "Fn::Sub":
            text, own = value if isinstance(value, list) else (value, {})
            yield from set(_VARIABLE.findall(text)) - set(own)
            yield from _references(own)
        else:
            yield from _references(value)
