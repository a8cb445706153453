"""CloudFormation's states: what each allows, a failure in the middle, what rollback keeps, import.

Stock moto makes a stack in one call, cannot fail inside it, and lets every state be updated. Rules
and sources: docs/internals/aws-rules.md. A stack works for as long as `BUSY_LOOKS` looks at it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from moto.cloudformation import parsing
from moto.cloudformation.exceptions import ValidationError
from moto.cloudformation.models import CloudFormationBackend, Event, Stack
from moto.cloudformation.parsing import ResourceMap, clean_json
from moto.cloudformation.responses import CloudFormationResponse
from moto.core.responses import ActionResult
from moto.dynamodb.models import dynamodb_backends

from lab.local.moto_plus.templates import NAMES

BUSY_LOOKS = 1
KEPT_IN_ROLLBACK = frozenset({"Retain", "Snapshot"})  # RetainExceptOnCreate is not
KEPT_IN_DELETION = frozenset({"Retain", "Snapshot", "RetainExceptOnCreate"})
UPDATABLE = frozenset(
    {
        "CREATE_COMPLETE",
        "UPDATE_COMPLETE",
        "UPDATE_ROLLBACK_COMPLETE",
        "IMPORT_COMPLETE",
        "IMPORT_ROLLBACK_COMPLETE",
    }
)


class FailedResourceError(Exception):
    """A resource that its service would not make."""


@dataclass
class Weather:
    """What goes wrong, by the logical id of a resource, each once; the reason is AWS's text."""

    fails: dict[str, str] = field(default_factory=dict)
    made: list[str] = field(default_factory=list)  # every resource that was made, for tests


WEATHER = Weather()


@contextmanager
def failing(logical_id: str, reason: str) -> Iterator[None]:
    """Let the next making or changing of a resource fail."""
    WEATHER.fails[logical_id] = reason
    try:
        yield
    finally:
        WEATHER.fails.pop(logical_id, None)


def correct() -> None:
    """Correct moto's CloudFormation in this process."""
    Stack.create_resources = _create_resources
    ResourceMap.delete = _delete_resources
    _watch_updates()
    _watch_states()
    _import_resources()
    _tell_resources()


# ------------------------------------------------------------------------------ inside a stack


def _create_resources(self: Any) -> None:
    """Resource after resource; one that fails rolls the others back."""
    self.description = self.template_dict.get("Description")
    resources = self.resource_map
    resources._template = self.template_dict
    resources._resource_json_map = self.template_dict["Resources"]
    ordered = list(resources._ResourceMap__get_resources_in_dependency_order())
    made: list[str] = []
    for logical_id in ordered:
        try:
            _raise_if_failing(logical_id)
            _raise_if_taken(resources, logical_id)
            resource = resources[logical_id]
        except Exception as error:  # noqa: BLE001  a service's refusal, whatever it is
            _event(self, logical_id, "CREATE_FAILED", str(error))
            _roll_back_creation(self, made, f"The following resource(s) failed: [{logical_id}]")
            return
        if resource is not None:
            made.append(logical_id)
            WEATHER.made.append(logical_id)
    _rest(self, "CREATE_IN_PROGRESS", "CREATE_COMPLETE")


def _raise_if_failing(logical_id: str) -> None:
    reason = WEATHER.fails.pop(logical_id, "")
    if reason:
        raise FailedResourceError(reason)


def _raise_if_taken(resources: Any, logical_id: str) -> None:
    """Names that moto's own services would give away twice, or take at any length."""
    document = resources._resource_json_map[logical_id]
    key, longest = NAMES.get(document["Type"], ("", 0))
    name = str(clean_json(document.get("Properties", {}).get(key, ""), resources))
    if len(name) > longest and key:
        raise FailedResourceError(
            f"Value '{name}' at '{key}' failed to satisfy constraint: Member must have length less "
            f"than or equal to {longest}"
        )
    tables = dynamodb_backends[resources._account_id][resources._region_name].tables
    if document["Type"] == "AWS::DynamoDB::Table" and name in tables:
        raise FailedResourceError(
            f"Resource of type 'AWS::DynamoDB::Table' with identifier '{name}' already exists."
        )


