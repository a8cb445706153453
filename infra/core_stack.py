"""The core stack: created unprotected, then protected; what an earlier one left is adopted.

A table that is protected cannot be rolled back, so protection comes by a second pass, when the
stack stands. Tables, key and secret outlive their stack on purpose; when they are met again, they
are imported into the new one instead of colliding with it (docs/internals/aws-rules.md, import).
"""

from __future__ import annotations

import re
from typing import Any

from botocore.exceptions import ClientError

from infra.account import Aws, DeployError, existing_tables, unprotect_table
from infra.stacks import (
    CAPABILITIES,
    INFRA,
    Say,
    StackError,
    deploy_stack,
    failed_events,
    find_stack,
    read_template,
    settle_stack,
    wait_for_rest,
)

Leftover = dict[str, Any]  # an entry of ResourcesToImport


def core_name(stage: str) -> str:
    """The stack's name."""
    return f"ballast-{stage}-core"


def secret_name(stage: str) -> str:
    """Where the Vast key lies."""
    return f"ballast-{stage}/vast-api-key"


def deploy_core(aws: Aws, stage: str, say: Say, *, protect: bool) -> dict[str, str]:
    """Bring the core stack up; gives its outputs.

    Raises:
        StackError: CloudFormation could not.
        DeployError: what an earlier stage left cannot be adopted.
    """
    cloudformation, name = aws.client("cloudformation"), core_name(stage)

    def unprotect(table: str) -> None:
        unprotect_table(aws, table)

    is_new = not settle_stack(cloudformation, name, say, aws.pause, unprotect)
    if is_new and (found := leftovers(aws, stage)):
        adopt(aws, stage, found, say)
    for protected in ("false", "true") if is_new and protect else (str(protect).lower(),):
        parameters = {"Stage": stage, "ProtectTables": protected}
        template = read_template("core.yaml")
        deploy_stack(cloudformation, name, template, parameters, say, aws.pause)
    return dict(find_stack(cloudformation, name) or {})


def leftovers(aws: Aws, stage: str) -> list[Leftover]:
    """What a former core stack of this stage left behind, as CloudFormation imports it.

    Raises:
        DeployError: the secret, or the key of tables that exist, is to be deleted.
    """
    tables = existing_tables(aws, stage)
    found: list[Leftover] = [
        _entry("AWS::DynamoDB::Table", table_resource(name), TableName=name) for name in tables
    ]
    key = find_key(aws, stage)
    if key is not None:
        if key["KeyState"] == "PendingDeletion":
            if tables:
                raise DeployError(
                    f"KMS key {key['KeyId']}, which alone opens {', '.join(tables)}, is to be "
                    f"deleted: `aws kms cancel-key-deletion --key-id {key['KeyId']}` and "
                    f"`aws kms enable-key --key-id {key['KeyId']}` keep it"
                )
            # Its tables went before it: a removal was cut off, and a new key is made.
            aws.client("kms").delete_alias(AliasName=f"alias/ballast-{stage}")
        else:
            alias = f"alias/ballast-{stage}"
            found.append(_entry("AWS::KMS::Key", "WrappingKey", KeyId=key["KeyId"]))
            found.append(_entry("AWS::KMS::Alias", "WrappingKeyAlias", AliasName=alias))
    secret = find_secret(aws, stage)
    if secret is not None:
        if secret.get("DeletedDate"):
            name = secret_name(stage)
            raise DeployError(
                f"secret {name} is scheduled for deletion and keeps its name until then; "
                f"`aws secretsmanager restore-secret --secret-id {name}` brings it back"
            )
        found.append(_entry("AWS::SecretsManager::Secret", "VastKey", Id=str(secret["ARN"])))
    return found


def table_resource(table: str) -> str:
    """A table's logical id in core.yaml: ballast-prod-config → ConfigTable."""
    return f"{table.rpartition('-')[2].capitalize()}Table"


