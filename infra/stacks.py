"""CloudFormation stacks: bring one to its template's state from whatever state it was left in.

Which state allows what, and the source of each rule, stands in docs/internals/aws-rules.md (stack
states). A run that was cut off leaves the stack at work: the next run waits for it and goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

INFRA = Path(__file__).parent
POLL_S = 5.0
PATIENCE_S = 1_800.0  # a custom domain takes minutes
CAPABILITIES = ["CAPABILITY_IAM"]

NEVER_STOOD = frozenset({"ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "CREATE_FAILED", "DELETE_FAILED"})
"""Only deletion is allowed: nothing of the template ever worked, so nothing is lost by it.
(DELETE_FAILED: what could not be deleted is tried again.)"""

STANDS = frozenset(
    {
        "CREATE_COMPLETE",
        "UPDATE_COMPLETE",
        "UPDATE_ROLLBACK_COMPLETE",
        "IMPORT_COMPLETE",
        "IMPORT_ROLLBACK_COMPLETE",
    }
)

Say = Callable[[str], object]
"""Tells the owner about progress, a line at a time."""

Pause = Callable[[float], object]
"""Waits for seconds."""


class StackError(Exception):
    """CloudFormation could not do it; the message holds the events that say why."""


def deploy_stack(
    cloudformation: Any,
    name: str,
    template: str,
    parameters: Mapping[str, str | None],
    say: Say,
    pause: Pause = time.sleep,
) -> None:
    """Create the stack, or bring it to the state of the template's text; nothing to change is fine.

    A parameter without a value keeps the one it has, or the template's default in a new stack.

    Raises:
        ClientError: CloudFormation refuses.
        StackError: the stack rolled back, or does not come to rest.
    """
    status = settle_stack(cloudformation, name, say, pause)
    known = _parameters(cloudformation, name) if status else {}
    request = {
        "StackName": name,
        "TemplateBody": template,
        "Parameters": [
            {"ParameterKey": key, "ParameterValue": value}
            if value is not None
            else {"ParameterKey": key, "UsePreviousValue": True}
            for key, value in parameters.items()
            if value is not None or key in known
        ],
        "Capabilities": CAPABILITIES,
    }
    say(f"{'updating' if status else 'creating'} stack {name} …")
    try:
        answer = (cloudformation.update_stack if status else cloudformation.create_stack)(**request)
    except ClientError as error:
        if "No updates are to be performed" in str(error):
            say(f"stack {name} is up to date")
            return
        raise
    reached = wait_for_rest(cloudformation, str(answer["StackId"]), pause)
    if reached not in ("CREATE_COMPLETE", "UPDATE_COMPLETE"):
        raise _failure(cloudformation, name, reached)


def read_template(name: str) -> str:
    """A template of this folder."""
    return (INFRA / name).read_text()


def settle_stack(
    cloudformation: Any,
    name: str,
    say: Say,
    pause: Pause = time.sleep,
    unprotect: Callable[[str], object] = lambda _table: None,
) -> str:
    """A state that an update starts from, or "" if the stack has to be created.

    `unprotect` frees a table, by name, that keeps a stack which never stood from being deleted.

    Raises:
        StackError: it cannot be brought into one.
    """
    status = stack_status(cloudformation, name)
    if status.endswith("_IN_PROGRESS") and status != "REVIEW_IN_PROGRESS":
        say(f"stack {name} is at work ({status}): waiting")
        status = wait_for_rest(cloudformation, name, pause)
    if status == "UPDATE_ROLLBACK_FAILED":
        say(f"stack {name} could not roll back an update: trying that again")
        cloudformation.continue_update_rollback(StackName=name)
        status = wait_for_rest(cloudformation, name, pause)
    if status in NEVER_STOOD or status == "REVIEW_IN_PROGRESS":
        say(f"stack {name} never stood ({status}): deleting what is left of it")
        for line in failed_events(cloudformation, name):
            say(f"  {line}")
        for table in stuck_tables(cloudformation, name):
            unprotect(table)
        delete_stack(cloudformation, name, say, pause)
        return ""
    if status and status not in STANDS:
        raise _failure(cloudformation, name, status)
    return status


def stuck_tables(cloudformation: Any, name: str) -> list[str]:
    """Names of the tables that CloudFormation could not delete: they are protected."""
    pages = cloudformation.get_paginator("list_stack_resources").paginate(StackName=name)
    return [
        str(row["PhysicalResourceId"])
        for page in pages
        for row in page["StackResourceSummaries"]
        if row["ResourceType"] == "AWS::DynamoDB::Table"
        and row["ResourceStatus"] == "DELETE_FAILED"
    ]


def stack_status(cloudformation: Any, name: str) -> str:
    """The stack's status; "" if there is no such stack.

    Raises:
        ClientError: for any other refusal.
    """
    stack = _describe(cloudformation, name)
    return str(stack["StackStatus"]) if stack else ""


def find_stack(cloudformation: Any, name: str) -> Mapping[str, str] | None:
    """The stack's outputs, or None if there is no such stack.

    Raises:
        ClientError: for any other refusal.
    """
    stack = _describe(cloudformation, name)
    if stack is None:
        return None
    return {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}


def stack_parameter(cloudformation: Any, name: str, parameter: str) -> str:
    """The value that a parameter of a stack has; "" without the stack or the parameter."""
    return _parameters(cloudformation, name).get(parameter, "")


def _parameters(cloudformation: Any, name: str) -> Mapping[str, str]:
    stack = _describe(cloudformation, name) or {}
    return {
        row["ParameterKey"]: row.get("ParameterValue", "") for row in stack.get("Parameters", [])
    }


def delete_stack(cloudformation: Any, name: str, say: Say, pause: Pause = time.sleep) -> None:
    """Delete a stack and wait; what it retains stays.

    Raises:
        StackError: something of it cannot be deleted.
    """
    stack = _describe(cloudformation, name)
    if stack is None:
        return
    say(f"deleting stack {name} …")
    cloudformation.delete_stack(StackName=name)
    # By its id: a deleted stack is not found by its name any more.
    reached = wait_for_rest(cloudformation, str(stack["StackId"]), pause)
    if reached not in ("", "DELETE_COMPLETE"):
        raise _failure(cloudformation, name, reached)


def wait_for_rest(cloudformation: Any, stack_id: str, pause: Pause = time.sleep) -> str:
    """The status that a stack comes to rest in; "" if it is gone.

    Raises:
        StackError: it does not come to rest within half an hour.
    """
    waited_s = 0.0
    while True:
        stack = _describe(cloudformation, stack_id, also_deleted=True)
        status = str(stack["StackStatus"]) if stack else ""
        if not status.endswith("_IN_PROGRESS"):
            return status
        if waited_s >= PATIENCE_S:
            raise StackError(
                f"stack {stack_id} is {status} for {waited_s / 60:.0f} minutes; run the same again "
                "later, it goes on from there"
            )
        pause(POLL_S)
        waited_s += POLL_S


def failed_events(cloudformation: Any, name: str, limit: int = 8) -> list[str]:
    """What failed in the stack's last operation, the first cause first."""
    try:
        events = cloudformation.describe_stack_events(StackName=name)["StackEvents"]
    except ClientError:
        return []
    lines: list[str] = []
    for event in events:  # newest first, back to the beginning of the operation
        status, kind = str(event.get("ResourceStatus", "")), str(event.get("ResourceType", ""))
        if status.endswith("_FAILED"):
            reason = event.get("ResourceStatusReason") or "no reason given"
            lines.append(f"{event['LogicalResourceId']} ({kind}) {status}: {reason}")
        is_beginning = status in ("CREATE_IN_PROGRESS", "UPDATE_IN_PROGRESS", "DELETE_IN_PROGRESS")
        if is_beginning and kind == "AWS::CloudFormation::Stack" and lines:
            break
    # CloudFormation cancels what was under way beside the cause: that explains nothing.
    causes = [line for line in lines if "cancelled" not in line] or lines
    return list(reversed(causes))[:limit]


def _failure(cloudformation: Any, name: str, status: str) -> StackError:
    told = failed_events(cloudformation, name)
    why = "".join(f"\n  {line}" for line in told) or " (no failed event is recorded)"
    return StackError(
        f"stack {name} ended as {status or 'deleted'}:{why}\n"
        "mend the cause and run the same again: it goes on from here"
    )


def _describe(
    cloudformation: Any, name: str, *, also_deleted: bool = False
) -> Mapping[str, Any] | None:
    try:
        stack: Mapping[str, Any] = cloudformation.describe_stacks(StackName=name)["Stacks"][0]
    except ClientError as error:
        if "does not exist" in str(error):
            return None
        raise
    if stack["StackStatus"] == "DELETE_COMPLETE" and not also_deleted:
        return None
    return stack