def _roll_back_creation(stack: Any, made: list[str], reason: str) -> None:
    stack._add_stack_event("ROLLBACK_IN_PROGRESS", reason)
    stuck = [one for one in reversed(made) if not _undo(stack, one, KEPT_IN_ROLLBACK)]
    _rest(stack, "ROLLBACK_IN_PROGRESS", "ROLLBACK_FAILED" if stuck else "ROLLBACK_COMPLETE")


def _undo(stack: Any, logical_id: str, kept: frozenset[str]) -> bool:
    """Delete a resource, or leave it as its template says; False if it cannot be deleted."""
    resources = stack.resource_map if isinstance(stack, Stack) else stack
    document = resources._resource_json_map[logical_id]
    if document.get("DeletionPolicy") in kept:
        if isinstance(stack, Stack):
            _event(stack, logical_id, "DELETE_SKIPPED", "")
        resources._parsed_resources.pop(logical_id, None)
        return True
    parsed = resources._parsed_resources.get(logical_id)
    table = _protected_table(resources, parsed)
    if table:
        reason = f"Resource {table} is currently protected against deletion"
        _stuck(resources)[logical_id] = (table, document["Type"], reason)
        if isinstance(stack, Stack):
            _event(stack, logical_id, "DELETE_FAILED", reason)
        return False
    if parsed is not None and not isinstance(parsed, str):
        resources._delete_resource(parsed, document)
        resources._parsed_resources.pop(logical_id, None)
    _stuck(resources).pop(logical_id, None)
    return True


def _stuck(resources: Any) -> dict[str, tuple[str, str, str]]:
    found: dict[str, tuple[str, str, str]] = vars(resources).setdefault("stuck", {})
    return found


def _protected_table(resources: Any, parsed: Any) -> str:
    if getattr(parsed, "cf_resource_type", "") != "AWS::DynamoDB::Table":
        return ""
    tables = dynamodb_backends[resources._account_id][resources._region_name].tables
    table = tables.get(parsed.name)
    return parsed.name if table is not None and table.deletion_protection_enabled else ""


def _delete_resources(self: Any) -> None:
    """What the template retains stays, by either of its words."""
    ordered = list(self._ResourceMap__get_resources_in_dependency_order())
    stuck = [one for one in reversed(ordered) if not _undo(self, one, KEPT_IN_DELETION)]
    if stuck:
        raise FailedResourceError(f"The following resource(s) failed to delete: {stuck}")


def _watch_updates() -> None:
    """An update that fails in the middle is rolled back, and says so."""
    stock_update, stock_change = Stack.update, parsing.parse_and_update_resource

    def change(logical_id: str, document: Any, resources: Any, **place: Any) -> Any:
        """Stock moto changes a resource whose condition does not hold."""
        condition = document.get("Condition")
        if condition and not resources.lazy_condition_map[condition]:
            return None
        if resources._parsed_resources.get(logical_id) is None and condition:
            return resources[logical_id]  # the condition holds from now on
        return stock_change(logical_id, document, resources, **place)

    parsing.parse_and_update_resource = change

    def update(self: Any, template: str, role_arn: Any = None, **changes: Any) -> None:
        documents = Stack.parse_template(template)["Resources"]
        failing_id = next((one for one in documents if one in WEATHER.fails), "")
        if not failing_id:
            stock_update(self, template, role_arn, **changes)
            _rest(self, "UPDATE_IN_PROGRESS", "UPDATE_COMPLETE")
            return
        self._add_stack_event("UPDATE_IN_PROGRESS", "User Initiated")
        _event(self, failing_id, "UPDATE_FAILED", WEATHER.fails.pop(failing_id))
        _rest(self, "UPDATE_ROLLBACK_IN_PROGRESS", "UPDATE_ROLLBACK_COMPLETE")

    Stack.update = update


