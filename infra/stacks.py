"""CloudFormation stacks: create or update, wait, tell progress, read outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

INFRA = Path(__file__).parent
POLLING = {"Delay": 5, "MaxAttempts": 360}  # half an hour; a domain takes minutes
CAPABILITIES = ["CAPABILITY_IAM"]


Say = Callable[[str], object]
"""Tells the owner about progress, a line at a time."""


def deploy_stack(
    cloudformation: Any, name: str, template: str, parameters: Mapping[str, str], say: Say
) -> None:
    """Create the stack, or bring it to the template's state; nothing to change is fine.

    Raises:
        ClientError: CloudFormation refuses.
        botocore.exceptions.WaiterError: the stack rolled back.
    """
    request = {
        "StackName": name,
        "TemplateBody": (INFRA / template).read_text(),
        "Parameters": [
            {"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()
        ],
        "Capabilities": CAPABILITIES,
    }
    exists = find_stack(cloudformation, name) is not None
    say(f"{'updating' if exists else 'creating'} stack {name} …")
    try:
        if exists:
            cloudformation.update_stack(**request)
            waiter = "stack_update_complete"
        else:
            cloudformation.create_stack(**request)
            waiter = "stack_create_complete"
    except ClientError as error:
        if "No updates are to be performed" in str(error):
            say(f"stack {name} is up to date")
            return
        raise
    cloudformation.get_waiter(waiter).wait(StackName=name, WaiterConfig=POLLING)


def find_stack(cloudformation: Any, name: str) -> Mapping[str, str] | None:
    """The stack's outputs, or None if there is no such stack.

    Raises:
        ClientError: for any other refusal.
    """
    try:
        stack = cloudformation.describe_stacks(StackName=name)["Stacks"][0]
    except ClientError as error:
        if "does not exist" in str(error):
            return None
        raise
    if stack["StackStatus"] == "DELETE_COMPLETE":
        return None
    return {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}


def delete_stack(cloudformation: Any, name: str, say: Say) -> None:
    """Delete a stack and wait; what it retains stays."""
    if find_stack(cloudformation, name) is None:
        return
    say(f"deleting stack {name} …")
    cloudformation.delete_stack(StackName=name)
    cloudformation.get_waiter("stack_delete_complete").wait(StackName=name, WaiterConfig=POLLING)
