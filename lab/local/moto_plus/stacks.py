"""CloudFormation's states: what each allows, a failure in the middle, what rollback keeps, import.

Stock moto makes a stack in one call, cannot fail inside it, and lets every state be updated. Rules
and sources: docs/internals/aws-rules.md. A stack works for as long as `BUSY_LOOKS` looks at it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from moto.cloudformation import parsing
from moto.cloudformation.exceptions import ValidationError
from moto.cloudformation.models import CloudFormationBackend, Event, Stack
from moto.cloudformation.parsing import clean_json
from moto.cloudformation.responses import CloudFormationResponse
from moto.core.responses import ActionResult
from moto.dynamodb.models import dynamodb_backends
from moto.kms.models import kms_backends

from lab.local.moto_plus.cloudformation_edge import StackResource
from lab.local.moto_plus.correcting import instead_of
from lab.local.moto_plus.templates import NAMES

BUSY_LOOKS = 1
KEPT_IN_ROLLBACK = frozenset({"Retain", "Snapshot"})  # RetainExceptOnCreate is not
KEPT_IN_DELETION = frozenset({"Retain", "Snapshot", "RetainExceptOnCreate"})
UPDATABLE = frozenset(
    f"{one}_COMPLETE"
    for one in ("CREATE", "UPDATE", "UPDATE_ROLLBACK", "IMPORT", "IMPORT_ROLLBACK")
)
TABLE, KEY = "AWS::DynamoDB::Table", "AWS::KMS::Key"
FAILS: dict[str, str] = {}
"""What goes wrong, by the logical id of a resource, each once; the reason is AWS's text."""


class FailedResourceError(Exception):
    """A resource that its service would not make or delete."""


@contextmanager
def failing(logical_id: str, reason: str) -> Iterator[None]:
    """Let the next making or changing of a resource fail."""
    FAILS[logical_id] = reason
    try:
        yield
    finally:
        FAILS.pop(logical_id, None)


# ------------------------------------------------------------------------------ inside a stack


@instead_of(Stack, "create_resources")
def _create_resources(self: Any, _stock: Any) -> None:
    """Resource after resource; one that fails rolls the others back."""
    self.description = self.template_dict.get("Description")
    resources = self.resource_map
    resources._template = self.template_dict
    resources._resource_json_map = self.template_dict["Resources"]
    made: list[str] = []
    for logical_id in resources._ResourceMap__get_resources_in_dependency_order():
        try:
            _raise_if_refused(resources, logical_id)
            resource = resources[logical_id]
        except Exception as error:  # noqa: BLE001  a service's refusal, whatever it is
            _event(self, logical_id, "CREATE_FAILED", str(error))
            reason = f"The following resource(s) failed: [{logical_id}]"
            self._add_stack_event("ROLLBACK_IN_PROGRESS", reason)
            stuck = _undo(self, made, KEPT_IN_ROLLBACK)
            _rest(self, "ROLLBACK_IN_PROGRESS", f"ROLLBACK_{'FAILED' if stuck else 'COMPLETE'}")
            return
        if resource is not None:
            made.append(logical_id)
    _rest(self, "CREATE_IN_PROGRESS", "CREATE_COMPLETE")


def _raise_if_refused(resources: Any, logical_id: str) -> None:
    """What is to fail, and names that moto would give away twice, or take at any length."""
    if reason := FAILS.pop(logical_id, ""):
        raise FailedResourceError(reason)
    document = resources._resource_json_map[logical_id]
    key, longest = NAMES.get(document["Type"], ("", 0))
    name = str(clean_json(document.get("Properties", {}).get(key, ""), resources))
    if len(name) > longest and key:
        raise FailedResourceError(
            f"Value '{name}' at '{key}' failed to satisfy constraint: Member must have length less "
            f"than or equal to {longest}"
        )
    if document["Type"] == TABLE and name in _tables(resources):
        raise FailedResourceError(
            f"Resource of type '{TABLE}' with identifier '{name}' already exists."
        )


def _tables(resources: Any) -> Any:
    return dynamodb_backends[resources._account_id][resources._region_name].tables


def _undo(stack: Any, logical_ids: list[str], kept: frozenset[str]) -> list[str]:
    """Delete resources, the last first, or leave them as the template says; those that stay."""
    return [one for one in reversed(logical_ids) if not _is_undone(stack, one, kept)]