# ----------------------------------------------------------------------------- a stack's states


def _rest(stack: Any, meanwhile: str, at_last: str) -> None:
    """The stack works for some looks, and then has come to rest."""
    stack.status = meanwhile
    vars(stack)["coming"] = (BUSY_LOOKS, at_last)


def _look(stack: Any) -> None:
    looks, at_last = vars(stack).get("coming", (0, ""))
    if not at_last:
        return
    if looks > 0:
        vars(stack)["coming"] = (looks - 1, at_last)
        return
    vars(stack).pop("coming")
    stack.status = at_last
    stack._add_stack_event(at_last)


def _watch_states() -> None:
    stock_describe = CloudFormationBackend.describe_stacks
    stock_delete = CloudFormationBackend.delete_stack

    def describe_stacks(self: Any, name: str) -> list[Stack]:
        found: list[Stack] = stock_describe(self, name)
        for stack in found:
            _look(stack)
        return found

    def delete_stack(self: Any, name: str) -> None:
        known = [s for s in self.stacks.values() if name in (s.name, s.stack_id)]
        status = known[0].status if known else ""
        if status.endswith("_IN_PROGRESS") and status != "REVIEW_IN_PROGRESS":
            text = f"Stack [{name}] cannot be deleted while in status {status}"
            raise ValidationError(name, message=text)
        try:
            stock_delete(self, name)
        except FailedResourceError as error:
            stack = known[0]
            self.stacks[stack.stack_id] = stack
            stack.status = "DELETE_FAILED"
            stack._add_stack_event("DELETE_FAILED", str(error))

    def validate_status(self: Any, stack: Any) -> None:
        if stack.status not in UPDATABLE:
            text = f"Stack:{stack.stack_id} is in {stack.status} state and can not be updated."
            raise ValidationError(stack.stack_id, message=text)

    def continue_update_rollback(self: Any) -> ActionResult:
        stack = self.cloudformation_backend.get_stack(self._get_param("StackName"))
        if stack.status != "UPDATE_ROLLBACK_FAILED":
            text = f"Stack:{stack.stack_id} is in {stack.status} state and can not be continued."
            raise ValidationError(stack.stack_id, message=text)
        _rest(stack, "UPDATE_ROLLBACK_IN_PROGRESS", "UPDATE_ROLLBACK_COMPLETE")
        return ActionResult({})

    stock_resolve = CloudFormationBackend._resolve_update_parameters

    def resolve_update_parameters(self: Any, instance: Any, incoming_params: Any) -> Any:
        """Stock moto knows no previous value that was the template's default."""
        instance.parameters = {**instance.stack_parameters, **instance.parameters}
        return stock_resolve(self, instance=instance, incoming_params=incoming_params)

    CloudFormationBackend._resolve_update_parameters = resolve_update_parameters
    CloudFormationBackend.describe_stacks = describe_stacks
    CloudFormationBackend.delete_stack = delete_stack
    CloudFormationResponse._validate_status = validate_status
    CloudFormationResponse.continue_update_rollback = continue_update_rollback


