"""The AWS account that the current credentials open, and how long to wait for it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.adapters.aws.tables import TABLES
from infra.stacks import Pause


class DeployError(Exception):
    """The deployment cannot go on; the message says why and what to do."""


def in_full(error: BaseException) -> str:
    """The error in words, and in AWS's own, which name the right that is missing.

    What a port raises says less: callers of the API may read that.
    """
    cause = error.__cause__
    while cause is not None and not isinstance(cause, ClientError | BotoCoreError):
        cause = cause.__cause__
    return str(error) if cause is None or str(cause) in str(error) else f"{error} ({cause})"


@dataclass(frozen=True, slots=True)
class Aws:
    """Clients of one session, one of each service: each would open a connection of its own."""

    session: boto3.Session
    pause: Pause = time.sleep
    _clients: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def client(self, service: str) -> Any:
        """A client; typed loosely because infra uses many services a little."""
        if service not in self._clients:
            self._clients[service] = self.session.client(service)  # type: ignore[call-overload]
        return self._clients[service]

    def account(self) -> str:
        """The account number.

        Raises:
            DeployError: no usable credentials.
        """
        try:
            return str(self.client("sts").get_caller_identity()["Account"])
        except Exception as error:
            raise DeployError(
                f"AWS does not know these credentials ({error}); set AWS_PROFILE or run `aws login`"
            ) from error


def unprotect_table(aws: Aws, name: str) -> None:
    """Switch a table's deletion protection off and wait until it may be deleted.

    While the change runs, DeleteTable is refused (docs/internals/aws-rules.md).
    """
    client = aws.client("dynamodb")
    client.update_table(TableName=name, DeletionProtectionEnabled=False)
    while client.describe_table(TableName=name)["Table"]["TableStatus"] != "ACTIVE":
        aws.pause(2.0)


def existing_tables(aws: Aws, stage: str) -> list[str]:
    """Names of the stage's tables that exist; those of stage dev-eu are none of stage dev's."""
    ours = {table.full_name(f"ballast-{stage}") for table in TABLES}
    pages = aws.client("dynamodb").get_paginator("list_tables").paginate()
    return sorted(ours.intersection(name for page in pages for name in page["TableNames"]))