def _is_undone(stack: Any, logical_id: str, kept: frozenset[str]) -> bool:
    resources, stuck = stack.resource_map, _stuck(stack)
    document = resources._resource_json_map[logical_id]
    parsed = resources._parsed_resources.get(logical_id)
    if document.get("DeletionPolicy") in kept:
        _event(stack, logical_id, "DELETE_SKIPPED")
    elif document["Type"] == TABLE and _is_protected(resources, parsed):
        reason = f"Resource {parsed.name} is currently protected against deletion"
        stuck[logical_id] = {"PhysicalResourceId": parsed.name, "ResourceStatusReason": reason}
        _event(stack, logical_id, "DELETE_FAILED", reason)
        return False
    elif parsed is not None and not isinstance(parsed, str):
        resources._delete_resource(parsed, document)
    resources._parsed_resources.pop(logical_id, None)
    stuck.pop(logical_id, None)
    return True


def _stuck(stack: Any) -> dict[str, dict[str, str]]:
    """What could not be deleted, by logical id: what is told of it beyond its type."""
    return vars(stack).setdefault("stuck", {})  # type: ignore[no-any-return]


def _is_protected(resources: Any, table: Any) -> bool:
    there = _tables(resources).get(table.name) if table is not None else None
    return there is not None and there.deletion_protection_enabled


@instead_of(Stack, "delete")
def _delete_resources(self: Any, _stock: Any) -> None:
    """What the template retains stays, by either of its words."""
    self._add_stack_event("DELETE_IN_PROGRESS", "User Initiated")
    ordered = self.resource_map._ResourceMap__get_resources_in_dependency_order()
    if stuck := _undo(self, ordered, KEPT_IN_DELETION):
        raise FailedResourceError(f"The following resource(s) failed to delete: {stuck}")
    self._add_stack_event("DELETE_COMPLETE")
    self.status = "DELETE_COMPLETE"


_stock_change = parsing.parse_and_update_resource


def _change(logical_id: str, document: Any, resources: Any, **place: Any) -> Any:
    """Stock moto changes a resource whose condition does not hold."""
    condition = document.get("Condition")
    if condition and not resources.lazy_condition_map[condition]:
        return None
    if resources._parsed_resources.get(logical_id) is None and condition:
        return resources[logical_id]  # the condition holds from now on
    return _stock_change(logical_id, document, resources, **place)


parsing.parse_and_update_resource = _change


@instead_of(Stack, "update")
def _update(self: Any, stock: Any, template: str, role_arn: Any = None, **changes: Any) -> None:
    """An update that fails in the middle is rolled back, and says so."""
    documents = Stack.parse_template(template)["Resources"]
    failing_id = next((one for one in documents if one in FAILS), "")
    if not failing_id:
        stock(template, role_arn, **changes)
        _rest(self, "UPDATE_IN_PROGRESS", "UPDATE_COMPLETE")
        return
    self._add_stack_event("UPDATE_IN_PROGRESS", "User Initiated")
    _event(self, failing_id, "UPDATE_FAILED", FAILS.pop(failing_id))
    _rest(self, "UPDATE_ROLLBACK_IN_PROGRESS", "UPDATE_ROLLBACK_COMPLETE")


# ----------------------------------------------------------------------------- a stack's states


def _rest(stack: Any, meanwhile: str, at_last: str) -> None:
    """The stack works for some looks, and then has come to rest."""
    stack.status = meanwhile
    vars(stack)["coming"] = (BUSY_LOOKS, at_last)


@instead_of(CloudFormationBackend, "describe_stacks")
def _look(_self: Any, stock: Any, name: str) -> list[Stack]:
    found: list[Stack] = stock(name)
    for stack in found:
        looks, at_last = vars(stack).pop("coming", (0, ""))
        if looks > 0:
            vars(stack)["coming"] = (looks - 1, at_last)
        elif at_last:
            stack.status = at_last
            stack._add_stack_event(at_last)
    return found


@instead_of(CloudFormationBackend, "delete_stack")
def _delete_stack(self: Any, stock: Any, name: str) -> None:
    known = [stack for stack in self.stacks.values() if name in (stack.name, stack.stack_id)]
    status = known[0].status if known else ""
    if status.endswith("_IN_PROGRESS") and status != "REVIEW_IN_PROGRESS":
        _refuse(name, f"Stack [{name}] cannot be deleted while in status {status}")
    try:
        stock(name)
    except FailedResourceError as error:
        self.stacks[known[0].stack_id] = known[0]
        known[0].status = "DELETE_FAILED"
        known[0]._add_stack_event("DELETE_FAILED", str(error))


def _refuse(stack: str, message: str) -> None:
    raise ValidationError(stack, message=message)