def _import_resources() -> None:
    """ChangeSetType IMPORT: every resource of the template exists, and is taken over as it is."""
    stock_create = CloudFormationResponse.create_change_set
    stock_execute = CloudFormationBackend.execute_change_set

    def create_change_set(self: Any) -> Any:
        answer = stock_create(self)
        change_set = self.cloudformation_backend.change_sets[answer.result["Id"]]
        if change_set.change_set_type == "IMPORT":
            given = {r["LogicalResourceId"]: r for r in self._get_param("ResourcesToImport", [])}
            missing = sorted(set(change_set.template_dict["Resources"]) - set(given))
            unguarded = sorted(
                name
                for name, one in change_set.template_dict["Resources"].items()
                if "DeletionPolicy" not in one
            )
            if missing or unguarded:
                change_set.status = "FAILED"
                change_set.status_reason = (
                    f"resources that are not imported: {missing}; without DeletionPolicy: "
                    f"{unguarded}"
                )
            vars(change_set)["imported"] = given
        return answer

    def execute_change_set(self: Any, change_set_name: str, stack_name: str | None = None) -> None:
        change_set = self.describe_change_set(change_set_name)
        if change_set.change_set_type != "IMPORT":
            stock_execute(self, change_set_name, stack_name)
            return
        stack = change_set.stack
        stack.template = change_set.template
        stack._parse_template()
        stack.parameters = change_set.parameters
        stack.resource_map = stack._create_resource_map()
        stack.output_map = stack._create_output_map()
        for logical_id, entry in vars(change_set)["imported"].items():
            _adopt(stack.resource_map, logical_id, entry)
        _rest(stack, "IMPORT_IN_PROGRESS", "IMPORT_COMPLETE")

    CloudFormationResponse.create_change_set = create_change_set
    CloudFormationBackend.execute_change_set = execute_change_set


def _adopt(resources: Any, logical_id: str, entry: dict[str, Any]) -> None:
    from moto.kms.models import kms_backends

    account, region = resources._account_id, resources._region_name
    (identifier,) = entry["ResourceIdentifier"].values()
    found: Any
    if entry["ResourceType"] == "AWS::DynamoDB::Table":
        found = dynamodb_backends[account][region].tables[identifier]
    elif entry["ResourceType"] == "AWS::KMS::Key":
        found = kms_backends[account][region].keys[identifier]
    else:  # known by name: a stand-in that Ref and GetAtt can ask
        found = _Adopted(identifier)
    found.cf_resource_type, found.logical_resource_id = entry["ResourceType"], logical_id
    resources._parsed_resources[logical_id] = found


@dataclass
class _Adopted:
    physical_resource_id: str
    cf_resource_type: str = ""
    logical_resource_id: str = ""

    def is_created(self) -> bool:
        """It was there before."""
        return True

    def get_cfn_attribute(self, name: str) -> str:
        """All that an ARN-like identifier gives."""
        del name
        return self.physical_resource_id


# ------------------------------------------------------------------------------------- telling


def _event(stack: Any, logical_id: str, status: str, reason: str) -> None:
    document = stack.template_dict["Resources"][logical_id]
    stack.events.append(
        Event(
            stack_id=stack.stack_id,
            stack_name=stack.name,
            logical_resource_id=logical_id,
            physical_resource_id="",
            resource_type=document["Type"],
            resource_status=status,
            resource_status_reason=reason or None,
            resource_properties=None,
        )
    )


def _tell_resources() -> None:
    """Stock moto calls every resource CREATE_COMPLETE, and makes what is only asked for."""
    stock_list = CloudFormationResponse.list_stack_resources
    stock_outputs = Stack.outputs.fget

    def outputs(self: Any) -> Any:
        return stock_outputs(self) if self.status in (*UPDATABLE, "UPDATE_IN_PROGRESS") else None

    def list_stack_resources(self: Any) -> Any:
        stack = self.cloudformation_backend.get_stack(self._get_param("StackName"))
        stuck = _stuck(stack.resource_map)
        stands = stack.status in UPDATABLE
        rows = stock_list(self).result["StackResourceSummaries"] if stands else []
        kept = [r for r in rows if r["LogicalResourceId"] and r["LogicalResourceId"] not in stuck]
        kept += [
            {
                "ResourceStatus": "DELETE_FAILED",
                "ResourceStatusReason": reason,
                "LogicalResourceId": logical_id,
                "PhysicalResourceId": physical_id,
                "ResourceType": kind,
                "LastUpdatedTimestamp": stack.creation_time,
            }
            for logical_id, (physical_id, kind, reason) in stuck.items()
        ]
        return ActionResult({"StackResourceSummaries": kept})

    Stack.outputs = property(outputs)
    CloudFormationResponse.list_stack_resources = list_stack_resources
