"""`make undeploy STAGE=…`: take Ballast out of the account; refuses while instances may still bill.

Tables, the KMS key and the secret are retained (`--delete-data` removes the tables too): they are
what a mistake could not bring back.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.adapters.aws.tables import TABLES
from chalicelib.ports.errors import PortError
from infra.bootstrap import ports_of
from infra.deploy import Aws, DeployError, run_chalice
from infra.options import ROOT
from infra.stacks import Say, delete_stack


def living_instances(stage: str) -> list[int]:
    """Instances in our tables, whatever their state: all may still bill."""
    ports = ports_of(stage)
    return [
        worker.instance_id
        for group in ports.groups.list_groups()
        for worker in ports.workers.list(group.endpoint_id)
    ]


def undeploy(
    stage: str, aws: Aws, say: Say, *, delete_data: bool = False, root: Path = ROOT
) -> None:
    """Delete operations, edge, functions and, if asked, the data.

    Raises:
        DeployError: instances are still in the tables.
    """
    living = living_instances(stage)
    unsettled = [i.token for i in ports_of(stage).ledger.intents() if i.is_open]
    if unsettled:
        raise DeployError(
            f"{len(unsettled)} rentals are not settled yet, so a machine may stand behind each; "
            "wait for the next rounds, or run `ballast panic` first"
        )
    if living:
        raise DeployError(
            f"{len(living)} instances may still bill ({', '.join(map(str, living[:10]))}…); "
            "run `ballast panic` or `ballast delete endpoint NAME --wait` first"
        )
    cloudformation = aws.client("cloudformation")
    for name in ("-ops", "-edge", ""):  # the last holds the functions, where CI made them
        delete_stack(cloudformation, f"ballast-{stage}{name}", say)
    run_chalice("delete", stage, say, root=root)
    if not delete_data:
        say("kept: tables, KMS key, secret and log groups (stack core); --delete-data removes them")
        return
    dynamodb = aws.client("dynamodb")
    for table in TABLES:
        name = table.full_name(f"ballast-{stage}")
        say(f"deleting table {name}")
        dynamodb.update_table(TableName=name, DeletionProtectionEnabled=False)
        dynamodb.delete_table(TableName=name)
    delete_stack(cloudformation, f"ballast-{stage}-core", say)


def main() -> None:
    """Undeploy one stage."""
    parser = argparse.ArgumentParser(prog="python -m infra.undeploy", description=__doc__)
    parser.add_argument("--stage", default="dev")
    parser.add_argument("--delete-data", action="store_true", help="tables and keys too, for good")
    given = parser.parse_args()
    try:
        undeploy(given.stage, Aws(boto3.Session()), print, delete_data=given.delete_data)
    except (DeployError, ClientError, BotoCoreError, PortError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