@instead_of(CloudFormationResponse, "_validate_status")
def _validate_status(_self: Any, _stock: Any, stack: Any) -> None:
    if stack.status not in UPDATABLE:
        text = f"Stack:{stack.stack_id} is in {stack.status} state and can not be updated."
        _refuse(stack.stack_id, text)


def _continue_update_rollback(self: Any) -> ActionResult:
    stack = self.cloudformation_backend.get_stack(self._get_param("StackName"))
    if stack.status != "UPDATE_ROLLBACK_FAILED":
        text = f"Stack:{stack.stack_id} is in {stack.status} state and can not be continued."
        _refuse(stack.stack_id, text)
    _rest(stack, "UPDATE_ROLLBACK_IN_PROGRESS", "UPDATE_ROLLBACK_COMPLETE")
    return ActionResult({})


CloudFormationResponse.continue_update_rollback = _continue_update_rollback


@instead_of(CloudFormationBackend, "_resolve_update_parameters")
def _resolve_update_parameters(_self: Any, stock: Any, instance: Any, incoming_params: Any) -> Any:
    """Stock moto knows no previous value that was the template's default."""
    instance.parameters = {**instance.stack_parameters, **instance.parameters}
    return stock(instance=instance, incoming_params=incoming_params)


@instead_of(CloudFormationResponse, "create_change_set")
def _create_change_set(self: Any, stock: Any) -> Any:
    """ChangeSetType IMPORT: every resource of the template exists, and is taken over as it is."""
    answer = stock()
    change_set = self.cloudformation_backend.change_sets[answer.result["Id"]]
    if change_set.change_set_type == "IMPORT":
        resources = change_set.template_dict["Resources"]
        given = {r["LogicalResourceId"]: r for r in self._get_param("ResourcesToImport", [])}
        missing = sorted(set(resources) - set(given))
        unguarded = sorted(name for name, one in resources.items() if "DeletionPolicy" not in one)
        if missing or unguarded:
            change_set.status = "FAILED"
            change_set.status_reason = (
                f"resources that are not imported: {missing}; without DeletionPolicy: {unguarded}"
            )
        vars(change_set)["imported"] = given
    return answer


@instead_of(CloudFormationBackend, "execute_change_set")
def _execute_change_set(self: Any, stock: Any, change_set_name: str, **more: Any) -> None:
    change_set = self.describe_change_set(change_set_name)
    if change_set.change_set_type != "IMPORT":
        stock(change_set_name, **more)
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


def _adopt(resources: Any, logical_id: str, entry: dict[str, Any]) -> None:
    (identifier,) = entry["ResourceIdentifier"].values()
    kind = entry["ResourceType"]
    if kind == TABLE:
        found = _tables(resources)[identifier]
    elif kind == KEY:
        found = kms_backends[resources._account_id][resources._region_name].keys[identifier]
    else:  # known by name: all that an ARN-like identifier gives
        found = StackResource(identifier, defaultdict(lambda: identifier))
    found.cf_resource_type, found.logical_resource_id = kind, logical_id
    resources._parsed_resources[logical_id] = found


# ------------------------------------------------------------------------------------- telling


def _event(stack: Any, logical_id: str, status: str, reason: str = "") -> None:
    kind = stack.template_dict["Resources"][logical_id]["Type"]
    about = (stack.stack_id, stack.name, logical_id, "", kind)
    stack.events.append(Event(*about, status, reason or None, None))


_stock_outputs = Stack.outputs.fget


def _outputs(self: Any) -> Any:
    return _stock_outputs(self) if self.status in (*UPDATABLE, "UPDATE_IN_PROGRESS") else None


Stack.outputs = property(_outputs)


@instead_of(CloudFormationResponse, "list_stack_resources")
def _list_stack_resources(self: Any, stock: Any) -> Any:
    """Stock moto calls every resource CREATE_COMPLETE, and makes what is only asked for."""
    stack = self.cloudformation_backend.get_stack(self._get_param("StackName"))
    stuck, since = _stuck(stack), stack.creation_time
    rows = stock().result["StackResourceSummaries"] if stack.status in UPDATABLE else []
    kept = [r for r in rows if r["LogicalResourceId"] and r["LogicalResourceId"] not in stuck]
    failed = {
        "ResourceStatus": "DELETE_FAILED",
        "ResourceType": TABLE,
        "LastUpdatedTimestamp": since,
    }
    kept += [{**failed, "LogicalResourceId": one, **told} for one, told in stuck.items()]
    return ActionResult({"StackResourceSummaries": kept})