def _entry(kind: str, logical_id: str, **identifier: str) -> Leftover:
    return {
        "ResourceType": kind,
        "LogicalResourceId": logical_id,
        "ResourceIdentifier": identifier,
    }


def find_key(aws: Aws, stage: str) -> dict[str, Any] | None:
    """The wrapping key's metadata, by its alias."""
    client = aws.client("kms")
    try:
        return dict(client.describe_key(KeyId=f"alias/ballast-{stage}")["KeyMetadata"])
    except client.exceptions.NotFoundException:
        return None


def find_secret(aws: Aws, stage: str) -> dict[str, Any] | None:
    """The secret as AWS describes it: with a `DeletedDate` once somebody ordered its deletion."""
    client = aws.client("secretsmanager")
    try:
        return dict(client.describe_secret(SecretId=secret_name(stage)))
    except client.exceptions.ResourceNotFoundException:
        return None


def adopt(aws: Aws, stage: str, found: list[Leftover], say: Say) -> None:
    """Make the stack from what exists; a later update adds the rest.

    Raises:
        StackError: CloudFormation could not import it.
    """
    cloudformation, name = aws.client("cloudformation"), core_name(stage)
    named = ", ".join(str(entry["LogicalResourceId"]) for entry in found)
    say(f"stack {name}: adopting what an earlier one left ({named})")
    answer = cloudformation.create_change_set(
        StackName=name,
        ChangeSetName="adopt",
        ChangeSetType="IMPORT",
        TemplateBody=template_of({str(entry["LogicalResourceId"]) for entry in found}),
        Parameters=[{"ParameterKey": "Stage", "ParameterValue": stage}],
        Capabilities=CAPABILITIES,
        ResourcesToImport=found,
    )
    while True:
        described = cloudformation.describe_change_set(ChangeSetName=answer["Id"])
        if described["Status"] == "CREATE_COMPLETE":
            break
        if described["Status"] == "FAILED":
            raise StackError(f"stack {name} cannot adopt: {described.get('StatusReason')}")
        aws.pause(2.0)
    cloudformation.execute_change_set(ChangeSetName=answer["Id"])
    reached = wait_for_rest(cloudformation, name, aws.pause)
    if reached != "IMPORT_COMPLETE":
        told = "\n  ".join(failed_events(cloudformation, name))
        raise StackError(f"stack {name} ended as {reached}:\n  {told}")


def template_of(logical_ids: set[str]) -> str:
    """core.yaml with these resources only: an import may not create anything."""
    text = (INFRA / "core.yaml").read_text()
    head, _, rest = text.partition("\nResources:\n")
    body = rest.partition("\nOutputs:\n")[0]
    blocks = re.split(r"^(?=  \w+:\n)", body, flags=re.MULTILINE)
    kept = [block for block in blocks if block.lstrip().partition(":")[0] in logical_ids]
    return f"{head}\nResources:\n{''.join(kept)}"


def ensure_vast_key(aws: Aws, stage: str, ask: Any, say: Say, *, is_needed: bool = True) -> None:
    """Store the Vast key once; it is never printed and never an argument.

    Raises:
        DeployError: there is none yet, it is needed, and there is nobody to ask.
    """
    secrets, name = aws.client("secretsmanager"), secret_name(stage)
    try:
        secrets.get_secret_value(SecretId=name)
    except ClientError as error:
        if error.response["Error"]["Code"] != "ResourceNotFoundException":
            raise
    else:
        return
    if ask is None:
        way_out = f"secret {name} has no value: `ballast secret set VAST_API_KEY --stage {stage}`"
        if is_needed:
            raise DeployError(f"{way_out}, or pass --ask")
        say(f"{way_out}; until then nothing is rented")
        return
    key = ask().strip()
    if not key:
        raise DeployError("the Vast API key is empty")
    secrets.put_secret_value(SecretId=name, SecretString=key)
    say(f"stored the Vast key in secret {name}")
