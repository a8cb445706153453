"""`make undeploy STAGE=…`: take Ballast out of the account; refuses while instances may still bill.

Tables, the KMS key and the secret are kept: they are what a mistake could not bring back.
`--delete-data` removes them too, for good. Cut off anywhere, it is resumed by running it again.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.adapters.aws.tables import CONFIG, LEDGER, WORKERS
from chalicelib.core.words import count
from chalicelib.ports.errors import PortError
from infra.account import Aws, DeployError, existing_tables, in_full, unprotect_table
from infra.bootstrap import ports_of
from infra.core_stack import core_name, find_key, find_secret, secret_name
from infra.functions import (
    check_record,
    delete_log_groups,
    existing_log_groups,
    function_names,
    run_chalice,
)
from infra.options import ROOT
from infra.stacks import Say, StackError, delete_stack

KEY_WAITS_DAYS = 7
"""The least that KMS allows between the order and the deletion of a key; it bills nothing then."""


def check_nothing_bills(aws: Aws, stage: str) -> None:
    """Refuse while an instance or an unsettled rental stands in the tables.

    Raises:
        DeployError: naming them.
    """
    there = existing_tables(aws, stage)
    if not {t.full_name(f"ballast-{stage}") for t in (CONFIG, WORKERS, LEDGER)} <= set(there):
        return  # a removal that was cut off: it looked before it deleted the first of these
    ports = ports_of(stage)
    living = [
        worker.instance_id
        for group in ports.groups.list_groups()
        for worker in ports.workers.list(group.endpoint_id)
    ]
    unsettled = [i.token for i in ports.ledger.intents() if i.is_open]
    if unsettled:
        raise DeployError(
            f"stage {stage}: {count(len(unsettled), 'rental')} not settled yet, so a machine may "
            "stand behind each; wait for the next rounds, or run `ballast panic` first"
        )
    if living:
        raise DeployError(
            f"stage {stage}: {count(len(living), 'instance')} may still bill "
            f"({', '.join(map(str, living[:10]))}…); "
            "run `ballast panic` or `ballast delete endpoint NAME --wait` first"
        )


def undeploy(
    stage: str,
    aws: Aws,
    say: Say,
    *,
    delete_data: bool = False,
    root: Path = ROOT,
    chalice: Callable[..., None] = run_chalice,
) -> None:
    """Delete operations, edge, functions and, if asked, the data.

    `chalice` stands in for `run_chalice`.

    Raises:
        DeployError: instances are still in the tables, or Chalice failed.
        StackError: CloudFormation could not delete a stack.
    """
    check_record(aws, stage, root)
    check_nothing_bills(aws, stage)
    cloudformation = aws.client("cloudformation")
    for name in ("-ops", "-edge", ""):  # the last holds the functions, where CI made them
        delete_stack(cloudformation, f"ballast-{stage}{name}", say, aws.pause)
    chalice("delete", stage, say, root=root)
    check_functions_gone(aws, stage)
    if delete_data:
        remove_data(aws, stage, say)
    for line in kept(aws, stage):
        say(line)


def check_functions_gone(aws: Aws, stage: str) -> None:
    """`chalice delete` knows only what its record in this checkout names.

    Raises:
        DeployError: functions are left that another checkout deployed.
    """
    known = aws.client("lambda").get_paginator("list_functions").paginate()
    names = {row["FunctionName"] for page in known for row in page["Functions"]}
    left = sorted(names & set(function_names(stage)))
    if left:
        raise DeployError(
            f"functions are left: {', '.join(left)}; they were deployed from a checkout whose "
            f".chalice/deployed/{stage}.json is not here: run this there, or copy that file here"
        )


def remove_data(aws: Aws, stage: str, say: Say) -> None:
    """Tables, secret, key and logs, for good: each by its name, so that a second run goes on.

    The stack goes first, for it only lets go of them; the key last, for it opens the tables.
    """
    delete_stack(aws.client("cloudformation"), core_name(stage), say, aws.pause)
    dynamodb = aws.client("dynamodb")
    for name in existing_tables(aws, stage):
        say(f"deleting table {name}")
        if dynamodb.describe_table(TableName=name)["Table"]["TableStatus"] != "DELETING":
            unprotect_table(aws, name)
            dynamodb.delete_table(TableName=name)
        dynamodb.get_waiter("table_not_exists").wait(TableName=name)
    if find_secret(aws, stage) is not None:  # also one that waits for its deletion
        say(f"deleting secret {secret_name(stage)}")
        aws.client("secretsmanager").delete_secret(
            SecretId=secret_name(stage), ForceDeleteWithoutRecovery=True
        )
    key = find_key(aws, stage)
    if key is not None:
        client = aws.client("kms")
        if key["KeyState"] != "PendingDeletion":
            say(f"KMS key {key['KeyId']} goes in {KEY_WAITS_DAYS} days, and bills nothing")
            client.schedule_key_deletion(KeyId=key["KeyId"], PendingWindowInDays=KEY_WAITS_DAYS)
        client.delete_alias(AliasName=f"alias/ballast-{stage}")
    delete_log_groups(aws, stage, say)


def kept(aws: Aws, stage: str) -> list[str]:
    """What is left of the stage, and what it costs: looked up, not believed."""
    tables = existing_tables(aws, stage)
    logs = existing_log_groups(aws, stage)
    left = [f"{count(len(tables), 'table')} (by size)"] if tables else []
    if find_key(aws, stage) is not None:
        left.append("the KMS key ($1.00 a month)")
    if logs:
        left.append(f"{count(len(logs), 'log group')} (by size)")
    if find_secret(aws, stage) is not None:
        left.append(f"secret {secret_name(stage)} with the Vast key ($0.40 a month)")
    if not left:
        return [f"nothing of stage {stage} is left that bills or is secret"]
    return [
        f"kept of stage {stage}: {', '.join(left)}; "
        f"`make undeploy STAGE={stage} ARGS=--delete-data` removes them for good"
    ]


def main() -> None:
    """Undeploy one stage."""
    parser = argparse.ArgumentParser(prog="python -m infra.undeploy", description=__doc__)
    parser.add_argument("--stage", required=True)
    parser.add_argument(
        "--delete-data", action="store_true", help="tables, secret, key and logs too, for good"
    )
    given = parser.parse_args()
    try:
        undeploy(given.stage, Aws(boto3.Session()), print, delete_data=given.delete_data)
    except (DeployError, StackError, ClientError, BotoCoreError, PortError) as error:
        sys.exit(f"error: {in_full(error)}")


if __name__ == "__main__":
    main()
